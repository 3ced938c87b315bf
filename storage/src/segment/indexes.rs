//! The index files of a segment: read, checked against its batches, made anew, written.
//!
//! **The index is in memory or in the files, never in both**: a segment that is appended to has it
//! in memory, a sealed one maps the files when it is asked. Files that do not hold are passed over,
//! and the index is made from the batches.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use tidelog_protocol::records::Header;

use super::{Segment, file_name};
use crate::error::{Context, Result};
use crate::files::{Files, Kind};
use crate::fs::{Durability, read_all, remove_if_there, replace_with};
use crate::index::{self, Index, TimeEntry};
use crate::scan::{Walk, Window};

impl Segment {
    /// The batch with the largest timestamp.
    pub(crate) fn latest(&self, files: &Files) -> Result<Option<TimeEntry>> {
        if let Some(index) = &*self.index.read() {
            return Ok(index.latest());
        }
        self.with_index(files, |_, times| index::last_time_entry(times, self.base_offset))
    }

    /// The same as the index files have it, for a segment that cannot be read itself; `None` if
    /// they cannot be its own.
    pub(crate) fn latest_by_index_file(&self, files: &Files) -> Option<TimeEntry> {
        let (offsets, times) = self.index_paths();
        let offsets = read_all(&*files.fs, &offsets).ok()?;
        let times = read_all(&*files.fs, &times).ok()?;
        let its_own = index::plausible(&offsets, &times, self.base_offset, self.published());
        index::last_time_entry(&times, self.base_offset).filter(|_| its_own)
    }

    /// The last that the index noted of the batches that end before `until`: the largest timestamp
    /// up to there.
    pub(crate) fn noted_before(&self, files: &Files, until: i64) -> Result<Option<TimeEntry>> {
        self.with_index(files, |_, times| index::time_before(times, self.base_offset, until))
    }

    /// Takes the index files into memory, to add to them.
    ///
    /// Nobody waits for the disk meanwhile, so another one may have done so before, and batches may
    /// have been added since: what was made counts only if it is still all there is.
    pub(crate) fn load_index(&self, files: &Files) -> Result<()> {
        while self.index.read().is_none() {
            let published = self.published();
            let made = self.make_index(files, published)?;
            let mut index = self.index.write();
            if index.is_none() && self.published() == published {
                *index = Some(made);
            }
        }
        Ok(())
    }

    fn make_index(&self, files: &Files, published: u64) -> Result<Index> {
        let (offsets, times) = self.index_paths();
        let read = |path: &Path| read_all(&*files.fs, path).unwrap_or_default();
        let contents = (read(&offsets), read(&times));
        if self.index_holds(files, &contents.0, &contents.1)? {
            return Ok(Index::from_files(self.base_offset, self.interval, contents, published));
        }
        self.rebuild(files)
    }

