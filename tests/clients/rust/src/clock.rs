//! The one place that reads a clock: another program is asked, in real time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// When to give up.
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }

    pub fn is_past(&self) -> bool {
        Instant::now() > self.0
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Lets this time pass.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
