//! Compaction: of the records with the same key, only the last stays (`cleanup.policy=compact`).
//!
//! A pass over the sealed segments
//! 1. maps the hash of each key to its last offset, in the part that is *dirty* (not mapped
//!    before), as far as the map has room,
//! 2. writes each segment anew without the records that a later one replaced, beside the old one,
//!    as `<segment>.log.cleaned`, and syncs it,
//! 3. removes the indexes, which would lead astray, durably, and renames the new file over the old
//!    one. **At every moment the log is one of the two, whole.**
//!
//! **Offsets stay as they are**; what is gone leaves a gap. The last batch of a segment stays, if
//! need be without records, so that no reader waits at a gap.
//!
//! Tombstones get a delete horizon when they are first met (KIP-534): readers have until then to
//! catch up, and then they go too. Batches of transactions stay whole, as do those that cannot be
//! read; a segment with damage in it is left alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidelog_protocol::records::{Batch, Record};

use crate::error::{Context, Result};
use crate::fs::{Durability, remove_if_there, write_all_at};
use crate::index::Index;
use crate::partition::{Inner, Partition};
use crate::segment::{Segment, Setup, file_name};

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
    /// Keys mapped in one pass: about 40 bytes each, so 26,000 a MiB.
    pub keys_max: usize,
}

/// What compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments written anew.
    pub segments: usize,
    /// Bytes saved.
    pub bytes: u64,
}

/// How far a log is compacted; found again by compacting all of it after a restart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cleaned {
    /// Records before it were mapped.
    end: i64,
    /// When the first tombstones may go.
    horizon: Option<i64>,
}

/// The file a segment is written to; its name ends so until it is whole.
const CLEANED: &str = "cleaned";
pub(crate) const CLEANED_SUFFIX: &str = ".log.cleaned";
/// Bytes a batch may decompress to.
const RECORDS_BYTES_MAX: usize = 128 << 20;
/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;

impl Partition {
    /// Compacts the log if that is due at `now_ms`, in ms since 1970.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); the log is as before or partly compacted.
    pub fn compact(&self, now_ms: i64, compaction: Compaction) -> Result<Compacted> {
        let inner = &self.0;
        let _alone = inner.maintenance.lock();
        inner.check_open()?;
        let mut cleaned = inner.cleaned.lock();
        inner.roll_if_older(now_ms.saturating_sub(compaction.lag_max_ms), cleaned.end)?;
        let Some(segments) = inner.due(now_ms, &compaction, &cleaned)? else {
            return Ok(Compacted::default());
        };
        let mut keys = Keys::new(compaction.keys_max, cleaned.end);
        for segment in &segments {
            if inner.end_of(segment) > cleaned.end && !keys.map(inner, segment, cleaned.end)? {
                break;
            }
        }
        let mut pass =
            Pass { inner, keys, now_ms, compaction, horizon: None, left: false, marked: false };
        let mut compacted = Compacted::default();
        for segment in &segments {
            let saved = pass.rewrite(segment)?;
            compacted.segments += usize::from(saved > 0);
            compacted.bytes += saved;
        }
        *cleaned = Cleaned { end: pass.keys.end, horizon: pass.horizon };
        Ok(compacted)
    }
}

