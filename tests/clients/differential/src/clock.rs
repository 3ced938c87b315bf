//! The one place that reads a clock.

#![expect(clippy::disallowed_methods, reason = "two other programs are asked, in real time")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

/// The last midnight: the same for both brokers, and not so long ago that records of that time
/// would be deleted by age. In ms since 1970.
pub(crate) fn midnight_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(0) / DAY_MS * DAY_MS
}

/// Leaves a broker alone before it is asked again: neither says when it is done.
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
