//! The producer snapshots of a log: found at its first append, written when it is sealed.

use crate::error::{Context, Error, Result};
use crate::fs::{Durability, read_all, remove_if_there, replace_with};
use crate::partition::Inner;
use crate::producers::Producers;
use crate::segment::file_name;

/// A log's producers with the snapshots it has on disk.
pub(crate) struct Snapshots {
    pub producers: Producers,
    /// Their offsets, oldest first.
    stored: Vec<i64>,
}

/// The one before the newest is kept too: the newest is durable only with the directory.
const SNAPSHOTS_KEPT: usize = 2;

impl Snapshots {
    /// The producers of all batches before `end_offset`, which is durable: those of the newest
    /// snapshot that holds, and what the batches after it say.
    pub(crate) fn load(home: &Inner, end_offset: i64) -> Result<Self> {
        let files = &home.shared.files;
        let entries = files.fs.list(&home.dir).context("list", &home.dir)?;
        let mut stored: Vec<_> =
            entries.iter().filter_map(|entry| offset_of(&entry.name)).collect();
        stored.sort_unstable();
        // Those from beyond the end are of a tail that was lost.
        let kept = stored.partition_point(|offset| *offset <= end_offset);
        for offset in stored.split_off(kept) {
            let path = home.dir.join(file_name(offset, EXTENSION));
            remove_if_there(&*files.fs, &path).context("remove", &path)?;
        }
        let newest = stored.iter().rev().find_map(|offset| read(home, *offset));
        let (from, mut producers) = newest.unwrap_or((0, Producers::default()));
        if from < end_offset {
            note_from(home, from, &mut producers)?;
        }
        let mut recent = Producers::default();
        note_from(home, recent_offset(home)?, &mut recent)?;
        producers.adopt(recent);
        let mut snapshots = Self { producers, stored };
        let segments = home.segments();
        if from < segments[segments.len() - 1].base_offset {
            // Sealed segments may be compacted, and then say less than they did.
            snapshots.store(home, end_offset, Durability::Now)?;
            home.sync_dir()?;
        }
        Ok(snapshots)
    }

    /// The producers at or before `offset`, and at which offset: of the newest snapshot that is
    /// there, or none at all.
    pub(crate) fn before(&self, home: &Inner, offset: i64) -> (i64, Producers) {
        let stored = self.stored.iter().rev().filter(|stored| **stored <= offset);
        let newest = { stored }.find_map(|stored| read(home, *stored));
        newest.unwrap_or((0, Producers::default()))
    }

    /// Writes a snapshot at `end_offset`, durable once the directory is synced, if there is room.
    pub(crate) fn store(
        &mut self,
        home: &Inner,
        end_offset: i64,
        durability: Durability,
    ) -> Result<()> {
        match write(home, end_offset, &self.producers.encode(), durability)? {
            true => self.note_stored(home, end_offset),
            false => Ok(()),
        }
    }

    /// The offset before which a snapshot has all producers.
    pub(crate) fn newest(&self) -> i64 {
        self.stored.last().copied().unwrap_or(0)
    }

    /// Bytes of the segments that no snapshot covers whole.
    pub(crate) fn bytes_since(&self, home: &Inner) -> u64 {
        let newest = self.newest();
        let segments = home.segments();
        let from = segments.partition_point(|it| it.base_offset <= newest).saturating_sub(1);
        segments[from..].iter().map(|segment| segment.published()).sum()
    }

    /// Notes the snapshot at `end_offset`, and lets go of the oldest ones.
    pub(crate) fn note_stored(&mut self, home: &Inner, end_offset: i64) -> Result<()> {
        self.stored.retain(|offset| *offset != end_offset);
        self.stored.push(end_offset);
        while self.stored.len() > SNAPSHOTS_KEPT {
            let oldest = home.dir.join(file_name(self.stored.remove(0), EXTENSION));
            remove_if_there(&*home.shared.files.fs, &oldest).context("remove", &oldest)?;
        }
        Ok(())
    }
}

/// Writes a snapshot at `end_offset`, durable once the directory is synced; false without room for
/// it: then more batches are walked at the next start.
pub(crate) fn write(
    home: &Inner,
    end_offset: i64,
    contents: &[u8],
    durability: Durability,
) -> Result<bool> {
    let path = home.dir.join(file_name(end_offset, EXTENSION));
    match replace_with(&*home.shared.files.fs, &path, contents, durability).context("write", &path)
    {
        Err(error) if error.is_disk_full() => Ok(false),
        written => written.map(|()| true),
    }
}

/// The snapshot at `offset`, if it holds.
fn read(home: &Inner, offset: i64) -> Option<(i64, Producers)> {
    let path = home.dir.join(file_name(offset, EXTENSION));
    let bytes = read_all(&*home.shared.files.fs, &path).ok()?;
    Some((offset, Producers::decode(&bytes)?))
}

const EXTENSION: &str = "snapshot";
/// Bytes at the end of the log whose batches are all remembered at start, to answer the retries of
/// producers that had several batches on their way when the process ended.
pub(crate) const RECENT_BYTES: u64 = 1 << 20;

/// An offset before the last [`RECENT_BYTES`], or the first one.
fn recent_offset(home: &Inner) -> Result<i64> {
    let segments = home.segments();
    let mut left = RECENT_BYTES;
    for segment in segments.iter().rev() {
        match left.checked_sub(segment.published()) {
            Some(rest) => left = rest,
            None => return segment.offset_before(&home.shared.files, left),
        }
    }
    Ok(segments[0].base_offset)
}

fn note_from(home: &Inner, from: i64, producers: &mut Producers) -> Result<()> {
    let segments = home.segments();
    let first = segments.partition_point(|segment| segment.base_offset <= from);
    for segment in &segments[first.saturating_sub(1)..] {
        match segment.each_from(&home.shared.files, from, |batch, marker| {
            producers.note(batch, marker.as_ref());
        }) {
            // Damage is reported to who reads it; the log goes on.
            Err(Error::Corrupt { .. }) => {}
            walked => walked?,
        }
    }
    Ok(())
}

fn offset_of(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(".snapshot")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}
