//! A new store, made in memory and then put on disk.
//!
//! The library syncs some forty times while it makes a store's first files, one after the other,
//! and those waits were half of what the first start took. On a file system in memory they cost
//! nothing, and the copy's files are synced side by side. (One sync of the whole file system would
//! wait for what other programs wrote.) A crash leaves all of the store or none of it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Where Linux has a file system in memory.
const MEMORY: &str = "/dev/shm";

/// Makes a store in `path` with `make`, unless one is there; does nothing where there is no file
/// system in memory, and the library makes the store where it is to be.
///
/// # Errors
/// Those of `make`, and of the disk.
pub(super) fn create<E: From<io::Error>>(
    path: &Path,
    make: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    if path.exists() {
        return Ok(());
    }
    let Some(scratch) = Scratch::new() else { return Ok(()) };
    make(&scratch.0)?;
    let copy = path.with_added_extension("new");
    if copy.exists() {
        // A crash was in the middle of this.
        fs::remove_dir_all(&copy)?;
    }
    let mut copied = Vec::new();
    copy_tree(&scratch.0, &copy, &mut copied)?;
    sync(&copied)?;
    fs::rename(&copy, path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

/// A directory in memory that goes when this does.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(MEMORY).join(format!("tidelog-{}-{number}", std::process::id()));
        // Fails where somebody else has made it, who then has none of our files.
        DirBuilder::new().mode(0o700).create(&path).ok()?;
        Some(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is a few KiB that a restart of the machine frees.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies a directory, and notes what was made.
fn copy_tree(from: &Path, to: &Path, made: &mut Vec<File>) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = entry.map(|it| (it.path(), to.join(it.file_name())))?;
        let metadata = fs::metadata(&entry)?;
        if metadata.is_dir() {
            copy_tree(&entry, &to, made)?;
            continue;
        }
        let mut file = File::create(&to)?;
        if metadata.blocks() == 0 {
            // A journal's length is reserved and nothing is in it.
            file.set_len(metadata.len())?;
        } else {
            io::copy(&mut File::open(&entry)?, &mut file)?;
        }
        made.push(file);
    }
    made.push(File::open(to)?);
    Ok(())
}

/// Syncs some two dozen files side by side.
fn sync(files: &[File]) -> io::Result<()> {
    thread::scope(|scope| {
        let syncs: Vec<_> = files.iter().map(|file| scope.spawn(|| file.sync_all())).collect();
        let done = syncs.into_iter().map(|sync| sync.join().expect("a sync does not panic"));
        done.fold(Ok(()), Result::and)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_there_whole_and_nothing_is_left_of_the_making() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::create_dir(dir.path().join("state.new")).unwrap();
        fs::write(dir.path().join("state.new/torn"), "by a crash").unwrap();
        let mut scratch = None;
        let make = |at: &Path| {
            scratch = Some(at.to_owned());
            fs::create_dir(at.join("tables"))?;
            fs::write(at.join("tables/0"), "contents")?;
            File::create(at.join("journal"))?.set_len(1 << 20)
        };
        create(&path, make).unwrap();
        assert!(scratch.is_some_and(|it| !it.exists()), "needs {MEMORY}");
        assert_eq!(fs::read(path.join("tables/0")).unwrap(), b"contents");
        assert_eq!(fs::metadata(path.join("journal")).unwrap().len(), 1 << 20);
        let names = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["state"]);

        create(&path, |_| Err(io::Error::other("it is there already"))).unwrap();
    }

    #[test]
    fn a_making_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        create(&path, |_| Err(io::Error::other("refused"))).unwrap_err();
        assert!(!path.exists());
    }
}
