//! One `.log` file with its indexes, as readers see it. [`indexes`] has the files of the indexes,
//! [`batches`] what is read for anyone but consumers.
//!
//! **Bytes below the published length are whole batches, in order, and never change.** The length
//! is stored with `Release` after the bytes are in the file, and loaded with `Acquire` before they
//! are read.
//!
//! Batches that this process appended or scanned are known to be good. Those before are checked
//! against their checksum each time they are read: a small part of what sending them costs.

mod aborted;
mod batches;
mod indexes;

pub(crate) use aborted::Aborted;

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use tidelog_protocol::records::{HEADER_BYTES, Header};

use crate::error::{Context, Error, Result};
use crate::files::{Files, Key, Kind};
use crate::fs::File;
use crate::index::{self, Index, OffsetEntry};
use crate::mistake::Mistake;
use crate::mmap::Map;
use crate::partition::Pages;
use crate::scan::{Window, whole, whole_batch, within_offsets};
use crate::seal::{NEXT, Name};

/// Bytes that are brought into memory to look for a batch: the usual distance between two entries
/// of the index, and some batches of the size that producers send unless told otherwise.
const LOOK_BYTES: u64 = 64 << 10;

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
    aborted: aborted::Place,
    /// Whether [`Segment::each_batch`] met damage.
    damaged: AtomicBool,
    /// Whether its file is removed or replaced, or about to be.
    gone: AtomicBool,
}

