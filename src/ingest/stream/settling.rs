//! What is durable moves from memory to the state store, behind the answers.

use super::super::mutation::Done;
use super::super::state::{self, TOMBSTONE_RETENTION};
use super::super::tail::{Durable, Tail};
use super::{Stream, position};
use crate::state::Changes;
use crate::task::blocking;
use crate::topic::Partition;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;

/// From how many bytes of a partition on they move to the store before the second is over.
const SETTLE_BYTES: usize = 256 << 10;
/// How many may wait for the store; a mutation beyond it waits for those before it to move.
const UNSETTLED_BYTES_MAX: usize = 4 << 20;

impl Stream {
    /// Has what becomes durable move to the store, if the partitions that these mutations were in
    /// have much that is not there; where they have too much, waits for it. Not for an async
    /// worker.
    pub(in super::super) fn settle_after<'a>(&self, done: impl Iterator<Item = &'a Done>) {
        let partitions: BTreeSet<_> = done.map(|done| done.partition).collect();
        for index in partitions.into_iter().filter(|index| *index >= 0) {
            let bytes = self.tails[position(index)].lock().bytes();
            if bytes >= UNSETTLED_BYTES_MAX {
                if let Err(error) = self.settle_partition(index) {
                    tracing::error!("record state stays in memory: {error}");
                }
            } else if bytes >= SETTLE_BYTES && !self.has_much.swap(true, Ordering::Relaxed) {
                self.unsettled.notify_one();
            }
        }
    }

    /// Whether there was much to settle since this was asked last.
    pub(in super::super) fn had_much(&self) -> bool {
        self.has_much.swap(false, Ordering::Relaxed)
    }

    /// Waits until what was appended is durable, and moves it to the store, but for what keyed
    /// writes hold, whose bytes are bounded: there is much of it, and more is to come.
    pub(super) fn make_room(&self, index: i32) {
        let Ok(partition) = self.partition(index) else { return };
        Handle::current().block_on(partition.past(partition.log().log_end_offset()));
        if let Err(error) = self.settle_partition(index) {
            tracing::error!("record state stays in memory: {error}");
        }
    }

    /// Moves what has become durable into the store, unless there is no room for it.
    pub(in super::super) fn settle(&self) -> Result<(), state::Error> {
        (0..).zip(&self.tails).try_for_each(|(index, _)| self.settle_partition(index))
    }

    fn settle_partition(&self, index: i32) -> Result<(), state::Error> {
        // Nothing is under way in one that is offline.
        let Ok(partition) = self.partition(index) else { return Ok(()) };
        let at = position(index);
        let _writing = self.rows_of[at].lock();
        let high_watermark = partition.high_watermark();
        let Durable { count, next, rows, raised } = self.tails[at].lock().durable(high_watermark);
        // A store that meets the end of the disk takes nothing any more until the next start. What
        // stays in memory is bounded there: mutations are refused too.
        if count > 0 && partition.log().check_spare().is_err() {
            return Ok(());
        }
        if count > 0 {
            let rows = rows.iter().map(|(id, row)| (&**id, row));
            self.rows.apply(index, next, rows, Changes::new())?;
        }
        if raised {
            // Before anybody finds them in the store only.
            self.raised.moved.fetch_add(1, Ordering::AcqRel);
        }
        let mut tail = self.tails[at].lock();
        tail.drop_front(count);
        release(partition, &tail, high_watermark);
        if count > 0 {
            self.moved.notify_waiters();
        }
        Ok(())
    }

    /// Waits until all that is durable before these offsets, one a partition, is in the store, what
    /// keyed writes keep from it until they are answered too. The settler has it move.
    pub(in super::super) async fn settled(
        self: &Arc<Self>,
        ends: &Arc<[i64]>,
    ) -> Result<(), state::Error> {
        loop {
            let moved = self.moved.notified();
            let (stream, ends) = (self.clone(), ends.clone());
            let is_done = move || -> Result<bool, state::Error> {
                stream.settle()?;
                let mut firsts = stream.tails.iter().map(|tail| tail.lock().first_offset());
                Ok(ends.iter().all(|end| firsts.next().flatten().is_none_or(|it| it >= *end)))
            };
            if blocking(is_done).await? {
                return Ok(());
            }
            moved.await;
        }
    }

    /// Forgets the versions of records that were deleted too long before `now_ms`, and of the
    /// others the oldest beyond `max`.
    pub(in super::super) fn forget_deleted(
        &self,
        now_ms: i64,
        max: u64,
    ) -> Result<(), state::Error> {
        let retention_ms = i64::try_from(TOMBSTONE_RETENTION.as_millis()).unwrap_or(i64::MAX);
        while self.forget_oldest(now_ms.saturating_sub(retention_ms), u64::MAX)? > 0 {}
        let mut beyond = self.rows.deleted_beyond(max)?;
        while beyond > 0 {
            match self.forget_oldest(i64::MAX, beyond)? {
                0 => break,
                forgotten => beyond = beyond.saturating_sub(forgotten),
            }
        }
        Ok(())
    }

    /// Forgets a share of those that were deleted before a time, and gives how many.
    fn forget_oldest(&self, before_ms: i64, limit: u64) -> Result<u64, state::Error> {
        let oldest = self.rows.deleted_before(before_ms, limit)?;
        let count = oldest.len() as u64;
        for deleted in oldest {
            let index = self.partition_of_id(&deleted.id);
            // So that the record does not come back between the look and the removal.
            let _writing = self.rows_of[position(index)].lock();
            let _tail = self.tails[position(index)].lock();
            self.rows.forget(deleted)?;
        }
        Ok(count)
    }
}

/// Lets the log have what is in the store: all but the events that are in memory only.
fn release(partition: &Partition, tail: &Tail, high_watermark: i64) {
    if !tail.damaged && !tail.retired {
        let first = tail.first_offset().unwrap_or(high_watermark);
        partition.release(first.max(partition.released()));
    }
}
