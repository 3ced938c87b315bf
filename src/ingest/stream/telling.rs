//! What is told waits until a power cut cannot take it back.

use super::super::mutation::Done;
use super::super::state;
use super::super::tail::Entry;
use super::{Stream, position};
use crate::task::blocking;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether versions that came without an event, and that the settler moved to the store, are synced
/// there: it writes without a sync, and nothing but the store has them.
pub(super) struct Raises {
    /// How often any were moved. What an earlier process did counts as once.
    pub(super) moved: AtomicU64,
    /// How many of these times the store was synced since.
    synced: AtomicU64,
}

impl Stream {
    /// Waits until a partition is durable up to what an answer rests on.
    pub(in super::super) async fn durable(&self, partition: i32, rests_on: Option<i64>) {
        if let (Ok(partition), Some(offset)) = (self.partition(partition), rests_on) {
            partition.durable(offset).await;
        }
    }

    /// Waits until writes may be answered: what is told of records may be, and the marks that keep
    /// them from being deleted, which are nowhere but in the state store, are synced there.
    pub(in super::super) async fn confirm(
        self: &Arc<Self>,
        done: impl Iterator<Item = &Done> + Send,
    ) {
        let is_synced = self.tell(done).await;
        if !is_synced && self.snapshots.is_marking() {
            self.sync_store().await;
        }
    }

    /// Waits until it may be told what became of records, or what they are: the events that rests
    /// on are durable, and versions that came without one are synced in the state store. Gives
    /// whether that was synced for it.
    pub(in super::super) async fn tell(
        self: &Arc<Self>,
        done: impl Iterator<Item = &Done> + Send,
    ) -> bool {
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        let (mut raised, mut tells_stored) = (Vec::new(), false);
        for done in done {
            // An event has its version in the log.
            tells_stored |= done.published.is_none() && done.version.is_some();
            if let Some(offset) = done.rests_on {
                let highest = last.entry(done.partition).or_insert(offset);
                *highest = offset.max(*highest);
            }
            raised.extend(done.raised.map(|number| (done.partition, number)));
        }
        for (partition, offset) in last {
            self.durable(partition, Some(offset)).await;
        }
        if raised.is_empty() && !(tells_stored && self.raised.are_unsynced()) {
            return false;
        }
        if !raised.is_empty() {
            self.write_all_raised(raised).await;
        }
        self.sync_store().await;
        true
    }

    /// Waits until all that is in the store is synced there.
    async fn sync_store(&self) {
        let moved = self.raised.moved.load(Ordering::Acquire);
        self.snapshots.synced().await;
        self.raised.synced.fetch_max(moved, Ordering::AcqRel);
    }

    async fn write_all_raised(self: &Arc<Self>, raised: Vec<(i32, u64)>) {
        let stream = self.clone();
        let written = blocking(move || {
            let mut raised = raised.into_iter();
            raised.try_for_each(|(partition, number)| stream.write_raised(partition, number))
        });
        // As when the log fails: nothing is acknowledged any more.
        if let Err(error) = written.await {
            tracing::error!("a version cannot be stored: {error}");
            std::future::pending::<()>().await;
        }
    }

    /// Writes a version to the store ahead of what else is in the tail. What it rests on is
    /// durable, and replaying that does not undo it, since the row has the same offset.
    fn write_raised(&self, partition: i32, number: u64) -> Result<(), state::Error> {
        let _writing = self.rows_of[position(partition)].lock();
        let mut tail = self.tails[position(partition)].lock();
        // It may have moved to the store meanwhile, or what came after it.
        let Some(Entry { id, row, .. }) = tail.entry(number) else { return Ok(()) };
        if !self.rows.get(id)?.is_as_new_as(row) {
            self.rows.write(id, row)?;
            let (id, row) = (id.clone(), row.clone());
            tail.went_ahead(id, row);
        }
        Ok(())
    }
}

impl Raises {
    fn are_unsynced(&self) -> bool {
        self.synced.load(Ordering::Acquire) < self.moved.load(Ordering::Acquire)
    }
}

impl Default for Raises {
    fn default() -> Self {
        Self { moved: AtomicU64::new(1), synced: AtomicU64::new(0) }
    }
}
