//! What a webhook's owner is told of its deliveries. Kept in memory: it starts afresh with the
//! process.

use super::delivery::IN_FLIGHT_MAX;
use super::message::Message;
use crate::clock;
use serde::Serialize;
use std::time::Duration;

/// How delivery goes.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Status {
    /// Attempts that succeeded since the process started.
    pub(super) delivered: u64,
    /// Attempts that failed since the process started.
    pub(super) failed: u64,
    /// Attempts that failed since the last one that succeeded.
    pub(super) consecutive_failures: u64,
    /// Attempts that run now.
    pub(super) in_flight: usize,
    /// Records that are read and not delivered.
    pub(super) held: usize,
    pub(super) last_delivered_at: Option<String>,
    pub(super) last_error: Option<Failure>,
    /// When the next record that failed is tried again.
    pub(super) next_attempt_at: Option<String>,
}

/// An attempt that failed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    pub(super) at: String,
    pub(super) error: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) attempt: u32,
}

impl Status {
    /// An attempt succeeded; how many had failed before it.
    pub(super) fn succeeded(&mut self) -> u64 {
        self.delivered += 1;
        self.last_delivered_at = Some(clock::timestamp().to_string());
        std::mem::take(&mut self.consecutive_failures)
    }

    /// An attempt failed; whether it is the first since one succeeded.
    pub(super) fn failed(&mut self, message: &Message, attempt: u32, error: String) -> bool {
        self.failed += 1;
        self.consecutive_failures += 1;
        self.last_error = Some(Failure {
            at: clock::timestamp().to_string(),
            error,
            topic: message.topic.name.clone(),
            partition: message.partition,
            offset: message.offset,
            attempt,
        });
        self.consecutive_failures == 1
    }

    /// Whether the endpoint as a whole seems to be down.
    pub(super) fn is_down(&self) -> bool {
        self.consecutive_failures >= IN_FLIGHT_MAX as u64
    }

    /// Notes when the next attempt is, in time since the process started.
    pub(super) fn set_next_attempt(&mut self, deadline: Option<Duration>) {
        let wait = deadline.map(|deadline| deadline.saturating_sub(clock::now()));
        let at = wait.and_then(|wait| clock::timestamp().checked_add(wait).ok());
        self.next_attempt_at = at.map(|at| at.to_string());
    }
}
