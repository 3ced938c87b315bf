//! A log as the next start is going to have it: for who looks at the files of an ended process,
//! or of one that runs, and changes nothing.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::redo::{Share, each_share};
use crate::checkpoint::{Checkpoint, format_topic_id, read_topic_id};
use crate::error::{Context, Result};
use crate::fs::{File, Fs, read_full_at};
use crate::mmap::Map;
use crate::segment::base_offset_of;
use crate::volume::root_of;

/// What the journal has of a log's last segment.
pub(crate) struct Journaled {
    /// The segment's base offset.
    pub segment: i64,
    /// First written to last: a later one goes over those before it.
    parts: Vec<Part>,
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

impl Journaled {
    /// What there is of the log in `dir`; `None` if nothing is, as of a directory that lies in no
    /// data directory, since it was carried elsewhere.
    pub(crate) fn of(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>> {
        let Some(root) = root_of(fs, dir) else { return Ok(None) };
        if Checkpoint::read(fs, root)?.clean {
            return Ok(None);
        }
        let name = dir.strip_prefix(root).unwrap_or(dir);
        let topic_id = read_topic_id(fs, dir)?;
        let entries = fs.list(dir).context("list", dir)?;
        let last = entries.iter().filter_map(|entry| base_offset_of(&entry.name)).max();
        let Some(segment) = last else { return Ok(None) };
        let mut journaled = Self { segment, parts: Vec::new() };
        each_share(fs, root, &mut |share| {
            let is_of_it = Path::new(share.name) == name
                && topic_id == Some(format_topic_id(&share.topic_id))
                && share.segment == segment;
            if is_of_it {
                journaled.add(share);
            }
        })?;
        Ok((!journaled.parts.is_empty()).then_some(journaled))
    }

    fn add(&mut self, share: &Share<'_>) {
        match self.parts.last_mut().filter(|last| last.end() == share.position) {
            Some(last) => last.bytes.extend_from_slice(share.batches),
            None => {
                let (position, bytes) = (share.position, share.batches.to_vec());
                self.parts.push(Part { position, bytes });
            }
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
