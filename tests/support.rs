//! What the tests stand on: the program as a process, and every kind of client.

pub(crate) mod desk;
pub(crate) mod fixtures;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod receiver;
pub(crate) mod wait;

use std::sync::LazyLock;
use tokio::runtime::Runtime;

/// Runs the HTTP clients and receivers; the tests themselves are plain functions.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// `count` rounds, times what `TIDELOG_TEST_ITERATIONS` says; without end if it says `forever`.
pub(crate) fn iterations(count: u64) -> u64 {
    match std::env::var("TIDELOG_TEST_ITERATIONS").as_deref() {
        Ok("forever") => u64::MAX,
        Ok(factor) => count * factor.parse::<u64>().expect("a number, or forever"),
        Err(_) => count,
    }
}
