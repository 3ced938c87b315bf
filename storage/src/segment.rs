//! One `.log` file with its indexes, as readers see it.
//!
//! **Bytes below the published length are whole batches, in order, and never change.** The length
//! is stored with `Release` after the bytes are in the file, and loaded with `Acquire` before they
//! are read.
//!
//! Batches that this process appended or scanned are known to be good. Those before are checked
//! against their checksum each time they are read: a small part of what sending them costs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use tidelog_protocol::records::{Batch, Header};

use crate::error::{Context, Error, Result};
use crate::files::{Files, Key, Kind};
use crate::fs::{Durability, File, read_all, remove_if_there, replace_with};
use crate::index::{self, Index, TimeEntry};
use crate::scan::{Walk, Window, whole_batch};
use crate::seal::{NEXT, Name};

pub(crate) struct Segment {
    pub base_offset: i64,
    pub name: Name,
    dir: Arc<Path>,
    key: Key,
    published: AtomicU64,
    /// Batches from here on are known to be good.
    checked_from: AtomicU64,
    /// `None` while the index files hold all there is to know.
    index: RwLock<Option<Index>>,
    interval: u32,
    /// Whether the index files were found to be this segment's.
    index_checked: AtomicBool,
    /// Whether [`Segment::each_batch`] met damage.
    damaged: AtomicBool,
}

/// How a segment comes into being.
pub(crate) struct Setup {
    pub base_offset: i64,
    pub published: u64,
    pub checked_from: u64,
    pub index: Option<Index>,
    pub interval: u32,
}

