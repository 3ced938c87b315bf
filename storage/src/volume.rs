//! One data directory: its lock, its partitions, its checkpoint, its threads.
//!
//! The order in which this crate takes its locks, of a log and of the volume:
//!
//! ```text
//! compacting -> maintenance -> committing -> log -> syncing -> journal -> share -> unwritten
//! creating -> partitions        scrubbing -> log        checkpointing -> partitions
//! ```
//!
//! Whoever holds `log` may sync, as a roll does, so nothing that is synced may take it; and it may
//! only try `maintenance`. The others are held for no longer than they are looked at.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use crate::checkpoint::{CHECKPOINT_FILE, Checkpoint};
use crate::checkpointer::{self, Checkpointer};
use crate::commit::{self, Queue, SINGLE_SYNCS_MAX};
use crate::counters::{Counters, Statistics};
use crate::error::{Context, Error, Result};
use crate::files::Files;
use crate::flush::Flush;
use crate::fs::{Durability, File, Fs, create_dirs, sync_parent};
use crate::journal::{self, Journal, Redone};
use crate::open::Opening;
use crate::partition::{Inner, OnAdvance, Partition, PartitionOptions, Synced};
use crate::recovery::Recovered;
use crate::room::OnEvent;
use crate::scrub::Round;
use crate::syncers::Syncers;
use crate::unwritten::Buffers;

/// How a volume is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct VolumeOptions {
    /// When appends become durable, in partitions that do not have it otherwise.
    pub flush: Flush,
}

/// A handle on a data directory; the last one dropped stops its threads, which is what a
/// crash would leave. Call [`Volume::close`] first.
#[derive(Clone)]
pub struct Volume(Arc<Handle>);

/// Called once, with the sync that failed.
pub type OnFailure = Box<dyn Fn(&Error) + Send + Sync>;

struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

pub(crate) struct Shared {
    pub files: Files,
    pub root: PathBuf,
    pub root_dir: Arc<dyn File>,
    pub flush: Flush,
    /// Whether all that an ended process wrote was made durable when the volume was opened.
    pub swept: bool,
    pub on_failure: OnFailure,
    pub poisoned: AtomicBool,
    /// Whether records were refused for want of room, and no room was found since.
    pub full: AtomicBool,
    pub on_event: OnceLock<OnEvent>,
    /// Held for a round of commits: its number.
    pub committing: Mutex<u64>,
    pub syncing: Mutex<()>,
    pub queue: Mutex<Queue>,
    pub wake: Condvar,
    pub checkpointer: Checkpointer,
    checkpointing: Mutex<()>,
    pub journal: Mutex<Journal>,
    /// Logs into which the journal could not be written, and why.
    pub not_redone: HashMap<PathBuf, String>,
    /// Held while directories of partitions are made.
    pub creating: Mutex<()>,
    /// Held for a step of the scrubber; `round` for a moment.
    pub scrubbing: Mutex<()>,
    pub round: Mutex<Round>,
    /// Where damage ends that the scrubber told of.
    pub known_damage: Mutex<HashSet<(PathBuf, u64)>>,
    pub counters: Counters,
    pub syncers: Syncers,
    pub buffers: Arc<Buffers>,
    pub partitions: Mutex<Partitions>,
    deletions: AtomicU64,
}

pub(crate) struct Partitions {
    pub open: HashMap<PathBuf, Arc<Inner>>,
    /// What the checkpoint said at start, of partitions not opened since.
    pub found: Checkpoint,
}

