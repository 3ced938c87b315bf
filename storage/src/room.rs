//! Whether the volume has room for records: a margin of it is kept for everything else.
//!
//! The control database, the state store, checkpoints and indexes share the volume with the logs.
//! So records are refused while there still is room for these: consumers go on, offsets are
//! committed, topics are deleted, and what was acknowledged stays. Looked at each time a log asks
//! for space, which is once in many batches, and told when it changes, not for each refusal.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crate::error::{Context, Result};
use crate::volume::Shared;

/// What a volume tells of itself while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Records are refused from now on, since there is no room for them.
    Full(Room),
    /// Records are taken again.
    Room(Room),
    /// Compaction ends before this segment, which is damaged.
    CompactionStopped(PathBuf),
}

/// How much room there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The data directory.
    pub root: PathBuf,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes that are kept free of records.
    pub margin_bytes: u64,
}

/// Called with what a volume tells. It must not block.
pub type OnEvent = Box<dyn Fn(&Event) + Send + Sync>;

/// The margin: a share of the volume, and no more than a bound.
const MARGIN_SHARE: u64 = 100;
const MARGIN_BYTES_MAX: u64 = 256 << 20;
/// The part of the margin that nothing new may take: syncs, checkpoints and deletions have it.
const LAST_SHARE: u64 = 4;
/// The part that compaction leaves, which takes space before it frees more: the stores beside the
/// logs have something even while it runs.
const COMPACTION_SHARE: u64 = 2;

impl Shared {
    /// Bytes that records may take, at least the `needed` ones.
    ///
    /// # Errors
    /// `StorageFull` where that would reach into the margin. To go on afterwards takes a quarter of
    /// the margin more, so that it does not go back and forth.
    pub(crate) fn room_for(&self, needed: u64) -> io::Result<u64> {
        let Ok(room) = self.room() else {
            // The write will tell.
            return Ok(u64::MAX);
        };
        let full = self.full.load(Ordering::Acquire);
        let kept = room.margin_bytes + if full { room.margin_bytes / 4 } else { 0 };
        let left = room.free_bytes.saturating_sub(kept);
        if left < needed {
            let Room { free_bytes, margin_bytes, .. } = room;
            self.note_full();
            let text =
                format!("{free_bytes} bytes are free, {margin_bytes} of them kept in reserve");
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        self.note_room(room);
        Ok(left)
    }

    /// Whether what is stored beside the logs may grow: it has what records leave free, but for the
    /// last share.
    ///
    /// # Errors
    /// `StorageFull` where it may not.
    pub(crate) fn check_spare(&self) -> Result<()> {
        self.check_left(LAST_SHARE)
    }

    /// Whether compaction may write more.
    ///
    /// # Errors
    /// `StorageFull` where it may not.
    pub(crate) fn check_compaction(&self) -> Result<()> {
        self.check_left(COMPACTION_SHARE)
    }

    /// Sees that the `share`th part of the margin is free.
    fn check_left(&self, share: u64) -> Result<()> {
        let Ok(room) = self.room() else { return Ok(()) };
        let Room { free_bytes, margin_bytes, .. } = room;
        if free_bytes < margin_bytes / share {
            self.note_full();
            let text = format!("only {free_bytes} bytes are free");
            let full = Err(io::Error::new(io::ErrorKind::StorageFull, text));
            return full.context("write to the volume of", &self.root);
        }
        if free_bytes >= margin_bytes + margin_bytes / 4 {
            self.note_room(room);
        }
        Ok(())
    }

    /// Notes that there is room for records.
    fn note_room(&self, room: Room) {
        if self.full.load(Ordering::Acquire) && self.full.swap(false, Ordering::AcqRel) {
            self.tell(&Event::Room(room));
        }
    }

    /// Notes that records were refused for want of room.
    pub(crate) fn note_full(&self) {
        if !self.full.swap(true, Ordering::AcqRel) {
            let unknown = Room { root: self.root.clone(), free_bytes: 0, margin_bytes: 0 };
            self.tell(&Event::Full(self.room().unwrap_or(unknown)));
        }
    }

    fn room(&self) -> io::Result<Room> {
        let space = self.files.fs.space(&self.root)?;
        let margin_bytes = (space.total_bytes / MARGIN_SHARE).min(MARGIN_BYTES_MAX);
        Ok(Room { root: self.root.clone(), free_bytes: space.usable_bytes, margin_bytes })
    }

    pub(crate) fn tell(&self, event: &Event) {
        if let Some(on_event) = self.on_event.get() {
            on_event(event);
        }
    }
}