impl Segment {
    pub(crate) fn new(files: &Files, dir: &Arc<Path>, setup: Setup) -> Self {
        Self {
            base_offset: setup.base_offset,
            name: Name::default(),
            dir: dir.clone(),
            key: files.new_key(),
            published: AtomicU64::new(setup.published),
            checked_from: AtomicU64::new(setup.checked_from),
            index: RwLock::new(setup.index),
            interval: setup.interval,
            index_checked: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self.name.is_provisional() {
            true => self.dir.join(file_name(self.base_offset, NEXT)),
            false => self.final_path(),
        }
    }

    /// Where the file is or will be.
    pub(crate) fn final_path(&self) -> PathBuf {
        self.dir.join(file_name(self.base_offset, "log"))
    }

    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    pub(crate) fn file(&self, files: &Files) -> Result<Arc<dyn File>> {
        self.name.open(|| files.open(self.key, || self.path()))
    }

    /// Makes the batch that was written at the end readable.
    pub(crate) fn publish(&self, batch: &Header, position: u64) {
        if let Some(index) = &mut *self.index.write() {
            index.observe(batch, position);
        }
        self.published.store(position + batch.total_bytes() as u64, Ordering::Release);
    }

    /// Closes the files; maps that readers hold stay valid.
    pub(crate) fn forget(&self, files: &Files) {
        files.forget(self.key);
    }

    /// Whole batches from the one that holds `from` (or the first after it) on, at least one, up
    /// to `max_bytes` and below `until`. `None`: the segment has no batch at or after `from`.
    pub(crate) fn read(
        &self,
        files: &Files,
        from: i64,
        max_bytes: usize,
        until: i64,
    ) -> Result<Option<Bytes>> {
        let bytes = self.bytes(files)?;
        let start = self.floor(files, from)?;
        let Some((position, first)) = self.find(files, &bytes, start, (from, |_| true))? else {
            return Ok(None);
        };
        let start = usize_of(position);
        let mut next_offset = first.base_offset;
        let mut end = start;
        let checked_from = self.checked_from.load(Ordering::Acquire);
        if position >= checked_from {
            let limit = position.saturating_add(max_bytes as u64);
            end = self.skip_to(files, limit, until)?.map_or(start, usize_of).max(start);
        }
        while end < bytes.len() {
            let checked = end as u64 >= checked_from;
            let header = match whole_batch(&bytes[end..], next_offset, checked) {
                Ok(header) => header,
                Err(reason) if end == start => return Err(self.corrupt(end as u64, reason)),
                Err(_) => break,
            };
            let longer = end - start + header.total_bytes();
            if header.last_offset() >= until || (end > start && longer > max_bytes) {
                break;
            }
            end = start + longer;
            next_offset = header.last_offset() + 1;
        }
        Ok(Some(bytes.slice(start..end)))
    }

    /// Has every batch checked again each time it is read.
    pub(crate) fn suspect(&self) {
        self.checked_from.store(u64::MAX, Ordering::Release);
    }

    /// The position of a batch at or before the one that holds `from`.
    pub(crate) fn floor(&self, files: &Files, from: i64) -> Result<u64> {
        let entry = self.with_index(files, |offsets, _| {
            index::floor_of_offset(offsets, self.base_offset, from)
        })?;
        Ok(entry.map_or(0, |entry| entry.position))
    }

    /// The file, of which some bytes will come from the disk.
    pub(crate) fn file_past_cache(
        &self,
        files: &Files,
        from: u64,
        bytes: u64,
    ) -> Result<Arc<dyn File>> {
        let file = self.file(files)?;
        // What is mapped stays in the cache.
        files.forget_map(self.key);
        file.drop_cache(from, from.saturating_add(bytes)).context("read", &self.path())?;
        Ok(file)
    }

    /// Whether [`Segment::read`] finds index, map and bytes in memory.
    pub(crate) fn is_resident(&self, files: &Files, from: i64, max_bytes: usize) -> bool {
        let published = self.published();
        let Some(map) = files.mapped(self.key, Kind::Log) else { return false };
        let Some(start) = self.resident_floor(files, from) else { return false };
        // What is between an entry and the batch it leads to comes on top.
        let most = (max_bytes as u64).saturating_add(2 * u64::from(self.interval));
        let end = start.saturating_add(most).min(published);
        map.len() as u64 >= published && map.is_resident(usize_of(start)..usize_of(end))
    }

    /// Where to look for `from`, if that takes no file.
    fn resident_floor(&self, files: &Files, from: i64) -> Option<u64> {
        let floor = |offsets: &[u8]| {
            let entry = index::floor_of_offset(offsets, self.base_offset, from);
            entry.map_or(0, |entry| entry.position)
        };
        if let Some(index) = &*self.index.read() {
            return Some(floor(index.view().0));
        }
        files.mapped(self.key, Kind::TimeIndex)?;
        let offsets = files.mapped(self.key, Kind::OffsetIndex)?;
        let known = self.index_checked.load(Ordering::Acquire);
        (known && offsets.is_resident(0..offsets.len())).then(|| floor(&offsets.all()))
    }

    /// The last batch the index knows of at or below the position `limit` and below `until`.
    fn skip_to(&self, files: &Files, limit: u64, until: i64) -> Result<Option<u64>> {
        let base = self.base_offset;
        self.with_index(files, |offsets, _| {
            let by_offset = index::floor_of_offset(offsets, base, until - 1)?.position;
            Some(index::floor_of_position(offsets, base, limit)?.position.min(by_offset))
        })
    }

    /// The first batch that ends at or after `from` with a timestamp at or after `timestamp`.
    pub(crate) fn find_time(
        &self,
        files: &Files,
        timestamp: i64,
        from: i64,
    ) -> Result<Option<Header>> {
        if self.latest(files)?.is_none_or(|latest| latest.timestamp < timestamp) {
            return Ok(None);
        }
        let start = self.with_index(files, |offsets, times| {
            let before = index::below_timestamp(times, self.base_offset, timestamp)?;
            index::floor_of_offset(offsets, self.base_offset, before.last_offset)
        })?;
        let start = start.map_or(0, |entry| entry.position);
        let wanted =
            |header: &Header| header.max_timestamp >= timestamp && header.last_offset() >= from;
        let found = self.find(files, &self.bytes(files)?, start, (i64::MIN, wanted))?;
        Ok(found.map(|(_, header)| header))
    }

    /// An offset in the segment that is before its last `bytes`.
    pub(crate) fn offset_before(&self, files: &Files, bytes: u64) -> Result<i64> {
        let position = self.published().saturating_sub(bytes);
        let entry = self.with_index(files, |offsets, _| {
            index::floor_of_position(offsets, self.base_offset, position)
        })?;
        Ok(entry.map_or(self.base_offset, |entry| entry.last_offset))
    }

    /// Calls `visit` with each batch that ends at or after `from`, leaving out damage.
    pub(crate) fn each_from(
        &self,
        files: &Files,
        from: i64,
        mut visit: impl FnMut(&Header),
    ) -> Result<()> {
        let start = self.floor(files, from)?;
        let visit_and_go_on = |header: &Header| {
            if header.last_offset() >= from {
                visit(header);
            }
            false
        };
        self.find(files, &self.bytes(files)?, start, (i64::MIN, visit_and_go_on)).map(|_| ())
    }

    /// Whether [`Segment::each_batch`] met damage since the log was opened.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Calls `visit` with each batch; false if damage ended that before the last one.
    pub(crate) fn each_batch(
        &self,
        files: &Files,
        mut visit: impl FnMut(Batch) -> Result<()>,
    ) -> Result<bool> {
        let mut bytes = self.bytes(files)?;
        let mut next_offset = self.base_offset;
        while !bytes.is_empty() {
            let header = whole_batch(&bytes, next_offset, false);
            let (Ok(header), Ok(batch)) = (header, Batch::split_from(&mut bytes)) else {
                self.damaged.store(true, Ordering::Release);
                return Ok(false);
            };
            visit(batch)?;
            next_offset = header.last_offset() + 1;
        }
        Ok(true)
    }

    /// The first `len` bytes.
    pub(crate) fn start(&self, files: &Files, len: u64) -> Result<Bytes> {
        Ok(self.bytes(files)?.slice(..usize_of(len)))
    }

    /// The largest timestamp of the first batch: about when the segment was begun.
    pub(crate) fn oldest(&self, files: &Files) -> Result<Option<i64>> {
        let first = whole_batch(&self.bytes(files)?, self.base_offset, true);
        Ok(first.ok().map(|header| header.max_timestamp))
    }

    /// The batch with the largest timestamp.
    pub(crate) fn latest(&self, files: &Files) -> Result<Option<TimeEntry>> {
        if let Some(index) = &*self.index.read() {
            return Ok(index.latest());
        }
        self.with_index(files, |_, times| index::last_time_entry(times, self.base_offset))
    }

    /// Takes the index files into memory, to add to them.
    pub(crate) fn load_index(&self, files: &Files) -> Result<()> {
        if self.index.read().is_some() {
            return Ok(());
        }
        let published = self.published();
        let (offsets, times) = self.index_paths();
        let read = |path: &Path| read_all(&*files.fs, path).unwrap_or_default();
        let contents = (read(&offsets), read(&times));
        let index = match self.index_holds(files, &contents.0, &contents.1)? {
            true => Index::from_files(self.base_offset, self.interval, contents, published),
            false => self.rebuild(files)?,
        };
        *self.index.write() = Some(index);
        Ok(())
    }

    /// Writes the index files, durably up to the directory's sync, and lets go of the index. With
    /// no room for them it stays in memory, and older files are removed: they lack entries.
    pub(crate) fn store_index(&self, files: &Files, durability: Durability) -> Result<()> {
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
            Err(error) if error.is_disk_full() => {
                for path in [offsets_path, times_path] {
                    remove_if_there(&*files.fs, &path).context("remove", &path)?;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Lets go of the index without files of it: it is made from the batches when it is needed.
    pub(crate) fn drop_index(&self, files: &Files) -> Result<()> {
        *self.index.write() = None;
        files.forget_indexes(self.key);
        let (offsets, times) = self.index_paths();
        [offsets, times]
            .iter()
            .try_for_each(|path| remove_if_there(&*files.fs, path).context("remove", path))
    }

    /// Calls `look` with the contents of both indexes.
    fn with_index<T>(&self, files: &Files, look: impl Fn(&[u8], &[u8]) -> T) -> Result<T> {
        loop {
            if let Some(index) = &*self.index.read() {
                let (offsets, times) = index.view();
                return Ok(look(offsets, times));
            }
            let (offsets, times) = self.index_paths();
            let offsets = files.map_index(self.key, Kind::OffsetIndex, &offsets);
            let times = files.map_index(self.key, Kind::TimeIndex, &times);
            if let (Ok(offsets), Ok(times)) = (offsets, times) {
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
    /// of the last batches is compared with these.
    fn index_holds(&self, files: &Files, offsets: &[u8], times: &[u8]) -> Result<bool> {
        let base = self.base_offset;
        if !index::plausible(offsets, times, base, self.published()) {
            return Ok(false);
        }
        let bytes = self.bytes(files)?;
        let mut batches = Walk { bytes: &bytes, position: 0, next_offset: base };
        if let Some(latest) = index::last_time_entry(times, base) {
            let near = index::floor_of_offset(offsets, base, latest.last_offset);
            batches.position = near.map_or(0, |entry| entry.position);
            let found = batches.find(|header| header.last_offset() >= latest.last_offset);
            let entry = |header: Header| (header.max_timestamp, header.last_offset());
            if found.map(entry) != Some((latest.timestamp, latest.last_offset)) {
                return Ok(false);
            }
        }
        let last = index::last_offset_entry(offsets, base);
        let start = last.map_or(0, |entry| entry.position);
        batches = Walk { bytes: &bytes, position: start, next_offset: base };
        if let Some(last) = last
            && batches.next().is_none_or(|header| header.last_offset() != last.last_offset)
        {
            return Ok(false);
        }
        let latest = index::last_time_entry(times, base).map_or(i64::MIN, |entry| entry.timestamp);
        while batches.position - start <= u64::from(self.interval) {
            match batches.next() {
                Some(header) if header.max_timestamp > latest => return Ok(false),
                Some(_) => {}
                None => return Ok(true),
            }
        }
        // One more batch would have got an entry.
        Ok(batches.next().is_none())
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

    /// The first batch from `position` on that ends at or after `from` and is `wanted`, going
    /// around damage. It is an error if `from` lies in the damage.
    fn find(
        &self,
        files: &Files,
        bytes: &[u8],
        mut position: u64,
        (from, mut wanted): (i64, impl FnMut(&Header) -> bool),
    ) -> Result<Option<(u64, Header)>> {
        let mut next_offset = self.base_offset;
        while usize_of(position) < bytes.len() {
            let header = match whole_batch(&bytes[usize_of(position)..], next_offset, true) {
                Ok(header) => header,
                Err(reason) => {
                    let end = bytes.len() as u64;
                    let mut window = Window::new(self.file(files)?, end);
                    let found = window.resync(position, next_offset);
                    match found.context("read", &self.path())? {
                        Some((found, header)) if header.base_offset <= from || from == i64::MIN => {
                            position = found;
                            header
                        }
                        _ => return Err(self.corrupt(position, reason)),
                    }
                }
            };
            if header.last_offset() >= from && wanted(&header) {
                return Ok(Some((position, header)));
            }
            position += header.total_bytes() as u64;
            next_offset = header.last_offset() + 1;
        }
        Ok(None)
    }

    fn bytes(&self, files: &Files) -> Result<Bytes> {
        let published = self.published();
        let map = self.name.open(|| files.map(self.key, || self.path(), published))?;
        if (map.len() as u64) < published {
            return Err(self.corrupt(map.len() as u64, "the file was cut".into()));
        }
        Ok(map.bytes(0..usize_of(published)))
    }

    fn index_paths(&self) -> (PathBuf, PathBuf) {
        let path = |extension| self.dir.join(file_name(self.base_offset, extension));
        (path("index"), path("timeindex"))
    }

    fn corrupt(&self, position: u64, reason: String) -> Error {
        Error::Corrupt { path: self.path(), position, reason }
    }
}

/// Kafka's names: the base offset in 20 digits, so that names sort as offsets do.
pub(crate) fn file_name(base_offset: i64, extension: &str) -> String {
    format!("{base_offset:020}.{extension}")
}

/// The base offset of a `.log` file.
pub(crate) fn base_offset_of(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(".log")?;
    let all = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

/// Positions of what is mapped fit the address space.
fn usize_of(position: u64) -> usize {
    usize::try_from(position).expect("a position in a map")
}
