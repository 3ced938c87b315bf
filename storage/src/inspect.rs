//! Looking at a partition's directory without opening it, to show or to check it.
//!
//! **Nothing is written and no lock is taken**, so a running process may be appending: the last
//! segment may then end in half a batch, as after a crash. What only the commit journal has is
//! shown where the next start is going to write it.

mod aborted;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidelog_protocol::records::{Batch, Header};

use crate::error::{Context, Result};
use crate::fs::{File, Fs, read_all, read_full_at, read_if_there};
use crate::index::{self, OFFSET_ENTRY_BYTES, OffsetEntry, TIME_ENTRY_BYTES, TimeEntry};
use crate::journal::{Journaled, Overlaid, Shares};
use crate::producers::Producers;
use crate::scan::Window;
use crate::segment::base_offset_of;
use crate::txn_index::AbortedTxn;
use crate::volume::root_of;
use aborted::Aborted;

/// Something in a partition's directory.
#[derive(Clone, Debug)]
pub enum Found {
    /// A batch whose checksum holds.
    Batch {
        /// Where it is in its file.
        position: u64,
        /// The batch.
        batch: Batch,
        /// Whether the file lacks it, since only the commit journal of the data directory has it
        /// yet: as after a kill.
        journaled: bool,
    },
    /// Space reserved for batches to come, all zeros.
    Reserved {
        /// Where it starts.
        position: u64,
        /// How much.
        bytes: u64,
    },
    /// An entry of a `.txnindex` that means a transaction which was aborted.
    Aborted {
        /// Where it is in its file.
        position: u64,
        /// The transaction.
        transaction: AbortedTxn,
    },
    /// Bytes that are not what was written.
    Damage {
        /// Where they start.
        position: u64,
        /// How many.
        bytes: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Calls `visit` with everything that is found in `dir`, and the file it is in: segments by offset,
/// the indexes of each after it, and producer snapshots. Of the latter two only damage is told, but
/// for aborted transactions.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); damage is no error.
pub fn inspect(fs: &dyn Fs, dir: &Path, visit: &mut dyn FnMut(&Path, Found)) -> Result<()> {
    let journaled = match root_of(fs, dir) {
        Some(root) => {
            let name = dir.strip_prefix(root).unwrap_or(dir);
            Shares::read(fs, root, Some(name))?.take(fs, dir, name)?
        }
        // It was carried elsewhere.
        None => None,
    };
    inspect_with(fs, dir, journaled, visit)
}

/// The same for who has read what the journal has of the log.
pub(crate) fn inspect_with(
    fs: &dyn Fs,
    dir: &Path,
    mut journaled: Option<Journaled>,
    visit: &mut dyn FnMut(&Path, Found),
) -> Result<()> {
    let entries = fs.list(dir).context("list", dir)?;
    let mut segments: Vec<_> =
        entries.iter().filter_map(|entry| Some((segment_of(&entry.name)?, &entry.name))).collect();
    segments.sort_unstable();
    let mut next_offset = 0;
    let mut producers = Producers::default();
    for (n, (base_offset, name)) in segments.iter().enumerate() {
        let (base_offset, next) = (*base_offset, segments.get(n + 1).map(|(_, name)| &***name));
        let journaled = journaled.take_if(|it| it.segment == base_offset);
        let mut segment = Segment::open(fs, dir, base_offset, name, next, journaled)?;
        if base_offset < next_offset {
            let reason = format!("starts at {base_offset} where {next_offset} or more follows");
            visit(&segment.path, Found::Damage { position: 0, bytes: 0, reason });
        }
        next_offset = segment.walk(&mut producers, visit)?;
    }
    for entry in entries.iter().filter(|entry| entry.name.ends_with(".snapshot")) {
        let path = dir.join(&entry.name);
        let bytes = read_all(fs, &path).context("read", &path)?;
        if Producers::decode(&bytes).is_none() {
            let reason = "not a producer snapshot, or its checksum does not match".to_owned();
            visit(&path, Found::Damage { position: 0, bytes: entry.len, reason });
        }
    }
    Ok(())
}

/// Bytes of the segments in `dir`, reserved space included.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub fn segment_bytes(fs: &dyn Fs, dir: &Path) -> Result<u64> {
    let entries = fs.list(dir).context("list", dir)?;
    let segments = entries.iter().filter(|entry| segment_of(&entry.name).is_some());
    Ok(segments.map(|entry| entry.len).sum())
}

/// The base offset of a segment's file, also of one that was begun just now.
fn segment_of(name: &str) -> Option<i64> {
    base_offset_of(name.strip_suffix(".next").unwrap_or(name))
}

/// A part of a segment, or what is wrong with it.
type Checked<T> = std::result::Result<T, String>;

/// A segment with what is left of its indexes to compare with its batches.
struct Segment {
    path: PathBuf,
    base_offset: i64,
    window: Window,
    /// What the window is over, if the journal has some of it.
    overlaid: Option<Arc<Overlaid>>,
    offsets: Entries<OffsetEntry>,
    times: Entries<TimeEntry>,
    aborted: Aborted,
}

struct Entries<T> {
    path: PathBuf,
    width: u64,
    /// The next one's number.
    number: u64,
    /// Last to first.
    left: Vec<T>,
}

impl<T> Entries<T> {
    fn read(fs: &dyn Fs, path: PathBuf, width: usize, parse: impl Fn(&[u8]) -> T) -> Result<Self> {
        let mut bytes = read_if_there(fs, &path).context("read", &path)?.unwrap_or_default();
        // An index that a Kafka broker has not closed ends in reserved space.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(written.next_multiple_of(width).min(bytes.len()));
        let left = bytes.chunks_exact(width).rev().map(parse).collect();
        Ok(Self { path, width: width as u64, number: 0, left })
    }

