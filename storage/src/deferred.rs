//! Batches that are durable in the journal and not in their file yet.
//!
//! A few bytes for each of a thousand files take longer to write, into the system's cache, than to
//! sync in one journal. So a round that is journaled leaves them where they wait, in the log's
//! memory, as long as they are [little](Unwritten::is_little): several rounds' batches are written
//! together once they are more, or are read, or the journal's turn ends.
//!
//! **Whoever reads below the high watermark calls [`Inner::make_readable`] first.** From the time a
//! round takes note of what waits until it is written, it is written from here only, under one
//! mutex, and so in order.

use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::partition::Inner;
use crate::unwritten::Unwritten;

/// What a round is to write of a log.
pub(crate) enum Share {
    /// This, and nobody else has it.
    Taken(Unwritten),
    /// What is found with the log then; `little` may stay there if the journal has it.
    Noted { little: bool },
    /// Nothing: all is in the file.
    Nothing,
}

impl Inner {
    /// What a round is to write.
    pub(crate) fn share(&self) -> Share {
        let mut unwritten = self.unwritten.lock();
        let Some(little) = unwritten.as_ref().map(Unwritten::is_little) else {
            return Share::Nothing;
        };
        if little || self.deferred.load(Ordering::Relaxed) {
            self.deferred.store(true, Ordering::Release);
            return Share::Noted { little };
        }
        unwritten.take().map_or(Share::Nothing, Share::Taken)
    }

    /// Sees that all below the high watermark is in the files.
    ///
    /// # Errors
    /// That of the write, which is final for the volume.
    pub(crate) fn make_readable(&self) -> Result<()> {
        self.write_deferred().or_else(|error| self.shared.sync(|| Err(error)))
    }

    /// Writes what a round has noted, and what came after it.
    pub(crate) fn write_deferred(&self) -> Result<()> {
        if !self.deferred.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut unwritten = self.unwritten.lock();
        if let Some(unwritten) = &*unwritten {
            unwritten.write(&*unwritten.segment().file(&self.shared.files)?)?;
        }
        *unwritten = None;
        self.deferred.store(false, Ordering::Release);
        Ok(())
    }

    /// Bytes that readers may ask for and are in no file yet.
    pub(crate) fn deferred_bytes(&self) -> u64 {
        match self.deferred.load(Ordering::Acquire) {
            true => self.unwritten.lock().as_ref().map_or(0, Unwritten::bytes),
            false => 0,
        }
    }

    /// Lets go of what waits, in a log that is deleted.
    pub(crate) fn forget_unwritten(&self) {
        *self.unwritten.lock() = None;
        self.deferred.store(false, Ordering::Release);
    }
}
