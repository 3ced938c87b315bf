//! What a member reads: where in its partitions, how much, and what it waits for.

use super::{Assignment, Claim, Error, Limits, Part, Polled, Shared};
use crate::clock;
use crate::consumer::cursors::Reset;
use crate::consumer::reader::{DECOMPRESSED_BYTES_MAX, read_committed};
use crate::room::Taken;
use crate::task::blocking;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use tidelog_storage as storage;

impl Shared {
    /// One pass over the partitions that have something, off the async workers.
    pub(super) async fn read(
        &self,
        assignment: &Arc<Assignment>,
        limits: Limits,
    ) -> Result<Polled, Error> {
        let mut ready = self.ready(assignment)?;
        if ready.is_empty() {
            return Ok(Polled::default());
        }
        let start = *self.turn.lock() % ready.len();
        ready.rotate_left(start);
        let mut taken = Taken::default();
        self.cluster.answer_room.take(&mut taken, DECOMPRESSED_BYTES_MAX).await;
        // A read goes on when its client is gone, and has the room as long.
        let work = move || read_parts(ready, limits).map(|parts| (parts, taken));
        let (parts, taken) = blocking(work).await?;
        *self.turn.lock() = start.wrapping_add(parts.len());
        Ok(Polled { parts, taken, assignment: Some(assignment.clone()) })
    }

    /// The partitions with records to deliver, and from where on. A position that the log no
    /// longer has moves as the reset policy says.
    fn ready(&self, assignment: &Assignment) -> Result<Vec<(Claim, i64)>, Error> {
        let mut ready = Vec::new();
        let mut cursors = self.cursors.lock();
        for claim in &assignment.claims {
            let place = claim.place();
            let Ok(partition) = claim.topic.partition(claim.partition) else { continue };
            let Some(mut cursor) = cursors.get(&place) else { continue };
            let (start, end) =
                (partition.log().log_start_offset(), partition.log().log_end_offset());
            if !(start..=end).contains(&cursor.position) {
                let reset = self.reset(claim).ok_or_else(|| {
                    let ((topic, partition), offset) = (place.clone(), cursor.position);
                    let group = self.options.group.clone();
                    Error::OutOfRange { group, topic, partition, offset, start, end }
                })?;
                cursors.advance(&place, reset, clock::now());
                cursor.position = reset;
            }
            if cursor.position < partition.stable_end() {
                ready.push((claim.clone(), cursor.position));
            }
        }
        Ok(ready)
    }

    /// Waits until a partition has something to deliver.
    pub(super) async fn more(&self, assignment: &Assignment) {
        let mut advances = FuturesUnordered::new();
        {
            let cursors = self.cursors.lock();
            for claim in &assignment.claims {
                let partition = claim.topic.partition(claim.partition);
                if let (Ok(partition), Some(cursor)) = (partition, cursors.get(&claim.place())) {
                    advances.push(partition.stable_past(cursor.position.saturating_add(1)));
                }
            }
        }
        if advances.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Where the policy starts reading a partition.
    pub(super) fn reset(&self, claim: &Claim) -> Option<i64> {
        let partition = claim.topic.partition(claim.partition).ok()?;
        match self.options.reset {
            Reset::Earliest => Some(partition.log().log_start_offset()),
            Reset::Latest => Some(partition.stable_end()),
            Reset::None => None,
        }
    }

    pub(super) fn no_offset(&self, claim: &Claim) -> Error {
        let (topic, partition) = claim.place();
        Error::NoOffset { group: self.options.group.clone(), topic, partition }
    }
}

/// Reads what is there. One damaged partition does not hold up the others: it is an error only when
/// they have nothing.
fn read_parts(ready: Vec<(Claim, i64)>, limits: Limits) -> Result<Vec<Part>, Error> {
    let (mut records_left, mut bytes_left) = (limits.records_max, limits.bytes_max);
    let (mut parts, mut unreadable) = (Vec::new(), None);
    for (claim, from) in ready {
        if records_left == 0 || bytes_left == 0 {
            break;
        }
        let Ok(partition) = claim.topic.partition(claim.partition) else { continue };
        let bytes_max = limits.partition_bytes_max.min(bytes_left);
        match read_committed(partition, from, bytes_max, records_left) {
            Ok(read) if read.next == from && read.undecoded.is_some() => {
                let (topic, partition) = claim.place();
                let error = |batch| Error::Undecoded { topic, partition, batch };
                unreadable = unreadable.or(read.undecoded.map(error));
            }
            Ok(read) => {
                records_left -= read.records.len().min(records_left);
                bytes_left -= read.bytes.min(bytes_left);
                parts.push(Part { claim, read });
            }
            // Retention was faster; the next pass goes on where the policy says.
            Err(storage::Error::OffsetOutOfRange { .. }) => {}
            Err(cause) => {
                let (topic, partition) = claim.place();
                tracing::error!(topic = &*topic, partition, "cannot be read: {cause}");
                let cause = Arc::new(cause);
                unreadable.get_or_insert(Error::Unreadable { topic, partition, cause });
            }
        }
    }
    match unreadable {
        Some(error) if parts.is_empty() => Err(error),
        _ => Ok(parts),
    }
}
