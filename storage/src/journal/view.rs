//! A log as the next start is going to have it: for who looks at the files of an ended process,
//! or of one that runs, and changes nothing.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::redo::{Share, each_share};
use crate::checkpoint::{Checkpoint, format_topic_id, read_topic_id};
use crate::error::{Context, Result};
use crate::fs::{File, Fs, read_full_at};
use crate::mmap::Map;
use crate::segment::base_offset_of;

/// What the journal has, by the directories of the logs as paths from the root.
#[derive(Default)]
pub(crate) struct Shares(HashMap<PathBuf, Vec<OfLog>>);

struct OfLog {
    topic_id: [u8; 16],
    segment: i64,
    part: Part,
}

struct Part {
    position: u64,
    bytes: Vec<u8>,
}

impl Part {
    fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }
}

impl Shares {
    /// What the next start of `root` would write; with `only`, into this log. At most the bytes of
    /// the journal's two files.
    pub(crate) fn read(fs: &dyn Fs, root: &Path, only: Option<&Path>) -> Result<Self> {
        let mut shares = Self::default();
        if Checkpoint::read(fs, root)?.clean {
            return Ok(shares);
        }
        each_share(fs, root, &mut |share| {
            let Share { topic_id, segment, position, .. } = *share;
            let name = Path::new(share.name);
            if only.is_none_or(|only| only == name) {
                let part = Part { position, bytes: share.batches.to_vec() };
                let of_log = shares.0.entry(name.to_path_buf()).or_default();
                of_log.push(OfLog { topic_id, segment, part });
            }
        })?;
        Ok(shares)
    }

    /// Takes what the log in `dir` has use for; `name` is its path from the root.
    pub(crate) fn take(
        &mut self,
        fs: &dyn Fs,
        dir: &Path,
        name: &Path,
    ) -> Result<Option<Journaled>> {
        let Some(shares) = self.0.remove(name) else { return Ok(None) };
        let topic_id = read_topic_id(fs, dir)?;
        let entries = fs.list(dir).context("list", dir)?;
        let last = entries.iter().filter_map(|entry| base_offset_of(&entry.name)).max();
        let Some(segment) = last else { return Ok(None) };
        let is_used =
            |it: &OfLog| it.segment == segment && topic_id == Some(format_topic_id(&it.topic_id));
        let mut journaled = Journaled { segment, parts: Vec::new() };
        shares.into_iter().filter(is_used).for_each(|it| journaled.add(it.part));
        Ok((!journaled.parts.is_empty()).then_some(journaled))
    }
}

/// What the journal has of a log's last segment.
pub(crate) struct Journaled {
    /// The segment's base offset.
    pub segment: i64,
    /// First written to last: a later one goes over those before it.
    parts: Vec<Part>,
}

impl Journaled {
    fn add(&mut self, part: Part) {
        match self.parts.last_mut().filter(|last| last.end() == part.position) {
            Some(last) => last.bytes.extend_from_slice(&part.bytes),
            None => self.parts.push(part),
        }
    }

    /// The last segment's file with all that.
    pub(crate) fn over(self, file: Arc<dyn File>) -> Overlaid {
        Overlaid { file, parts: self.parts }
    }
}

/// A file as it is to be. **It can be read, and nothing else.**
pub(crate) struct Overlaid {
    file: Arc<dyn File>,
    parts: Vec<Part>,
}

impl Overlaid {
    /// Whether the file itself does not hold `bytes`, which were read at `position`.
    pub(crate) fn adds(&self, position: u64, bytes: &[u8]) -> io::Result<bool> {
        let end = position + bytes.len() as u64;
        if !self.parts.iter().any(|part| part.position < end && position < part.end()) {
            return Ok(false);
        }
        let mut own = vec![0; bytes.len()];
        let read = read_full_at(&*self.file, &mut own, position)?;
        Ok(own[..read] != *bytes)
    }
}

impl File for Overlaid {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let left = self.size()?.saturating_sub(position);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buf = &mut buf[..len];
        buf.fill(0);
        read_full_at(&*self.file, buf, position)?;
        let end = position + len as u64;
        for part in &self.parts {
            let (from, to) = (part.position.max(position), part.end().min(end));
            if let Some(len) = to.checked_sub(from) {
                let at = |start: u64| usize::try_from(from - start).map_err(io::Error::other);
                let len = usize::try_from(len).map_err(io::Error::other)?;
                let source = at(part.position)?;
                buf[at(position)?..][..len].copy_from_slice(&part.bytes[source..][..len]);
            }
        }
        Ok(len)
    }
    fn size(&self) -> io::Result<u64> {
        let ends = self.parts.iter().map(Part::end);
        Ok(ends.fold(self.file.size()?, u64::max))
    }
    fn write_at(&self, _parts: &[IoSlice<'_>], _position: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn allocate(&self, _range: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_filesystem(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn drop_cache(&self, _range: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn map(&self, _published: u64) -> io::Result<Map> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
