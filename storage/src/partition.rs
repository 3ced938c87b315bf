//! One log: the handle that appends and reads.
//!
//! **The high watermark is the end of what a sync covered**, and it never goes back. It is advanced
//! by the commit round, after the sync. Only in a log whose records may wait for their sync, since
//! the volume's [`Flush`](crate::Flush) or its own options say so, is it the end of what is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tidelog_protocol::records::Batch;

use crate::checkpoint::{End, RecoveryPoint};
use crate::compaction::Cleaned;
use crate::error::{Context, Error, Result};
use crate::flush::{Flush, Policy};
use crate::log::Log;
use crate::mistake::Mistake;
use crate::producers::{ActiveProducer, Place};
use crate::seal::{CLOSED_MAX, Closed};
use crate::segment::Segment;
use crate::syncers::Dirty;
use crate::unwritten::Unwritten;
use crate::volume::Shared;

/// How a log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct PartitionOptions {
    /// Bytes after which a new segment starts, at most 2 GiB; Kafka's `segment.bytes`.
    pub segment_bytes: u64,
    /// Bytes between two entries of an index; Kafka's `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// Whether space is reserved ahead of appends, which makes syncs cheaper.
    pub preallocate: bool,
    /// Age at which a new segment starts, in ms by the timestamps of its batches; Kafka's
    /// `segment.ms`.
    pub segment_ms: i64,
    /// Bound of what is taken off the age, in ms; Kafka's `segment.jitter.ms`.
    pub segment_jitter_ms: i64,
    /// Records after which the log is synced; Kafka's `flush.messages`. With 1 the high watermark
    /// waits for the sync, with more it does not. `None`: as the volume has it.
    pub flush_messages: Option<u64>,
    /// How long a record waits for its sync at most; Kafka's `flush.ms`. `None`: as the volume has
    /// it.
    pub flush_interval: Option<Duration>,
}

impl PartitionOptions {
    /// Kafka's defaults, and the volume's for when to sync.
    pub const DEFAULT: Self = Self {
        segment_bytes: 1 << 30,
        index_interval_bytes: 4096,
        preallocate: true,
        segment_ms: 7 * 24 * 60 * 60 * 1000,
        segment_jitter_ms: 0,
        flush_messages: None,
        flush_interval: None,
    };
}

impl Default for PartitionOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the log writes into the header of a batch, beside its offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Epoch of the leader that appends.
    pub leader_epoch: i32,
    /// The time all records get, in ms since 1970; `None` leaves them their own.
    pub append_time_ms: Option<i64>,
}

/// What an append did; it is durable when the high watermark is past `last_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The largest timestamp of its records, in ms since 1970. If the stamp had an append time,
    /// that, or of a batch that was appended before the one it got then.
    pub max_timestamp: i64,
    /// First offset in the log.
    pub log_start_offset: i64,
    /// The disk is far behind: [`Partition::catch_up`] before more is appended.
    pub is_behind: bool,
}

/// What is known of the pages that a read looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// They are in memory.
    Resident,
    /// They are brought there first, where it is an error if the disk cannot give them.
    Brought,
}

/// A handle on a log.
#[derive(Clone)]
pub struct Partition(pub(crate) Arc<Inner>);

/// Called with the new high watermark.
pub type OnAdvance = Box<dyn Fn(i64) + Send + Sync>;

pub(crate) struct Inner {
    pub shared: Arc<Shared>,
    /// Where the log is.
    pub dir: Arc<Path>,
    /// The same, from the volume's root.
    pub name: PathBuf,
    pub topic_id: [u8; 16],
    pub log: Mutex<Log>,
    /// What was appended and is in no file. Locked after `log`.
    pub unwritten: Mutex<Option<Unwritten>>,
    /// Whether a commit round has taken note of it; see the `deferred` module.
    pub deferred: AtomicBool,
    /// Oldest first, never empty while the log is open; the last one is the active one.
    pub segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    /// Held while files are removed or replaced.
    pub maintenance: Mutex<()>,
    /// Held while the log is compacted, which takes long; comes before `maintenance`.
    pub compacting: Mutex<()>,
    pub cleaned: Mutex<Cleaned>,
    /// The damaged segment that compaction was said to end before, by its base offset; -1 if none.
    pub stopped_at: AtomicI64,
    pub log_start_offset: AtomicI64,
    pub log_end_offset: AtomicI64,
    pub high_watermark: AtomicI64,
    /// Where the earliest transaction begins that is not decided; see the `stable` module.
    pub unstable_from: AtomicI64,
    /// Whether the next commit round knows of the partition.
    pub queued: AtomicBool,
    /// Whether a later round does.
    pub scheduled: AtomicBool,
    /// The last commit round that took it.
    pub round: AtomicU64,
    /// Whether the journal has bytes of it.
    pub journaled: AtomicBool,
    /// Whether the first append has been prepared.
    pub prepared: AtomicBool,
    pub on_advance: OnAdvance,
}

