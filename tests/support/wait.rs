//! Waiting for what a test expects: until it is there, or the deadline has passed.

#![allow(clippy::disallowed_methods, reason = "the tests' one clock; what is waited for is real")]

use std::time::{Duration, Instant};

/// Far beyond what anything takes; reached only by a failure.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How long a process or a socket is left alone between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until there is something to see.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Looks until it is done; what it has done so far may stand still for no longer than the deadline.
pub(crate) fn while_it_moves(what: &str, mut look: impl FnMut() -> (u64, bool)) {
    let (mut before, mut is_done) = look();
    while !is_done {
        until(&format!("{what}, more than {before}"), || {
            let (now, done) = look();
            (now != before || done).then(|| (before, is_done) = (now, done))
        });
    }
}

/// Lets something under test run for a while: what a test does between two kills.
pub(crate) fn run_for(duration: Duration) {
    std::thread::sleep(duration);
}