/// How a segment comes into being.
pub(crate) struct Setup {
    pub base_offset: i64,
    pub published: u64,
    pub checked_from: u64,
    pub index: Option<Index>,
    pub interval: u32,
    pub aborted: Aborted,
    /// Whether there may be a `.txnindex`.
    pub has_txn_index: bool,
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
            aborted: aborted::Place::new(setup.aborted, setup.has_txn_index),
            damaged: AtomicBool::new(false),
            gone: AtomicBool::new(false),
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
        self.not_kept_if_gone(files, self.name.open(|| files.open(self.key, || self.path())))
    }

    /// Makes the batch that was written at the end readable.
    pub(crate) fn publish(&self, batch: &Header, position: u64) {
        if let Some(index) = &mut *self.index.write() {
            index.observe(batch, position);
        }
        self.published.store(position + batch.total_bytes() as u64, Ordering::Release);
    }

    /// Notes that the file is about to go, while nobody can look at the list of segments.
    pub(crate) fn set_gone(&self, gone: bool) {
        self.gone.store(gone, Ordering::SeqCst);
    }

    /// Asked after a look at the segment: if so, that may have been at another file, and the list
    /// of segments says what is there now.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Closes the files; maps that readers hold stay valid.
    pub(crate) fn forget(&self, files: &Files) {
        files.forget(self.key);
    }

    /// Gives back what was just opened. Of a segment that is gone nothing stays open, or the space
    /// of its file would be free only when others need the place.
    fn not_kept_if_gone<T>(&self, files: &Files, opened: T) -> T {
        if self.is_gone() {
            self.forget(files);
        }
        opened
    }

    /// Whole batches from the one that holds `from` (or the first after it) on, at least one, up
    /// to `max_bytes` and below `until`. `None`: the segment has no batch at or after `from`.
    pub(crate) fn read(
        &self,
        files: &Files,
        from: i64,
        (max_bytes, pages): (usize, Pages),
        until: i64,
    ) -> Result<Option<Bytes>> {
        let (map, bytes) = self.map(files)?;
        let entry = self.entry_before(files, from)?;
        let bring = |range| match pages {
            Pages::Resident => Ok(()),
            Pages::Brought => self.bring(&map, range),
        };
        let found = self.find(files, &bytes, entry, (from, |_| true), bring)?;
        let Some((position, first)) = found else { return Ok(None) };
        let mut answer = answer_at(position, &first, max_bytes);
        if bring(answer.clone()).is_err() {
            // Batches before what the disk cannot give come by themselves.
            answer = answer_at(position, &first, 0);
            bring(answer.clone()).map_err(|error| self.unreadable(error))?;
        }
        // No byte after these is looked at.
        let bytes = bytes.slice(..within(answer, bytes.len() as u64).end);
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
            if header.last_offset() >= until {
                break;
            }
            end += header.total_bytes();
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
        Ok(self.entry_before(files, from)?.map_or(0, |entry| entry.position))
    }

    /// The last entry of the index at or before `from`.
    fn entry_before(&self, files: &Files, from: i64) -> Result<Option<OffsetEntry>> {
        self.with_index(files, |offsets, _| {
            let stale = files.mistakes.made(Mistake::FollowsAStaleIndex);
            let from = if stale { from.saturating_add(2) } else { from };
            index::floor_of_offset(offsets, self.base_offset, from)
        })
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
        file.drop_cache(from..from.saturating_add(bytes)).context("read", &self.path())?;
        Ok(file)
    }

    /// Whether [`Segment::read`] finds index, map and bytes in memory.
    pub(crate) fn is_resident(&self, files: &Files, from: i64, max_bytes: usize) -> bool {
        let published = self.published();
        let Some(map) = files.mapped(self.key, Kind::Log) else { return false };
        let Some(entry) = self.resident_entry(files, from) else { return false };
        if (map.len() as u64) < published {
            return false;
        }
        let bytes = map.view(0..usize_of(published));
        // Nearly always all that is looked at, by one question to the system.
        let floor = entry.map_or(0, |entry| entry.position);
        let end = floor.saturating_add(LOOK_BYTES).saturating_add(max_bytes as u64);
        let around = within(floor..end, published);
        let around = if map.is_resident(around.clone()) { around } else { 0..0 };
        let all = Cell::new(true);
        let probe = |range: Range<u64>| {
            let range = within(range, published);
            let is_around = around.start <= range.start && range.end <= around.end;
            all.set(all.get() && (is_around || map.is_resident(range)));
            match all.get() {
                true => Ok(()),
                false => Err(io::ErrorKind::WouldBlock.into()),
            }
        };
        match self.find(files, bytes.as_ref(), entry, (from, |_| true), probe) {
            Ok(Some((at, first))) => probe(answer_at(at, &first, max_bytes)).is_ok(),
            _ => all.get(),
        }
    }

    /// Brings published bytes into memory.
    fn bring(&self, map: &Map, range: Range<u64>) -> io::Result<()> {
        map.bring(within(range, self.published()))
    }

    /// The last entry of the index at or before `from`, if looking takes no file.
    fn resident_entry(&self, files: &Files, from: i64) -> Option<Option<OffsetEntry>> {
        let floor = |offsets: &[u8]| index::floor_of_offset(offsets, self.base_offset, from);
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
        let wanted =
            |header: &Header| header.max_timestamp >= timestamp && header.last_offset() >= from;
        let (map, bytes) = self.map(files)?;
        let bring = |range| self.bring(&map, range);
        let found = self.find(files, &bytes, start, (i64::MIN, wanted), bring)?;
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

    /// Where an entry leads to, and the offset that follows there: its batch's, if that ends where
    /// the entry says. Without it a damaged batch after it would have it doubted.
    fn begin(&self, bytes: &[u8], entry: Option<OffsetEntry>) -> (u64, i64) {
        let Some(entry) = entry else { return (0, self.base_offset) };
        let rest = bytes.get(usize_of(entry.position)..).unwrap_or_default();
        let batch = Header::parse(rest).ok().filter(|it| it.last_offset() == entry.last_offset);
        (entry.position, batch.map_or(self.base_offset, |batch| batch.base_offset))
    }

    /// The first batch from the one of an entry on that ends at or after `from` and is `wanted`,
    /// going around damage. It is an error if `from` lies in the damage.
    ///
    /// `bring` is asked for bytes before they are looked at, and its error is the answer unless the
    /// batch that is looked for ends before them.
    fn find(
        &self,
        files: &Files,
        bytes: &[u8],
        start: Option<OffsetEntry>,
        (from, wanted): (i64, impl Fn(&Header) -> bool),
        bring: impl Fn(Range<u64>) -> io::Result<()>,
    ) -> Result<Option<(u64, Header)>> {
        let mut brought = 0..0;
        let mut bring_header = |at: u64| {
            let header = at..at.saturating_add(HEADER_BYTES as u64);
            if brought.start <= at && header.end <= brought.end {
                return Ok(());
            }
            let far = at..at.saturating_add(LOOK_BYTES);
            brought = if bring(far.clone()).is_ok() { far } else { header };
            bring(brought.clone())
        };
        bring_header(start.map_or(0, |entry| entry.position))
            .map_err(|error| self.unreadable(error))?;
        let (mut position, mut next_offset) = self.begin(bytes, start);
        let mut before: Option<(u64, Header)> = None;
        while usize_of(position) < bytes.len() {
            bring_header(position).map_err(|error| self.unreadable(error))?;
            let mut rest = &bytes[usize_of(position)..];
            let header = Header::parse(rest);
            let length = header.as_ref().map_or(0, |header| header.total_bytes() as u64);
            let next = position + length;
            // The batch after this one is asked whether this one is believable, if it is there.
            if bring_header(next).is_err() {
                rest = &rest[..usize_of(next - position).min(rest.len())];
            }
            let mut whole = match header {
                Ok(header) => whole(header, rest, next_offset),
                Err(error) => Err(error.to_string()),
            };
            if whole.as_ref().is_ok_and(|header| is_doubted(header, rest)) {
                bring(position..next).map_err(|error| self.unreadable(error))?;
                whole = whole_batch(rest, next_offset, false);
            }
            let header = match whole {
                Ok(header) => header,
                Err(reason) => {
                    let end = bytes.len() as u64;
                    let mut window = Window::new(self.file(files)?, end);
                    let found = window.resync_after(before.as_ref(), position, next_offset);
                    match found.map_err(|error| self.unreadable(error))? {
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
            before = Some((position, header));
            position += header.total_bytes() as u64;
            next_offset = header.last_offset() + 1;
        }
        Ok(None)
    }

    /// The map, and what is published in it now.
    fn map(&self, files: &Files) -> Result<(Map, Bytes)> {
        let published = self.published();
        let map = self.name.open(|| files.map(self.key, || self.path(), published));
        let map = self.not_kept_if_gone(files, map)?;
        if (map.len() as u64) < published {
            return Err(self.corrupt(map.len() as u64, "the file was cut".into()));
        }
        let bytes = map.bytes(0..usize_of(published));
        Ok((map, bytes))
    }

    fn map_index(&self, files: &Files, kind: Kind, path: &Path) -> io::Result<Map> {
        self.not_kept_if_gone(files, files.map_index(self.key, kind, path))
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Io { operation: "read", path: self.path(), source }
    }

    fn corrupt(&self, position: u64, reason: String) -> Error {
        Error::Corrupt { path: self.path(), position, reason }
    }
}

/// Where batches from `first` on, which is at `position`, may be that go into an answer.
fn answer_at(position: u64, first: &Header, max_bytes: usize) -> Range<u64> {
    position..position.saturating_add(max_bytes.max(first.total_bytes()) as u64)
}

/// What is published of a range.
fn within(range: Range<u64>, published: u64) -> Range<usize> {
    usize_of(range.start.min(published))..usize_of(range.end.min(published))
}

/// Whether a batch says that it reaches into the one after it: it is damaged, unless that one is.
/// Its checksum is over how far it reaches, and tells.
fn is_doubted(header: &Header, bytes: &[u8]) -> bool {
    within_offsets(header, &bytes[header.total_bytes()..]).is_some()
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
