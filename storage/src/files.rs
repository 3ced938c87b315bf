//! The files of a volume's segments: opened and mapped when needed, closed when others need more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::fs::{File, Fs};
use crate::mistake::Mistakes;
use crate::mmap::Map;

/// Open files kept per volume: at least these, of the 1,024 that a process has unless its limit is
/// raised. More are open only while they have bytes to sync, of which this share of the limit may
/// wait for their time: then all of them are synced.
const OPEN_FILES_MIN: usize = 512;
/// And no more than these, of what a raised limit leaves to sockets.
const OPEN_FILES_MAX: usize = 4096;
const OPEN_FILES_SHARE: u64 = 8;
const UNSYNCED_SHARE: u64 = 4;
/// Maps kept per volume, of the 65,530 a process may have on Linux.
const MAPS_MAX: usize = 4096;

/// The file system with what is open on it.
pub(crate) struct Files {
    pub fs: Arc<dyn Fs>,
    pub mistakes: Mistakes,
    /// Files that may be open with bytes whose sync is not due.
    pub unsynced_max: usize,
    open: Cache<Arc<dyn File>>,
    maps: Cache<Map>,
    next_key: AtomicU64,
}

/// Names a segment in the caches: unlike its path, never used for another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(u64);

/// The files of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Log = 0,
    OffsetIndex = 1,
    TimeIndex = 2,
    TxnIndex = 3,
}

impl Key {
    fn of(self, kind: Kind) -> u64 {
        self.0 + kind as u64
    }
}

impl Files {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Self {
        let open_max = share_of_files(OPEN_FILES_SHARE).clamp(OPEN_FILES_MIN, OPEN_FILES_MAX);
        Self {
            fs,
            mistakes: Mistakes::default(),
            unsynced_max: share_of_files(UNSYNCED_SHARE),
            open: Cache::new(open_max),
            maps: Cache::new(MAPS_MAX),
            next_key: AtomicU64::new(0),
        }
    }

    /// A key that was never given out before.
    pub(crate) fn new_key(&self) -> Key {
        Key(self.next_key.fetch_add(4, Ordering::Relaxed))
    }

    /// The open log file of `key`, which is at `path`; that is asked for only if it has to be
    /// opened.
    pub(crate) fn open(&self, key: Key, path: impl Fn() -> PathBuf) -> Result<Arc<dyn File>> {
        let open = || self.fs.open(&path());
        let opened = self.open.get(key.of(Kind::Log), |_| true, open);
        opened.map_err(|source| Error::Io { operation: "open", path: path(), source })
    }

    /// A map of at least the first `published` bytes of the log file of `key`.
    pub(crate) fn map(&self, key: Key, path: impl Fn() -> PathBuf, published: u64) -> Result<Map> {
        let covers = |map: &Map| map.len() as u64 >= published;
        let file = || self.open.get(key.of(Kind::Log), |_| true, || self.fs.open(&path()));
        let mapped = self.maps.get(key.of(Kind::Log), covers, || file()?.map(published));
        mapped.map_err(|source| Error::Io { operation: "map", path: path(), source })
    }

    /// The map of a file of `key`, if there is one.
    pub(crate) fn mapped(&self, key: Key, kind: Kind) -> Option<Map> {
        self.maps.peek(key.of(kind))
    }

    /// A map of a whole index file, which is only ever replaced, never written to.
    pub(crate) fn map_index(&self, key: Key, kind: Kind, path: &Path) -> io::Result<Map> {
        let open = || {
            let file = self.fs.open(path)?;
            let map = file.map(file.size()?)?;
            map.bring(0..map.len())?;
            Ok(map)
        };
        self.maps.get(key.of(kind), |_| true, open)
    }

    /// Lets go of the map of the log file; slices that readers hold stay valid.
    pub(crate) fn forget_map(&self, key: Key) {
        self.maps.remove(key.of(Kind::Log));
    }

    /// How many log files are open, and how many files are mapped.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.open.len(), self.maps.len())
    }

    /// Lets go of the maps of the index files, which are to be replaced.
    pub(crate) fn forget_indexes(&self, key: Key) {
        self.maps.remove(key.of(Kind::OffsetIndex));
        self.maps.remove(key.of(Kind::TimeIndex));
        self.maps.remove(key.of(Kind::TxnIndex));
    }

    /// Closes all that is cached of `key`.
    pub(crate) fn forget(&self, key: Key) {
        self.open.remove(key.of(Kind::Log));
        self.maps.remove(key.of(Kind::Log));
        self.forget_indexes(key);
    }
}

/// One part in `share` of the files that the process may have open, by its limit as it is now.
fn share_of_files(share: u64) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / share).unwrap_or(usize::MAX)
}
