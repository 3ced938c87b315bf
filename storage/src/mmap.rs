//! Read-only maps of log files: the crate's only `unsafe` code.
//!
//! A map may cover more of a file than may be read: the preallocated tail is mapped too, so that
//! appends show up without mapping again. What may be read is the *published* length of a segment.
//!
//! - **A byte below the published length never changes, and the file never shrinks below it.**
//!   Retention unlinks, which leaves maps valid; only the tail above the published length is ever
//!   cut off (when a segment is sealed or a log closed).
//! - **No slice reaches past the published length**, so none reaches a byte that `pwrite` may still
//!   change or that a cut may take away (which would be a SIGBUS).
//! - Other processes are kept out by the lock on the data directory.
//!
//! **A page that the disk cannot give is a SIGBUS**, which would not be an error of one partition.
//! So what may not be in memory is brought there first, by [`Map::bring`], where it is an error;
//! recovery, repair, the scrubber, retention and compaction use `pread`. Where the system cannot
//! bring pages (Linux before 5.14), and for a page that is lost between the two,
//! [`exit_on_unreadable_page`] makes it an end with a reason instead of a riddle: what is
//! acknowledged is durable, so nothing is lost by it.

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

/// A file's bytes in memory, shared by all who hold a slice.
#[derive(Clone, Debug)]
pub struct Map(Arc<Region>);

#[derive(Debug)]
enum Region {
    Mapped(MmapRaw),
    Heap(Box<[u8]>),
}

impl Map {
    /// A copy instead of a map, for file systems without maps: `bytes` must be the published ones.
    pub fn copied(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Region::Heap(bytes.into_boxed_slice())))
    }

    /// Maps the whole of `file`, preallocated tail included.
    pub(crate) fn of_file(file: &fs::File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if len == 0 {
            return Ok(Self::copied(Vec::new()));
        }
        Ok(Self(Arc::new(Region::Mapped(MmapOptions::new().len(len).map_raw_read_only(file)?))))
    }

    /// Bytes that are mapped; readable are only the published ones.
    pub(crate) fn len(&self) -> usize {
        match &*self.0 {
            Region::Mapped(map) => map.len(),
            Region::Heap(bytes) => bytes.len(),
        }
    }

    /// Whether `range`, of what is mapped, is in memory, so that reading it does not wait for the
    /// disk. What the system does not tell counts as absent.
    pub(crate) fn is_resident(&self, range: Range<usize>) -> bool {
        match &*self.0 {
            Region::Heap(_) => true,
            Region::Mapped(map) => is_resident(map, range.start..range.end.min(map.len())),
        }
    }

    /// Brings `range`, of what is mapped, into memory: it may take as long as the disk does.
    ///
    /// # Errors
    /// When the disk cannot give it.
    pub(crate) fn bring(&self, range: Range<usize>) -> io::Result<()> {
        match &*self.0 {
            Region::Heap(_) => Ok(()),
            Region::Mapped(map) => bring(map, range.start..range.end.min(map.len())),
        }
    }

    /// All bytes, of a file that is complete.
    pub(crate) fn all(&self) -> Bytes {
        self.bytes(0..self.len())
    }

    /// The bytes of `range`, which must end at or below the published length, without a copy.
    /// They keep the map alive, also after the file was deleted.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Bytes {
        match range.is_empty() {
            true => Bytes::new(),
            false => Bytes::from_owner(self.view(range)),
        }
    }

    /// The same to look at, for which nothing is allocated.
    pub(crate) fn view(&self, range: Range<usize>) -> impl AsRef<[u8]> + Send + 'static {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} is not mapped");
        Slice { map: self.clone(), range }
    }
}

/// How the process ends when a mapped page cannot be read; `EX_IOERR` of sysexits.
pub const UNREADABLE_PAGE_EXIT: i32 = 74;

const UNREADABLE_PAGE: &[u8] =
    b"the disk cannot give a page of a mapped log (SIGBUS): ending. The \
system's log names the device; `tidelog dump-log --verify` finds the file.\n";

/// Has the process say what happened, and end, when a mapped page cannot be read.
///
/// # Errors
/// Where the system has no such signal handlers.
#[allow(unsafe_code)]
pub fn exit_on_unreadable_page() -> io::Result<()> {
    extern "C" fn end(_signal: libc::c_int) {
        // SAFETY: `write` and `_exit` are calls that a signal handler may make; the bytes are
        // static.
        unsafe {
            libc::write(2, UNREADABLE_PAGE.as_ptr().cast(), UNREADABLE_PAGE.len());
            libc::_exit(UNREADABLE_PAGE_EXIT);
        }
    }
    // SAFETY: zeros are a valid `sigaction`: no flags and an empty mask. The handler has the
    // signature of one without `SA_SIGINFO`, touches no state of the program and does not return.
    let set = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut())
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[allow(unsafe_code)]
fn bring(map: &MmapRaw, range: Range<usize>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let start = range.start - range.start % rustix::param::page_size();
    // SAFETY: `start` is the start of a page and the range ends at most at the end of the map,
    // which is borrowed. Pages are read, not changed.
    let brought = unsafe {
        let first = map.as_mut_ptr().add(start).cast();
        libc::madvise(first, range.end - start, libc::MADV_POPULATE_READ)
    };
    match brought {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // Where reading the page would be a SIGBUS.
            error if error.raw_os_error() == Some(libc::EFAULT) => {
                Err(io::Error::other("the disk cannot give it"))
            }
            error if error.raw_os_error() == Some(libc::EHWPOISON) => Err(error),
            // Unknown to this system, or interrupted: reading it will tell.
            _ => Ok(()),
        },
    }
}

