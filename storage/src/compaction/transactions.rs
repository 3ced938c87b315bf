//! What a pass does about transactions, as Kafka's cleaner does it.
//!
//! - **The records of an aborted transaction go**, and their keys replace nothing. Those of a
//!   committed one are like any others. A pass ends where the log is not stable yet.
//! - **A marker goes once nothing is left of its transaction**, after a delete horizon as that of a
//!   tombstone: readers that have the records still wait for it. A batch that only keeps offsets
//!   counts as something, since Kafka opens a transaction at it.
//! - The `.txnindex` keeps the entries whose transaction has batches left when the pass meets the
//!   marker.

use std::collections::{HashMap, HashSet};

use tidelog_protocol::records::Header;

use super::Sealed;
use crate::error::Result;
use crate::partition::Inner;
use crate::txn_index::AbortedTxn;

/// The transactions that a walk over the log is in.
#[derive(Default)]
pub(super) struct Transactions {
    /// The aborted ones with records or marker in the segment, by producer, in order.
    aborted: HashMap<i64, Vec<AbortedTxn>>,
    /// Producers that had batches since their last marker.
    met: HashSet<i64>,
}

impl Transactions {
    /// Goes on to the next segment.
    pub(super) fn enter(&mut self, inner: &Inner, Sealed { segment, end }: &Sealed) -> Result<()> {
        self.aborted.clear();
        for transaction in inner.aborted_between(segment.base_offset, *end)? {
            self.aborted.entry(transaction.producer_id).or_default().push(transaction);
        }
        Ok(())
    }

    /// Aborted transactions of the segment.
    pub(super) fn len(&self) -> usize {
        self.aborted.values().map(Vec::len).sum()
    }

    /// Whether the batch is of an aborted transaction.
    pub(super) fn is_void(&self, batch: &Header) -> bool {
        batch.attributes.is_transactional() && self.around(batch).is_some()
    }

    /// Notes a batch of records.
    pub(super) fn meet(&mut self, batch: &Header) {
        if batch.attributes.is_transactional() {
            self.met.insert(batch.producer_id);
        }
    }

    /// Notes a marker; whether there were batches of its transaction.
    pub(super) fn end(&mut self, marker: &Header) -> bool {
        self.met.remove(&marker.producer_id)
    }

    /// The aborted transaction that a batch or marker belongs to.
    pub(super) fn around(&self, batch: &Header) -> Option<&AbortedTxn> {
        let offset = batch.last_offset();
        let of_producer = self.aborted.get(&batch.producer_id)?;
        let next = of_producer.partition_point(|it| it.last_offset < offset);
        of_producer.get(next).filter(|it| it.first_offset <= offset)
    }

    /// Producers in the middle of a transaction.
    pub(super) fn met(&self) -> HashSet<i64> {
        self.met.clone()
    }

    /// Goes back to where these producers were in the middle of one.
    pub(super) fn go_back(&mut self, met: HashSet<i64>) {
        self.met = met;
    }
}