impl Inner {
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
        &self,
        now_ms: i64,
        compaction: &Compaction,
        cleaned: &Cleaned,
    ) -> Result<Option<Vec<Arc<Segment>>>> {
        let files = &self.shared.files;
        let mut segments = Vec::clone(&self.segments());
        segments.pop();
        let (mut dirty, mut all, mut overdue) = (0, 0, false);
        let mut taken = 0;
        for segment in &segments {
            let is_dirty = self.end_of(segment) > cleaned.end;
            if is_dirty {
                let latest = segment.latest(files)?.map_or(i64::MIN, |latest| latest.timestamp);
                if latest > now_ms.saturating_sub(compaction.lag_min_ms) {
                    break;
                }
                dirty += segment.published();
                let oldest = segment.oldest(files)?;
                let limit = now_ms.saturating_sub(compaction.lag_max_ms);
                overdue |= oldest.is_some_and(|oldest| oldest < limit);
            }
            all += segment.published();
            taken += 1;
        }
        segments.truncate(taken);
        let ratio = if all == 0 { 0.0 } else { dirty as f64 / all as f64 };
        let tombstones = cleaned.horizon.is_some_and(|horizon| horizon <= now_ms);
        let due = (dirty > 0 && (ratio >= compaction.dirty_ratio_min || overdue)) || tombstones;
        Ok(due.then_some(segments))
    }

    /// The base offset of the segment after a sealed one.
    fn end_of(&self, segment: &Segment) -> i64 {
        let segments = self.segments();
        let next = segments.partition_point(|it| it.base_offset <= segment.base_offset);
        segments.get(next).map_or(i64::MAX, |next| next.base_offset)
    }
}

/// The last offset of each key, by a keyed hash of 128 bits: who chooses the keys cannot choose two
/// with the same one.
struct Keys {
    hashers: (RandomState, RandomState),
    last: HashMap<(u64, u64), i64>,
    keys_max: usize,
    /// All records before it are in the map.
    end: i64,
}

impl Keys {
    fn new(keys_max: usize, end: i64) -> Self {
        let hashers = (RandomState::new(), RandomState::new());
        Self { hashers, last: HashMap::new(), keys_max, end }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// Takes the segment's records from `from` on; false when there is no more room.
    fn map(&mut self, inner: &Inner, segment: &Segment, from: i64) -> Result<bool> {
        let mut full = false;
        segment.each_batch(&inner.shared.files, |batch| {
            if full || batch.header().last_offset() < from {
                return Ok(());
            }
            let records = readable(&batch).unwrap_or_default();
            // The first batch is taken in any case, or nothing would ever be.
            full = !self.last.is_empty() && self.last.len() + records.len() > self.keys_max;
            if !full {
                for record in &records {
                    if let Some(key) = &record.key {
                        let hash = self.hash(key);
                        self.last.insert(hash, record.offset);
                    }
                }
                self.end = batch.header().last_offset() + 1;
            }
            Ok(())
        })?;
        if !full {
            self.end = inner.end_of(segment);
        }
        Ok(!full)
    }

    fn replaced(&self, record: &Record) -> bool {
        // Unlike Kafka, which drops records without a key: they are acknowledged like any.
        let Some(key) = &record.key else { return false };
        self.last.get(&self.hash(key)).is_some_and(|last| *last > record.offset)
    }
}

/// The records of a batch that compaction may take apart.
fn readable(batch: &Batch) -> Option<Vec<Record>> {
    let attributes = batch.header().attributes;
    if attributes.is_transactional() || attributes.is_control() {
        return None;
    }
    batch.records(RECORDS_BYTES_MAX).ok()?.collect::<std::result::Result<_, _>>().ok()
}

struct Pass<'a> {
    inner: &'a Inner,
    keys: Keys,
    now_ms: i64,
    compaction: Compaction,
    horizon: Option<i64>,
    /// Whether something was left whole: with older values, so no tombstone after it goes.
    left: bool,
    /// Whether a batch of the segment got its delete horizon.
    marked: bool,
}