impl Partition {
    /// Whether [`Partition::prepare`] has nothing to do.
    pub fn is_prepared(&self) -> bool {
        self.0.prepared.load(Ordering::Relaxed)
    }

    /// Reads what the first append needs to know, such as the idempotent producers: after a crash,
    /// from the end of the log. The first append does so itself; this is for who appends where
    /// waiting for a disk is not allowed.
    ///
    /// # Errors
    /// As for [`Partition::append`].
    pub fn prepare(&self) -> Result<()> {
        let inner = &self.0;
        let mut log = inner.log.lock();
        inner.shared.check_healthy()?;
        if log.closed {
            return Err(Error::Closed);
        }
        log.prepare(inner).inspect_err(|error| inner.note_failure(error))
    }

    /// Appends `batch`, which the caller has checked, with the next offsets; returns before the
    /// batch is durable. A batch that an idempotent producer sends again is not appended again: the
    /// answer is the one it got the first time.
    ///
    /// # Errors
    /// [`Error::Io`], and the log is as before; [`Error::OutOfOrderSequence`] and
    /// [`Error::InvalidProducerEpoch`]; [`Error::Poisoned`] after a failed sync.
    pub fn append(&self, batch: &Batch, leader_epoch: i32) -> Result<Appended> {
        self.append_stamped(batch, Stamp { leader_epoch, append_time_ms: None })
    }

    /// The same for a topic whose `message.timestamp.type` is LogAppendTime, if the stamp has an
    /// append time: all records get it. Costs one more pass over the bytes, for the checksum.
    pub fn append_stamped(&self, batch: &Batch, stamp: Stamp) -> Result<Appended> {
        let inner = &self.0;
        let (place, policy, waits, due, is_behind) = {
            let mut log = inner.log.lock();
            inner.shared.check_healthy()?;
            if log.closed {
                return Err(Error::Closed);
            }
            let place = log.append(inner, batch, stamp).inspect_err(|error| {
                inner.note_failure(error);
            })?;
            inner.log_end_offset.store(log.end.offset, Ordering::Release);
            let policy = Policy::new(inner.shared.flush, &log.options);
            let waits = policy.waits() || log.is_unwritten();
            let due = waits || policy.is_due(log.unsynced_records) || !log.sealing.is_empty();
            let is_behind = log.sealing.len() >= CLOSED_MAX || inner.shared.buffers.are_full();
            (place, policy, waits, due, is_behind && inner.shared.flush != Flush::Manual)
        };
        let Place { base_offset, last_offset, max_timestamp } = place;
        match due {
            true => inner.shared.enqueue(inner),
            false => inner.shared.schedule(inner, policy.interval),
        }
        let mistakes = &inner.shared.files.mistakes;
        if !waits || mistakes.made(Mistake::PublishesBeforeSync) {
            inner.advance(last_offset + 1);
        }
        let log_start_offset = self.log_start_offset();
        Ok(Appended { base_offset, last_offset, max_timestamp, log_start_offset, is_behind })
    }

    /// Makes what was appended durable before it returns, which nothing else has an appender wait
    /// for: for who was told that the disk [is behind](Appended::is_behind).
    ///
    /// # Errors
    /// [`Error::Poisoned`] after a failed sync.
    pub fn catch_up(&self) -> Result<()> {
        self.0.shared.commit(vec![self.0.clone()])
    }

    /// [`Volume::check_spare`](crate::Volume::check_spare) of the volume it is on.
    pub fn check_spare(&self) -> Result<()> {
        self.0.shared.check_spare()
    }

