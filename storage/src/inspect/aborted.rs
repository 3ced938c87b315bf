//! Comparing the `.txnindex` of a segment with its markers.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tidelog_protocol::records::Batch;

use super::Found;
use crate::error::{Context, Result};
use crate::fs::{Fs, read_all};
use crate::producers::Producers;
use crate::txn_index::{AbortedTxn, ENTRY_BYTES, is_abort, marker_of};

/// What is left of a segment's file to compare.
pub(super) struct Aborted {
    path: PathBuf,
    /// Whether the file has to have every transaction that was aborted in the segment.
    is_complete: bool,
    left: VecDeque<(u64, Option<AbortedTxn>)>,
    /// Bytes at the end that are no entry, and where.
    rest: (u64, u64),
}

impl Aborted {
    pub(super) fn open(fs: &dyn Fs, path: PathBuf, is_complete: bool) -> Result<Self> {
        let bytes = match read_all(fs, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes.context("read", &path)?,
        };
        let (entries, rest) = bytes.as_chunks();
        let positions = (0..).step_by(ENTRY_BYTES);
        let left = positions.zip(entries.iter().map(AbortedTxn::decode)).collect();
        let rest = ((bytes.len() - rest.len()) as u64, rest.len() as u64);
        Ok(Self { path, is_complete, left, rest })
    }

    /// Compares with the next batch; `producers` are those before it, and are told of it.
    pub(super) fn compare(
        &mut self,
        batch: &Batch,
        producers: &mut Producers,
        visit: &mut dyn FnMut(&Path, Found),
    ) {
        let (header, marker) = (batch.header(), marker_of(batch));
        let ended = producers.aborted_by(header, marker.as_ref());
        producers.note(header, marker.as_ref());
        let is_marker = marker.as_ref().is_some_and(is_abort);
        let means = |entry: &AbortedTxn| {
            is_marker
                && (entry.producer_id, entry.last_offset)
                    == (header.producer_id, header.last_offset())
                // Its first records may be gone.
                && ended.map_or(entry.last_offset - 1, |it| it.first_offset) >= entry.first_offset
        };
        let is_due = |(_, entry): &mut (u64, Option<AbortedTxn>)| {
            entry.is_none_or(|entry| entry.last_offset <= header.last_offset())
        };
        let mut is_there = false;
        while let Some((position, entry)) = self.left.pop_front_if(is_due) {
            match entry.filter(means) {
                Some(transaction) => {
                    is_there = true;
                    visit(&self.path, Found::Aborted { position, transaction });
                }
                None => self.tell(position, ENTRY_BYTES as u64, WRONG.to_owned(), visit),
            }
        }
        if let Some(AbortedTxn { producer_id, last_offset, .. }) = ended
            && self.is_complete
            && !is_there
        {
            let reason = format!("lacks what producer {producer_id} aborted at {last_offset}");
            self.tell(self.rest.0, 0, reason, visit);
        }
    }

    /// What is left means markers that are not there.
    pub(super) fn finish(&mut self, visit: &mut dyn FnMut(&Path, Found)) {
        for (position, _) in std::mem::take(&mut self.left) {
            self.tell(position, ENTRY_BYTES as u64, WRONG.to_owned(), visit);
        }
        let (position, bytes) = self.rest;
        if bytes > 0 {
            self.tell(position, bytes, "less than an entry".to_owned(), visit);
        }
    }

    fn tell(&self, position: u64, bytes: u64, reason: String, visit: &mut dyn FnMut(&Path, Found)) {
        visit(&self.path, Found::Damage { position, bytes, reason });
    }
}

const WRONG: &str = "the entry means no aborted transaction";

/// Whether the files of a segment say that its `.txnindex` has all there is.
pub(super) fn is_sealed(fs: &dyn Fs, index: &Path, next: Option<&str>) -> bool {
    // The last segment's may be of an earlier time, while a process has it open.
    next.is_some_and(|next| next.ends_with(".log")) && fs.open_read(index).is_ok()
}