    /// Takes the entries off that `is_due`, telling of those that are not `right`.
    fn compare(
        &mut self,
        is_due: impl Fn(&T) -> bool,
        right: impl Fn(&T) -> bool,
        visit: &mut dyn FnMut(&Path, Found),
    ) {
        while let Some(entry) = self.left.pop_if(|entry| is_due(entry)) {
            if !right(&entry) {
                let reason = "the entry means no batch; the index is made anew when needed";
                let (position, bytes) = (self.number * self.width, self.width);
                visit(&self.path, Found::Damage { position, bytes, reason: reason.to_owned() });
            }
            self.number += 1;
        }
    }
}

impl Segment {
    fn open(
        fs: &dyn Fs,
        dir: &Path,
        base_offset: i64,
        name: &str,
        next: Option<&str>,
        journaled: Option<Journaled>,
    ) -> Result<Self> {
        let path = |extension| dir.join(crate::segment::file_name(base_offset, extension));
        let log = dir.join(name);
        // It may get its name just now.
        let file = fs.open_read(&log).or_else(|_| fs.open_read(&path("log")));
        let file = file.context("open", &log)?;
        let overlaid = journaled.map(|it| Arc::new(it.over(file.clone())));
        let file: Arc<dyn File> = match &overlaid {
            Some(overlaid) => overlaid.clone(),
            None => file,
        };
        let len = file.size().context("read", &log)?;
        let offset = |entry: &[u8]| index::offset_entry(entry, base_offset);
        let time = |entry: &[u8]| index::time_entry(entry, base_offset);
        let is_sealed = aborted::is_sealed(fs, &path("index"), next);
        Ok(Self {
            window: Window::new(file, len),
            overlaid,
            path: log,
            base_offset,
            offsets: Entries::read(fs, path("index"), OFFSET_ENTRY_BYTES, offset)?,
            times: Entries::read(fs, path("timeindex"), TIME_ENTRY_BYTES, time)?,
            aborted: Aborted::open(fs, path("txnindex"), is_sealed)?,
        })
    }

    /// Returns the offset after the last batch.
    fn walk(
        &mut self,
        producers: &mut Producers,
        visit: &mut dyn FnMut(&Path, Found),
    ) -> Result<i64> {
        let (mut position, mut next_offset) = (0, self.base_offset);
        while position < self.window.end() {
            let reason = match self.batch(position, next_offset)? {
                Ok(batch) => {
                    let header = *batch.header();
                    self.compare_indexes(&header, position, visit);
                    self.aborted.compare(&batch, producers, visit);
                    let journaled = self.is_journaled(position, &batch)?;
                    visit(&self.path, Found::Batch { position, batch, journaled });
                    position += header.total_bytes() as u64;
                    next_offset = header.last_offset() + 1;
                    continue;
                }
                Err(reason) => reason,
            };
            let found = self.window.resync(position, next_offset).context("read", &self.path)?;
            let end = found.map_or(self.window.end(), |(found, _)| found);
            let data_end = self.window.data_end(position).context("read", &self.path)?;
            let damaged = data_end.min(end) - position;
            if damaged > 0 {
                visit(&self.path, Found::Damage { position, bytes: damaged, reason });
            }
            if data_end < end {
                let reserved = Found::Reserved { position: data_end, bytes: end - data_end };
                visit(&self.path, reserved);
            }
            position = end;
            next_offset = found.map_or(next_offset, |(_, header)| header.base_offset);
        }
        // What is left means batches that are not there.
        self.offsets.compare(|_| true, |_| false, visit);
        self.times.compare(|_| true, |_| false, visit);
        self.aborted.finish(visit);
        Ok(next_offset)
    }

    /// The batch at `position`, or what is wrong there.
    fn batch(&mut self, position: u64, next_offset: i64) -> Result<Checked<Batch>> {
        let header = match self.window.header(position, next_offset).context("read", &self.path)? {
            Ok(header) => header,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut bytes = vec![0; header.total_bytes()];
        let read = read_full_at(self.window.file(), &mut bytes, position);
        bytes.truncate(read.context("read", &self.path)?);
        let split = Batch::split_from(&mut Bytes::from(bytes));
        let checked = split.and_then(|batch| header.verify(batch.bytes()).map(|()| batch));
        Ok(checked.map_err(|error| error.to_string()))
    }

    fn is_journaled(&self, position: u64, batch: &Batch) -> Result<bool> {
        let Some(overlaid) = &self.overlaid else { return Ok(false) };
        overlaid.adds(position, batch.bytes()).context("read", &self.path)
    }

    fn compare_indexes(&mut self, batch: &Header, at: u64, visit: &mut dyn FnMut(&Path, Found)) {
        let last = batch.last_offset();
        let means = |entry: &OffsetEntry| entry.position == at && entry.last_offset == last;
        self.offsets.compare(|entry| entry.position <= at, means, visit);
        let means = |entry: &TimeEntry| {
            entry.last_offset >= batch.base_offset && entry.timestamp == batch.max_timestamp
        };
        self.times.compare(|entry| entry.last_offset <= last, means, visit);
    }
}
