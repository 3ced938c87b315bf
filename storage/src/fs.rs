//! The seam to the file system: everything the crate asks of it, and nothing else.
//!
//! Two implementations: [`Disk`] here, and one in the tests that loses, reorders and refuses
//! writes. What callers may rely on:
//!
//! - **Written bytes are durable once [`File::sync_data`] returned, entries of a directory (files
//!   created, renamed, removed) once [`Fs::sync_dir`] did.** Until then a crash may keep any
//!   subset of them.
//! - A failed sync is final: the bytes may be lost although later syncs succeed.

use std::any::Any;
use std::fs;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Context, Result};
use crate::mmap::Map;
use crate::space::Space;

/// A file system.
pub trait Fs: Send + Sync {
    /// Opens a file to read and write, creating it when absent.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file that is there, to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file to read, or a directory for [`File::sync_filesystem`].
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Creates a directory whose parent is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Moves a file or directory, replacing a file at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Unlinks a file; maps and open files stay valid.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// What a directory holds, in any order. What comes or goes meanwhile may be among it or not.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// How much the file system of `path` holds.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Makes a directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on a file, held until the guard is dropped or the process ends;
    /// `None` when another holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Writes the parts one after the other from `position` on; may write less than all.
    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    /// Reads from `position` on; 0 at the end of the file, may read less than asked.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Bytes in the file.
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves space for a range, and extends the file with zeros up to its end.
    fn allocate(&self, range: Range<u64>) -> io::Result<()>;
    /// Makes the file's bytes and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes all files of this file's file system durable.
    fn sync_filesystem(&self) -> io::Result<()>;
    /// Lets go of the cached bytes of a range, so that reads ask the disk: of those that were
    /// synced and that no map holds.
    fn drop_cache(&self, range: Range<u64>) -> io::Result<()>;
    /// A map of at least the first `published` bytes.
    fn map(&self, published: u64) -> io::Result<Map>;
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name; entries whose name is not UTF-8 are left out.
    pub name: String,
    /// Bytes in the file.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Writes all of `parts`, or fails.
pub(crate) fn write_all_at(
    file: &dyn File,
    mut parts: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match file.write_at(parts, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut parts, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buf` from `position` on as far as the file goes; returns the bytes read.
pub(crate) fn read_full_at(file: &dyn File, buf: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match file.read_at(&mut buf[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Fills `buf` from `position` on, or fails.
pub(crate) fn read_exact_at(file: &dyn File, buf: &mut [u8], position: u64) -> io::Result<()> {
    let read = read_full_at(file, buf, position)?;
    if read < buf.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// All bytes of a small file.
pub(crate) fn read_all(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open_read(path)?;
    let len = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = read_full_at(&*file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The same; `None` if there is no such file. That it cannot be read is no reason to do without.
pub(crate) fn read_if_there(fs: &dyn Fs, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_all(fs, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// When what was written is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// File by file.
    Now,
    /// With the whole file system, later.
    Later,
}

/// What the name of a file ends with until it is whole.
pub(crate) const TEMPORARY: &str = "tmp";

/// Puts a file with `contents` at `path` in one step: a crash leaves the old one or the new one.
/// Durable once the directory is synced.
pub(crate) fn replace(fs: &dyn Fs, path: &Path, contents: &[u8]) -> io::Result<()> {
    replace_with(fs, path, contents, Durability::Now)
}

/// The same; with [`Durability::Later`] a crash may leave anything at `path`.
pub(crate) fn replace_with(
    fs: &dyn Fs,
    path: &Path,
    contents: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let temporary = path.with_added_extension(TEMPORARY);
    let write = || {
        let file = fs.create(&temporary)?;
        file.set_len(0)?;
        write_all_at(&*file, &mut [IoSlice::new(contents)], 0)?;
        if durability == Durability::Now {
            file.sync_data()?;
        }
        fs.rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // Where there was no room it would take up what is left, for good.
        let _ = fs.remove_file(&temporary);
    })
}

/// Removes a file unless it is gone already.
pub(crate) fn remove_if_there(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Creates a directory and its parents as far as they are absent, durably.
pub(crate) fn create_dirs(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let Err(error) = fs.create_dir(dir) else { return sync_parent(fs, dir).context("sync", dir) };
    match (error.kind(), dir.parent()) {
        (io::ErrorKind::AlreadyExists, _) => Ok(()),
        (io::ErrorKind::NotFound, Some(parent)) => {
            create_dirs(fs, parent)?;
            fs.create_dir(dir).context("create", dir)?;
            fs.sync_dir(parent).context("sync", parent)
        }
        _ => Err(error).context("create", dir),
    }
}

/// Makes the entry of `path` durable.
pub(crate) fn sync_parent(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => fs.sync_dir(Path::new(".")),
        Some(parent) => fs.sync_dir(parent),
        None => Ok(()),
    }
}

/// The operating system's file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Fs for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Ok(Arc::new(DiskFile(options.open(path)?)))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(fs::OpenOptions::new().read(true).write(true).open(path)?)))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(fs::File::open(path)?)))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        entries(fs::read_dir(dir)?)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        crate::space::space(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        file.write_all_at(std::process::id().to_string().as_bytes(), 0)?;
        Ok(Some(Box::new(Locked(file))))
    }
}

/// Entries without those that are gone since they were listed.
fn entries(listed: impl Iterator<Item = io::Result<fs::DirEntry>>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        entries.push(Entry { name, len: metadata.len(), is_dir: metadata.is_dir() });
    }
    Ok(entries)
}

/// Gives the lock back when dropped: closing alone would leave it to a child that was just forked,
/// until it runs its program.
struct Locked(fs::File);

impl Drop for Locked {
    fn drop(&mut self) {
        // The end of the process does it too.
        let _ = self.0.unlock();
    }
}

struct DiskFile(fs::File);

/// What the page cache keeps or drops as one is at most this large, and begins at a multiple of it.
#[cfg(target_os = "linux")]
const FOLIO_BYTES: u64 = 2 << 20;

#[cfg(target_os = "linux")]
fn dont_need(file: &fs::File, range: Range<u64>) -> io::Result<()> {
    let Some(len) = std::num::NonZeroU64::new(range.end - range.start) else { return Ok(()) };
    Ok(rustix::fs::fadvise(file, range.start, Some(len), rustix::fs::Advice::DontNeed)?)
}

impl File for DiskFile {
    fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, parts, position)?)
    }
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buf, position)
    }
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    #[cfg(target_os = "linux")]
    fn allocate(&self, range: Range<u64>) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        Ok(rustix::fs::fallocate(&self.0, flags, range.start, range.end - range.start)?)
    }
    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, _range: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    #[cfg(target_os = "linux")]
    fn sync_filesystem(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }
    #[cfg(not(target_os = "linux"))]
    fn sync_filesystem(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    #[cfg(target_os = "linux")]
    fn drop_cache(&self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let start = range.start - range.start % FOLIO_BYTES;
        dont_need(&self.0, start..range.end.next_multiple_of(FOLIO_BYTES))
    }
    #[cfg(not(target_os = "linux"))]
    fn drop_cache(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }
    fn map(&self, _published: u64) -> io::Result<Map> {
        Map::of_file(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_goes_while_its_directory_is_listed_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["gone", "kept"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let listed: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(listed.len(), 2);
        fs::remove_file(dir.path().join("gone")).unwrap();
        let entries = entries(listed.into_iter()).unwrap();
        assert_eq!(entries.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["kept"]);
    }
}
