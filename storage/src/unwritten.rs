//! Batches that were appended and are not in the file yet.
//!
//! The commit round writes them, all that came in since the last one together, before it syncs.
//! Where each batch was written when it was appended, batches of 1 KiB, 500 of them under way, took
//! 2.5 times the processor time and got a half to a third of the throughput; batches of 16 KiB took
//! 1.3 times the processor time. Large ones, of which a few make a write as long, are written at
//! once, beside the sync of what came before them.
//!
//! **A batch waits only where space is reserved for it**, so that the write cannot be refused for
//! want of room. A write that fails all the same is final, as a failed sync is: the batches after
//! it have their offsets.
//!
//! What is little may wait for longer: see the `deferred` module.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tidelog_protocol::records::Header;

use crate::error::{Context, Result};
use crate::fs::{File, write_all_at};
use crate::segment::Segment;

/// Batches up to this size are left to the round.
pub(crate) const LEFT_BYTES_MAX: u64 = 64 << 10;
/// Bytes that wait, in all logs of a volume, before appends do.
const WAITING_BYTES_MAX: u64 = 32 << 20;
/// Bytes of a log that may go on waiting once the journal has them: a page of its file, which costs
/// as much to write as a part of it.
const DEFERRED_BYTES_MAX: u64 = 4 << 10;
/// Memory that they may take up, which is more where buffers were made for other logs.
const DEFERRED_MEMORY_MAX: usize = 16 << 10;
/// Bytes that wait, in all logs of a volume, up to which any may go on.
const ALL_DEFERRED_BYTES_MAX: u64 = 4 << 20;
/// Batches from this size on are kept as they are, in what they came in; shorter ones are copied,
/// which frees that and makes one piece of many.
const KEPT_BYTES_MIN: usize = 8 << 10;
/// No more than this is copied for one write.
const COPIED_BYTES_MAX: usize = 2 << 20;
/// Writes end where the file has a multiple of this. Most of what longer ones save is saved, and
/// the system's cache need not find memory that lies together for them, which may have to be
/// fetched from the host of a virtual machine.
const WRITE_BYTES: u64 = 64 << 10;
/// Buffers that are kept for later rounds: memory that is new to the process costs more than the
/// copy into it.
const SPARE_MAX: usize = 4;

/// What a log leaves to the next commit round, for one of its segments.
pub(crate) struct Unwritten {
    segment: Arc<Segment>,
    /// Where the first batch goes.
    position: u64,
    bytes: u64,
    batches: Batches,
    buffers: Arc<Buffers>,
}

#[derive(Default)]
struct Batches {
    pieces: Vec<Piece>,
    copied: Vec<u8>,
    /// The header of each batch, and where it goes.
    headers: Vec<(Header, u64)>,
}

enum Piece {
    /// As many of the copied bytes.
    Copied(usize),
    Kept(Bytes),
}

impl Piece {
    /// Its bytes, which are the next of the copied ones if they were copied.
    fn bytes<'a>(&'a self, copied: &mut &'a [u8]) -> &'a [u8] {
        match self {
            &Self::Copied(len) => copied.split_off(..len).expect("as many were copied"),
            Self::Kept(bytes) => bytes,
        }
    }
}

impl Unwritten {
    pub(crate) fn new(buffers: &Arc<Buffers>, segment: &Arc<Segment>, position: u64) -> Self {
        let batches = buffers.spare.lock().pop().unwrap_or_default();
        let (segment, buffers) = (segment.clone(), buffers.clone());
        Self { segment, position, bytes: 0, batches, buffers }
    }

    /// Adds the batch that begins with `prefix` and ends with `rest`.
    pub(crate) fn push(&mut self, header: &Header, prefix: &[u8], rest: &Bytes) {
        self.batches.copy(prefix);
        let longer = self.batches.copied.len() + rest.len();
        match rest.len() < KEPT_BYTES_MIN && longer <= COPIED_BYTES_MAX {
            true => self.batches.copy(rest),
            false => self.batches.pieces.push(Piece::Kept(rest.clone())),
        }
        self.batches.headers.push((*header, self.position + self.bytes));
        let bytes = (prefix.len() + rest.len()) as u64;
        self.bytes += bytes;
        self.buffers.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Where the first batch goes.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// The segment they belong to.
    pub(crate) const fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Bytes of all batches.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is so little that it may go on waiting.
    pub(crate) fn is_little(&self) -> bool {
        self.bytes <= DEFERRED_BYTES_MAX
            && self.batches.copied.len() as u64 == self.bytes
            && self.batches.memory() <= DEFERRED_MEMORY_MAX
    }

    /// Adds what goes to `positions` of the file to `to`.
    pub(crate) fn add_to(&self, to: &mut Vec<u8>, positions: Range<u64>) {
        let mut copied = &self.batches.copied[..];
        let mut position = self.position;
        for piece in &self.batches.pieces {
            let bytes = piece.bytes(&mut copied);
            let within = |at: u64| {
                let at = at.saturating_sub(position);
                usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()))
            };
            to.extend_from_slice(&bytes[within(positions.start)..within(positions.end)]);
            position += bytes.len() as u64;
        }
    }

    /// Writes them, and makes them readable.
    pub(crate) fn write(&self, file: &dyn File) -> Result<()> {
        let written = self.batches.write(file, self.position);
        written.or_else(|error| Err(error).context("write", &self.segment.path()))?;
        for (header, position) in &self.batches.headers {
            self.segment.publish(header, *position);
        }
        Ok(())
    }
}

impl Batches {
    fn copy(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some(Piece::Copied(len)) => *len += bytes.len(),
            _ => self.pieces.push(Piece::Copied(bytes.len())),
        }
    }

    /// Bytes that it takes up.
    fn memory(&self) -> usize {
        self.copied.capacity() + self.headers.capacity() * size_of::<(Header, u64)>()
    }

    fn write(&self, file: &dyn File, mut position: u64) -> io::Result<()> {
        let mut copied = &self.copied[..];
        // Of one write. They are few, unless so much waited that short batches were kept too; then
        // the system takes as many at a time as it will.
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for piece in &self.pieces {
            let mut rest = piece.bytes(&mut copied);
            while !rest.is_empty() {
                let room = WRITE_BYTES - (position + bytes) % WRITE_BYTES;
                let len = rest.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                parts.push(IoSlice::new(rest.split_off(..len).expect("it is as long")));
                bytes += len as u64;
                if len as u64 == room {
                    write_all_at(file, &mut parts, position)?;
                    position += bytes;
                    parts.clear();
                    bytes = 0;
                }
            }
        }
        write_all_at(file, &mut parts, position)
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.buffers.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
        let mut batches = std::mem::take(&mut self.batches);
        batches.pieces.clear();
        let mut spare = self.buffers.spare.lock();
        if spare.len() < SPARE_MAX {
            batches.copied.clear();
            batches.headers.clear();
            spare.push(batches);
        }
    }
}

/// What the unwritten batches of a volume have in common.
#[derive(Default)]
pub(crate) struct Buffers {
    /// Empty, to be used again.
    spare: Mutex<Vec<Batches>>,
    /// Bytes of all that waits.
    waiting: AtomicU64,
}

impl Buffers {
    /// Whether so much waits that appends should.
    pub(crate) fn are_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > WAITING_BYTES_MAX
    }

    /// Whether so little waits that some of it may go on.
    pub(crate) fn are_low(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) <= ALL_DEFERRED_BYTES_MAX
    }
}
