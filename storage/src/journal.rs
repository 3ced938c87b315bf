//! Where commits of many partitions are synced: in one file, not in as many as there are
//! partitions.
//!
//! What a sync costs, it costs for each file. So a round of many partitions writes what each of
//! them has gained, one after the other, into a journal, and syncs that. The logs' own files get
//! the same bytes meanwhile, in the system's cache, or [later](crate::deferred) where they are few;
//! and are synced some time later, all together ([`Shared::settle`]). A crash before that leaves
//! them in the journal, and the next start writes them into the files [again](redo) before it opens
//! any log.
//!
//! Two files in the data directory, `commit-journal-0` and `-1`, take turns: while one is written,
//! what the other one holds is synced in the logs. They are there while a process runs that has
//! had such rounds. Numbers are big-endian; a round begins at a multiple of 4 KiB, so that writing
//! it touches no other:
//!
//! ```text
//!  0   8  "tidelog\x01"
//!  8   8  generation: how often the files have taken turns
//! 16   4  number of the round in its generation, from 0
//! 20   4  bytes of its shares
//! 24   4  CRC32C of the 24 bytes before, and of the shares
//! 28      shares, each of a partition:
//!         2   bytes of the directory's name
//!         n   the directory, as a path from the data directory
//!         16  topic id
//!         8   base offset of the segment
//!         8   position in its file
//!         4   bytes of its batches
//!         m   its batches, as they are in the file
//! ```
//!
//! **A file's rounds count as far as they have the generation of its first one, and follow each
//! other.** One that is torn ends them: it was not acknowledged, and none was begun after it.

mod redo;
mod view;

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) use redo::{Redone, redo};
pub(crate) use view::{Journaled, Overlaid, Shares};

use crate::checkpoint::End;
use crate::commit::SINGLE_SYNCS_MAX;
use crate::deferred::Share;
use crate::error::{Context, Error, Result};
use crate::fs::{File, Fs, read_full_at, remove_if_there, write_all_at};
use crate::partition::Inner;
use crate::syncers::Dirty;
use crate::unwritten::Unwritten;
use crate::volume::Shared;

/// Partitions of a round, from which on it is journaled.
const SHARES_MIN: usize = 4;
/// Bytes a partition, on average, up to which it is: longer ones are written twice for longer than
/// that saves.
const SHARE_BYTES_MAX: u64 = 128 << 10;
/// Bytes of a round's batches.
const ROUND_BYTES_MAX: u64 = 8 << 20;
/// Bytes of each file. Rounds that find no room sync the logs.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Bytes in a file that have the logs synced before their time.
const FILE_BYTES_MANY: u64 = FILE_BYTES_MAX / 2;

pub(crate) const FILES: [&str; 2] = ["commit-journal-0", "commit-journal-1"];
const MAGIC: &[u8; 8] = b"tidelog\x01";
const HEADER_BYTES: usize = 28;
const BLOCK_BYTES: usize = 4 << 10;

/// What rounds are written to.
pub(crate) struct Journal {
    files: [Option<Arc<dyn File>>; 2],
    /// Whether their names are durable.
    named: [bool; 2],
    generation: u64,
    /// The next round's number.
    number: u32,
    /// Where it goes.
    end: u64,
    /// The logs it is of.
    logs: Vec<Arc<Inner>>,
    /// Whether all that the other file holds is durable in the logs.
    settled: bool,
    /// The round that is being written.
    round: Vec<u8>,
    /// Whether files of an earlier process are kept, for a start that can make use of them.
    kept: bool,
}

impl Journal {
    /// One without files; with none to come where those of an earlier process are `kept`.
    pub(crate) fn new(kept: bool) -> Self {
        Self {
            files: [None, None],
            named: [false; 2],
            generation: 1,
            number: 0,
            end: 0,
            logs: Vec::new(),
            settled: true,
            round: Vec::new(),
            kept,
        }
    }

    /// Lets go of the logs, which have the volume that has this.
    pub(crate) fn clear(&mut self) {
        self.logs.clear();
    }

    /// Begins a round.
    fn begin(&mut self) {
        self.round.clear();
        self.round.extend_from_slice(MAGIC);
        self.round.extend_from_slice(&self.generation.to_be_bytes());
        self.round.extend_from_slice(&self.number.to_be_bytes());
        self.round.extend_from_slice(&[0; 8]);
    }