impl Volume {
    /// Opens the data directory `root`, creating it when absent. `on_failure` is called at most
    /// once, when a sync has failed: every append fails from then on, and the process should end,
    /// so that the next one recovers from what the disk holds.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it; [`Error::Io`].
    pub fn open(
        fs: Arc<dyn Fs>,
        root: &Path,
        options: VolumeOptions,
        on_failure: OnFailure,
    ) -> Result<Self> {
        create_dirs(&*fs, root)?;
        let lock = take_lock(&*fs, root)?;
        let root_dir = fs.open_read(root).context("open", root)?;
        let found = Checkpoint::read(&*fs, root)?;
        let redone = if found.clean { Redone::default() } else { journal::redo(&*fs, root)? };
        let swept = !found.clean && sweep(&*fs, root, &*root_dir)?;
        let kept = redone.settle(&*fs, root, swept)?;
        if found.clean {
            Checkpoint { clean: false, ..found.clone() }.write(&*fs, root)?;
        }
        let deletions = AtomicU64::new(remove_deleted(&*fs, root));
        let shared = Arc::new(Shared {
            files: Files::new(fs),
            root: root.to_path_buf(),
            root_dir,
            flush: options.flush,
            swept,
            on_failure,
            poisoned: AtomicBool::new(false),
            full: AtomicBool::new(false),
            on_event: OnceLock::new(),
            committing: Mutex::new(0),
            syncing: Mutex::new(()),
            queue: Mutex::new(Queue::default()),
            wake: Condvar::new(),
            checkpointer: Checkpointer::default(),
            checkpointing: Mutex::new(()),
            journal: Mutex::new(Journal::new(kept)),
            not_redone: redone.failed,
            creating: Mutex::new(()),
            scrubbing: Mutex::new(()),
            round: Mutex::new(found.round.clone()),
            known_damage: Mutex::default(),
            counters: Counters::default(),
            syncers: Syncers::default(),
            buffers: Arc::default(),
            partitions: Mutex::new(Partitions { open: HashMap::new(), found }),
            deletions,
        });
        let threads = Mutex::default();
        shared.counters.redone_bytes.add(redone.bytes);
        let volume = Self(Arc::new(Handle { shared, threads, lock: Mutex::new(Some(lock)) }));
        if options.flush != Flush::Manual {
            volume.0.start("commit", commit::run)?;
            volume.0.start("checkpoint", checkpointer::run)?;
        }
        Ok(volume)
    }

    /// Opens the partition in `dir`, a path from the root, creating it when absent. `on_advance` is
    /// called with the high watermark each time it has moved, on the commit thread or, where that
    /// does not wait for syncs, on the appending one. It must not block.
    ///
    /// # Errors
    /// [`Error::WrongTopic`], [`Error::AlreadyOpen`], [`Error::Io`]. Damage is no error: see
    /// [`Recovered`].
    pub fn open_partition(
        &self,
        dir: &Path,
        topic_id: [u8; 16],
        options: PartitionOptions,
        on_advance: OnAdvance,
    ) -> Result<(Partition, Recovered)> {
        let shared = &self.0.shared;
        shared.check_healthy()?;
        shared.check_redone(dir)?;
        let (point, clean) = {
            let partitions = shared.partitions.lock();
            if partitions.open.contains_key(dir) {
                return Err(Error::AlreadyOpen { path: dir.to_path_buf() });
            }
            let point = partitions.found.points.get(dir);
            let point = point.filter(|point| point.topic_id == topic_id).cloned();
            (point, partitions.found.clean)
        };
        let opening = Opening { shared, name: dir, topic_id, options, point, clean };
        let opened = opening.open(on_advance).inspect_err(|error| {
            if error.is_disk_full() {
                shared.note_full();
            }
        });
        let (inner, recovered) = opened?;
        shared.counters.opened(&recovered);
        let mut partitions = shared.partitions.lock();
        if partitions.open.contains_key(dir) {
            return Err(Error::AlreadyOpen { path: dir.to_path_buf() });
        }
        partitions.found.points.remove(dir);
        partitions.open.insert(dir.to_path_buf(), inner.clone());
        shared.checkpointer.note_change();
        Ok((Partition(inner), recovered))
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.0.shared.root
    }

    /// Sees that what is stored beside the logs may grow, such as the stores of offsets and of
    /// topics: on a full disk they are refused what is new before they meet its end.
    ///
    /// # Errors
    /// [`Error::Io`] with `StorageFull`.
    pub fn check_spare(&self) -> Result<()> {
        self.0.shared.check_spare()
    }

    /// Has the engine make a mistake, for tests of tests.
    #[cfg(feature = "mistakes")]
    pub fn seed(&self, mistake: crate::Mistake) {
        self.0.shared.files.mistakes.seed(mistake);
    }

    /// Has `on_event` called with what happens to the volume; only the first call has an effect.
    pub fn on_event(&self, on_event: OnEvent) {
        let _first = self.0.shared.on_event.set(on_event);
    }

