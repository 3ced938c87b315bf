#![doc = include_str!("ARCHITECTURE.md")]

pub mod account;
pub mod api;
pub mod broker;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod group;
pub mod id;
pub mod net;
pub mod settings;
pub mod state;
pub mod storage_error;
pub mod topic;
