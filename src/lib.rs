#![doc = include_str!("ARCHITECTURE.md")]

pub mod account;
pub mod api;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod console;
pub mod consumer;
pub mod control;
#[cfg(test)]
#[allow(dead_code, clippy::unwrap_used, reason = "the log's own tests use the rest")]
#[path = "../storage/tests/faulty.rs"]
mod faulty;
pub mod group;
pub mod http;
pub mod http_client;
pub mod id;
pub mod ingest;
#[cfg(test)]
mod iterations;
pub mod manage;
pub mod metrics;
pub mod net;
pub mod pace;
pub mod producer_ids;
#[cfg(test)]
#[allow(dead_code, reason = "the log's own tests use the rest")]
#[path = "../storage/tests/random.rs"]
mod random;
pub mod rest;
pub mod retention;
pub mod room;
pub mod scrub;
pub mod serve;
pub mod settings;
pub mod state;
pub mod task;
pub mod tls;
pub mod topic;
pub mod webhook;
