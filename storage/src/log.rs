//! The appending side of a partition: where the next batch goes.
//!
//! **All of it is under the partition's one mutex.** Most batches are left to the commit round, as
//! the `unwritten` module says. Others are written at once, and so are those whose high watermark
//! does not wait for a round, and those for which no space could be reserved.
//!
//! A failed append leaves the log as it was: bytes that were written are past the end, are taken
//! off at once, and the next append overwrites them.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tidelog_protocol::records::{Batch, Header};

use crate::ahead::{Ahead, Wanted};
use crate::checkpoint::{End, LeaderEpochs};
use crate::error::{Context, Error, Result};
use crate::flush::Policy;
use crate::fs::{Durability, File, write_all_at};
use crate::index::Index;
use crate::mistake::Mistake;
use crate::partition::{Inner, PartitionOptions, Pending, Stamp};
use crate::producers::{Place, Producers};
use crate::seal::{Closed, NEXT, Name};
use crate::segment::{Aborted, Segment, Setup, file_name};
use crate::snapshot::{RECENT_BYTES, Snapshots};
use crate::syncers::Dirty;
use crate::txn_index::{ENTRIES_MAX, marker_of};
use crate::unwritten::{LEFT_BYTES_MAX, Unwritten};

pub(crate) struct Log {
    pub options: PartitionOptions,
    pub active: Arc<Segment>,
    pub end: End,
    /// How far a commit covered the log.
    pub durable: End,
    /// How far syncs of its own files did; the journal has the rest. Kafka's recovery point.
    pub recovery_point: End,
    /// The active file, while it has bytes that no sync covers.
    pub unsynced: Option<Arc<dyn File>>,
    /// The end of what was left to a round.
    left: i64,
    /// Records that no sync covers.
    pub unsynced_records: u64,
    /// Whether the index files lack something, or the active file has a tail to trim.
    pub untidy: bool,
    pub closed: bool,
    /// Segments before the active one that are not durable yet, oldest first.
    pub sealing: Vec<Closed>,
    /// The largest timestamp of the first batch in the active segment, once it was asked for.
    began: Option<i64>,
    /// Read at the first append, as are the producers.
    epochs: Option<LeaderEpochs>,
    snapshots: Option<Snapshots>,
    /// The space the active file has ahead.
    pub ahead: Ahead,
}

/// Positions in an index have 31 bits.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;
/// Bytes that are walked again at the first use rather than described in files of their own, when
/// many logs are closed: as many as are walked for the producers anyway.
const WALKED_AGAIN_BYTES_MAX: u64 = RECENT_BYTES;

impl Log {
    pub(crate) fn new(options: PartitionOptions, active: Arc<Segment>, end: End) -> Self {
        Self {
            options,
            active,
            end,
            durable: end,
            recovery_point: end,
            unsynced: None,
            left: 0,
            unsynced_records: 0,
            untidy: false,
            closed: false,
            sealing: Vec::new(),
            began: None,
            epochs: None,
            snapshots: None,
            ahead: Ahead::none(end.position),
        }
    }

    /// Reads what the first append needs to know.
    pub(crate) fn prepare(&mut self, home: &Inner) -> Result<()> {
        self.producers(home)?;
        self.active.load_index(&home.shared.files)?;
        self.began(home)?;
        self.epochs(home)?;
        home.prepared.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Writes `batch` at the end, unless it was appended before; returns where it is.
    pub(crate) fn append(&mut self, home: &Inner, batch: &Batch, stamp: Stamp) -> Result<Place> {
        let mut header = self.assigned(batch, stamp.leader_epoch)?;
        let marker = marker_of(batch);
        let producers = self.producers(home)?;
        if let Some(appended) = producers.check(&header)?
            && !home.shared.files.mistakes.made(Mistake::AppendsARetry)
        {
            return Ok(appended);
        }
        let aborted = producers.aborted_by(&header, marker.as_ref());
        let time = stamp.append_time_ms.unwrap_or(header.max_timestamp);
        let full = self.is_full(&header) || aborted.is_some() && !self.takes_aborted(home)?;
        if full || self.is_old(home, time)? {
            self.roll(home)?;
        }
        self.active.load_index(&home.shared.files)?;
        self.note_epoch(home, stamp.leader_epoch)?;
        let offset = header.base_offset;
        match stamp.append_time_ms {
            None => {
                let prefix = batch.assigned_prefix(offset, stamp.leader_epoch);
                self.put(home, &header, batch, &prefix)?;
            }
            Some(time) => {
                let stamped = batch.restamped_header(offset, stamp.leader_epoch, time);
                header = Header::parse(&stamped).expect("the header was just written");
                self.put(home, &header, batch, &stamped)?;
            }
        }
        if self.end.position == 0 {
            self.began = Some(header.max_timestamp);
        }
        if let Some(aborted) = &aborted {
            self.active.add_aborted(aborted);
        }
        self.end.position += header.total_bytes() as u64;
        self.end.offset = header.last_offset() + 1;
        self.unsynced_records += header.last_offset().abs_diff(header.base_offset) + 1;
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.producers.note(&header, marker.as_ref());
            if header.attributes.is_transactional() {
                home.note_unstable(snapshots.producers.transactions.earliest());
            }
        }
        self.untidy = true;
        let Header { base_offset, max_timestamp, .. } = header;
        Ok(Place { base_offset, last_offset: header.last_offset(), max_timestamp })
    }