/// Pages asked about at once: 4 MiB of them, if small.
const PAGES_PROBED: usize = 1 << 10;

#[allow(unsafe_code)]
fn is_resident(map: &MmapRaw, range: Range<usize>) -> bool {
    const ABSENT: u8 = 0;
    let page = rustix::param::page_size();
    let mut start = range.start - range.start % page;
    let mut states = [ABSENT; PAGES_PROBED];
    while start < range.end {
        let end = range.end.min(start + PAGES_PROBED * page);
        let pages = (end - start).div_ceil(page);
        // SAFETY: `start` is the start of a page and `end` at most the end of the map, which is
        // borrowed; `states` has room for a byte of each page in between. Pages are looked up, not
        // read or changed.
        let known = unsafe {
            let first = map.as_mut_ptr().add(start).cast();
            libc::mincore(first, end - start, states.as_mut_ptr().cast()) == 0
        };
        if !known || states[..pages].iter().any(|state| state & 1 == ABSENT) {
            return false;
        }
        start = end;
    }
    true
}

struct Slice {
    map: Map,
    range: Range<usize>,
}

impl AsRef<[u8]> for Slice {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        match &*self.map.0 {
            Region::Heap(bytes) => &bytes[self.range.clone()],
            // SAFETY: `Map::view` checked that the range lies within the map, which lives as long
            // as `self.map`. The bytes are initialised (a file's) and do not change or go away
            // while borrowed, since they are below the segment's published length; see the
            // invariants in the module's documentation.
            Region::Mapped(map) => unsafe {
                std::slice::from_raw_parts(
                    map.as_ptr().add(self.range.start),
                    self.range.end - self.range.start,
                )
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use crate::fs::{Disk, Fs};
    use std::io::IoSlice;

    const UNREADABLE: &str = "TIDELOG_UNREADABLE_TEST";

    /// Does the work of the test below, in a process that may die of it.
    #[test]
    fn the_process_that_meets_an_unreadable_page() {
        if std::env::var_os(UNREADABLE).is_none() {
            return;
        }
        exit_on_unreadable_page().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let map = Map::of_file(&file).unwrap();
        // Past the end of its file a map has no page to give, as where a sector is bad.
        file.set_len(0).unwrap();
        std::hint::black_box(map.all()[0]);
    }

    #[test]
    fn a_page_that_cannot_be_read_is_an_error_where_it_is_brought_first() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let map = Map::of_file(&file).unwrap();
        map.bring(5000..1 << 20).unwrap();
        file.set_len(1 << 19).unwrap();
        map.bring(5000..1 << 19).unwrap();
        map.bring(5000..(1 << 19) + 1).unwrap_err();
        map.bring((1 << 20) - 1..1 << 20).unwrap_err();
    }

    #[test]
    fn an_unreadable_page_ends_the_process_with_a_line_and_a_code_of_its_own() {
        let name = "mmap::tests::the_process_that_meets_an_unreadable_page";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = command.args(["--exact", name]).env(UNREADABLE, "1").output().unwrap();
        assert_eq!(ended.status.code(), Some(UNREADABLE_PAGE_EXIT));
        assert!(ended.stderr.ends_with(UNREADABLE_PAGE), "{ended:?}");
    }

    #[test]
    fn bytes_that_only_the_disk_has_are_told_from_those_in_memory() {
        // Not where temporary files go, which may be memory itself.
        let program = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let file = Disk.create(&dir.path().join("file")).unwrap();
        let bytes = vec![7; 8 << 20];
        crate::fs::write_all_at(&*file, &mut [IoSlice::new(&bytes)], 0).unwrap();
        let map = file.map(bytes.len() as u64).unwrap();
        assert!(map.is_resident(0..bytes.len()), "just written");
        file.sync_data().unwrap();
        file.drop_cache(0..bytes.len() as u64).unwrap();
        let parts = [0..1, 5000..6000, (4 << 20)..(4 << 20) + 1, bytes.len() - 1..bytes.len()];
        for part in parts.clone() {
            assert!(!map.is_resident(part.clone()), "{part:?}");
        }
        map.bring(0..bytes.len()).unwrap();
        assert!(parts.into_iter().all(|part| map.is_resident(part)));
        assert!(map.is_resident(100..bytes.len() - 100));
        file.drop_cache(0..bytes.len() as u64).unwrap();
        assert!(map.is_resident(0..0), "nothing waits for no disk");
    }
}
