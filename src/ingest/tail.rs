//! The end of a partition whose records are not in the state store yet.

use super::mutation::Watch;
use super::state::Row;
use std::collections::{HashMap, VecDeque};

/// The end of a partition that is not in the store yet.
#[derive(Default)]
pub(super) struct Tail {
    /// The last state of the records in it, with the number of its entry.
    records: HashMap<Box<str>, (Known, u64)>,
    /// What became of records, in order.
    entries: VecDeque<Entry>,
    /// Entries that were there before the first.
    gone: u64,
    /// Of the entries' records.
    bytes: usize,
    /// Rows that went to the store ahead of the entries here. An older one must not follow them.
    ahead: HashMap<Box<str>, Row>,
    /// The state of the partition's records is not known.
    pub damaged: bool,
    /// The sync was deleted; nothing is taken any more.
    pub retired: bool,
}

/// What is known of a record, and the last offset that rests on.
#[derive(Clone)]
pub(super) struct Known {
    /// The record.
    pub row: Row,
    /// Nothing, if it is in the store.
    pub rests_on: Option<i64>,
    /// Its version came without an event, so that only the store can keep it: the number of its
    /// entry.
    pub raised: Option<u64>,
}

/// What became of a record.
pub(super) struct Entry {
    /// Its event's, or that of the last event before.
    pub offset: i64,
    /// The record.
    pub id: Box<str>,
    /// What is known of it now.
    pub row: Row,
    /// Its version came without an event.
    pub raised: bool,
    /// It stays here while somebody holds this.
    pub hold: Option<Watch>,
}

/// What is durable at the front of a tail.
pub(super) struct Durable {
    /// How many entries.
    pub count: usize,
    /// The offset after them.
    pub next: i64,
    /// Those rows that are not older than what is in the store.
    pub rows: Vec<(Box<str>, Row)>,
    /// Whether any entry's version came without an event.
    pub raised: bool,
}

impl Known {
    /// Of a row of the store.
    pub(super) fn stored(row: Row) -> Self {
        Self { row, rests_on: None, raised: None }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.id.len() + self.row.data.as_ref().map_or(0, |data| data.len())
    }
}

impl Tail {
    /// Empty.
    pub(super) fn new(damaged: bool) -> Self {
        Self { damaged, ..Self::default() }
    }

    /// Of a sync that was deleted.
    pub(super) fn retired() -> Self {
        Self { retired: true, ..Self::default() }
    }

    /// What is known of a record that is not in the store.
    pub(super) fn known(&self, id: &str) -> Option<&Known> {
        self.records.get(id).map(|(known, _)| known)
    }

    /// The number of the next entry.
    pub(super) fn next_number(&self) -> u64 {
        self.gone + self.entries.len() as u64
    }

    /// The entry of a number, unless it has moved to the store.
    pub(super) fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.gone)?).ok()?)
    }

    /// Takes in what became of a record.
    pub(super) fn push(&mut self, entry: Entry) {
        let number = self.next_number();
        // Before the first event of a partition there is nothing to wait for.
        let rests_on = (entry.offset >= 0).then_some(entry.offset);
        let known =
            Known { row: entry.row.clone(), rests_on, raised: entry.raised.then_some(number) };
        self.records.insert(entry.id.clone(), (known, number));
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// Bytes of all that is here, ids and records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is known of every record that is not in the store.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.records.iter().map(|(id, (known, _))| (&**id, known))
    }

    /// The offset of the first entry.
    pub(super) fn first_offset(&self) -> Option<i64> {
        self.entries.front().map(|entry| entry.offset)
    }

    /// What may move to the store.
    pub(super) fn durable(&self, high_watermark: i64) -> Durable {
        let count = self.settled(high_watermark);
        let its = self.entries.range(..count);
        let next = its.clone().next_back().map_or(0, |last| last.offset + 1);
        let is_older = |entry: &Entry| {
            self.ahead.get(&entry.id).is_some_and(|ahead| ahead.is_as_new_as(&entry.row))
        };
        let raised = its.clone().any(|entry| entry.raised);
        let rows = its.filter(|entry| !is_older(entry));
        let rows = rows.map(|entry| (entry.id.clone(), entry.row.clone())).collect();
        Durable { count, next, rows, raised }
    }

    /// Takes in that a row of a record that is here went to the store.
    pub(super) fn went_ahead(&mut self, id: Box<str>, row: Row) {
        self.ahead.insert(id, row);
    }

    /// How many entries at the front may move to the store.
    fn settled(&self, high_watermark: i64) -> usize {
        let stays = |entry: &Entry| {
            let held = entry.hold.as_ref().is_some_and(Watch::is_held);
            held || entry.offset >= high_watermark
        };
        self.entries.iter().position(stays).unwrap_or(self.entries.len())
    }

    /// Drops entries that are in the store.
    pub(super) fn drop_front(&mut self, count: usize) {
        for entry in self.entries.drain(..count) {
            if self.records.get(&entry.id).is_some_and(|(_, number)| *number == self.gone) {
                self.records.remove(&entry.id);
                self.ahead.remove(&entry.id);
            }
            self.bytes -= entry.bytes();
            self.gone += 1;
        }
    }
}
