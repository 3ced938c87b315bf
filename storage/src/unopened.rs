//! Removing the files of partitions that are not open.

use std::io::ErrorKind;
use std::path::Path;

use crate::checkpoint::{format_topic_id, is_beside_log, read_topic_id};
use crate::error::{Context, Error, Result};
use crate::fs::{Entry, Fs};
use crate::volume::{Volume, remove_tree};

impl Volume {
    /// Removes the files of a partition that is not open, durably; those of another topic, which
    /// took its place, stay. Nothing happens where there are none.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`]: [`crate::Partition::delete`] removes it. [`Error::Io`].
    pub fn delete_unopened(&self, dir: &Path, topic_id: [u8; 16]) -> Result<()> {
        let is_of_it = |fs: &dyn Fs, path: &Path| {
            let found = read_topic_id(fs, path)?;
            Ok(found.is_none_or(|found| found == format_topic_id(&topic_id)))
        };
        self.delete_if(dir, is_of_it).map(drop)
    }

    /// The same of a partition of whatever topic, if it holds no records; says whether it is gone.
    ///
    /// # Errors
    /// As [`Volume::delete_unopened`].
    pub fn delete_empty(&self, dir: &Path) -> Result<bool> {
        let is_empty =
            |entry: &Entry| !entry.is_dir && (entry.len == 0 || is_beside_log(&entry.name));
        self.delete_if(dir, |fs, path| match fs.list(path) {
            Ok(entries) => Ok(entries.iter().all(is_empty)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error).context("list", path),
        })
    }

    fn delete_if(
        &self,
        dir: &Path,
        wanted: impl FnOnce(&dyn Fs, &Path) -> Result<bool>,
    ) -> Result<bool> {
        let shared = self.shared();
        let (fs, path) = (&*shared.files.fs, shared.root.join(dir));
        let removed = {
            let _alone = shared.creating.lock();
            if shared.partitions.lock().open.contains_key(dir) {
                return Err(Error::AlreadyOpen { path });
            }
            if !wanted(fs, &path)? {
                return Ok(false);
            }
            match shared.bury(&path) {
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
                buried => Some(buried?),
            }
        };
        shared.partitions.lock().found.points.remove(dir);
        shared.checkpointer.note_change();
        removed.map_or(Ok(()), |removed| remove_tree(fs, &removed).context("delete", &removed))?;
        Ok(true)
    }
}