    /// What the volume has done since it was opened, and what it holds.
    pub fn statistics(&self) -> Statistics {
        let shared = &self.0.shared;
        let (open_files, maps) = shared.files.held();
        Statistics {
            partitions: shared.partitions.lock().open.len() as u64,
            open_files: open_files as u64,
            maps: maps as u64,
            is_full: shared.full.load(Ordering::Acquire),
            ..shared.counters.get()
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Makes all that was appended before the call durable.
    pub fn sync(&self) -> Result<()> {
        self.0.shared.commit_all()
    }

    /// Writes the recovery checkpoint, which happens each second by itself.
    pub fn checkpoint(&self) -> Result<()> {
        self.0.shared.write_checkpoint(false)
    }

    /// Makes everything durable and marks the volume as closed in order, so that the next start
    /// has nothing to scan. Appends fail from now on. Closing twice does nothing.
    ///
    /// # Errors
    /// [`Error::Poisoned`] after a failed sync: the next start has to scan.
    pub fn close(&self) -> Result<()> {
        let mut lock = self.0.lock.lock();
        if lock.is_none() {
            return Ok(());
        }
        self.0.stop();
        for thread in self.0.threads.lock().drain(..) {
            thread.join().expect("the threads of a volume do not panic");
        }
        self.0.shared.close()?;
        *lock = None;
        Ok(())
    }
}

impl Handle {
    fn start(&self, name: &str, run: fn(&Shared)) -> Result<()> {
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || run(&shared));
        let thread = thread.context("start a thread for", &self.shared.root)?;
        self.threads.lock().push(thread);
        Ok(())
    }

    fn stop(&self) {
        self.shared.queue.lock().stopped = true;
        self.shared.wake.notify_one();
        self.shared.checkpointer.stop();
    }
}

impl Drop for Handle {
    /// No IO: what is not closed is left as a crash would leave it.
    fn drop(&mut self) {
        self.stop();
        self.shared.queue.lock().clear();
        self.shared.journal.lock().clear();
        let open = std::mem::take(&mut self.shared.partitions.lock().open);
        for inner in open.values() {
            inner.log.lock().closed = true;
        }
    }
}

impl Shared {
    pub(crate) fn write_checkpoint(&self, clean: bool) -> Result<()> {
        let _alone = self.checkpointing.lock();
        self.check_healthy()?;
        self.checkpointer.catch_up();
        if !clean {
            self.settle()?;
        }
        let (mut points, open) = {
            let partitions = self.partitions.lock();
            (partitions.found.points.clone(), partitions.open.clone())
        };
        // A log's lock may be held for as long as its first append reads it.
        points.extend(open.into_iter().map(|(dir, inner)| (dir, inner.recovery_point())));
        let round = self.round.lock().clone();
        let written = Checkpoint { clean, points, round }.write(&*self.files.fs, &self.root);
        match written {
            // The old checkpoint stays good, and the next one may find room.
            Err(error) if error.is_disk_full() => {
                self.checkpointer.note_change();
                Err(error)
            }
            Err(error) => self.sync(|| Err(error)),
            Ok(()) => Ok(()),
        }
    }

    /// The open partitions, by the bytes of their names.
    pub(crate) fn open_partitions(&self) -> Vec<Arc<Inner>> {
        let mut open: Vec<_> = self.partitions.lock().open.values().cloned().collect();
        open.sort_unstable_by(|a, b| a.name.as_os_str().cmp(b.name.as_os_str()));
        open
    }

    /// Moves a directory out of the way, durably, to be removed from where it is now.
    pub(crate) fn bury(&self, dir: &Path) -> Result<PathBuf> {
        let fs = &*self.files.fs;
        let deleted = self.root.join(DELETED_DIR);
        self.heed(create_dirs(fs, &deleted))?;
        let number = self.deletions.fetch_add(1, Ordering::Relaxed);
        let to = deleted.join(number.to_string());
        fs.rename(dir, &to).context("delete", dir)?;
        for dir in [dir.parent(), Some(&deleted)].into_iter().flatten() {
            self.sync(|| fs.sync_dir(dir).context("sync", dir))?;
        }
        Ok(to)
    }

    pub(crate) fn delete(&self, inner: &Inner) -> Result<()> {
        let fs = &*self.files.fs;
        let to = match self.bury(&inner.dir) {
            // An attempt before this one came as far.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
            buried => Some(buried?),
        };
        self.partitions.lock().open.remove(&inner.name);
        self.checkpointer.note_change();
        let removed = to.map_or(Ok(()), |to| remove_tree(fs, &to).context("delete", &to));
        // Afterwards: what a reader opens meanwhile is closed too.
        for segment in inner.segments().iter() {
            segment.forget(&self.files);
        }
        removed
    }

