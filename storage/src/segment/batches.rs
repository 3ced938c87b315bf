//! The batches of a segment as they are read for anyone but consumers: with `pread`, so that bytes
//! which the disk does not give are an error of this log, and not the end of the process.

use std::sync::atomic::Ordering;

use tidelog_protocol::records::{Batch, EndTxnMarker, Header};

use super::Segment;
use crate::error::{Context, Result};
use crate::files::Files;
use crate::scan::{Walk, Window};
use crate::txn_index::marker_of;

impl Segment {
    /// Whether [`Segment::each_batch`] met damage since the log was opened.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Calls `visit` with each batch; false if damage ended that before the last one, which bytes
    /// are too that cannot be read. A window and a batch are in memory at a time.
    pub(crate) fn each_batch(
        &self,
        files: &Files,
        mut visit: impl FnMut(Batch) -> Result<()>,
    ) -> Result<bool> {
        let mut window = Window::new(self.file(files)?, self.published());
        let (mut position, mut next_offset) = (0, self.base_offset);
        while position < window.end() {
            let Ok(Some(batch)) = window.batch(position, next_offset) else {
                self.damaged.store(true, Ordering::Release);
                return Ok(false);
            };
            position += batch.bytes().len() as u64;
            next_offset = batch.header().last_offset() + 1;
            visit(batch)?;
        }
        Ok(true)
    }

    /// Calls `visit` with each batch that ends at or after `from`, and what it says if it ends a
    /// transaction, leaving out damage.
    pub(crate) fn each_from(
        &self,
        files: &Files,
        from: i64,
        mut visit: impl FnMut(&Header, Option<EndTxnMarker>),
    ) -> Result<()> {
        let path = self.path();
        let mut position = self.floor(files, from)?;
        let mut window = Window::new(self.file(files)?, self.published());
        let (mut next_offset, mut before) = (self.base_offset, None);
        while position < window.end() {
            let header = match window.header(position, next_offset).context("read", &path)? {
                Ok(header) => header,
                Err(reason) => {
                    let found = window.resync_after(before.as_ref(), position, next_offset);
                    let Some((found, header)) = found.context("read", &path)? else {
                        return Err(self.corrupt(position, reason));
                    };
                    position = found;
                    header
                }
            };
            if header.last_offset() >= from {
                let batch = match header.attributes.is_control() {
                    true => window.short_batch(&header, position).context("read", &path)?,
                    false => None,
                };
                visit(&header, batch.as_ref().and_then(marker_of));
            }
            before = Some((position, header));
            position += header.total_bytes() as u64;
            next_offset = header.last_offset() + 1;
        }
        Ok(())
    }

    /// The largest timestamp of the first batch that has records: about when the segment was begun.
    /// `None` if there is none, or none that can be read.
    pub(crate) fn oldest(&self, files: &Files) -> Result<Option<i64>> {
        let window = Window::of_headers(self.file(files)?, self.published(), 0);
        let mut batches = Walk { window, position: 0, next_offset: self.base_offset };
        let first = batches.find(|header| header.record_count > 0);
        Ok(first.ok().flatten().map(|header| header.max_timestamp))
    }
}
