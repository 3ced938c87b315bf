//! What is held of one partition, in which order it is free to be sent, and what is read next.

use super::{
    AHEAD_MAX, DOWN_BYTES, Effect, IN_FLIGHT_MAX, Record, Source, WINDOW_BYTES, WINDOW_RECORDS,
};
use bytes::Bytes;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The undelivered records of a partition, and what is to be read of it.
#[derive(Debug)]
pub(super) struct Partition<T> {
    committed: i64,
    /// The first offset that is to be read.
    pub(super) next: i64,
    /// The first offset that has never been read.
    unread: i64,
    /// Undelivered records from `next` on that were read and let go, and how often each was tried.
    let_go: BTreeMap<i64, u32>,
    pub(super) fetching: bool,
    /// Undelivered records by offset.
    pub(super) held: BTreeMap<i64, Held<T>>,
    bytes: usize,
    /// The undelivered offsets of each key, in order. The first is ready, waiting or in flight.
    lanes: HashMap<Option<Bytes>, VecDeque<i64>>,
    /// How many lanes have their first record ready.
    pub(super) ready: usize,
}

/// A record that is held.
#[derive(Debug)]
pub(super) struct Held<T> {
    key: Option<Bytes>,
    bytes: usize,
    pub(super) attempt: u32,
    pub(super) ticket: T,
}

impl<T> Partition<T> {
    pub(super) fn new(committed: i64) -> Partition<T> {
        Partition {
            committed,
            next: committed,
            unread: committed,
            let_go: BTreeMap::new(),
            fetching: false,
            held: BTreeMap::new(),
            bytes: 0,
            lanes: HashMap::new(),
            ready: 0,
        }
    }

    /// Takes a record in; whether it is first of its key, and so free to be sent.
    pub(super) fn push(&mut self, record: Record<T>) -> bool {
        let Record { offset, key, bytes, ticket } = record;
        // A batch is read whole, so a fetch may bring records from before its start.
        if offset < self.next {
            return false;
        }
        self.next = offset + 1;
        let attempt = match self.let_go.remove(&offset) {
            Some(attempt) => attempt,
            // It is delivered, or still held.
            None if offset < self.unread => return false,
            None => 0,
        };
        self.bytes += bytes;
        let lane = self.lanes.entry(key.clone()).or_default();
        lane.push_back(offset);
        let first = lane.len() == 1;
        self.ready += usize::from(first);
        self.held.insert(offset, Held { key, bytes, attempt, ticket });
        first
    }

    /// Notes that there is nothing more to read before `next`.
    pub(super) fn passed(&mut self, next: i64) {
        self.next = self.next.max(next);
        self.unread = self.unread.max(self.next);
        self.let_go = self.let_go.split_off(&self.next);
    }

    /// See [`Delivery::let_go`](super::Delivery::let_go); whether there was anything to let go of.
    pub(super) fn let_go(&mut self, kept: &mut usize, in_flight: impl Fn(i64) -> bool) -> bool {
        let beyond = self.held.iter().enumerate().filter_map(|(at, (&offset, held))| {
            if at > 0 && *kept >= DOWN_BYTES && !in_flight(offset) {
                return Some(offset);
            }
            *kept += held.bytes;
            None
        });
        let beyond: Vec<_> = beyond.collect();
        let Some(first) = beyond.first() else { return false };
        self.next = self.next.min(*first);
        self.fetching = false;
        // From the end, where the last of each key is the last of its lane.
        for offset in beyond.into_iter().rev() {
            let Some(Held { key, bytes, attempt, .. }) = self.held.remove(&offset) else {
                continue;
            };
            self.bytes -= bytes;
            self.let_go.insert(offset, attempt);
            if let Entry::Occupied(mut lane) = self.lanes.entry(key) {
                lane.get_mut().pop_back();
                if lane.get().is_empty() {
                    lane.remove();
                }
            }
        }
        true
    }

    /// Takes a delivered record out; the next of its key, which is free now.
    pub(super) fn remove(&mut self, offset: i64) -> Option<i64> {
        let Held { key, bytes, .. } = self.held.remove(&offset)?;
        self.bytes -= bytes;
        let lane = self.lanes.get_mut(&key)?;
        lane.pop_front();
        let freed = lane.front().copied();
        match freed {
            Some(_) => self.ready += 1,
            None => drop(self.lanes.remove(&key)),
        }
        freed
    }

    /// Commits up to the first undelivered record, if that is further than before.
    pub(super) fn commit(&mut self, source: Source, out: &mut Vec<Effect<T>>) {
        let held = self.held.first_key_value().map(|(&offset, _)| offset);
        let offset = held.map_or(self.next, |held| held.min(self.next));
        if offset > self.committed {
            self.committed = offset;
            out.push(Effect::Commit { source, offset });
        }
    }

    /// Fetches when the records free to be sent no longer fill the attempts, and there is room.
    pub(super) fn fetch(&mut self, source: Source, out: &mut Vec<Effect<T>>) {
        let records = WINDOW_RECORDS.saturating_sub(self.held.len());
        let bytes = WINDOW_BYTES.saturating_sub(self.bytes);
        let ahead = self.next - self.committed < AHEAD_MAX;
        if !self.fetching && self.ready < IN_FLIGHT_MAX && records > 0 && bytes > 0 && ahead {
            self.fetching = true;
            out.push(Effect::Fetch { source, from: self.next, records, bytes });
        }
    }
}