    /// Lays the log out like this from now on: segments that are sealed stay as they are. What was
    /// appended before is synced.
    pub fn configure(&self, options: PartitionOptions) {
        self.0.log.lock().options = options;
        self.0.shared.enqueue(&self.0);
    }

    /// The idempotent producers that are remembered, by id. May read the log.
    pub fn producers(&self) -> Result<Vec<ActiveProducer>> {
        let mut log = self.0.log.lock();
        if log.closed {
            return Err(Error::Closed);
        }
        Ok(log.producers(&self.0)?.active())
    }

    /// Forgets idempotent producers that have appended nothing for `idle`; `now` is the time since
    /// any moment, in all calls the same. One is idle from the first call after its last batch on.
    pub fn expire_producers(&self, now: Duration, idle: Duration) {
        self.0.log.lock().expire_producers(now, idle);
    }

    /// The end of what consumers may see: all records before it are durable.
    pub fn high_watermark(&self) -> i64 {
        self.0.high_watermark.load(Ordering::Acquire)
    }

    /// The offset the next record will get.
    pub fn log_end_offset(&self) -> i64 {
        self.0.log_end_offset.load(Ordering::Acquire)
    }

    /// The first offset in the log.
    pub fn log_start_offset(&self) -> i64 {
        self.0.log_start_offset.load(Ordering::Acquire)
    }

    /// Whole batches from the one that holds `from` on, at least one even if it is larger than
    /// `max_bytes`, and none that reaches `until`, an offset at or below the high watermark. May
    /// end early, where a segment does. Empty at the end of the log and at `until`.
    ///
    /// The bytes are a slice of the file's map: not copied, and valid after a deletion too. The
    /// first batch may start before `from`.
    ///
    /// They are in memory when this returns, for which it may wait for the disk.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`]; [`Error::Corrupt`] when `from` lies in damaged bytes;
    /// [`Error::Io`] when the disk cannot give them.
    pub fn read(&self, from: i64, max_bytes: usize, until: i64) -> Result<Bytes> {
        self.read_where(from, max_bytes, until, Pages::Brought)
    }

    /// The same for who has just been told by [`Partition::is_resident`] that all is in memory.
    ///
    /// # Errors
    /// As of [`Partition::read`].
    pub fn read_resident(&self, from: i64, max_bytes: usize, until: i64) -> Result<Bytes> {
        self.read_where(from, max_bytes, until, Pages::Resident)
    }

    fn read_where(&self, from: i64, max_bytes: usize, until: i64, pages: Pages) -> Result<Bytes> {
        self.check_offset(from)?;
        let until = until.min(self.high_watermark());
        if from >= until {
            return Ok(Bytes::new());
        }
        self.0.make_readable()?;
        loop {
            let segments = self.0.segments();
            // Asked again, since the start moves before segments go.
            self.check_offset(from)?;
            if let Some(read) = self.read_in(&segments, from, (max_bytes, pages), until)? {
                return Ok(read);
            }
        }
    }

    /// The same in these segments; `None` if they are not the log's any longer.
    fn read_in(
        &self,
        segments: &[Arc<Segment>],
        from: i64,
        (max_bytes, pages): (usize, Pages),
        until: i64,
    ) -> Result<Option<Bytes>> {
        let first = segments.partition_point(|it| it.base_offset <= from).saturating_sub(1);
        for segment in &segments[first..] {
            let read = segment.read(&self.0.shared.files, from, (max_bytes, pages), until);
            if segment.is_gone() {
                return Ok(None);
            }
            match read {
                Ok(None) => {}
                Err(Error::Io { .. }) if self.0.log.lock().closed => return Err(Error::Closed),
                read => return read,
            }
        }
        Ok(Some(Bytes::new()))
    }

    fn check_offset(&self, offset: i64) -> Result<()> {
        let (log_start_offset, log_end_offset) = (self.log_start_offset(), self.log_end_offset());
        match (log_start_offset..=log_end_offset).contains(&offset) {
            true => Ok(()),
            false => Err(Error::OffsetOutOfRange { offset, log_start_offset, log_end_offset }),
        }
    }

