//! Space that a log has ahead of its end, so that most syncs write the log's bytes and nothing
//! else.
//!
//! It comes in two kinds. **Blocks that are reserved and were never written** cost nothing until
//! then, but each sync of bytes in them has the file system note, durably, that they hold something
//! now. **Blocks that were filled with zeros** are written twice, and in return a sync of bytes in
//! them is one write and one flush of the disk.
//!
//! Which is cheaper depends on how much a sync covers. Measured on ext4 without a journal, syncs of
//! 4 KiB take 0.19 ms in zeros and 0.30 ms in reserved blocks, with a tail to match; syncs of 1 MiB
//! 0.6 and 1.1 ms, and there the zeros take as long to write as they save. So a log gets zeros
//! while its syncs are small, and only where each file is synced by itself: one sync of the file
//! system has it note all at once.

use std::io::{self, IoSlice};

use crate::fs::{File, write_all_at};

/// Steps double from the first to the last, so that small logs stay small.
const FIRST_BYTES: u64 = 16 << 10;
const LAST_BYTES: u64 = 16 << 20;
/// The longest that is filled with zeros at a time: an append waits for it, and the next sync.
const ZEROS_LAST_BYTES: u64 = 256 << 10;
/// Syncs that cover less than this, on average, are cheaper in zeros.
const ZEROS_PAY_BYTES: u64 = 128 << 10;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What there is ahead of the end of the active file.
pub(crate) struct Ahead {
    /// Where the file ends, or more: what is past the end of the log is to be trimmed.
    pub end: u64,
    /// Up to where writes cannot be refused for want of room.
    pub reserved: u64,
    step: u64,
    /// Where the log ended when space was last made.
    since: u64,
    /// Syncs of this file alone since then.
    syncs: u64,
}

/// Where space is wanted.
pub(crate) struct Wanted {
    /// The end of the log.
    pub position: u64,
    /// The end of what is to be written.
    pub needed: u64,
    /// No space is made past this.
    pub limit: u64,
    /// What the volume can spare.
    pub room: u64,
}

impl Ahead {
    /// None yet, for a file that ends at `position`.
    pub(crate) fn none(position: u64) -> Self {
        Self { end: position, reserved: position, step: FIRST_BYTES, since: position, syncs: 0 }
    }

    /// Notes a sync that was of this file by itself.
    pub(crate) fn note_sync(&mut self) {
        self.syncs += 1;
    }

    /// Makes space: a step of it, or what is needed where there is not as much. Nothing is reserved
    /// where the system has no such call.
    ///
    /// # Errors
    /// Those of the file, among them that there is no room.
    pub(crate) fn make(&mut self, file: &dyn File, wanted: &Wanted) -> io::Result<()> {
        let &Wanted { position, needed, limit, room } = wanted;
        let fills = self.zeros_pay(position);
        let step = if fills { self.step.min(ZEROS_LAST_BYTES) } else { self.step };
        let end = position.saturating_add(step.min(room)).min(limit).max(needed);
        (self.since, self.syncs) = (position, 0);
        // Some of it may be there although not all is, and is to be trimmed.
        self.end = self.end.max(end);
        let made = match fills {
            true => fill(file, position, end),
            false => file.allocate(position..end),
        };
        self.reserved = match made {
            Ok(()) => {
                self.step = (self.step * 2).min(LAST_BYTES);
                end
            }
            Err(error) if is_full(&error) => {
                file.allocate(position..needed).map_err(|_| error)?;
                needed
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
            Err(error) => return Err(error),
        };
        Ok(())
    }

    fn zeros_pay(&self, position: u64) -> bool {
        let bytes = position.saturating_sub(self.since);
        self.syncs > 0 && bytes / self.syncs < ZEROS_PAY_BYTES
    }
}

fn fill(file: &dyn File, from: u64, end: u64) -> io::Result<()> {
    let mut position = from;
    while position < end {
        let part = usize::try_from(end - position).unwrap_or(usize::MAX).min(ZEROS.len());
        write_all_at(file, &mut [IoSlice::new(&ZEROS[..part])], position)?;
        position += part as u64;
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
