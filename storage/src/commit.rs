//! Group commit: one thread that makes appends durable, as many as there are at a time.
//!
//! There is no timer unless somebody asks for one: while one round syncs, appends queue their
//! partitions for the next. A round
//! 1. takes the queued partitions and how far each is written,
//! 2. seals the segments that were closed,
//! 3. writes what is left to write to the other files, and syncs them: a few in parallel, more by
//!    way of the [journal](crate::journal), with which what is little may wait longer, and what is
//!    too much for that by one `syncfs`,
//! 4. advances each high watermark **to what was written before the sync began**.
//!
//! **A failed write or sync is final.** The kernel may have dropped the bytes and report success
//! next time, so nothing is retried: the volume is poisoned, the failure is told once, and only a
//! restart, which reads the disk again, goes on. All syncs of a round happen under one lock,
//! since a failure is reported to only one of the calls.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::clock::now;
use crate::error::{Context, Error, Result, SYNC};
use crate::mistake::Mistake;
use crate::partition::{Inner, Pending, Synced};
use crate::syncers::Dirty;
use crate::volume::Shared;

/// Files that are synced, or logs that are closed, each by itself; more take one `syncfs`.
pub(crate) const SINGLE_SYNCS_MAX: usize = 16;

/// As good as.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Partitions with bytes to sync.
#[derive(Default)]
pub(crate) struct Queue {
    pub dirty: Vec<Arc<Inner>>,
    /// Those whose time has not come, by that and by a number of its own.
    later: BTreeMap<(Instant, u64), Arc<Inner>>,
    scheduled: u64,
    pub stopped: bool,
}

impl Queue {
    /// Moves those whose time has come to the dirty ones, or all once there are more than `max`:
    /// each holds its file open, since a file that is closed may take the news with it that it
    /// could not be written.
    fn take_due(&mut self, max: usize) {
        if self.later.is_empty() {
            return;
        }
        let (now, all) = (now(), self.later.len() > max);
        while let Some(first) = self.later.first_entry().filter(|it| all || it.key().0 <= now) {
            let inner = first.remove();
            inner.scheduled.store(false, Ordering::SeqCst);
            if !inner.queued.swap(true, Ordering::SeqCst) {
                self.dirty.push(inner);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.dirty.clear();
        self.later.clear();
    }
}

/// The commit thread: ends when the volume is closed, dropped or poisoned.
pub(crate) fn run(shared: &Shared) {
    while let Some(dirty) = shared.wait_for_dirty() {
        if shared.commit(dirty).is_err() {
            return;
        }
    }
}

impl Shared {
    /// Waits for partitions to sync; `None` when stopped.
    fn wait_for_dirty(&self) -> Option<Vec<Arc<Inner>>> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopped {
                return None;
            }
            queue.take_due(self.files.unsynced_max);
            if !queue.dirty.is_empty() {
                return Some(std::mem::take(&mut queue.dirty));
            }
            match queue.later.first_key_value().map(|((due, _), _)| *due) {
                Some(due) => drop(self.wake.wait_until(&mut queue, due)),
                None => self.wake.wait(&mut queue),
            }
        }
    }

    /// Has the next round sync the partition.
    pub(crate) fn enqueue(&self, inner: &Arc<Inner>) {
        if inner.queued.swap(true, Ordering::SeqCst) {
            return;
        }
        self.queue.lock().dirty.push(inner.clone());
        self.wake.notify_one();
    }

    /// Has a round sync the partition in `interval`, or before; without one, when it has to be.
    pub(crate) fn schedule(&self, inner: &Arc<Inner>, interval: Option<Duration>) {
        if !inner.scheduled.swap(true, Ordering::SeqCst) {
            let mut queue = self.queue.lock();
            queue.scheduled += 1;
            let key = (now() + interval.unwrap_or(NEVER), queue.scheduled);
            queue.later.insert(key, inner.clone());
            self.wake.notify_one();
        }
    }