    /// Adds what a partition has gained, of which some may be in its file already.
    fn add(&mut self, dirty: &Dirty) -> io::Result<()> {
        let inner = &dirty.inner;
        let name = inner.name.as_os_str().as_encoded_bytes();
        let name_len = u16::try_from(name.len()).map_err(io::Error::other)?;
        let bytes = u32::try_from(dirty.bytes()).map_err(io::Error::other)?;
        self.round.extend_from_slice(&name_len.to_be_bytes());
        self.round.extend_from_slice(name);
        self.round.extend_from_slice(&inner.topic_id);
        self.round.extend_from_slice(&dirty.segment.base_offset.to_be_bytes());
        self.round.extend_from_slice(&dirty.from.to_be_bytes());
        self.round.extend_from_slice(&bytes.to_be_bytes());
        match &*dirty.share.lock() {
            Share::Taken(unwritten) => self.add_batches(dirty, Some(unwritten)),
            Share::Noted { .. } => {
                let unwritten = inner.unwritten.lock();
                // It may have been written since, and the log have gone on.
                let same = |it: &&Unwritten| Arc::ptr_eq(it.segment(), &dirty.segment);
                self.add_batches(dirty, unwritten.as_ref().filter(same))
            }
            Share::Nothing => self.add_batches(dirty, None),
        }
    }

