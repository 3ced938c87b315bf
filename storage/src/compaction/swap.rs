//! Putting a new file in the place of the segments it was written from.
//!
//! For one segment that is a rename. For several, the rename and the removals are several steps,
//! and a crash between them would leave records twice. So that it does not, a file says first, and
//! durably, what is to be done, and opening the log finishes it:
//!
//! ```text
//! <base offset>.log.cleaned   the new file, until it is renamed to <base offset>.log
//! <base offset>.merge         tidelog-merge 1 <base offset of the next segment> <its bytes>
//!                             crc32c <of the line above, 8 hex digits>
//! ```
//!
//! The others are removed when the rename is durable. **Which file a crash left under the name is
//! told by its length**: the new one is not as long as the old one.
//!
//! Index files of the old segment go first: they would lead astray in the new one. Its `.txnindex`
//! counts for nothing without them, and stays until the new one's is written, for readers that
//! still have the old segment: the new one's is right for them too.

use std::path::Path;
use std::sync::Arc;

use super::{CLEANED_SUFFIX, Sealed};
use crate::error::{Context, Result};
use crate::fs::{Durability, Entry, Fs, read_all, remove_if_there, replace};
use crate::partition::Inner;
use crate::segment::{Segment, base_offset_of, file_name};

const MERGE: &str = "merge";
const INDEXES: [&str; 2] = ["index", "timeindex"];
/// The files of a segment.
const ALL: [&str; 5] = ["log", "index", "timeindex", "txnindex", "snapshot"];

impl Inner {
    /// Puts `new`, which is at `cleaned`, in the place of a group, for readers and after a crash;
    /// false if the group is not there any longer.
    pub(super) fn swap(&self, group: &[Sealed], new: Arc<Segment>, cleaned: &Path) -> Result<bool> {
        let _alone = self.maintenance.lock();
        self.check_open()?;
        let (shared, fs) = (&self.shared, &*self.shared.files.fs);
        if !self.has(group) {
            remove_if_there(fs, cleaned).context("remove", cleaned)?;
            return Ok(false);
        }
        let base = new.base_offset;
        if let [_, .., last] = group {
            // The new file is there for good before anything says so.
            self.sync_dir()?;
            let merge = self.dir.join(file_name(base, MERGE));
            let text = mark(last.end, new.published());
            replace(fs, &merge, text.as_bytes()).context("write", &merge)?;
            if let Err(error) = self.merge(group, &new, cleaned, &merge) {
                // Half done, and only opening the log finishes it.
                return shared.sync(|| Err(error));
            }
        } else {
            remove(fs, &self.dir, base, &INDEXES)?;
            self.sync_dir()?;
            self.exchange(group, &new, cleaned)?;
            self.sync_dir()?;
        }
        shared.heed(new.store_index(&shared.files, Durability::Now))?;
        Ok(true)
    }

    fn merge(
        &self,
        group: &[Sealed],
        new: &Arc<Segment>,
        cleaned: &Path,
        merge: &Path,
    ) -> Result<()> {
        let fs = &*self.shared.files.fs;
        remove(fs, &self.dir, new.base_offset, &INDEXES)?;
        self.sync_dir()?;
        self.exchange(group, new, cleaned)?;
        self.sync_dir()?;
        for old in &group[1..] {
            remove(fs, &self.dir, old.segment.base_offset, &ALL)?;
        }
        self.sync_dir()?;
        remove_if_there(fs, merge).context("remove", merge)?;
        self.sync_dir()
    }

    fn has(&self, group: &[Sealed]) -> bool {
        let segments = self.segments();
        let place = segments.partition_point(|it| it.base_offset < group[0].segment.base_offset);
        let there = segments.get(place..place + group.len()).unwrap_or_default();
        there.len() == group.len()
            && there.iter().zip(group).all(|(there, it)| Arc::ptr_eq(there, &it.segment))
    }

    /// In one step for readers: who has looked at an old segment meanwhile looks at the list again.
    fn exchange(&self, group: &[Sealed], new: &Arc<Segment>, cleaned: &Path) -> Result<()> {
        let mut segments = self.segments.write();
        let mut next = Vec::clone(&segments);
        let place = next.partition_point(|it| it.base_offset < new.base_offset);
        next.splice(place..place + group.len(), [new.clone()]);
        let log = new.path();
        group.iter().for_each(|old| old.segment.set_gone(true));
        self.shared.files.fs.rename(cleaned, &log).context("replace", &log).inspect_err(|_| {
            group.iter().for_each(|old| old.segment.set_gone(false));
        })?;
        *segments = Arc::new(next);
        drop(segments);
        for old in group {
            old.segment.forget(&self.shared.files);
        }
        Ok(())
    }
}

/// Finishes merges that a crash interrupted; `entries` are those of `dir`. Returns whether there
/// were any.
pub(crate) fn finish_merges(fs: &dyn Fs, dir: &Path, entries: &[Entry]) -> Result<bool> {
    let bases = |suffix: &str| {
        let names = entries.iter().filter_map(|entry| entry.name.strip_suffix(suffix));
        names.filter_map(|name| base_offset_of(&format!("{name}.log"))).collect::<Vec<_>>()
    };
    let merges = bases(&format!(".{MERGE}"));
    for base in &merges {
        let merge = dir.join(file_name(*base, MERGE));
        let log = dir.join(file_name(*base, "log"));
        let text = read_all(fs, &merge).context("read", &merge)?;
        let Some((end, bytes)) = std::str::from_utf8(&text).ok().and_then(marked) else {
            remove_if_there(fs, &merge).context("remove", &merge)?;
            continue;
        };
        let name = file_name(*base, "log");
        let replaced = entries.iter().any(|entry| entry.name == name && entry.len == bytes);
        let waiting = bases(CLEANED_SUFFIX).contains(base);
        if !replaced && waiting {
            remove(fs, dir, *base, &INDEXES)?;
            fs.rename(&log.with_added_extension("cleaned"), &log).context("replace", &log)?;
            fs.sync_dir(dir).context("sync", dir)?;
        }
        if replaced || waiting {
            for old in bases(".log").into_iter().filter(|old| (*base + 1..end).contains(old)) {
                remove(fs, dir, old, &ALL)?;
            }
            fs.sync_dir(dir).context("sync", dir)?;
        }
        remove_if_there(fs, &merge).context("remove", &merge)?;
    }
    if !merges.is_empty() {
        fs.sync_dir(dir).context("sync", dir)?;
    }
    Ok(!merges.is_empty())
}

fn remove(fs: &dyn Fs, dir: &Path, base_offset: i64, extensions: &[&str]) -> Result<()> {
    extensions.iter().try_for_each(|extension| {
        let path = dir.join(file_name(base_offset, extension));
        remove_if_there(fs, &path).context("remove", &path)
    })
}

/// What a merge file says: where the log goes on after the new file, and how long that is.
fn mark(end: i64, bytes: u64) -> String {
    let line = format!("tidelog-merge 1 {end} {bytes}\n");
    format!("{line}crc32c {:08x}\n", crc32c::crc32c(line.as_bytes()))
}

fn marked(text: &str) -> Option<(i64, u64)> {
    let mut words = text.lines().next()?.split(' ').skip(2);
    let (end, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (mark(end, bytes) == text).then_some((end, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_file_with_any_byte_changed_says_nothing() {
        let text = mark(1_234_567, 89);
        assert_eq!(marked(&text), Some((1_234_567, 89)));
        for n in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[n] ^= 1;
            assert_eq!(String::from_utf8(bytes).ok().and_then(|text| marked(&text)), None);
            assert_eq!(marked(&text[..n]), None);
        }
    }
}
