//! Read-only maps of log files: the crate's only `unsafe` code.
//!
//! A map may cover more of a file than may be read: the preallocated tail is mapped too, so that
//! appends show up without mapping again. What may be read is the *published* length of a segment.
//!
//! - **A byte below the published length never changes, and the file never shrinks below it.**
//!   Retention unlinks, which leaves maps valid; only the tail above the published length is ever
//!   cut off (when a segment is sealed or a log closed).
//! - **No slice reaches past the published length**, so none reaches a byte that `pwrite` may still
//!   change or that a cut may take away (which would be a SIGBUS).
//! - Other processes are kept out by the lock on the data directory.

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

/// A file's bytes in memory, shared by all who hold a slice.
#[derive(Clone, Debug)]
pub struct Map(Arc<Region>);

#[derive(Debug)]
enum Region {
    Mapped(MmapRaw),
    Heap(Box<[u8]>),
}

impl Map {
    /// A copy instead of a map, for file systems without maps: `bytes` must be the published ones.
    pub fn copied(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Region::Heap(bytes.into_boxed_slice())))
    }

    /// Maps the whole of `file`, preallocated tail included.
    pub(crate) fn of_file(file: &fs::File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if len == 0 {
            return Ok(Self::copied(Vec::new()));
        }
        Ok(Self(Arc::new(Region::Mapped(MmapOptions::new().len(len).map_raw_read_only(file)?))))
    }

    /// Bytes that are mapped; readable are only the published ones.
    pub(crate) fn len(&self) -> usize {
        match &*self.0 {
            Region::Mapped(map) => map.len(),
            Region::Heap(bytes) => bytes.len(),
        }
    }

    /// All bytes, of a file that is complete.
    pub(crate) fn all(&self) -> Bytes {
        self.bytes(0..self.len())
    }

    /// The bytes of `range`, which must end at or below the published length, without a copy.
    /// They keep the map alive, also after the file was deleted.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} is not mapped");
        match range.is_empty() {
            true => Bytes::new(),
            false => Bytes::from_owner(Slice { map: self.clone(), range }),
        }
    }
}

struct Slice {
    map: Map,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        match &*self.map.0 {
            Region::Heap(bytes) => &bytes[self.range.clone()],
            // SAFETY: `Map::bytes` checked that the range lies within the map, which lives as long
            // as `self.map`. The bytes are initialised (a file's) and do not change or go away
            // while borrowed, since they are below the segment's published length; see the
            // invariants in the module's documentation.
            Region::Mapped(map) => unsafe {
                std::slice::from_raw_parts(
                    map.as_ptr().add(self.range.start),
                    self.range.end - self.range.start,
                )
            },
        }
    }
}