    /// Adds its batches: from its file those before what is `unwritten`.
    fn add_batches(&mut self, dirty: &Dirty, unwritten: Option<&Unwritten>) -> io::Result<()> {
        let Dirty { from, end, .. } = *dirty;
        let written_end = unwritten.map_or(end, |it| it.position().clamp(from, end));
        let written = usize::try_from(written_end - from).map_err(io::Error::other)?;
        let at = self.round.len();
        self.round.resize(at + written, 0);
        if read_full_at(&*dirty.file, &mut self.round[at..], from)? != written {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(unwritten) = unwritten {
            unwritten.add_to(&mut self.round, written_end..end);
        }
        Ok(())
    }

    /// Writes the round; it counts once [`Journal::sync`] returns.
    fn write(&mut self, fs: &dyn Fs, root: &Path) -> io::Result<()> {
        let shares = self.round.len() - HEADER_BYTES;
        let shares = u32::try_from(shares).map_err(io::Error::other)?;
        self.round[20..24].copy_from_slice(&shares.to_be_bytes());
        let checksum = checksum(&self.round);
        self.round[24..HEADER_BYTES].copy_from_slice(&checksum.to_be_bytes());
        self.round.resize(self.round.len().next_multiple_of(BLOCK_BYTES), 0);
        if self.round.len() as u64 > FILE_BYTES_MAX - self.end {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = match &self.files[self.turn()] {
            Some(file) => file.clone(),
            None => {
                let file = fs.create(&path(root, self.turn()))?;
                self.files[self.turn()].insert(file).clone()
            }
        };
        write_all_at(&*file, &mut [IoSlice::new(&self.round)], self.end)
    }

    /// Makes the round that was written durable.
    fn sync(&mut self, fs: &dyn Fs, root: &Path) -> io::Result<()> {
        let turn = self.turn();
        if let Some(file) = &self.files[turn] {
            file.sync_data()?;
        }
        if !self.named[turn] {
            fs.sync_dir(root)?;
            self.named[turn] = true;
        }
        self.end += self.round.len() as u64;
        self.number += 1;
        Ok(())
    }

    /// Which of the files is written.
    const fn turn(&self) -> usize {
        (self.generation % 2) as usize
    }

    /// Has the next round go to the other file, and gives the logs that this one is of: none if
    /// there is nothing in it, or the other one is still needed.
    fn take_turns(&mut self) -> Vec<Arc<Inner>> {
        if self.end == 0 || !self.settled {
            return Vec::new();
        }
        self.generation += 1;
        (self.number, self.end, self.settled) = (0, 0, false);
        // What a large round took is not kept by an idle process.
        self.round = Vec::new();
        self.logs.iter().for_each(|inner| inner.journaled.store(false, Ordering::Relaxed));
        std::mem::take(&mut self.logs)
    }
}

impl Shared {
    /// Makes a round durable in the journal; false where it is to be synced file by file.
    ///
    /// # Errors
    /// A failed write of a log or a failed sync, both final. A journal that cannot be written is no
    /// error: the logs get all that it would have.
    pub(crate) fn journal(&self, files: &Arc<[Dirty]>) -> Result<bool> {
        let bytes: u64 = files.iter().map(Dirty::bytes).sum();
        let many = files.len() >= SHARES_MIN && bytes / files.len() as u64 <= SHARE_BYTES_MAX;
        let mut journal = self.journal.lock();
        let room = ROUND_BYTES_MAX.min(FILE_BYTES_MAX - journal.end);
        if !many || bytes > room || journal.kept {
            return Ok(false);
        }
        journal.begin();
        if files.iter().try_for_each(|dirty| journal.add(dirty)).is_err() {
            return Ok(false);
        }
        // By itself, so that the disk has it to write while the processors write the logs.
        if journal.write(&*self.files.fs, &self.root).is_err() {
            return Ok(false);
        }
        let much = self.buffers.are_low();
        let (synced, written) = self.syncers.write(files, much, || self.sync_round(&mut journal));
        written.and(synced)?;
        let logs = files.iter().map(|it| &it.inner);
        let new = logs.filter(|it| !it.journaled.swap(true, Ordering::Relaxed));
        journal.logs.extend(new.cloned());
        Ok(true)
    }

    fn sync_round(&self, journal: &mut Journal) -> Result<()> {
        journal.sync(&*self.files.fs, &self.root).context("sync the journal of", &self.root)?;
        self.counters.journaled_bytes.add(journal.round.len() as u64);
        if journal.end > FILE_BYTES_MANY {
            self.checkpointer.hurry();
        }
        Ok(())
    }

    /// Makes what the journal holds durable in the logs. Beside rounds of commits, which go on.
    ///
    /// **All is opened anew**: the system tells of a failure once to each open file, and so a round
    /// is not kept from hearing of its own.
    pub(crate) fn settle(&self) -> Result<()> {
        let logs = self.journal.lock().take_turns();
        if logs.is_empty() {
            return Ok(());
        }
        let ends = logs.into_iter().map(|inner| {
            // In this order: what is written has all that commits cover now.
            let end = inner.log.lock().durable;
            inner.make_readable()?;
            Ok((inner, end))
        });
        let ends = ends.collect::<Result<Vec<_>>>()?;
        self.sync_logs(&ends).or_else(|error| self.sync(|| Err(error)))?;
        ends.iter().for_each(|(inner, end)| inner.settled(*end));
        self.journal.lock().settled = true;
        Ok(())
    }

    fn sync_logs(&self, ends: &[(Arc<Inner>, End)]) -> Result<()> {
        if ends.len() > SINGLE_SYNCS_MAX {
            let root = self.files.fs.open_read(&self.root).context("open", &self.root)?;
            match root.sync_filesystem() {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                synced => return synced.context("sync", &self.root),
            }
        }
        ends.iter().try_for_each(|(inner, end)| inner.sync_segment(end.segment))
    }

    /// An error if the journal has commits of a log that could not be written into it.
    pub(crate) fn check_redone(&self, name: &Path) -> Result<()> {
        let reason = self.not_redone.get(name);
        reason.map_or(Ok(()), |reason| Err(not_redone(&self.root, name, reason)))
    }

    /// Removes the files, which hold nothing that the logs do not; false if they are kept.
    pub(crate) fn remove_journal(&self) -> Result<bool> {
        let mut journal = self.journal.lock();
        if !journal.kept {
            journal.files = [None, None];
            remove(&*self.files.fs, &self.root)?;
        }
        Ok(!journal.kept)
    }
}

impl Inner {
    /// Notes that the files are synced up to `end`.
    fn settled(&self, end: End) {
        self.log.lock().recovery_point.raise(end);
    }

    /// Syncs a segment's file, if it is still there.
    fn sync_segment(&self, base_offset: i64) -> Result<()> {
        let find = || self.segments().iter().find(|it| it.base_offset == base_offset).cloned();
        let Some(segment) = find() else { return Ok(()) };
        let path = segment.path();
        match self.shared.files.fs.open(&path).context("open", &path) {
            Err(_) if self.log.lock().closed || find().is_none() => Ok(()),
            file => file?.sync_data().context("sync", &path),
        }
    }
}

/// Says that the journal could not be written into a log.
pub(crate) fn not_redone(root: &Path, name: &Path, reason: &str) -> Error {
    Error::Io {
        operation: "write the last commits again of",
        path: root.join(name),
        source: io::Error::other(reason.to_owned()),
    }
}

/// Removes the files of an earlier process; true if there were any.
pub(crate) fn remove(fs: &dyn Fs, root: &Path) -> Result<bool> {
    let mut removed = false;
    for path in (0..2).map(|turn| path(root, turn)) {
        match fs.open_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            there => drop(there.context("open", &path)?),
        }
        remove_if_there(fs, &path).context("remove", &path)?;
        removed = true;
    }
    Ok(removed)
}

fn path(root: &Path, turn: usize) -> PathBuf {
    root.join(FILES[turn])
}

/// The checksum of a round without what follows its shares.
fn checksum(round: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&round[..24]), &round[HEADER_BYTES..])
}
