//! The operator's way out for damage: takes the damaged bytes out of logs that no process has open.
//!
//! First the logs get what a crash left in the [journal](crate::journal). Then, of each segment
//! with damage,
//! 1. the damaged bytes are saved beside it, as `<segment>.log.damaged-<position>`, durably,
//! 2. the recovery checkpoint forgets how long the partition's last segment was, so that the next
//!    start scans it,
//! 3. the rest is written to `<segment>.log.cleaned`, durably, the indexes are removed, and the new
//!    file is renamed over the old one.
//!
//! **Every batch that holds stays, with its offset.** A batch without records stands for the
//! offsets of the damage: consumers step over it, and the next start finds no gap before the last
//! batch, which would be taken for a flipped bit in its offset. At every moment the log is as it
//! was or without the damage, and what an interrupted repair left is done by the next one. Offsets
//! lost at the very end are not given out again: the checkpoint knows them.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tidelog_protocol::records::Batch;

use crate::checkpoint::Checkpoint;
use crate::compaction::CLEANED_SUFFIX;
use crate::error::{Context, Error, Result};
use crate::fs::{Fs, read_full_at, remove_if_there, write_all_at};
use crate::inspect::{Found, inspect_with};
use crate::journal::{Journaled, Shares, not_redone, redo};
use crate::segment::{base_offset_of, file_name};
use crate::volume::{root_of, take_lock};

/// Damage that is taken out of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excised {
    /// The segment's file.
    pub file: PathBuf,
    /// Where the damage starts.
    pub position: u64,
    /// Its length.
    pub bytes: u64,
    /// What is wrong.
    pub reason: String,
    /// The first offset that may be in it.
    pub first_offset: i64,
    /// The offset of the batch after it; `None` at a segment's end.
    pub next_offset: Option<i64>,
    /// Where the bytes are saved.
    pub saved: PathBuf,
}

