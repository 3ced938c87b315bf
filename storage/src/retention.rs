//! Removing the old end of a log: by request, by age, by size.
//!
//! **Only whole sealed segments go, oldest first, each durably before the next**, so that a crash
//! leaves no hole. Files are unlinked, never cut: readers keep what they hold. The log start offset
//! moves before the files go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Context, Error, Result};
use crate::fs::remove_if_there;
use crate::partition::{Inner, Partition};
use crate::segment::{Segment, file_name};

/// What is kept of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Records younger than this; Kafka's `retention.ms`.
    pub age_ms: Option<i64>,
    /// At least this much; Kafka's `retention.bytes`.
    pub bytes: Option<u64>,
    /// All records from this offset on, whatever the rest says: somebody still needs them.
    pub until: i64,
}

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Segments.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Partition {
    /// Removes all records before `offset`, which is at or below the high watermark; returns the
    /// log start offset. Durable when it returns. Whole segments free their space at once.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] past the high watermark.
    pub fn delete_records(&self, offset: i64) -> Result<i64> {
        let inner = &self.0;
        let _alone = inner.maintenance.lock();
        inner.check_open()?;
        let high_watermark = self.high_watermark();
        if offset > high_watermark {
            let log_start_offset = self.log_start_offset();
            let log_end_offset = high_watermark;
            return Err(Error::OffsetOutOfRange { offset, log_start_offset, log_end_offset });
        }
        if offset > self.log_start_offset() {
            inner.log_start_offset.store(offset, Ordering::Release);
            inner.shared.write_checkpoint(false)?;
        }
        inner.remove_before(self.log_start_offset())?;
        Ok(self.log_start_offset())
    }

    /// Removes the segments that `retention` does not keep. A segment's age is that of its youngest
    /// record by timestamp; segments without timestamps do not age. The active segment is sealed
    /// first if all of it is too old, or no bytes are to be kept.
    pub fn enforce_retention(&self, now_ms: i64, retention: Retention) -> Result<Removed> {
        let inner = &self.0;
        let _alone = inner.maintenance.lock();
        inner.check_open()?;
        // Looked at first: what is not written yet is in no index.
        let high_watermark = self.high_watermark();
        inner.make_readable()?;
        let start = match retention.age_ms {
            Some(age_ms) => inner.first_younger_than(now_ms.saturating_sub(age_ms))?,
            None => self.log_start_offset(),
        };
        let start = match retention.bytes {
            Some(bytes) => start.max(inner.first_within(bytes)?),
            None => start,
        };
        let removed = inner.remove_before(start.min(high_watermark).min(retention.until));
        if !inner.log.lock().sealing.is_empty() {
            // Sealed although nothing is appended.
            inner.shared.enqueue(inner);
        }
        removed
    }
}

impl Inner {
    pub(crate) fn check_open(&self) -> Result<()> {
        self.shared.check_healthy()?;
        if self.log.lock().closed { Err(Error::Closed) } else { Ok(()) }
    }

    /// Base offset of the first segment with a record at or after `timestamp`.
    fn first_younger_than(&self, timestamp: i64) -> Result<i64> {
        let files = &self.shared.files;
        let old = |segment: &Segment| -> Result<bool> {
            let latest = match segment.latest(files) {
                // It would keep all after it, too.
                Err(error @ Error::Io { .. }) => {
                    Some(segment.latest_by_index_file(files).ok_or(error)?)
                }
                latest => latest?,
            };
            Ok(latest.is_some_and(|latest| (0..timestamp).contains(&latest.timestamp)))
        };
        for segment in self.segments().iter() {
            // What holds nothing keeps nothing: damage may leave such a segment.
            if segment.published() > 0 && !old(segment)? {
                return Ok(segment.base_offset);
            }
        }
        let mut log = self.log.lock();
        // Something younger may have been appended meanwhile.
        if old(&log.active)? {
            log.roll(self)?;
        }
        Ok(log.active.base_offset)
    }

    /// Base offset of the first segment of the shortest tail that has `bytes`. The active segment
    /// is sealed first if that is one without any.
    fn first_within(&self, bytes: u64) -> Result<i64> {
        if bytes == 0 {
            let mut log = self.log.lock();
            if log.end.position > 0 {
                log.roll(self)?;
            }
            return Ok(log.active.base_offset);
        }
        let segments = self.segments();
        let mut tail = 0;
        for segment in segments.iter().rev() {
            tail += segment.published();
            if tail >= bytes {
                return Ok(segment.base_offset);
            }
        }
        Ok(segments[0].base_offset)
    }

    /// Sees that the segments before `start` are sealed: until then the commit round has them.
    pub(crate) fn settle(self: &Arc<Self>, start: i64) -> Result<()> {
        let behind = self.log.lock().durable.segment < start;
        let waits = behind && self.segments().iter().any(|it| it.name.is_provisional());
        if waits { self.shared.commit(vec![self.clone()]) } else { Ok(()) }
    }

    /// Removes the segments that end at or before `start`.
    fn remove_before(self: &Arc<Self>, start: i64) -> Result<Removed> {
        self.settle(start)?;
        let removed: Vec<_> = {
            let mut segments = self.segments.write();
            let kept = segments.partition_point(|segment| segment.base_offset <= start).max(1) - 1;
            let (old, new) = segments.split_at(kept);
            let (old, new) = (old.to_vec(), new.to_vec());
            // First the offset, then the segments, so that who misses one finds out why.
            self.log_start_offset.fetch_max(new[0].base_offset, Ordering::AcqRel);
            old.iter().for_each(|segment| segment.set_gone(true));
            *segments = Arc::new(new);
            old
        };
        let fs = &*self.shared.files.fs;
        for segment in &removed {
            segment.forget(&self.shared.files);
            for extension in ["log", "index", "timeindex", "txnindex", "snapshot"] {
                let path = self.dir.join(file_name(segment.base_offset, extension));
                remove_if_there(fs, &path).context("remove", &path)?;
            }
            self.sync_dir()?;
            self.shared.checkpointer.note_change();
        }
        let bytes = removed.iter().map(|segment| segment.published()).sum();
        Ok(Removed { segments: removed.len(), bytes })
    }
}