    fn close(&self) -> Result<()> {
        self.check_healthy()?;
        self.commit_all()?;
        let open = self.open_partitions();
        for inner in &open {
            inner.log.lock().closed = true;
        }
        // What was appended while the rest was synced, after the round that is under way.
        let round = self.committing.lock();
        let late = open.iter().filter(|inner| inner.is_behind());
        self.finish(late.map(|inner| (inner, inner.log.lock().pending(inner))).collect())?;
        drop(round);
        self.sync(|| open.iter().try_for_each(|inner| inner.write_deferred()))?;
        let untidy = open.iter().filter(|inner| inner.log.lock().untidy).count();
        let many = untidy > SINGLE_SYNCS_MAX && self.sync(|| self.sync_filesystem())?;
        let durability = if many { Durability::Later } else { Durability::Now };
        for inner in &open {
            inner.log.lock().seal(inner, durability)?;
        }
        if many {
            self.sync(|| self.sync_filesystem())?;
        }
        for inner in &open {
            let end = inner.log.lock().end;
            inner.synced(end, Synced::Volume);
        }
        let clean = self.remove_journal()?;
        self.write_checkpoint(clean)
    }
}

pub(crate) const LOCK_FILE: &str = "lock";
const DELETED_DIR: &str = "deleted";

/// The data directory that `dir` is or lies in.
pub(crate) fn root_of<'a>(fs: &dyn Fs, dir: &'a Path) -> Option<&'a Path> {
    let marks = [CHECKPOINT_FILE, LOCK_FILE, journal::FILES[0], journal::FILES[1]];
    dir.ancestors().find(|dir| marks.iter().any(|mark| fs.open_read(&dir.join(mark)).is_ok()))
}

pub(crate) fn take_lock(fs: &dyn Fs, root: &Path) -> Result<Box<dyn Any + Send + Sync>> {
    let path = root.join(LOCK_FILE);
    fs.lock(&path).context("lock", &path)?.ok_or_else(|| {
        let pid = crate::fs::read_all(fs, &path).ok().and_then(|pid| String::from_utf8(pid).ok());
        let holder = pid.map(|pid| format!(" (process {})", pid.trim())).unwrap_or_default();
        Error::Locked { path: root.to_path_buf(), holder }
    })
}

/// Makes durable what an ended process wrote, which may not be on disk yet though it reads well;
/// false where the system cannot do it at once, and each file has to be synced by itself.
fn sweep(fs: &dyn Fs, root: &Path, root_dir: &dyn File) -> Result<bool> {
    let holds_logs = fs.list(root).context("list", root)?.iter().any(|entry| entry.is_dir);
    if !holds_logs {
        // A new volume: all it has is a name, and the file system is not kept waiting for it.
        sync_parent(fs, root).context("sync", root)?;
        return Ok(false);
    }
    match root_dir.sync_filesystem() {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            // What is found by its name is not made again, so nothing else would sync that.
            sync_dirs(fs, root).context("sync", root).map(|()| false)
        }
        swept => swept.context("sync", root).map(|()| true),
    }
}

/// Makes durable what a directory and those below it list.
fn sync_dirs(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let below = fs.list(dir)?.into_iter().filter(|entry| entry.is_dir);
    below.map(|entry| dir.join(entry.name)).try_for_each(|dir| sync_dirs(fs, &dir))?;
    fs.sync_dir(dir)
}

/// Finishes deletions that a crash interrupted, and gives a number that none which is left has. One
/// that fails keeps no log from being opened: the next start tries again.
fn remove_deleted(fs: &dyn Fs, root: &Path) -> u64 {
    let deleted = root.join(DELETED_DIR);
    let mut next = 0;
    for entry in fs.list(&deleted).unwrap_or_default() {
        if remove_tree(fs, &deleted.join(&entry.name)).is_err()
            && let Ok(number) = entry.name.parse::<u64>()
        {
            next = next.max(number.saturating_add(1));
        }
    }
    next
}

pub(crate) fn remove_tree(fs: &dyn Fs, dir: &Path) -> std::io::Result<()> {
    for entry in fs.list(dir)? {
        let path = dir.join(&entry.name);
        if entry.is_dir { remove_tree(fs, &path) } else { fs.remove_file(&path) }?;
    }
    fs.remove_dir(dir)
}