impl Pass<'_> {
    /// Writes a segment anew if it gets smaller; returns the bytes saved.
    fn rewrite(&mut self, segment: &Arc<Segment>) -> Result<u64> {
        let files = &self.inner.shared.files;
        if segment.base_offset >= self.keys.end {
            return Ok(0);
        }
        let log = segment.path();
        let path = log.with_added_extension(CLEANED);
        let file = files.fs.create(&path).context("create", &path)?;
        let interval = self.inner.log.lock().options.index_interval_bytes;
        let mut index = Index::new(segment.base_offset, interval);
        let (mut out, mut written, mut position) = (Vec::new(), 0, 0);
        let mut flush = |out: &mut Vec<u8>| {
            let done = write_all_at(&*file, &mut [IoSlice::new(out)], written);
            written += out.len() as u64;
            out.clear();
            done.context("write", &path)
        };
        let size = segment.published();
        let mut at = 0;
        let mut changed = false;
        self.marked = false;
        let walked = segment.each_batch(files, |batch| {
            at += batch.bytes().len() as u64;
            let kept = self.retain(&batch, at == size);
            changed |= kept.as_ref().is_none_or(|kept| kept.bytes() != batch.bytes());
            let Some(kept) = kept else { return Ok(()) };
            index.observe(kept.header(), position);
            position += kept.bytes().len() as u64;
            out.extend_from_slice(kept.bytes());
            if out.len() >= WRITE_BYTES { flush(&mut out) } else { Ok(()) }
        });
        self.left |= !matches!(walked, Ok(true));
        let result = walked.and_then(|sound| {
            // A file that grew is worth it for a new horizon only, which a batch gets once; without
            // it, its tombstones would stay for ever.
            if !sound || !changed || position > size && !self.marked {
                return Ok(false);
            }
            flush(&mut out)?;
            file.set_len(position).context("cut", &path)?;
            self.inner.shared.sync(|| file.sync_data().context("sync", &path))?;
            Ok(true)
        });
        if !matches!(result, Ok(true)) {
            remove_if_there(&*files.fs, &path).context("remove", &path)?;
            return result.map(|_| 0);
        }
        let setup = Setup {
            base_offset: segment.base_offset,
            published: position,
            checked_from: 0,
            index: Some(index),
            interval,
        };
        self.swap(segment, Segment::new(files, &self.inner.dir, setup))?;
        Ok(size.saturating_sub(position))
    }

    /// What stays of a batch; the last of a segment stays in any case.
    fn retain(&mut self, batch: &Batch, last: bool) -> Option<Batch> {
        let header = batch.header();
        let Some(mut records) = readable(batch) else {
            self.left |= !header.attributes.is_control();
            return Some(batch.clone());
        };
        if header.base_offset >= self.keys.end {
            return Some(batch.clone());
        }
        let before = records.len();
        let known = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        let expired = !self.left && known.is_some_and(|horizon| horizon <= self.now_ms);
        records.retain(|record| !(self.keys.replaced(record) || expired && record.value.is_none()));
        let has_tombstones = records.iter().any(|record| record.value.is_none());
        let fresh = self.now_ms.saturating_add(self.compaction.delete_retention_ms);
        let horizon = has_tombstones.then(|| known.unwrap_or(fresh));
        if let Some(horizon) = horizon {
            self.horizon = Some(self.horizon.map_or(horizon, |first| first.min(horizon)));
            self.marked |= known.is_none();
        }
        if records.is_empty() && !last {
            return None;
        }
        if records.len() == before && (horizon.is_none() || horizon == known) {
            return Some(batch.clone());
        }
        Some(batch.retaining(&records, horizon.or(known)))
    }

    /// Puts the new file in place of the old one, for readers and after a crash.
    fn swap(&self, old: &Segment, new: Segment) -> Result<()> {
        let (inner, shared) = (self.inner, &self.inner.shared);
        let fs = &*shared.files.fs;
        for extension in ["index", "timeindex"] {
            let path = inner.dir.join(file_name(old.base_offset, extension));
            remove_if_there(fs, &path).context("remove", &path)?;
        }
        shared.sync(|| fs.sync_dir(&inner.dir).context("sync", &inner.dir))?;
        let log = old.path();
        let new = Arc::new(new);
        {
            let mut segments = inner.segments.write();
            let mut next = Vec::clone(&segments);
            let place = next.iter_mut().find(|it| it.base_offset == old.base_offset);
            fs.rename(&log.with_added_extension(CLEANED), &log).context("replace", &log)?;
            *place.expect("segments are removed under the maintenance lock") = new.clone();
            *segments = Arc::new(next);
        }
        old.forget(&shared.files);
        shared.sync(|| fs.sync_dir(&inner.dir).context("sync", &inner.dir))?;
        new.store_index(&shared.files, Durability::Now)?;
        shared.changed.store(true, Ordering::Release);
        Ok(())
    }
}
