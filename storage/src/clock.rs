//! The only place that reads a clock: when to sync and to write a checkpoint next, and how long a
//! commit took.
//!
//! Nothing that is stored depends on it.

use std::time::Instant;

/// Now.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
