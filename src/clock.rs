//! The one place that reads the time and the system's randomness; everything else is told.

#![allow(clippy::disallowed_methods)]

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time since the process started: monotonic, for deadlines.
pub fn now() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Wall-clock time in milliseconds since 1970, as record timestamps have it.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Wall-clock time for people.
pub fn timestamp() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Random bytes from the operating system.
///
/// # Panics
///
/// If the operating system has none to give, which it does only before it has booted.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
