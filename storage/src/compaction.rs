//! Compaction: of the records with the same key, only the last stays (`cleanup.policy=compact`).
//!
//! A pass over the sealed segments
//! 1. takes the last offset of each key, in the part that is *dirty* (not taken before), as far as
//!    there is room for ([`keys`]),
//! 2. writes segments anew without the records that a later one replaced, small neighbours into
//!    one, beside the old ones as `<segment>.log.cleaned` ([`rewrite`]). What does not change is
//!    not written,
//! 3. puts the new file in place of the old ones ([`swap`]). **At every moment, and after a crash
//!    at any, the log is the old one or the new one, whole.**
//!
//! **Offsets stay as they are**; what is gone leaves a gap. The last batch of a segment stays, if
//! need be without records, so that no reader waits at a gap.
//!
//! Tombstones get a delete horizon when they are first met (KIP-534): readers have until then to
//! catch up, and then they go too. Batches that cannot be read stay whole. What becomes of
//! transactions is in [`transactions`].
//!
//! **A pass ends before the first segment with damage in it, and so does what counts as
//! compacted.** What is in there cannot be told, and once `tidelog log repair` has taken the damage
//! out, older values would be left of keys whose tombstones went meanwhile. As in Kafka, whose
//! cleaner leaves such a log alone, it grows until then. What the disk does not give is damage too.
//!
//! How far a log is compacted is in the recovery checkpoint.

mod keys;
mod rewrite;
mod swap;
mod transactions;

pub(crate) use swap::finish_merges;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidelog_protocol::records::{Batch, Record};

use crate::error::{Error, Result};
use crate::partition::{Inner, Partition};
use crate::room::Event;
use crate::segment::Segment;
use keys::Keys;
use rewrite::Pass;

/// When a log is compacted, and what of it.
#[derive(Clone, Copy, Debug)]
pub struct Compaction {
    /// Share of the sealed bytes that are dirty, from which on a pass is worth it; Kafka's
    /// `min.cleanable.dirty.ratio`.
    pub dirty_ratio_min: f64,
    /// Segments with younger records wait; Kafka's `min.compaction.lag.ms`.
    pub lag_min_ms: i64,
    /// Older records do not wait for the ratio, nor for their segment to be full; Kafka's
    /// `max.compaction.lag.ms`.
    pub lag_max_ms: i64,
    /// How long tombstones stay; Kafka's `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Keys taken in one pass: 32,768 of them need a MiB.
    pub keys_max: usize,
    /// Records from this offset on stay as they are: somebody still needs them.
    pub until: i64,
}

/// What compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments written anew.
    pub segments: usize,
    /// Bytes saved.
    pub bytes: u64,
}

/// How far a log is compacted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleaned {
    /// Of records before it, the replaced ones are gone.
    pub end: i64,
    /// When the first tombstones may go, in ms since 1970.
    pub horizon: Option<i64>,
}

/// The file a segment is written to; its name ends so until it is whole.
pub(crate) const CLEANED_SUFFIX: &str = ".log.cleaned";
/// Bytes a batch may decompress to.
const RECORDS_BYTES_MAX: usize = 128 << 20;
/// Bytes read or written between two looks at whether to go on, and how fast.
const STEP_BYTES: u64 = 256 << 10;

impl Partition {
    /// Compacts the log if that is due at `now_ms`, in ms since 1970. `spend` is called with the
    /// bytes that were read and written, a few hundred KiB at a time, and may wait: nobody else
    /// does meanwhile, and a deletion of the log ends the pass.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Closed`](crate::Error::Closed); the log is as
    /// before or partly compacted. A full disk is an error before there is none of it left.
    pub fn compact(
        &self,
        now_ms: i64,
        compaction: Compaction,
        spend: &mut dyn FnMut(u64),
    ) -> Result<Compacted> {
        let inner = &self.0;
        let _alone = inner.compacting.lock();
        inner.check_open()?;
        let cleaned = *inner.cleaned.lock();
        inner.roll_if_older(now_ms.saturating_sub(compaction.lag_max_ms), cleaned.end)?;
        let Some(sealed) = inner.due(now_ms, &compaction, &cleaned)? else {
            return Ok(Compacted::default());
        };
        let end = sealed.last().map_or(cleaned.end, |last| last.end);
        if !inner.log.lock().keeps_producers(inner, end)? {
            // The batches alone say what their producers sent last.
            return Ok(Compacted::default());
        }
        match inner.clean(cleaned, &sealed, now_ms, compaction, spend) {
            // Its files went away meanwhile.
            Err(Error::Io { .. }) if inner.log.lock().closed => Err(Error::Closed),
            compacted => compacted.inspect_err(|error| {
                if error.is_disk_full() {
                    inner.shared.note_full();
                }
            }),
        }
    }
}

