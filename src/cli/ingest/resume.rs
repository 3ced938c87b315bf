//! How far a run came, kept beside the file it reads.

use crate::id;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{BufRead, Read, Result};

/// How far a run came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Progress {
    /// What tells the run from every other, those of the same file too.
    pub run: String,
    /// Bytes of the file that are done.
    pub bytes: u64,
    /// Lines of it.
    pub lines: u64,
    /// Records that were sent and answered.
    pub records: u64,
    /// Events they made.
    pub events: u64,
    /// Lines that were refused.
    pub refused: u64,
}

impl Progress {
    /// Of a run that has not begun.
    pub(super) fn new(run: String) -> Self {
        Self { run, bytes: 0, lines: 0, records: 0, events: 0, refused: 0 }
    }
}

/// What is kept beside a file.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    target: String,
    progress: Progress,
    /// SHA-256 of the bytes that are done, in hex.
    digest: String,
}

impl Kept {
    /// Of an earlier run to the same target, if there was one that did not end.
    pub(super) fn of(path: &str, target: &str) -> Option<Self> {
        let kept: Self = serde_json::from_slice(&std::fs::read(kept_at(path)).ok()?).ok()?;
        (kept.target == target).then_some(kept)
    }

    /// Where that run came to, and the digest of what is done, if the file still begins with that.
    /// The file is read so far.
    pub(super) fn progress(self, file: &mut impl BufRead) -> Result<Option<(Progress, Sha256)>> {
        let mut done = file.take(self.progress.bytes);
        let mut digest = Sha256::new();
        loop {
            let part = done.fill_buf()?;
            if part.is_empty() {
                break;
            }
            digest.update(part);
            let length = part.len();
            done.consume(length);
        }
        Ok((hex(&digest) == self.digest).then_some((self.progress, digest)))
    }
}

/// Keeps how far a run came. Where that cannot be written the run goes on: to send lines again is
/// mostly safe, and only slower.
pub(super) fn save(path: &str, target: &str, progress: &Progress, digest: &Sha256) {
    let (target, progress, digest) = (target.to_owned(), progress.clone(), hex(digest));
    let text = serde_json::json!(Kept { target, progress, digest }).to_string();
    let new = format!("{}.new", kept_at(path));
    let _ = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, kept_at(path)));
}

fn hex(digest: &Sha256) -> String {
    id::hex(&digest.clone().finalize())
}

/// Forgets it, when all is done.
pub(super) fn remove(path: &str) {
    let _ = std::fs::remove_file(kept_at(path));
}

fn kept_at(path: &str) -> String {
    format!("{path}.tidelog-ingest")
}
