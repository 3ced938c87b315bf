//! What a webhook sends and when, as a pure state machine.
//!
//! The machine holds a window of undelivered records for each partition the webhook reads. It
//! reads no clock and does no IO: every input carries what it needs, every output is an
//! [`Effect`]. `T` is the driver's handle on a record; the machine only passes it on.
//!
//! - **Records of one key are delivered strictly in order**: a record is sent once those of its key
//!   before it are delivered. A failing record holds up its own key in its partition, no other.
//!   Records without a key are one such lane together: nothing says which of them belong together,
//!   and the order of their partition is what their producer was promised.
//! - **A commit never passes an undelivered record.** Records delivered ahead of one that fails are
//!   sent again after a restart, at most [`AHEAD_MAX`] and a window of them; attempts count anew.
//! - **A record is tried until it is delivered**, as its [`Schedule`] says, or until its endpoint
//!   answers 410 Gone, which ends the machine.
//! - Bounds: [`IN_FLIGHT_MAX`] attempts at once; per partition [`WINDOW_RECORDS`] records and
//!   [`WINDOW_BYTES`] bytes held, and what the last fetch brought beyond what it was asked for.
//!   When nothing can be delivered, most is let go and read again later: [`Delivery::let_go`].

mod partition;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::retry::Schedule;
use partition::Partition;

/// Attempts of one webhook that run at once.
pub const IN_FLIGHT_MAX: usize = 16;
/// Undelivered records held per partition.
pub const WINDOW_RECORDS: usize = 256;
/// Bytes of undelivered records after which a partition is read no further.
pub const WINDOW_BYTES: usize = 8 << 20;
/// Bytes of records that are held on to when nothing can be delivered: little, and not so little
/// that a few records which only seem to say so hold up all others.
pub const DOWN_BYTES: usize = 256 << 10;
/// How many offsets past its committed one a partition is read: what a restart may send again.
pub const AHEAD_MAX: i64 = 16_384;

/// Time since some start that the driver chose.
pub type Now = Duration;

/// The driver's number for one partition of one topic.
pub type Source = u32;

/// Names one attempt in flight. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Record<T> {
    pub offset: i64,
    pub key: Option<Bytes>,
    /// What the record counts for in the window.
    pub bytes: usize,
    pub ticket: T,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    Failed {
        retry_after: Option<Duration>,
    },
    /// The endpoint answered 410 Gone.
    Gone,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Send the record; report the end of it to [`Delivery::outcome`]. Attempts count from 1.
    Send { id: AttemptId, source: Source, offset: i64, attempt: u32, ticket: T },
    /// The record waits until `at` for its next attempt: for the delivery log.
    Wait { source: Source, offset: i64, attempt: u32, at: Now },
    /// Commit `offset`, the next to read. A later commit of the same source stands for this one.
    Commit { source: Source, offset: i64 },
    /// Read at most `records` records and `bytes` bytes (but one record at least) at `from`,
    /// waiting until there is something, and hand them to [`Delivery::fetched`].
    Fetch { source: Source, from: i64, records: usize, bytes: usize },
    /// The endpoint is gone: disable the webhook. Nothing is sent or fetched any more.
    Disable,
}

/// The delivery of one webhook.
#[derive(Debug)]
pub struct Delivery<T> {
    schedule: Schedule,
    partitions: BTreeMap<Source, Partition<T>>,
    /// Records free to be sent, first come first served across partitions.
    ready: VecDeque<(Source, i64)>,
    waiting: BTreeSet<(Now, Source, i64)>,
    /// The record of each attempt, or `None` if its partition was taken away meanwhile.
    in_flight: HashMap<AttemptId, Option<(Source, i64)>>,
    next_id: u64,
    disabled: bool,
}

impl<T: Clone> Delivery<T> {
    /// A webhook that delivers nothing until it is assigned partitions.
    pub fn new(schedule: Schedule) -> Delivery<T> {
        Delivery {
            schedule,
            partitions: BTreeMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            in_flight: HashMap::new(),
            next_id: 0,
            disabled: false,
        }
    }

    /// Starts to deliver a partition at its committed offset, afresh if it was there already.
    pub fn assign(&mut self, source: Source, committed: i64, out: &mut Vec<Effect<T>>) {
        self.revoke(source, out);
        self.partitions.insert(source, Partition::new(committed));
        self.advance(Some(source), out);
    }

    /// Forgets a partition. Attempts in flight run on and count towards the bound until they end.
    pub fn revoke(&mut self, source: Source, out: &mut Vec<Effect<T>>) {
        if self.partitions.remove(&source).is_none() {
            return;
        }
        self.ready.retain(|&(of, _)| of != source);
        self.waiting.retain(|&(_, of, _)| of != source);
        for record in self.in_flight.values_mut() {
            *record = record.filter(|&(of, _)| of != source);
        }
        self.advance(None, out);
    }

    /// Takes what a fetch read: the records that are to be delivered, in order, and the offset
    /// after everything read, delivered or not. Does nothing if no fetch from `from` is awaited.
    pub fn fetched(
        &mut self,
        source: Source,
        from: i64,
        records: Vec<Record<T>>,
        next: i64,
        out: &mut Vec<Effect<T>>,
    ) {
        let Some(partition) = self.partitions.get_mut(&source) else { return };
        if !partition.fetching || partition.next != from {
            return;
        }
        partition.fetching = false;
        for record in records {
            let offset = record.offset;
            if partition.push(record) {
                self.ready.push_back((source, offset));
            }
        }
        partition.passed(next);
        partition.commit(source, out);
        self.advance(Some(source), out);
    }

