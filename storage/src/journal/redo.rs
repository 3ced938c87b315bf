//! The start after a crash: what the journal has is written into the logs again.
//!
//! **Only into the last segment of a log**: those before it are durable by themselves (see the
//! `seal` module), and compaction may have put other bytes in their place. Where the bytes are in
//! the file already, they are written once more as they are. A log that is gone, or was made anew
//! for another topic, has no use for them.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BLOCK_BYTES, FILE_BYTES_MAX, HEADER_BYTES, MAGIC, checksum, path, remove};
use crate::checkpoint::{format_topic_id, read_topic_id};
use crate::error::{Context, Result};
use crate::fs::{File, Fs, read_full_at, write_all_at};
use crate::segment::{base_offset_of, file_name};

/// What was done.
#[derive(Default)]
pub(crate) struct Redone {
    /// Bytes of batches that were written.
    pub bytes: u64,
    /// The files they are in.
    pub files: BTreeSet<PathBuf>,
    /// The logs into which they could not be written, and why.
    pub failed: HashMap<PathBuf, String>,
}

/// Writes into the logs of `root` what the journal has of them. The caller syncs them.
///
/// # Errors
/// A journal that cannot be read.
pub(crate) fn redo(fs: &dyn Fs, root: &Path) -> Result<Redone> {
    let mut logs = Logs { fs, root, places: HashMap::new(), open: HashMap::new() };
    let mut redone = Redone::default();
    each_share(fs, root, &mut |share| logs.redo(share, &mut redone))?;
    Ok(redone)
}

/// Calls `take` with all that the journal of `root` has, first written to last.
///
/// # Errors
/// A journal that cannot be read.
pub(super) fn each_share(fs: &dyn Fs, root: &Path, take: &mut dyn FnMut(&Share<'_>)) -> Result<()> {
    let mut journals = Vec::new();
    for turn in 0..2 {
        let path = path(root, turn);
        match fs.open_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => journals.extend(Rounds::of(opened.context("open", &path)?, path)?),
        }
    }
    journals.sort_unstable_by_key(|it| it.generation);
    for mut rounds in journals {
        while let Some(mut shares) = rounds.next()? {
            while let Some(share) = Share::split_from(&mut shares) {
                take(&share);
            }
        }
    }
    Ok(())
}

impl Redone {
    /// Makes durable what was written, unless a sync of everything has (`swept`), and removes the
    /// journal. True if it is kept, for the next start: one of the logs could not be written.
    pub(crate) fn settle(&self, fs: &dyn Fs, root: &Path, swept: bool) -> Result<bool> {
        for path in self.files.iter().filter(|_| !swept) {
            let synced = fs.open(path).and_then(|file| file.sync_data());
            synced.context("sync", path)?;
        }
        if self.failed.is_empty() && remove(fs, root)? {
            fs.sync_dir(root).context("sync", root)?;
        }
        Ok(!self.failed.is_empty())
    }
}

/// The rounds of a file.
struct Rounds {
    file: Arc<dyn File>,
    path: PathBuf,
    generation: u64,
    number: u32,
    position: u64,
    round: Vec<u8>,
}

impl Rounds {
    /// Those of a file; none if it begins with none.
    fn of(file: Arc<dyn File>, path: PathBuf) -> Result<Option<Self>> {
        let mut start = [0; 16];
        let read = read_full_at(&*file, &mut start, 0).context("read", &path)?;
        let (magic, generation) = start.split_at(8);
        if read < start.len() || magic != MAGIC {
            return Ok(None);
        }
        let generation = u64::from_be_bytes(generation.try_into().expect("eight bytes"));
        Ok(Some(Self { file, path, generation, number: 0, position: 0, round: Vec::new() }))
    }

