//! A group's deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tidelog_protocol::Str;

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The rebalance ends with the members that joined.
    Rebalance,
    /// Members that did not sync are removed.
    Sync,
    /// The member was not heard of.
    Session(Str),
    /// The member of a consumer group did not give back, join or sync in time.
    Reconcile(Str),
    /// The member id was handed out and nobody joined with it.
    Pending(Str),
    /// Old offsets are looked for.
    Retention,
}

/// A table of deadlines, ordered both ways.
#[derive(Debug, Default)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Duration>,
    order: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Sets the timer, in place of what it was set to.
    pub(super) fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(&timer);
        self.order.insert((at, timer.clone()));
        self.at.insert(timer, at);
    }

    /// Sets the timer unless it fires sooner anyway.
    pub(super) fn set_sooner(&mut self, timer: Timer, at: Duration) {
        if self.at.get(&timer).is_none_or(|old| at < *old) {
            self.set(timer, at);
        }
    }

    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.at.remove_entry(timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes the first timer due at `now`.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Timer> {
        let (at, _) = self.order.first()?;
        if *at > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }
}