    /// Syncs all that was appended before the call.
    pub(crate) fn commit_all(&self) -> Result<()> {
        let mut dirty = std::mem::take(&mut self.queue.lock().dirty);
        // Those that the commit thread has on its list too wait here for it. Who is named twice is
        // taken once.
        let open = self.open_partitions();
        dirty.extend(open.into_iter().filter(|inner| inner.is_behind()));
        self.commit(dirty)
    }

    /// One round.
    pub(crate) fn commit(&self, dirty: Vec<Arc<Inner>>) -> Result<()> {
        let mut round = self.committing.lock();
        *round += 1;
        let pending: Vec<_> =
            dirty.iter().filter_map(|inner| Some((inner, inner.take_pending(*round)?))).collect();
        self.finish(pending)
    }

    /// Makes what is pending durable, and moves the high watermarks. No other round may be under
    /// way, since the parts of a log are to be written in order.
    pub(crate) fn finish(&self, mut pending: Vec<(&Arc<Inner>, Pending)>) -> Result<()> {
        if self.files.mistakes.made(Mistake::AcknowledgesBeforeSync) {
            pending.iter().for_each(|(inner, pending)| inner.advance(pending.end.offset));
        }
        let began = now();
        let files: Arc<[Dirty]> = pending.iter_mut().filter_map(|(_, it)| it.file.take()).collect();
        // The name of a segment that was just begun is not durable yet.
        let rolled = pending.iter().any(|(_, it)| !it.sealing.is_empty());
        let synced = self.sync(|| {
            if !rolled && self.journal(&files)? {
                return Ok(Synced::Journal);
            }
            for (inner, pending) in &mut pending {
                pending.sealing.iter_mut().try_for_each(|closed| inner.seal(closed))?;
            }
            self.sync_files(&files)
        })?;
        if !pending.is_empty() {
            let micros = u64::try_from(now().duration_since(began).as_micros()).unwrap_or(u64::MAX);
            self.counters.commit_micros.observe(micros);
            self.counters.commit_partitions.observe(pending.len() as u64);
            self.counters.committed_records.add(pending.iter().map(|(_, it)| it.records).sum());
        }
        let all = pending.iter();
        let sealed = all.flat_map(|(inner, pending)| pending.sealing.iter().zip(repeat(*inner)));
        for (closed, inner) in sealed.filter(|(closed, _)| closed.producers.is_some()) {
            // An old snapshot that cannot be removed is in nobody's way.
            let _ = inner.log.lock().note_snapshot(inner, closed.end.offset);
        }
        for (inner, pending) in pending {
            inner.synced(pending.end, synced);
        }
        self.checkpointer.note_change();
        Ok(())
    }

    /// Runs a sync of log data. After a failure no other one may run.
    pub(crate) fn sync<T>(&self, sync: impl FnOnce() -> Result<T>) -> Result<T> {
        let failure = {
            let _one_at_a_time = self.syncing.lock();
            self.check_healthy()?;
            match sync() {
                Ok(synced) => return Ok(synced),
                Err(error) => {
                    self.poisoned.store(true, Ordering::SeqCst);
                    error
                }
            }
        };
        (self.on_failure)(&failure);
        Err(failure)
    }

    /// Sees that a failed sync is final which was met outside of [`Shared::sync`].
    pub(crate) fn heed<T>(&self, done: Result<T>) -> Result<T> {
        match done {
            Err(error @ Error::Io { operation: SYNC, .. }) => self.sync(|| Err(error)),
            done => done,
        }
    }

    /// An error once a sync has failed.
    pub(crate) fn check_healthy(&self) -> Result<()> {
        match self.poisoned.load(Ordering::SeqCst) {
            true => Err(Error::Poisoned),
            false => Ok(()),
        }
    }

    /// Syncs all there is; false where the system cannot.
    pub(crate) fn sync_filesystem(&self) -> Result<bool> {
        match self.root_dir.sync_filesystem() {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(false),
            synced => synced.context("sync", &self.root).map(|()| true),
        }
    }

