//! Closing a segment: what is left to do when the log has gone on to the next one.
//!
//! An append that starts a segment does no more than create its file, as `<base offset>.log.next`.
//! The commit round does the rest, for each closed segment in order:
//! 1. completes, trims and syncs the file, and writes its indexes and the producers' snapshot,
//! 2. **gives the next segment its name**, durably, and only then
//! 3. syncs what the next one holds.
//!
//! **A segment has its name when all before it are durable**, so recovery need only look at the
//! last one. What a file without its name holds was not acknowledged; recovery takes it up if the
//! log before it is whole, and else sets it aside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::checkpoint::End;
use crate::error::{Context, Result};
use crate::fs::{Durability, File, Fs};
use crate::mistake::Mistake;
use crate::partition::Inner;
use crate::segment::Segment;
use crate::snapshot;
use crate::unwritten::Unwritten;

/// A segment that takes no more batches and is not durable yet.
pub(crate) struct Closed {
    pub segment: Arc<Segment>,
    pub file: Arc<dyn File>,
    /// What is to be written to it first.
    pub unwritten: Option<Unwritten>,
    /// Where it ends.
    pub end: End,
    /// Whether the file has a tail to trim.
    pub trim: bool,
    /// The producers at its end, as their snapshot has them; `None` if it is not to be, or found
    /// no room.
    pub producers: Option<Vec<u8>>,
    /// The segment after it.
    pub next: Arc<Segment>,
}

/// Closed segments of one log that wait for the commit thread, before appends do.
pub(crate) const CLOSED_MAX: usize = 8;
/// What follows the name that a segment is going to have.
pub(crate) const NEXT: &str = "log.next";

impl Inner {
    /// Makes a closed segment durable and names the next one.
    pub(crate) fn seal(&self, closed: &mut Closed) -> Result<()> {
        let Closed { segment, file, unwritten, end, trim, producers, next } = closed;
        let (files, path) = (&self.shared.files, segment.path());
        if let Some(unwritten) = unwritten.take() {
            unwritten.write(&**file)?;
        }
        if *trim {
            file.set_len(end.position).context("trim", &path)?;
        }
        file.sync_data().context("sync", &path)?;
        segment.store_index(files, Durability::Now)?;
        if let Some(contents) = producers
            && !snapshot::write(self, end.offset, contents, Durability::Now)?
        {
            *producers = None;
        }
        next.name.settle(&*files.fs, &next.path(), &next.final_path())?;
        if files.mistakes.made(Mistake::SkipsDirectorySync) {
            return Ok(());
        }
        files.fs.sync_dir(&self.dir).context("sync", &self.dir)
    }
}

/// Whether a segment's file has the name it is to keep.
#[derive(Default)]
pub(crate) struct Name {
    provisional: AtomicBool,
    moving: Mutex<()>,
}

impl Name {
    pub(crate) fn provisional() -> Self {
        Self { provisional: AtomicBool::new(true), moving: Mutex::default() }
    }

    pub(crate) fn is_provisional(&self) -> bool {
        self.provisional.load(Ordering::Acquire)
    }

    /// Runs `open`, and once more if the file was moved meanwhile.
    pub(crate) fn open<T>(&self, open: impl Fn() -> Result<T>) -> Result<T> {
        let before = self.is_provisional();
        match open() {
            Err(error) if before => {
                drop(self.moving.lock());
                if self.is_provisional() { Err(error) } else { open() }
            }
            opened => opened,
        }
    }

    fn settle(&self, fs: &dyn Fs, from: &std::path::Path, to: &std::path::Path) -> Result<()> {
        let _moving = self.moving.lock();
        fs.rename(from, to).context("rename", from)?;
        self.provisional.store(false, Ordering::Release);
        Ok(())
    }
}
