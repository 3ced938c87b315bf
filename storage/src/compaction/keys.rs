//! The last offset of each key: a table of a fixed size, so that memory is known beforehand.
//!
//! **A key takes 32 bytes: 32,768 keys a MiB.** Kept is a keyed hash of 128 bits: who chooses the
//! keys cannot choose two with the same one.

use std::hash::{BuildHasher, RandomState};

use tidelog_protocol::records::Record;

use super::transactions::Transactions;
use super::{Io, Sealed, readable};
use crate::error::Result;

/// Keys of a stretch of the log.
pub(super) struct Keys {
    hashers: (RandomState, RandomState),
    /// Where a key's hash says, or the next free one after it.
    slots: Vec<Slot>,
    len: usize,
    keys_max: usize,
    /// All records before it are in the table.
    pub end: i64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: (u64, u64),
    /// One more than the offset; 0 is free.
    next_offset: i64,
}

impl Keys {
    /// A table for the keys from offset `from` up to `end`, no more than `keys_max` of them.
    pub(super) fn new(keys_max: usize, from: i64, end: i64) -> Self {
        let hashers = (RandomState::new(), RandomState::new());
        let most = usize::try_from(end.saturating_sub(from)).unwrap_or(0);
        let mut keys = Self { hashers, slots: Vec::new(), len: 0, keys_max: 0, end: from };
        keys.resize(keys_max.min(most));
        keys
    }

    /// Empties the table and gives it room: a quarter of the slots stays free, for speed.
    fn resize(&mut self, keys_max: usize) {
        self.keys_max = keys_max;
        self.slots = vec![Slot::default(); keys_max + keys_max / 3 + 1];
        self.len = 0;
    }

    /// Takes the segment's records that are not in the table yet; false when there is no room, or
    /// the segment is damaged.
    pub(super) fn map(&mut self, io: &mut Io<'_>, sealed: &Sealed) -> Result<bool> {
        let Sealed { segment, end } = sealed;
        let mut full = false;
        let inner = io.inner;
        let mut transactions = Transactions::default();
        transactions.enter(inner, sealed)?;
        let sound = segment.each_batch(&inner.shared.files, |batch| {
            if full || batch.header().last_offset() < self.end {
                return Ok(());
            }
            io.took(batch.bytes().len())?;
            let records = match transactions.is_void(batch.header()) {
                true => Vec::new(),
                false => readable(&batch).unwrap_or_default(),
            };
            if self.len == 0 && records.len() > self.keys_max {
                // The first batch is taken in any case, or nothing would ever be.
                self.resize(records.len());
            }
            full = self.len + records.len() > self.keys_max;
            if !full {
                records.iter().for_each(|record| self.insert(record));
                self.end = batch.header().last_offset() + 1;
            }
            Ok(())
        });
        let all = sound? && !full;
        if all {
            self.end = *end;
        }
        Ok(all)
    }

    /// Whether a later record in the table has the record's key.
    pub(super) fn replaced(&self, record: &Record) -> bool {
        // Unlike Kafka, which drops records without a key: they are acknowledged like any.
        let Some(key) = &record.key else { return false };
        let slot = &self.slots[self.place(self.hash(key))];
        slot.next_offset > record.offset + 1
    }

    fn insert(&mut self, record: &Record) {
        let Some(key) = &record.key else { return };
        let hash = self.hash(key);
        let place = self.place(hash);
        self.len += usize::from(self.slots[place].next_offset == 0);
        self.slots[place] = Slot { hash, next_offset: record.offset + 1 };
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// The slot of a key, or the free one where it belongs.
    fn place(&self, hash: (u64, u64)) -> usize {
        let spread = u128::from(hash.0) * self.slots.len() as u128;
        let first = usize::try_from(spread >> u64::BITS).expect("below the number of slots");
        let around = (first..self.slots.len()).chain(0..first);
        let mut places = around.filter(|place| {
            let slot = &self.slots[*place];
            slot.next_offset == 0 || slot.hash == hash
        });
        places.next().expect("one slot more than keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_knows_the_last_offset_of_every_key() {
        let mut keys = Keys::new(500, 0, 100_000);
        let record = |key: i64, offset| Record {
            offset,
            key: Some(key.to_string().into_bytes().into()),
            ..Record::default()
        };
        assert!(!keys.replaced(&record(1, 0)));
        (0..1500).for_each(|offset| keys.insert(&record(offset % 500, offset)));
        assert_eq!((keys.len, keys.slots.len()), (500, 667));
        for offset in 0..1500 {
            assert_eq!(keys.replaced(&record(offset % 500, offset)), offset < 1000, "{offset}");
        }
        assert!(!keys.replaced(&Record { key: None, ..record(0, 0) }));
        assert_eq!(32_768 * (size_of::<Slot>() * 4).div_ceil(3), 1 << 20, "keys a MiB");
        assert_eq!(Keys::new(1_000_000, 7, 10).slots.len(), 5, "no more room than offsets");
    }
}