impl Inner {
    fn clean(
        &self,
        cleaned: Cleaned,
        sealed: &[Sealed],
        now_ms: i64,
        compaction: Compaction,
        spend: &mut dyn FnMut(u64),
    ) -> Result<Compacted> {
        let mut io = Io { inner: self, spend, owed: 0 };
        let end = sealed.last().map_or(cleaned.end, |last| last.end);
        let mut keys = Keys::new(compaction.keys_max, cleaned.end, end);
        for sealed in sealed.iter().filter(|it| it.end > cleaned.end) {
            if !keys.map(&mut io, sealed)? {
                break;
            }
        }
        let mut pass = Pass::new(io, keys, now_ms, compaction);
        let mut compacted = Compacted::default();
        let taken = sealed.partition_point(|it| it.segment.base_offset < pass.keys.end);
        let mut rest = &sealed[..taken];
        while let Some(first) = rest.first() {
            let (segments, saved) = pass.rewrite(rest)?;
            compacted.segments += saved.map_or(0, |_| segments);
            compacted.bytes += saved.unwrap_or(0);
            if first.segment.is_damaged() {
                self.tell_stopped(&first.segment);
                break;
            }
            rest = &rest[segments..];
        }
        pass.io.settle()?;
        let sound = rest.first().map_or(pass.keys.end, |damaged| damaged.segment.base_offset);
        let end = if pass.undone { cleaned.end } else { sound.min(pass.keys.end) };
        let end = end.max(cleaned.end);
        *self.cleaned.lock() = Cleaned { end, horizon: pass.horizon };
        self.shared.checkpointer.note_change();
        Ok(compacted)
    }

    /// Tells which segment compaction ends before: once, not in every pass.
    fn tell_stopped(&self, damaged: &Segment) {
        if self.stopped_at.swap(damaged.base_offset, Ordering::AcqRel) != damaged.base_offset {
            self.shared.tell(&Event::CompactionStopped(damaged.path()));
        }
    }

    /// Seals the active segment if it has records before `time` that were not mapped.
    fn roll_if_older(&self, time: i64, cleaned_end: i64) -> Result<()> {
        let mut log = self.log.lock();
        let active = log.active.clone();
        let oldest = active.oldest(&self.shared.files)?;
        let waits = log.end.offset > cleaned_end && oldest.is_some_and(|it| it < time);
        if waits { log.roll(self) } else { Ok(()) }
    }

    /// The sealed segments, if a pass over them is due.
    fn due(
        self: &Arc<Self>,
        now_ms: i64,
        compaction: &Compaction,
        cleaned: &Cleaned,
    ) -> Result<Option<Vec<Sealed>>> {
        let files = &self.shared.files;
        let segments = self.segments();
        self.settle(segments[segments.len() - 1].base_offset)?;
        let (mut dirty, mut all, mut overdue) = (0, 0, false);
        let mut stable = None;
        let mut sealed = Vec::new();
        for pair in segments.windows(2) {
            let (segment, end) = (&pair[0], pair[1].base_offset);
            if segment.is_damaged() {
                self.tell_stopped(segment);
                break;
            }
            if end > cleaned.end {
                let stable = match stable {
                    Some(stable) => stable,
                    None => *stable.insert(self.last_stable_offset()?),
                };
                // Without a lag, times in the future do not wait either.
                let since = now_ms.saturating_sub(compaction.lag_min_ms);
                let young = compaction.lag_min_ms > 0
                    && segment.latest(files)?.is_some_and(|latest| latest.timestamp > since);
                if end > compaction.until.min(stable) || young {
                    break;
                }
                dirty += segment.published();
                let oldest = segment.oldest(files)?;
                let limit = now_ms.saturating_sub(compaction.lag_max_ms);
                overdue |= oldest.is_some_and(|oldest| oldest < limit);
            }
            all += segment.published();
            sealed.push(Sealed { segment: segment.clone(), end });
        }
        let ratio = if all == 0 { 0.0 } else { dirty as f64 / all as f64 };
        let tombstones = cleaned.horizon.is_some_and(|horizon| horizon <= now_ms);
        let due = (dirty > 0 && (ratio >= compaction.dirty_ratio_min || overdue)) || tombstones;
        Ok(due.then_some(sealed))
    }
}

/// A sealed segment, and the base offset of the one after it.
struct Sealed {
    segment: Arc<Segment>,
    end: i64,
}

/// What a pass reads and writes.
struct Io<'a> {
    inner: &'a Inner,
    spend: &'a mut dyn FnMut(u64),
    owed: u64,
}

impl Io<'_> {
    /// Notes bytes that were read or written; waits for their price to be paid.
    fn took(&mut self, bytes: usize) -> Result<()> {
        self.owed += bytes as u64;
        if self.owed < STEP_BYTES { Ok(()) } else { self.settle() }
    }

    fn settle(&mut self) -> Result<()> {
        self.inner.check_open()?;
        (self.spend)(std::mem::take(&mut self.owed));
        Ok(())
    }
}

/// The records of a batch that compaction may take apart.
fn readable(batch: &Batch) -> Option<Vec<Record>> {
    if batch.header().attributes.is_control() {
        return None;
    }
    batch.records(RECORDS_BYTES_MAX).ok()?.collect::<std::result::Result<_, _>>().ok()
}
