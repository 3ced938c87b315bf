//! What a webhook's owner is told of its deliveries, and the operator's log. Kept in memory: it
//! starts afresh with the process.

use super::delivery::IN_FLIGHT_MAX;
use super::message::Message;
use crate::clock;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;
use tidelog_protocol::Uuid;

/// How delivery goes.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Status {
    /// Attempts that succeeded since the process started.
    pub(super) delivered: u64,
    /// Attempts that failed since the process started.
    pub(super) failed: u64,
    /// Attempts that failed since the last one that succeeded.
    pub(super) consecutive_failures: u64,
    /// Attempts that run now, or wait for others to end.
    pub(super) in_flight: usize,
    /// Records that are read and not delivered.
    pub(super) held: usize,
    #[serde(serialize_with = "timestamp")]
    pub(super) last_delivered_at: Option<Timestamp>,
    pub(super) last_error: Option<Failure>,
    /// When the next record that failed is tried again, in time since the process started.
    #[serde(rename = "next_attempt_at", serialize_with = "deadline")]
    pub(super) next_attempt: Option<Duration>,
    /// Why partitions are read no further, by topic and index.
    #[serde(skip)]
    pub(super) stuck: BTreeMap<(Uuid, i32), String>,
    /// The last attempt took long, however it ended.
    #[serde(skip)]
    slow: bool,
    /// When the log was last told of a failure, in time since the process started.
    #[serde(skip)]
    logged: Option<Duration>,
    /// The log knows of the failure and not of its end.
    #[serde(skip)]
    open: bool,
}

/// An attempt that failed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    #[serde(serialize_with = "timestamp")]
    at: Option<Timestamp>,
    error: String,
    topic: String,
    partition: i32,
    offset: i64,
    attempt: u32,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing has been sent to it.
    New,
    /// It accepts what it is sent, or most of it.
    Up,
    /// The same, and it takes its time.
    Slow,
    /// It seems to be down as a whole.
    Down,
}

/// An attempt that takes so long is slow: a sixth of what it may take at all.
const SLOW: Duration = Duration::from_secs(5);
/// So many failures in a row, of attempts that may all have been under way at once, are no chance.
const DOWN_FAILURES: u64 = IN_FLIGHT_MAX as u64;
/// Between two lines of the log about failures of one endpoint.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

impl Status {
    /// An attempt succeeded.
    pub(super) fn succeeded(&mut self, webhook: &str) {
        self.delivered += 1;
        self.last_delivered_at = Some(clock::timestamp());
        let failures = std::mem::take(&mut self.consecutive_failures);
        if std::mem::take(&mut self.open) {
            tracing::info!("webhook {webhook}: delivers again after {failures} failed attempts");
        }
    }

    /// An attempt ended.
    pub(super) fn took(&mut self, time: Duration) {
        self.slow = time >= SLOW;
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, message: &Message, attempt: u32, error: &str) {
        self.failed += 1;
        self.consecutive_failures += 1;
        self.last_error = Some(Failure {
            at: Some(clock::timestamp()),
            error: error.to_owned(),
            topic: message.topic.name.clone(),
            partition: message.partition,
            offset: message.offset,
            attempt,
        });
    }

    /// Tells the log of an attempt that failed and is repeated, unless it knows.
    pub(super) fn log_failure(&mut self, webhook: &str, error: &str) {
        let now = clock::now();
        if !self.open && self.logged.is_none_or(|logged| now >= logged + LOG_INTERVAL) {
            (self.open, self.logged) = (true, Some(now));
            tracing::warn!("webhook {webhook}: an attempt failed, and will be repeated: {error}");
        }
    }

    /// What the attempts so far say of the endpoint.
    pub(super) fn standing(&self) -> Standing {
        match (self.delivered, self.consecutive_failures) {
            (0, 0) => Standing::New,
            // It has accepted nothing yet, or nothing any more.
            (0, 1..) | (1.., DOWN_FAILURES..) => Standing::Down,
            _ if self.slow => Standing::Slow,
            _ => Standing::Up,
        }
    }
}

fn timestamp<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.to_string()).serialize(serializer)
}

fn deadline<S: Serializer>(at: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    let wait = at.map(|at| at.saturating_sub(clock::now()));
    timestamp(&wait.and_then(|wait| clock::timestamp().checked_add(wait).ok()), serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_accepts_nothing_yet_or_nothing_any_more_is_down() {
        let standing = |delivered, consecutive_failures| {
            Status { delivered, consecutive_failures, ..Status::default() }.standing()
        };
        assert_eq!(standing(0, 0), Standing::New);
        assert_eq!([standing(1, 0), standing(9, DOWN_FAILURES - 1)], [Standing::Up; 2]);
        assert_eq!([standing(0, 1), standing(9, DOWN_FAILURES)], [Standing::Down; 2]);
    }

    #[test]
    fn an_endpoint_that_accepts_what_it_is_sent_is_slow_while_it_takes_long() {
        let mut status = Status::default();
        status.succeeded("wh_1");
        let mut standing = |took| {
            status.took(took);
            status.standing()
        };
        let took = [SLOW / 2, SLOW, Duration::ZERO];
        assert_eq!(took.map(&mut standing), [Standing::Up, Standing::Slow, Standing::Up]);
    }
}
