//! Tidelog from outside: one binary for all of its tests.

#![allow(clippy::unwrap_used, reason = "a failed test panics, its helpers too")]

mod bad_input;
mod bench;
mod cli;
mod connection;
mod docs;
mod doors;
mod dump_log;
mod exactly_once;
mod first_light;
mod full_disk;
mod idempotence;
mod isolation;
mod kills;
mod pipelining;
mod reading;
mod record_state;
mod restart;
mod snapshots;
mod storage;
mod support;
mod syncs;
mod tidy;
mod tls;
mod topics;
