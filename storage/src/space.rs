//! How large the disk under a directory is, and how much of it is left.

use std::io;
use std::path::Path;

/// The room on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still fill.
    pub usable_bytes: u64,
}

/// The room on the disk that holds a directory.
pub fn space(dir: &Path) -> io::Result<Space> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(Space {
        total_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
        usable_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_some_room_and_one_that_is_missing_has_none() {
        let here = space(Path::new(".")).expect("this directory is there");
        assert!(here.total_bytes > 0 && here.usable_bytes <= here.total_bytes, "{here:?}");
        space(Path::new("/no/such/directory")).unwrap_err();
    }
}
