//! Which transactions of a log are undecided, and so how far it is stable.
//!
//! A transaction is *open* from its first batch to its marker, and then *ending* until the marker
//! is below the high watermark: before that, a power cut may open it again. **The last stable
//! offset is where the earliest of both began**, or the high watermark: who reads committed records
//! reads no further.

use std::collections::BTreeMap;

/// The undecided transactions of a log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transactions {
    /// Producers by where their transaction began.
    open: BTreeMap<i64, i64>,
    /// Where the marker is, by where the transaction began.
    ending: BTreeMap<i64, i64>,
}

impl Transactions {
    pub(crate) fn begin(&mut self, first_offset: i64, producer_id: i64) {
        self.open.insert(first_offset, producer_id);
    }

    /// Notes the marker of the transaction that began at `first_offset`.
    pub(crate) fn end(&mut self, first_offset: i64, marker: i64) {
        if self.open.remove(&first_offset).is_some() {
            self.ending.insert(first_offset, marker);
        }
    }

    /// Lets go of those that ended before the high watermark.
    pub(crate) fn settle(&mut self, high_watermark: i64) {
        self.ending.retain(|_, marker| *marker >= high_watermark);
    }

    /// Where the earliest begins.
    pub(crate) fn earliest(&self) -> Option<i64> {
        let first = |of: &BTreeMap<i64, i64>| of.first_key_value().map(|(first, _)| *first);
        first(&self.open).into_iter().chain(first(&self.ending)).min()
    }

    /// The last stable offset once the one that began at `first_offset` has ended with `marker` and
    /// that is below the high watermark: where the next one that is open begins, or after it.
    pub(crate) fn stable_without(&self, first_offset: i64, marker: i64) -> i64 {
        let mut others = self.open.keys().filter(|first| **first != first_offset);
        others.next().copied().unwrap_or(marker + 1)
    }
}