    /// What the next sync has to cover: from now on it counts as covered.
    pub(crate) fn pending(&mut self, home: &Arc<Inner>) -> Pending {
        let same = self.durable.segment == self.end.segment;
        let from = if same { self.durable.position } else { 0 };
        let dirty = |file| Dirty {
            inner: home.clone(),
            file,
            segment: self.active.clone(),
            from,
            end: self.end.position,
            share: Mutex::new(home.share()),
        };
        Pending {
            records: std::mem::take(&mut self.unsynced_records),
            sealing: std::mem::take(&mut self.sealing),
            file: self.unsynced.take().map(dirty),
            end: self.end,
        }
    }

    /// Whether some of the log is left to a commit round that has not ended.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.durable.offset < self.left
    }

    /// Puts the batch at the end, with `prefix` in place of its first bytes.
    fn put(&mut self, home: &Inner, header: &Header, batch: &Batch, prefix: &[u8]) -> Result<()> {
        let file = match &self.unsynced {
            Some(file) => file.clone(),
            None => self.active.file(&home.shared.files)?,
        };
        let bytes = batch.bytes().len() as u64;
        // A path is put together only for an error to name.
        let reserved = self.reserve(home, &*file, bytes).map_err(|source| Error::Io {
            operation: "allocate",
            path: self.active.path(),
            source,
        })?;
        // In order: what is left to a round is written before what comes after it.
        let waits = reserved && bytes <= LEFT_BYTES_MAX && self.waits(home);
        if waits || self.active.published() < self.end.position {
            let new = || Unwritten::new(&home.shared.buffers, &self.active, self.end.position);
            let mut unwritten = home.unwritten.lock();
            let unwritten = unwritten.get_or_insert_with(new);
            unwritten.push(header, prefix, &batch.bytes().slice(prefix.len()..));
            self.left = header.last_offset() + 1;
        } else {
            self.write(home, &*file, &[prefix, &batch.bytes()[prefix.len()..]])?;
            self.active.publish(header, self.end.position);
        }
        self.unsynced = Some(file);
        Ok(())
    }

    /// Whether a batch may wait for the next round.
    fn waits(&self, home: &Inner) -> bool {
        Policy::new(home.shared.flush, &self.options).waits()
    }

    fn write(&mut self, home: &Inner, file: &dyn File, parts: &[&[u8]; 2]) -> Result<()> {
        let written = write_all_at(file, &mut parts.map(IoSlice::new), self.end.position);
        written.or_else(|source| {
            let path = self.active.path();
            self.take_back(home, file)?;
            Err(Error::Io { operation: "write", path, source })
        })
    }

    /// The idempotent producers, read when they are first asked for, and with them what the
    /// segments do not know of the transactions.
    pub(crate) fn producers(&mut self, home: &Inner) -> Result<&Producers> {
        let snapshots = match self.snapshots.take() {
            Some(snapshots) => snapshots,
            None => {
                let mut snapshots = Snapshots::load(home, self.end.offset)?;
                self.find_aborted(home, &snapshots)?;
                let transactions = &mut snapshots.producers.transactions;
                transactions.settle(home.high_watermark.load(Ordering::Acquire));
                home.note_unstable(transactions.earliest());
                snapshots
            }
        };
        Ok(&self.snapshots.insert(snapshots).producers)
    }

    /// Sees that the segments know of all transactions that were aborted.
    pub(crate) fn know_aborted(&mut self, home: &Inner) -> Result<()> {
        self.producers(home)?;
        self.snapshots.as_ref().map_or(Ok(()), |snapshots| self.find_aborted(home, snapshots))
    }

    /// Whether the active segment takes one more aborted transaction.
    fn takes_aborted(&mut self, home: &Inner) -> Result<bool> {
        self.active.load_aborted(&home.shared.files)?;
        if !self.active.knows_aborted() {
            self.know_aborted(home)?;
        }
        Ok(self.active.aborted_len() < ENTRIES_MAX)
    }

    /// Lets go of the transactions that ended before the high watermark.
    pub(crate) fn settle_transactions(&mut self, home: &Inner, high_watermark: i64) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.producers.transactions.settle(high_watermark);
            home.note_unstable(snapshots.producers.transactions.earliest());
        }
    }

    /// Whether a snapshot on disk has the producers of all batches before `end`. One for which
    /// there was no room when the segment was sealed is made now.
    pub(crate) fn keeps_producers(&mut self, home: &Inner, end: i64) -> Result<bool> {
        self.producers(home)?;
        let Some(snapshots) = &mut self.snapshots else { return Ok(false) };
        if snapshots.newest() < end && self.durable == self.end {
            snapshots.store(home, self.end.offset, Durability::Now)?;
            home.sync_dir()?;
        }
        Ok(snapshots.newest() >= end)
    }

    /// Notes that the producers' snapshot at `end_offset` is on disk.
    pub(crate) fn note_snapshot(&mut self, home: &Inner, end_offset: i64) -> Result<()> {
        match &mut self.snapshots {
            Some(snapshots) => snapshots.note_stored(home, end_offset),
            None => Ok(()),
        }
    }

    /// Forgets producers that have been idle.
    pub(crate) fn expire_producers(&mut self, now: Duration, idle: Duration) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.producers.expire(now, idle);
        }
    }

    /// Closes the active segment and starts the next one, without a sync: the commit round does
    /// the rest, as the `seal` module says.
    pub(crate) fn roll(&mut self, home: &Inner) -> Result<()> {
        // A segment is sealed with all that there is to know of it.
        self.producers(home)?;
        let shared = &home.shared;
        home.make_readable()?;
        let file = match self.unsynced.take() {
            Some(file) => file,
            None => self.active.file(&shared.files)?,
        };
        let path = home.dir.join(file_name(self.end.offset, NEXT));
        if let Err(error) = shared.files.fs.create(&path).context("create", &path) {
            self.unsynced = Some(file);
            return Err(error);
        }
        let base_offset = self.end.offset;
        let interval = self.options.index_interval_bytes;
        let index = Some(Index::new(base_offset, interval));
        let setup = Setup {
            base_offset,
            published: 0,
            checked_from: 0,
            index,
            interval,
            aborted: Aborted::Memory(Vec::new()),
            has_txn_index: false,
        };
        let mut segment = Segment::new(&shared.files, &home.dir, setup);
        segment.name = Name::provisional();
        let segment = Arc::new(segment);
        home.push_segment(segment.clone());
        self.sealing.push(Closed {
            segment: std::mem::replace(&mut self.active, segment.clone()),
            file,
            unwritten: home.unwritten.lock().take(),
            end: self.end,
            trim: self.ahead.end != self.end.position,
            producers: self.snapshots.as_ref().map(|snapshots| snapshots.producers.encode()),
            next: segment,
        });
        self.end = End { segment: base_offset, position: 0, offset: base_offset };
        (self.began, self.untidy) = (None, false);
        self.ahead = Ahead::none(0);
        Ok(())
    }

    /// Trims, syncs and indexes the active segment. What is trimmed is past the published length,
    /// where no reader's slice reaches.
    ///
    /// With [`Durability::Later`] the caller syncs the file system, and only then notes it. It has
    /// many logs to seal, so what can be had again from a few bytes is not written.
    pub(crate) fn seal(&mut self, home: &Inner, durability: Durability) -> Result<()> {
        if !self.untidy {
            return Ok(());
        }
        let (shared, now) = (&home.shared, durability == Durability::Now);
        let file = self.active.file(&shared.files)?;
        let path = self.active.path();
        if self.ahead.end != self.end.position {
            file.set_len(self.end.position).context("trim", &path)?;
            self.ahead = Ahead::none(self.end.position);
        }
        if now {
            shared.sync(|| file.sync_data().context("sync", &path))?;
            (self.durable, self.recovery_point) = (self.end, self.end);
            self.unsynced = None;
        }
        let walked_again = self.end.position <= WALKED_AGAIN_BYTES_MAX;
        if !now && walked_again && !self.active.has_aborted() {
            self.active.drop_index(&shared.files)?;
        } else {
            shared.heed(self.active.store_index(&shared.files, durability))?;
        }
        if let Some(snapshots) = &mut self.snapshots
            && (now || snapshots.bytes_since(home) > WALKED_AGAIN_BYTES_MAX)
        {
            snapshots.store(home, self.end.offset, durability)?;
        }
        if now {
            home.sync_dir()?;
        }
        self.untidy = false;
        Ok(())
    }

    /// The header as it will be stored.
    fn assigned(&self, batch: &Batch, leader_epoch: i32) -> Result<Header> {
        let header = Header { base_offset: self.end.offset, leader_epoch, ..*batch.header() };
        let delta = i64::from(header.last_offset_delta);
        if delta < 0 || header.base_offset.checked_add(delta + 1).is_none() {
            let reason = format!("batch has a last offset delta of {delta}");
            let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
            return Err(Error::Io { operation: "append to", path: self.active.path(), source });
        }
        Ok(header)
    }

    fn is_full(&self, header: &Header) -> bool {
        let bytes = header.total_bytes() as u64;
        let limit = self.options.segment_bytes.min(SEGMENT_BYTES_MAX);
        let relative = header.last_offset() - self.active.base_offset;
        self.end.position > 0
            && (self.end.position + bytes > limit || relative > i64::from(i32::MAX))
    }

    /// Whether the active segment began so long before `time` that it takes no more batches. As in
    /// Kafka, that is asked when there is a batch to append, and of the batches' own timestamps.
    ///
    /// Unlike Kafka: batches without timestamps do not count, rather than by the broker's clock.
    fn is_old(&mut self, home: &Inner, time: i64) -> Result<bool> {
        let began = self.began(home)?;
        let limit = self.options.segment_ms - self.jitter_ms(home);
        Ok(began >= 0 && time >= 0 && time.saturating_sub(began) > limit)
    }

    /// The time that the active segment began at; -1 if it has none.
    fn began(&mut self, home: &Inner) -> Result<i64> {
        if self.end.position == 0 {
            return Ok(-1);
        }
        let began = match self.began {
            Some(began) => began,
            None => self.active.oldest(&home.shared.files)?.unwrap_or(-1),
        };
        Ok(*self.began.insert(began))
    }

    /// Ms off the age of the active segment: any number below the bound, the same every time.
    fn jitter_ms(&self, home: &Inner) -> i64 {
        let bound = self.options.segment_jitter_ms.min(self.options.segment_ms);
        if bound <= 0 {
            return 0;
        }
        let seed = crc32c::crc32c(home.dir.as_os_str().as_encoded_bytes());
        let seed = crc32c::crc32c_append(seed, &self.active.base_offset.to_be_bytes());
        i64::from(seed) % bound
    }

    fn note_epoch(&mut self, home: &Inner, leader_epoch: i32) -> Result<()> {
        let (fs, end_offset) = (&*home.shared.files.fs, self.end.offset);
        let epochs = self.epochs(home)?;
        if epochs.knows(leader_epoch) {
            return Ok(());
        }
        let mut next = epochs.clone();
        next.assign(leader_epoch, end_offset);
        next.write(fs, &home.dir)?;
        home.sync_dir()?;
        *epochs = next;
        Ok(())
    }

    fn epochs(&mut self, home: &Inner) -> Result<&mut LeaderEpochs> {
        let epochs = match self.epochs.take() {
            Some(epochs) => epochs,
            None => LeaderEpochs::read(&*home.shared.files.fs, &home.dir, self.end.offset)?,
        };
        Ok(self.epochs.insert(epochs))
    }

    /// Makes space ahead when `bytes` more go past what there is; false where no space can be
    /// reserved, and the write will tell.
    fn reserve(&mut self, home: &Inner, file: &dyn File, bytes: u64) -> io::Result<bool> {
        let needed = self.end.position + bytes;
        if !self.options.preallocate {
            return Ok(false);
        }
        if needed > self.ahead.reserved {
            let limit = self.options.segment_bytes.min(SEGMENT_BYTES_MAX);
            let room = home.shared.room_for(bytes)?;
            self.ahead.make(file, &Wanted { position: self.end.position, needed, limit, room })?;
        }
        Ok(needed <= self.ahead.reserved)
    }

    /// Cuts off what a failed write may have left, durably, so that a crash cannot bring it back
    /// under the next batch.
    fn take_back(&mut self, home: &Inner, file: &dyn File) -> Result<()> {
        let path = self.active.path();
        home.shared.sync(|| {
            file.set_len(self.end.position).context("cut", &path)?;
            file.sync_data().context("sync", &path)
        })?;
        self.ahead = Ahead::none(self.end.position);
        Ok(())
    }
}