    /// The shares of the next round that counts.
    fn next(&mut self) -> Result<Option<&[u8]>> {
        let mut header = [0; HEADER_BYTES];
        if !self.fill(&mut header, self.position)? {
            return Ok(None);
        }
        let mut expected = MAGIC.to_vec();
        expected.extend_from_slice(&self.generation.to_be_bytes());
        expected.extend_from_slice(&self.number.to_be_bytes());
        let number = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (shares, stored) = (u64::from(number(20)), number(24));
        if header[..20] != expected || shares > FILE_BYTES_MAX {
            return Ok(None);
        }
        let bytes = HEADER_BYTES + usize::try_from(shares).unwrap_or(usize::MAX);
        let mut round = std::mem::take(&mut self.round);
        round.resize(bytes, 0);
        let whole = self.fill(&mut round, self.position)?;
        self.round = round;
        if !whole || checksum(&self.round) != stored {
            return Ok(None);
        }
        self.number += 1;
        self.position += bytes.next_multiple_of(BLOCK_BYTES) as u64;
        Ok(Some(&self.round[HEADER_BYTES..]))
    }

    fn fill(&self, buf: &mut [u8], position: u64) -> Result<bool> {
        let read = read_full_at(&*self.file, buf, position).context("read", &self.path)?;
        Ok(read == buf.len())
    }
}

/// What a round has of a partition.
pub(super) struct Share<'a> {
    pub name: &'a str,
    pub topic_id: [u8; 16],
    pub segment: i64,
    pub position: u64,
    pub batches: &'a [u8],
}

impl<'a> Share<'a> {
    /// The first of a round's shares; `None` at their end.
    fn split_from(shares: &mut &'a [u8]) -> Option<Self> {
        let mut take = |len: usize| shares.split_off(..len);
        let name_len = u16::from_be_bytes(take(2)?.try_into().ok()?);
        let name = std::str::from_utf8(take(name_len.into())?).ok()?;
        let topic_id = take(16)?.try_into().ok()?;
        let segment = i64::from_be_bytes(take(8)?.try_into().ok()?);
        let position = u64::from_be_bytes(take(8)?.try_into().ok()?);
        let len = u32::from_be_bytes(take(4)?.try_into().ok()?);
        let batches = take(usize::try_from(len).ok()?)?;
        Some(Self { name, topic_id, segment, position, batches })
    }
}

/// The logs that are written to.
struct Logs<'a> {
    fs: &'a dyn Fs,
    root: &'a Path,
    /// Each log's last segment, if the log is there and of that topic.
    places: HashMap<(PathBuf, [u8; 16]), Option<i64>>,
    open: HashMap<PathBuf, Arc<dyn File>>,
}

/// Files that are open at a time.
const OPEN_MAX: usize = 256;

impl Logs<'_> {
    fn redo(&mut self, share: &Share<'_>, redone: &mut Redone) {
        let name = PathBuf::from(share.name);
        match self.write(&name, share) {
            Ok(Some(path)) => {
                redone.bytes += share.batches.len() as u64;
                redone.files.insert(path);
            }
            Ok(None) => {}
            Err(error) => _ = redone.failed.entry(name).or_insert_with(|| error.to_string()),
        }
    }

    /// Writes a share into its log, unless that has no use for it; gives the file.
    fn write(&mut self, name: &Path, share: &Share<'_>) -> io::Result<Option<PathBuf>> {
        let key = (name.to_path_buf(), share.topic_id);
        let last = match self.places.get(&key) {
            Some(last) => *last,
            None => {
                let last = self.last_segment(name, &share.topic_id)?;
                self.places.insert(key, last);
                last
            }
        };
        if last != Some(share.segment) {
            return Ok(None);
        }
        let path = self.root.join(name).join(file_name(share.segment, "log"));
        if !self.open.contains_key(&path) {
            if self.open.len() == OPEN_MAX {
                self.open.clear();
            }
            self.open.insert(path.clone(), self.fs.open(&path)?);
        }
        write_all_at(&*self.open[&path], &mut [IoSlice::new(share.batches)], share.position)?;
        Ok(Some(path))
    }

    fn last_segment(&self, name: &Path, topic_id: &[u8; 16]) -> io::Result<Option<i64>> {
        let dir = self.root.join(name);
        let entries = match self.fs.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            listed => listed?,
        };
        let found = read_topic_id(self.fs, &dir).map_err(io::Error::other)?;
        if found != Some(format_topic_id(topic_id)) {
            return Ok(None);
        }
        Ok(entries.iter().filter_map(|entry| base_offset_of(&entry.name)).max())
    }
}
