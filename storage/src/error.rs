//! What can go wrong with a log, each with the file it happened to.

use std::io;
use std::path::{Path, PathBuf};

/// A failed storage operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `write`, `sync`.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Stored bytes are not what was stored. The rest of the log is served.
    #[error("{} is damaged at byte {position}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damage starts.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
    /// No such offset in the log.
    #[error("offset {offset} is outside of the log, {log_start_offset} to {log_end_offset}")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The first offset there is.
        log_start_offset: i64,
        /// The offset the next record will get.
        log_end_offset: i64,
    },
    /// Another process has the data directory.
    #[error("data directory {} is in use by another process{holder}", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// ` (process 123)`, or nothing when unknown.
        holder: String,
    },
    /// This process has the partition open already.
    #[error("partition {} is already open", path.display())]
    AlreadyOpen {
        /// The partition's directory.
        path: PathBuf,
    },
    /// The directory belongs to another topic.
    #[error("{} belongs to topic id {found}, not {expected}", path.display())]
    WrongTopic {
        /// The partition's directory.
        path: PathBuf,
        /// The id stored there.
        found: String,
        /// The id it was opened with.
        expected: String,
    },
    /// An idempotent producer's batch does not follow on its last one.
    #[error("producer {producer_id} sent sequence {sequence}, {expected} follows")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The batch's first sequence number.
        sequence: i32,
        /// The one that should have come.
        expected: i32,
    },
    /// A newer instance of the producer has taken over.
    #[error("producer {producer_id} sent epoch {epoch}, but {current} has taken over")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// The newest epoch.
        current: i16,
    },
    /// An earlier sync failed: nothing more is accepted until a restart reads the disk again.
    #[error("an earlier sync failed; restart to recover from what the disk holds")]
    Poisoned,
    /// The volume was closed or the partition deleted.
    #[error("the partition is closed")]
    Closed,
}

/// Storage's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the disk, or the account's share of it, is full.
    pub fn is_disk_full(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// What was tried where a sync failed; see [`Error::Io`].
pub(crate) const SYNC: &str = "sync";

/// Names what an IO error happened to.
pub(crate) trait Context<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { operation, path: path.to_path_buf(), source })
    }
}