    /// Whether [`Partition::read`] with the same arguments finds all it needs in memory, so that it
    /// may run where waiting for a disk is not allowed. In doubt it does not.
    pub fn is_resident(&self, from: i64, max_bytes: usize) -> bool {
        if from >= self.high_watermark() || from < self.log_start_offset() {
            return true;
        }
        if self.0.make_readable().is_err() {
            return false;
        }
        let segments = self.0.segments();
        let next = segments.partition_point(|it| it.base_offset <= from);
        let segment = next.checked_sub(1).and_then(|at| segments.get(at));
        segment.is_some_and(|it| it.is_resident(&self.0.shared.files, from, max_bytes))
    }

    /// Bytes of all batches.
    pub fn size_bytes(&self) -> u64 {
        let written: u64 = self.0.segments().iter().map(|segment| segment.published()).sum();
        written + self.0.deferred_bytes()
    }

    /// Removes the log and its files. Slices that readers hold stay valid.
    ///
    /// The directory is first moved out of the way, durably, so that a crash leaves all of the log
    /// or none of it.
    pub fn delete(self) -> Result<()> {
        let end = {
            // Not in the middle of a round, which writes to the directory.
            let _no_round = self.0.shared.committing.lock();
            let mut log = self.0.log.lock();
            log.closed = true;
            self.0.forget_unwritten();
            log.end.offset
        };
        let _alone = self.0.maintenance.lock();
        self.0.shared.delete(&self.0)?;
        // No sync will cover what was appended last. It is gone as it would be had one done so, and
        // nobody waits for it any longer.
        self.0.advance(end);
        Ok(())
    }
}

/// What a sync is going to cover.
pub(crate) struct Pending {
    pub sealing: Vec<Closed>,
    /// `None` when all bytes are synced already, and only the high watermark has to follow.
    pub file: Option<Dirty>,
    pub end: End,
    /// Records that no sync covered before.
    pub records: u64,
}

/// What was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Synced {
    /// The log's file, by itself.
    File,
    /// All files.
    Volume,
    /// The journal, which has a copy.
    Journal,
}

impl Inner {
    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.read().clone()
    }

    pub(crate) fn push_segment(&self, segment: Arc<Segment>) {
        let mut segments = self.segments.write();
        let mut next = Vec::clone(&segments);
        next.push(segment);
        *segments = Arc::new(next);
    }

    /// What has to be synced; from now on appends queue the partition again. Nothing if the round
    /// has the partition already, which may be on two lists: the files of a round are written side
    /// by side, and a log's in order.
    pub(crate) fn take_pending(self: &Arc<Self>, round: u64) -> Option<Pending> {
        if self.round.swap(round, Ordering::Relaxed) == round {
            return None;
        }
        self.queued.store(false, Ordering::SeqCst);
        let mut log = self.log.lock();
        (!log.closed).then(|| log.pending(self))
    }

    fn note_failure(&self, error: &Error) {
        let Error::Io { .. } = error else { return };
        if error.is_disk_full() {
            self.shared.counters.refused_for_room.add(1);
            self.shared.note_full();
        } else {
            self.shared.counters.failed_appends.add(1);
        }
    }

    /// Makes the entries of the log's directory durable.
    pub(crate) fn sync_dir(&self) -> Result<()> {
        let fs = &*self.shared.files.fs;
        self.shared.sync(|| fs.sync_dir(&self.dir).context("sync", &self.dir))
    }

    /// Whether something was appended that no sync covers yet.
    pub(crate) fn is_behind(&self) -> bool {
        let log = self.log.lock();
        log.durable != log.end
    }

    /// Notes that a sync covered all up to `end`.
    pub(crate) fn synced(&self, end: End, sync: Synced) {
        {
            let mut log = self.log.lock();
            if sync == Synced::File {
                log.ahead.note_sync();
            }
            log.durable.raise(end);
            if sync != Synced::Journal {
                log.recovery_point.raise(end);
            }
        }
        self.advance(end.offset);
    }

    /// Moves the high watermark and tells so.
    pub(crate) fn advance(&self, to: i64) {
        if self.high_watermark.fetch_max(to, Ordering::AcqRel) < to {
            self.settle_transactions();
            (self.on_advance)(self.high_watermark.load(Ordering::Acquire));
        }
    }

    pub(crate) fn recovery_point(&self) -> RecoveryPoint {
        RecoveryPoint {
            topic_id: self.topic_id,
            log_start_offset: self.log_start_offset.load(Ordering::Acquire),
            end: self.log.lock().recovery_point,
            cleaned: *self.cleaned.lock(),
        }
    }
}