    fn sync_files(&self, files: &Arc<[Dirty]>) -> Result<Synced> {
        if files.len() > SINGLE_SYNCS_MAX {
            files.iter().try_for_each(Dirty::write)?;
            if self.sync_filesystem()? {
                return Ok(Synced::Volume);
            }
        }
        match self.syncers.sync(files) {
            Err(_) if self.files.mistakes.made(Mistake::IgnoresASyncError) => {}
            synced => synced?,
        }
        Ok(Synced::File)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use crate::fs::Disk;
    use crate::{Flush, PartitionOptions, Volume, VolumeOptions};
    use std::path::Path;
    use std::sync::Arc;
    use tidelog_protocol::records::{Batch, BatchBuilder, Compression};

    const BATCHES: i64 = 100;

    #[test]
    fn logs_that_are_never_due_are_when_they_hold_too_many_files_open() {
        let root = tempfile::tempdir().unwrap();
        let options = VolumeOptions { flush: Flush::Never };
        let volume = Volume::open(Arc::new(Disk), root.path(), options, Box::new(|_| {})).unwrap();
        let open = |n: i32| {
            let (name, options) = (format!("red-{n}"), PartitionOptions::default());
            volume.open_partition(Path::new(&name), [1; 16], options, Box::new(|_| {})).unwrap().0
        };
        let partitions: Vec<_> = (0..5).map(open).collect();
        for partition in partitions.iter().chain(&partitions) {
            partition.append(&batch(), 0).unwrap();
        }
        let holds = |n: usize| partitions[n].0.log.lock().unsynced.is_some();
        let shared = volume.shared();
        shared.queue.lock().take_due(5);
        assert!(shared.queue.lock().dirty.is_empty() && (0..5).all(holds));
        shared.queue.lock().take_due(4);
        let dirty = std::mem::take(&mut shared.queue.lock().dirty);
        assert_eq!(dirty.len(), 5);
        shared.commit(dirty).unwrap();
        assert!(!(0..5).any(holds));
        volume.close().unwrap();
    }

    fn batch() -> Batch {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 10);
        builder.append(0, None, Some(&[b'x'; 50]), &[]).unwrap();
        builder.finish().unwrap()
    }

    /// Whoever waits for a round of his own leaves the log on the commit thread's list, and it may
    /// get there once more.
    #[test]
    fn a_log_that_a_round_finds_twice_is_written_in_order() {
        let root = tempfile::tempdir().unwrap();
        let options = VolumeOptions { flush: Flush::Manual };
        let volume = Volume::open(Arc::new(Disk), root.path(), options, Box::new(|_| {})).unwrap();
        let options = PartitionOptions { segment_bytes: 4_000, ..PartitionOptions::default() };
        let opened = volume.open_partition(Path::new("red-0"), [1; 16], options, Box::new(|_| {}));
        let partition = opened.unwrap().0;
        let (inner, round) = (&partition.0, 7);
        let append = |count| (0..count).for_each(|_| _ = partition.append(&batch(), 0).unwrap());
        append(3);
        let first = inner.take_pending(round).map(|pending| (inner, pending));
        // Meanwhile the log goes on, past the end of a segment.
        append(BATCHES - 3);
        let second = inner.take_pending(round).map(|pending| (inner, pending));
        inner.shared.finish(first.into_iter().chain(second).collect()).unwrap();
        volume.sync().unwrap();
        assert_eq!(partition.high_watermark(), BATCHES);
        let mut next = 0;
        while next < BATCHES {
            let mut read = partition.read(next, 1 << 20, BATCHES).unwrap();
            assert!(!read.is_empty(), "{next} was acknowledged and is not there");
            while !read.is_empty() {
                let batch = Batch::split_from(&mut read).unwrap();
                assert_eq!(batch.header().base_offset, next);
                next += 1;
            }
        }
        volume.close().unwrap();
    }
}