/// The data directory that `dir` is or lies in, and the partitions in `dir`.
///
/// # Errors
/// [`Error::Io`] if there is no such thing.
pub fn partitions_in(fs: &dyn Fs, dir: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let root = root_of(fs, dir).ok_or_else(|| Error::Io {
        operation: "find the data directory of",
        path: dir.to_path_buf(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    let mut partitions = Vec::new();
    gather(fs, dir, DEPTH_MAX, &mut partitions)?;
    partitions.sort_unstable();
    Ok((root.to_path_buf(), partitions))
}

/// Takes the damage out of `partitions` of the data directory `root`; with `dry_run`, only says
/// what it would do. `progress` is told of bytes that were looked at.
///
/// # Errors
/// [`Error::Locked`] while a process has the data directory; [`Error::Io`], also where a log cannot
/// be written what the journal has of it.
pub fn repair(
    fs: &dyn Fs,
    root: &Path,
    partitions: &[PathBuf],
    dry_run: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Excised>> {
    let _lock = take_lock(fs, root)?;
    let mut shares = Shares::default();
    if dry_run {
        shares = Shares::read(fs, root, None)?;
    } else {
        let redone = redo(fs, root)?;
        // What stays in the journal is written at the next start, and not over what is mended here.
        redone.settle(fs, root, false)?;
        if let Some((name, reason)) = redone.failed.iter().next() {
            return Err(not_redone(root, name, reason));
        }
    }
    let mut all = Vec::new();
    for dir in partitions {
        let journaled = shares.take(fs, dir, dir.strip_prefix(root).unwrap_or(dir))?;
        let found = damage_in(fs, dir, journaled, progress)?;
        if !dry_run && !found.is_empty() {
            excise(fs, root, dir, &found)?;
        }
        all.extend(found);
    }
    Ok(all)
}

/// `accounts/<account>/<partition>` from the data directory.
const DEPTH_MAX: usize = 3;
/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

fn gather(fs: &dyn Fs, dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs.list(dir).context("list", dir)?;
    if entries.iter().any(|entry| base_offset_of(&entry.name).is_some()) {
        found.push(dir.to_path_buf());
    }
    for entry in entries.iter().filter(|entry| entry.is_dir && depth > 0) {
        gather(fs, &dir.join(&entry.name), depth - 1, found)?;
    }
    Ok(())
}

/// The damage in the named segments of a partition, in order.
fn damage_in(
    fs: &dyn Fs,
    dir: &Path,
    journaled: Option<Journaled>,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Excised>> {
    let mut found: Vec<Excised> = Vec::new();
    let mut first_offset = 0;
    inspect_with(fs, dir, journaled, &mut |path, part| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(base_offset) = base_offset_of(name) else { return };
        match part {
            Found::Batch { batch, .. } => {
                let header = batch.header();
                if let Some(last) = found.last_mut().filter(|last| last.file == path) {
                    last.next_offset.get_or_insert(header.base_offset);
                }
                first_offset = header.last_offset() + 1;
                progress(batch.bytes().len() as u64);
            }
            Found::Damage { position, bytes, reason } if bytes > 0 => found.push(Excised {
                file: path.to_path_buf(),
                position,
                bytes,
                reason,
                first_offset: first_offset.max(base_offset),
                next_offset: None,
                saved: path.with_added_extension(format!("damaged-{position}")),
            }),
            Found::Damage { .. } | Found::Reserved { .. } | Found::Aborted { .. } => {}
        }
    })?;
    Ok(found)
}

fn excise(fs: &dyn Fs, root: &Path, dir: &Path, found: &[Excised]) -> Result<()> {
    for damage in found {
        let range = damage.position..damage.position + damage.bytes;
        copy(fs, &damage.file, &[Part::Of(range)], &damage.saved)?;
    }
    fs.sync_dir(dir).context("sync", dir)?;
    let mut checkpoint = Checkpoint::read(fs, root)?;
    let name = dir.strip_prefix(root).unwrap_or(dir);
    if let Some(point) = checkpoint.points.get_mut(name) {
        (point.end.position, checkpoint.clean) = (0, false);
        checkpoint.write(fs, root)?;
    }
    for damaged in found.chunk_by(|a, b| a.file == b.file) {
        let file = &damaged[0].file;
        let mut kept = Vec::new();
        let mut from = 0;
        for damage in damaged {
            kept.push(Part::Of(from..damage.position));
            kept.extend(damage.placeholder().map(|batch| Part::New(batch.bytes().clone())));
            from = damage.position + damage.bytes;
        }
        kept.push(Part::Of(from..u64::MAX));
        let cleaned = file.with_extension(&CLEANED_SUFFIX[1..]);
        copy(fs, file, &kept, &cleaned)?;
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        for extension in ["index", "timeindex", "txnindex"] {
            let path = dir.join(file_name(base_offset_of(name).unwrap_or(0), extension));
            remove_if_there(fs, &path).context("remove", &path)?;
        }
        fs.sync_dir(dir).context("sync", dir)?;
        fs.rename(&cleaned, file).context("replace", file)?;
        fs.sync_dir(dir).context("sync", dir)?;
    }
    Ok(())
}

impl Excised {
    /// The batch that stands for the offsets that may be in the damage. At a segment's end there is
    /// none: the next segment says where it begins, and the checkpoint where the log ends.
    fn placeholder(&self) -> Option<Batch> {
        let last_offset_delta = self.next_offset?.checked_sub(self.first_offset)? - 1;
        Batch::without_records(self.first_offset, i32::try_from(last_offset_delta).ok()?)
    }
}

/// What a new file is put together from.
enum Part {
    /// These bytes of the old one.
    Of(Range<u64>),
    New(Bytes),
}

/// Writes these parts to a file, durably up to the directory's sync.
fn copy(fs: &dyn Fs, from: &Path, parts: &[Part], to: &Path) -> Result<()> {
    let source = fs.open_read(from).context("open", from)?;
    let target = fs.create(to).context("create", to)?;
    let mut buf = vec![0; COPY_BYTES];
    let mut written = 0;
    let mut write = |bytes: &[u8]| {
        let parts = &mut [IoSlice::new(bytes)];
        write_all_at(&*target, parts, written).context("write", to)?;
        written += bytes.len() as u64;
        Ok(())
    };
    for part in parts {
        let range = match part {
            Part::Of(range) => range,
            Part::New(bytes) => {
                write(bytes)?;
                continue;
            }
        };
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(COPY_BYTES as u64);
            let part = &mut buf[..usize::try_from(len).unwrap_or(COPY_BYTES)];
            let read = read_full_at(&*source, part, at).context("read", from)?;
            if read == 0 {
                break;
            }
            write(&part[..read])?;
            at += read as u64;
        }
    }
    target.set_len(written).context("cut", to)?;
    target.sync_data().context("sync", to)
}
