//! What readers of committed records need: how far the log is decided, and which transactions
//! before that are void.
//!
//! **Both are known from the first use on**, which reads the end of the log as the first append
//! does. From then on asking costs two loads, since `unstable_from` follows the producers' state.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidelog_protocol::records::Header;

use crate::error::{Error, Result};
use crate::partition::{Inner, Partition};
use crate::txn_index::AbortedTxn;

/// What `Inner::unstable_from` is before the producers were read.
pub(crate) const UNKNOWN: i64 = i64::MIN;

impl Partition {
    /// Where the earliest transaction begins that is not decided below the high watermark, or the
    /// high watermark: who reads committed records reads up to it. May read the log the first time.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Closed`].
    pub fn last_stable_offset(&self) -> Result<i64> {
        self.0.last_stable_offset()
    }

    /// The same if it takes no reading.
    pub fn known_last_stable_offset(&self) -> Option<i64> {
        self.0.known_last_stable_offset()
    }

    /// The aborted transactions with records in `from..until`, in the order of their markers;
    /// `until` is at most the last stable offset.
    ///
    /// There are no more of them than markers in the range, and transactions that were open at its
    /// end.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Closed`]. Index files that do not hold are no error: the entries are
    /// found in the batches then.
    pub fn aborted_between(&self, from: i64, until: i64) -> Result<Vec<AbortedTxn>> {
        self.0.aborted_between(from, until)
    }

    /// The same for what [`Partition::read`] gave from `from` on.
    ///
    /// # Errors
    /// As for [`Partition::aborted_between`].
    pub fn aborted_in(&self, from: i64, records: &[u8]) -> Result<Vec<AbortedTxn>> {
        let segments = self.0.segments();
        let mut rest = segments[first_at(&segments, from)..].iter();
        // The usual log has none at all, and then no batch is looked at.
        if rest.all(|it| it.knows_aborted() && !it.has_aborted()) {
            return Ok(Vec::new());
        }
        let (mut at, mut end) = (0, from);
        while let Some(Ok(header)) = records.get(at..).map(Header::parse) {
            at += header.total_bytes();
            end = header.last_offset() + 1;
        }
        self.aborted_between(from, end)
    }

    /// Whether [`Partition::last_stable_offset`] and [`Partition::aborted_between`] from `from` on
    /// find all they need in memory.
    pub fn knows_transactions(&self, from: i64) -> bool {
        let segments = self.0.segments();
        let rest = &segments[first_at(&segments, from)..];
        self.0.unstable_from.load(Ordering::Acquire) != UNKNOWN
            && rest.iter().all(|it| it.is_aborted_resident(&self.0.shared.files))
    }
}

/// The segment that `from` is in.
fn first_at(segments: &[Arc<crate::segment::Segment>], from: i64) -> usize {
    segments.partition_point(|it| it.base_offset <= from).saturating_sub(1)
}

impl Inner {
    /// See [`Partition::last_stable_offset`].
    pub(crate) fn last_stable_offset(&self) -> Result<i64> {
        loop {
            match self.known_last_stable_offset() {
                Some(offset) => return Ok(offset),
                None => self.load_transactions()?,
            }
        }
    }

    fn known_last_stable_offset(&self) -> Option<i64> {
        // In this order: a transaction whose records the high watermark covers was noted before.
        let high_watermark = self.high_watermark.load(Ordering::Acquire);
        let log_start_offset = self.log_start_offset.load(Ordering::Acquire);
        match self.unstable_from.load(Ordering::Acquire) {
            UNKNOWN => None,
            from => Some(from.max(log_start_offset).min(high_watermark)),
        }
    }

    /// See [`Partition::aborted_between`].
    pub(crate) fn aborted_between(&self, from: i64, until: i64) -> Result<Vec<AbortedTxn>> {
        let mut segments = self.segments();
        let mut found = Vec::new();
        let mut next = first_at(&segments, from);
        while let Some(segment) = segments.get(next) {
            match segment.aborted_between(&self.shared.files, (from, until), &mut found) {
                Some(true) => break,
                Some(false) => next += 1,
                None => {
                    let now = self.segments();
                    // Else its file went with it.
                    if Arc::ptr_eq(&segments, &now) {
                        self.load_transactions()?;
                    }
                    segments = self.segments();
                    found.clear();
                    next = first_at(&segments, from);
                }
            }
        }
        Ok(found)
    }

    /// Reads what is not known of the transactions.
    fn load_transactions(&self) -> Result<()> {
        let mut log = self.log.lock();
        if log.closed {
            return Err(Error::Closed);
        }
        log.know_aborted(self)
    }

    /// Notes where the earliest undecided transaction begins.
    pub(crate) fn note_unstable(&self, earliest: Option<i64>) {
        self.unstable_from.store(earliest.unwrap_or(i64::MAX), Ordering::Release);
    }

    /// Lets go of the transactions that the high watermark has passed.
    pub(crate) fn settle_transactions(&self) {
        let from = self.unstable_from.load(Ordering::Acquire);
        let high_watermark = self.high_watermark.load(Ordering::Acquire);
        if from != UNKNOWN && from < high_watermark {
            self.log.lock().settle_transactions(self, high_watermark);
        }
    }
}