    /// Lets go of what is held, but for the first [`DOWN_BYTES`], a record of each partition, and
    /// what is in flight. It is fetched again, in place of what is being fetched, and a record's
    /// attempts go on counting. What was delivered ahead of it is not sent again.
    pub fn let_go(&mut self, out: &mut Vec<Effect<T>>) {
        let in_flight: BTreeSet<_> = self.in_flight.values().flatten().copied().collect();
        let (mut kept, mut shrunk) = (0, Vec::new());
        for (&source, partition) in &mut self.partitions {
            if partition.let_go(&mut kept, |offset| in_flight.contains(&(source, offset))) {
                shrunk.push(source);
            }
        }
        if shrunk.is_empty() || self.disabled {
            return;
        }
        let partitions = &self.partitions;
        let is_held = |source: Source, offset: i64| {
            partitions.get(&source).is_some_and(|it| it.held.contains_key(&offset))
        };
        self.ready.retain(|&(source, offset)| is_held(source, offset));
        self.waiting.retain(|&(_, source, offset)| is_held(source, offset));
        for source in shrunk {
            let Some(partition) = self.partitions.get_mut(&source) else { continue };
            partition.ready = self.ready.iter().filter(|(of, _)| *of == source).count();
            partition.fetch(source, out);
        }
    }

    /// Takes the end of an attempt. `jitter`, from 0 to 1, spreads the delay if it failed.
    pub fn outcome(
        &mut self,
        now: Now,
        id: AttemptId,
        outcome: Outcome,
        jitter: f64,
        out: &mut Vec<Effect<T>>,
    ) {
        let Some(record) = self.in_flight.remove(&id) else { return };
        match outcome {
            Outcome::Delivered => self.delivered(record, out),
            Outcome::Failed { retry_after } => self.failed(now, record, retry_after, jitter, out),
            Outcome::Gone if !self.disabled => {
                self.disabled = true;
                out.push(Effect::Disable);
            }
            Outcome::Gone => {}
        }
        self.advance(record.map(|(source, _)| source), out);
    }

    /// When [`Delivery::expire`] next has work to do.
    pub fn deadline(&self) -> Option<Now> {
        self.waiting.first().filter(|_| !self.disabled).map(|&(at, ..)| at)
    }

    /// Frees every record whose wait is over at `now`.
    pub fn expire(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        while let Some(&(at, source, offset)) = self.waiting.first()
            && at <= now
        {
            self.waiting.pop_first();
            if let Some(partition) = self.partitions.get_mut(&source) {
                partition.ready += 1;
                self.ready.push_back((source, offset));
            }
        }
        self.advance(None, out);
    }

    /// Attempts in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Undelivered records held now, over all partitions.
    pub fn held(&self) -> usize {
        self.partitions.values().map(|partition| partition.held.len()).sum()
    }

    fn delivered(&mut self, record: Option<(Source, i64)>, out: &mut Vec<Effect<T>>) {
        let Some((source, offset)) = record else { return };
        let Some(partition) = self.partitions.get_mut(&source) else { return };
        if let Some(freed) = partition.remove(offset) {
            self.ready.push_back((source, freed));
        }
        partition.commit(source, out);
    }

    fn failed(
        &mut self,
        now: Now,
        record: Option<(Source, i64)>,
        retry_after: Option<Duration>,
        jitter: f64,
        out: &mut Vec<Effect<T>>,
    ) {
        let Some((source, offset)) = record else { return };
        let Some(partition) = self.partitions.get_mut(&source) else { return };
        let Some(held) = partition.held.get(&offset) else { return };
        let at = now + self.schedule.delay(held.attempt, retry_after, jitter);
        self.waiting.insert((at, source, offset));
        out.push(Effect::Wait { source, offset, attempt: held.attempt.saturating_add(1), at });
    }

    /// Sends what may be sent, and fetches for the partitions that made room by it, or by what
    /// just happened to `touched`. No other partition's room can have changed.
    fn advance(&mut self, touched: Option<Source>, out: &mut Vec<Effect<T>>) {
        if self.disabled {
            return;
        }
        while self.in_flight.len() < IN_FLIGHT_MAX
            && let Some((source, offset)) = self.ready.pop_front()
        {
            let Some(partition) = self.partitions.get_mut(&source) else { continue };
            let Some(held) = partition.held.get_mut(&offset) else { continue };
            partition.ready -= 1;
            held.attempt = held.attempt.saturating_add(1);
            let id = AttemptId(self.next_id);
            self.next_id += 1;
            self.in_flight.insert(id, Some((source, offset)));
            let (attempt, ticket) = (held.attempt, held.ticket.clone());
            out.push(Effect::Send { id, source, offset, attempt, ticket });
            partition.fetch(source, out);
        }
        if let Some(source) = touched
            && let Some(partition) = self.partitions.get_mut(&source)
        {
            partition.fetch(source, out);
        }
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