    /// Writes the index files, durably up to the directory's sync, and lets go of the index. With
    /// no room for them it stays in memory, and older files are removed: they lack entries. So are
    /// they while the aborted transactions are not known: to have an index is to know them.
    pub(crate) fn store_index(&self, files: &Files, durability: Durability) -> Result<()> {
        if !self.store_aborted(files, durability)? {
            return self.remove_index_files(files, durability);
        }
        let (offsets, times) = {
            let mut index = self.index.write();
            let Some(memory) = &mut *index else { return Ok(()) };
            let (offsets, times) = memory.complete();
            // Readers do not wait for the disk.
            (offsets.to_vec(), times.to_vec())
        };
        let (offsets_path, times_path) = self.index_paths();
        files.forget_indexes(self.key);
        let store = |path: &Path, contents: &[u8]| {
            replace_with(&*files.fs, path, contents, durability).context("write", path)
        };
        let stored = store(&offsets_path, &offsets).and_then(|()| store(&times_path, &times));
        match stored {
            Ok(()) => *self.index.write() = None,
            Err(error) if error.is_disk_full() => self.remove_index_files(files, durability)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Lets go of the index without files of it: it is made from the batches when it is needed.
    pub(crate) fn drop_index(&self, files: &Files) -> Result<()> {
        *self.index.write() = None;
        self.remove_index_files(files, Durability::Later)
    }

    /// Durable when it returns, unless that is to be later: the next segment gets its name after
    /// it, and from then on a start believes what index files there are.
    fn remove_index_files(&self, files: &Files, durability: Durability) -> Result<()> {
        files.forget_indexes(self.key);
        let (offsets, times) = self.index_paths();
        for path in [offsets, times] {
            remove_if_there(&*files.fs, &path).context("remove", &path)?;
        }
        match durability {
            Durability::Now => files.fs.sync_dir(&self.dir).context("sync", &self.dir),
            Durability::Later => Ok(()),
        }
    }

    /// Calls `look` with the contents of both indexes.
    pub(super) fn with_index<T>(
        &self,
        files: &Files,
        look: impl Fn(&[u8], &[u8]) -> T,
    ) -> Result<T> {
        loop {
            let maps = {
                let index = self.index.read();
                if let Some(index) = &*index {
                    let (offsets, times) = index.view();
                    return Ok(look(offsets, times));
                }
                // Before the index can come into memory: then the files are to be replaced, and
                // their maps must not be found afterwards.
                let (offsets, times) = self.index_paths();
                let offsets = self.map_index(files, Kind::OffsetIndex, &offsets);
                (offsets, self.map_index(files, Kind::TimeIndex, &times))
            };
            if let (Ok(offsets), Ok(times)) = maps {
                let (offsets, times) = (offsets.all(), times.all());
                if self.index_checked.load(Ordering::Acquire)
                    || self.index_holds(files, &offsets, &times)?
                {
                    self.index_checked.store(true, Ordering::Release);
                    return Ok(look(&offsets, &times));
                }
            }
            self.load_index(files)?;
        }
    }

    /// Whether index files belong to this segment. Their format has no checksum, so what they say
    /// of the last batches is compared with these: by `pread`, since who asks may be no reader.
    fn index_holds(&self, files: &Files, offsets: &[u8], times: &[u8]) -> Result<bool> {
        if !index::plausible(offsets, times, self.base_offset, self.published()) {
            return Ok(false);
        }
        let (file, ahead) = (self.file(files)?, u64::from(self.interval));
        let window = Window::of_headers(file, self.published(), ahead);
        let batches = Walk { window, position: 0, next_offset: self.base_offset };
        self.agree(batches, offsets, times).context("read", &self.path())
    }

    fn agree(&self, mut batches: Walk, offsets: &[u8], times: &[u8]) -> io::Result<bool> {
        let base = self.base_offset;
        if let Some(latest) = index::last_time_entry(times, base) {
            let near = index::floor_of_offset(offsets, base, latest.last_offset);
            batches.position = near.map_or(0, |entry| entry.position);
            let found = batches.find(|header| header.last_offset() >= latest.last_offset)?;
            let entry = |header: Header| (header.max_timestamp, header.last_offset());
            if found.map(entry) != Some((latest.timestamp, latest.last_offset)) {
                return Ok(false);
            }
        }
        let last = index::last_offset_entry(offsets, base);
        let start = last.map_or(0, |entry| entry.position);
        (batches.position, batches.next_offset) = (start, base);
        if let Some(last) = last
            && batches.next()?.is_none_or(|header| header.last_offset() != last.last_offset)
        {
            return Ok(false);
        }
        let latest = index::last_time_entry(times, base).map_or(i64::MIN, |entry| entry.timestamp);
        while batches.position - start <= u64::from(self.interval) {
            match batches.next()? {
                Some(header) if header.max_timestamp > latest => return Ok(false),
                Some(_) => {}
                None => return Ok(true),
            }
        }
        // One more batch would have got an entry.
        Ok(batches.next()?.is_none())
    }

    fn rebuild(&self, files: &Files) -> Result<Index> {
        let path = self.path();
        let mut window = Window::new(self.file(files)?, self.published());
        let mut index = Index::new(self.base_offset, self.interval);
        let (mut position, mut next_offset) = (0, self.base_offset);
        while position < window.end() {
            let header = match window.header(position, next_offset).context("read", &path)? {
                Ok(header) => header,
                Err(_) => match window.resync(position, next_offset).context("read", &path)? {
                    Some((found, header)) => {
                        position = found;
                        header
                    }
                    None => break,
                },
            };
            index.observe(&header, position);
            position += header.total_bytes() as u64;
            next_offset = header.last_offset() + 1;
        }
        Ok(index)
    }

    fn index_paths(&self) -> (PathBuf, PathBuf) {
        let path = |extension| self.dir.join(file_name(self.base_offset, extension));
        (path("index"), path("timeindex"))
    }
}
