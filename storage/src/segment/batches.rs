//! The batches of a segment as compaction reads them: with `pread`, so that bytes which the disk
//! does not give are damage, as they are to the scrubber, and not the end of the process.

use std::sync::atomic::Ordering;

use tidelog_protocol::records::Batch;

use super::Segment;
use crate::error::Result;
use crate::files::Files;
use crate::scan::Window;

impl Segment {
    /// Whether [`Segment::each_batch`] met damage since the log was opened.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Calls `visit` with each batch; false if damage ended that before the last one. A window and
    /// a batch are in memory at a time.
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

    /// The largest timestamp of the first batch that has records: about when the segment was begun.
    /// `None` if there is none, or none that can be read.
    pub(crate) fn oldest(&self, files: &Files) -> Result<Option<i64>> {
        let mut window = Window::of_headers(self.file(files)?, self.published());
        let (mut position, mut next_offset) = (0, self.base_offset);
        while position < window.end()
            && let Ok(Ok(header)) = window.header(position, next_offset)
        {
            if header.record_count > 0 {
                return Ok(Some(header.max_timestamp));
            }
            position += header.total_bytes() as u64;
            next_offset = header.last_offset() + 1;
        }
        Ok(None)
    }
}
