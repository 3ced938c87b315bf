//! How far a run came, kept beside the file it reads.

use serde::{Deserialize, Serialize};

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

#[derive(Serialize, Deserialize)]
struct Kept {
    target: String,
    progress: Progress,
}

/// Where an earlier run of the same came to, unless the file has become shorter since.
pub(super) fn load(path: &str, target: &str, total: u64) -> Option<Progress> {
    let text = std::fs::read(kept_at(path)).unwrap_or_default();
    match serde_json::from_slice::<Kept>(&text) {
        Ok(kept) if kept.target == target && kept.progress.bytes <= total => Some(kept.progress),
        _ => None,
    }
}

/// Keeps how far a run came. Where that cannot be written the run goes on: to send lines again is
/// mostly safe, and only slower.
pub(super) fn save(path: &str, target: &str, progress: &Progress) {
    let kept = Kept { target: target.to_owned(), progress: progress.clone() };
    let text = serde_json::json!(kept).to_string();
    let new = format!("{}.new", kept_at(path));
    let _ = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, kept_at(path)));
}

/// Forgets it, when all is done.
pub(super) fn remove(path: &str) {
    let _ = std::fs::remove_file(kept_at(path));
}

fn kept_at(path: &str) -> String {
    format!("{path}.tidelog-ingest")
}
