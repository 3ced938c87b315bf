//! Walking a segment file batch by batch, and finding the way again past damage.
//!
//! Files are read with `pread`, not through a map: a bad sector is then an error of one partition
//! and not the end of the process.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_protocol::records::{Batch, HEADER_BYTES, Header, LOG_OVERHEAD_BYTES};

use crate::fs::{File, read_exact_at, read_full_at};

/// A file read through a window that moves forward.
pub(crate) struct Window {
    file: Arc<dyn File>,
    end: u64,
    start: u64,
    buf: Vec<u8>,
    /// Bytes read at once, unless more are asked for.
    ahead: u64,
}

/// Bytes read at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// Bytes whose checksum is computed in search of the next batch after damage. Bounds the work that
/// a payload full of false headers can cause.
const RESYNC_CHECK_BYTES: u64 = 1 << 30;
/// The unit in which the page cache writes a file back.
const BLOCK_BYTES: u64 = 4096;
const CRC_FROM: u64 = 21;
pub(crate) const MAGIC_AT: usize = 16;

impl Window {
    /// Reads `file` up to `end`.
    pub(crate) fn new(file: Arc<dyn File>, end: u64) -> Self {
        Self { file, end, start: 0, buf: Vec::new(), ahead: WINDOW_BYTES }
    }

    /// The same for who looks at a few headers: with `ahead` bytes by one read, or a header.
    pub(crate) fn of_headers(file: Arc<dyn File>, end: u64, ahead: u64) -> Self {
        Self { ahead: ahead.clamp(HEADER_BYTES as u64, WINDOW_BYTES), ..Self::new(file, end) }
    }

    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Up to `len` bytes from `position` on, fewer only at the end; `len` is at most a window.
    fn bytes(&mut self, position: u64, len: u64) -> io::Result<&[u8]> {
        let bytes = self.bytes_from(position, len)?;
        Ok(&bytes[..bytes.len().min(usize::try_from(len).map_err(io::Error::other)?)])
    }

    /// The same with all that is in the window after them.
    fn bytes_from(&mut self, position: u64, len: u64) -> io::Result<&[u8]> {
        let len = len.min(WINDOW_BYTES).min(self.end.saturating_sub(position));
        if !self.covers(position, len) {
            let wanted = self.ahead.max(len).min(self.end - position);
            self.buf.resize(usize::try_from(wanted).map_err(io::Error::other)?, 0);
            let read = read_full_at(&*self.file, &mut self.buf, position)?;
            self.buf.truncate(read);
            self.start = position;
        }
        let from = usize::try_from(position - self.start).map_err(io::Error::other)?;
        Ok(&self.buf[from..])
    }

    fn covers(&self, position: u64, len: u64) -> bool {
        position >= self.start && position + len <= self.start + self.buf.len() as u64
    }

    /// The bytes of a header at `position`, fewer only at the end. The window stays where it is: a
    /// search comes back to it.
    fn peek(&mut self, position: u64) -> io::Result<Vec<u8>> {
        let len = (HEADER_BYTES as u64).min(self.end - position);
        if self.covers(position, len) {
            return self.bytes(position, len).map(<[u8]>::to_vec);
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = read_full_at(&*self.file, &mut bytes, position)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The header at `position`, if a whole batch can be there that follows on `next_offset`; else
    /// what is wrong.
    pub(crate) fn header(&mut self, position: u64, next_offset: i64) -> io::Result<Checked> {
        let left = self.end - position;
        let header = match Header::parse(self.bytes(position, HEADER_BYTES as u64)?) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let bytes = header.total_bytes() as u64;
        if bytes > left {
            return Ok(Err(format!("batch of {bytes} bytes, but {left} are left")));
        }
        let after = match header.base_offset > next_offset {
            true => self.peek(position + bytes)?,
            false => Vec::new(),
        };
        Ok(follows(&header, next_offset, &after).map(|()| header))
    }

    /// Whether the batch at `position` has the checksum its header says.
    pub(crate) fn checksum_holds(&mut self, header: &Header, position: u64) -> io::Result<bool> {
        let end = position + header.total_bytes() as u64;
        Ok(self.checksum(position + CRC_FROM, end, 0)? == header.crc)
    }

    /// `crc` of what is before `at`, gone on with up to `end` or to where the file ends.
    fn checksum(&mut self, mut at: u64, end: u64, mut crc: u32) -> io::Result<u32> {
        while at < end {
            let part = self.bytes(at, end - at)?;
            if part.is_empty() {
                break;
            }
            crc = crc32c::crc32c_append(crc, part);
            at += part.len() as u64;
        }
        Ok(crc)
    }

    /// The batch at `position`, if a whole one is there that follows on `next_offset` and has the
    /// checksum its header says. Only then it is taken into memory: a damaged header may say any
    /// length.
    pub(crate) fn batch(&mut self, position: u64, next_offset: i64) -> io::Result<Option<Batch>> {
        let Ok(header) = Header::parse(self.bytes(position, HEADER_BYTES as u64)?) else {
            return Ok(None);
        };
        // With the next one's header by one read, where a window holds them.
        let with_next = ((header.total_bytes() + HEADER_BYTES) as u64).min(self.end - position);
        let bytes = self.bytes(position, with_next)?;
        let mut batch = match bytes.split_at_checked(header.total_bytes()) {
            Some((batch, after)) if bytes.len() as u64 == with_next => {
                let holds = follows(&header, next_offset, after).is_ok();
                (holds && header.verify(batch).is_ok()).then(|| Bytes::copy_from_slice(batch))
            }
            _ => self.long_batch(position, next_offset)?,
        };
        Ok(batch.as_mut().and_then(|bytes| Batch::split_from(bytes).ok()))
    }

    /// The batch of `header` at `position`, unless it is longer than a window. Its checksum is not
    /// looked at.
    pub(crate) fn short_batch(
        &mut self,
        header: &Header,
        position: u64,
    ) -> io::Result<Option<Batch>> {
        let bytes = self.bytes(position, header.total_bytes() as u64)?;
        Ok(Batch::split_from(&mut Bytes::copy_from_slice(bytes)).ok())
    }

    /// What [`Window::batch`] does for one that does not fit a window.
    fn long_batch(&mut self, position: u64, next_offset: i64) -> io::Result<Option<Bytes>> {
        let Ok(header) = self.header(position, next_offset)? else { return Ok(None) };
        if !self.checksum_holds(&header, position)? {
            return Ok(None);
        }
        let mut bytes = vec![0; header.total_bytes()];
        read_exact_at(&*self.file, &mut bytes, position)?;
        Ok(Some(bytes.into()))
    }

    /// The first whole batch after `position` that holds only offsets from `next_offset` on.
    ///
    /// **What a payload holds is not taken for a batch**: who may append may put whole ones there.
    /// Where a header has the offset that follows, its batch is passed over in whole, since appends
    /// leave no gaps. If its length is what is damaged, then its checksum holds up to the batch
    /// after it.
    pub(crate) fn resync(
        &mut self,
        position: u64,
        next_offset: i64,
    ) -> io::Result<Option<(u64, Header)>> {
        let (mut at, mut expected) = (position, next_offset);
        let mut budget = RESYNC_CHECK_BYTES;
        while at < self.end
            && let Ok(header) = Header::parse(self.bytes(at, HEADER_BYTES as u64)?)
        {
            let next = at.saturating_add(header.total_bytes() as u64);
            if next < self.end
                && let Ok(found) = self.header(next, next_offset)?
                && self.holds(&found, next, &mut budget)?
            {
                return Ok(Some((next, found)));
            }
            if header.base_offset != expected || follows(&header, expected, &[]).is_err() {
                break;
            }
            expected = header.last_offset() + 1;
            if let Some(found) = self.within(&header, (at, next), &mut budget)? {
                return Ok(Some(found));
            }
            at = next;
        }
        at = at.saturating_add(1);
        while let Some((found, header)) = self.candidate((at, self.end), next_offset)? {
            if self.holds(&header, found, &mut budget)? {
                return Ok(Some((found, header)));
            }
            at = found + 1;
        }
        Ok(None)
    }

    /// The same for who came to `position` over the batch `before` it without looking at its
    /// checksum: its length may be what is damaged.
    pub(crate) fn resync_after(
        &mut self,
        before: Option<&(u64, Header)>,
        position: u64,
        next_offset: i64,
    ) -> io::Result<Option<(u64, Header)>> {
        match before {
            Some((at, header)) if !self.checksum_holds(header, *at)? => {
                self.resync(*at, header.base_offset)
            }
            _ => self.resync(position, next_offset),
        }
    }

    /// The batch that follows on the one of `header` and starts inside of where that says it is, if
    /// the checksum tells that it says too much.
    fn within(
        &mut self,
        header: &Header,
        (start, end): (u64, u64),
        budget: &mut u64,
    ) -> io::Result<Option<(u64, Header)>> {
        let next_offset = header.last_offset() + 1;
        let (mut checked, mut crc) = (start + CRC_FROM, 0);
        let mut at = start + HEADER_BYTES as u64;
        while let Some((found, next)) = self.candidate((at, end), next_offset)? {
            (checked, crc) = (found, self.checksum(checked, found, crc)?);
            let follows = crc == header.crc && next.base_offset == next_offset;
            if follows && self.holds(&next, found, budget)? {
                return Ok(Some((found, next)));
            }
            at = found + 1;
        }
        Ok(None)
    }

    /// The first place of a range that has the header of a batch with offsets from `next_offset`
    /// on.
    fn candidate(
        &mut self,
        (mut at, end): (u64, u64),
        next_offset: i64,
    ) -> io::Result<Option<(u64, Header)>> {
        while at < end && at + HEADER_BYTES as u64 <= self.end {
            let bytes = self.bytes_from(at, HEADER_BYTES as u64)?;
            let Some(skip) = bytes.iter().skip(MAGIC_AT).position(|byte| *byte == 2) else {
                at += (bytes.len().saturating_sub(MAGIC_AT) as u64).max(1);
                continue;
            };
            at += skip as u64;
            if at < end
                && at + HEADER_BYTES as u64 <= self.end
                && let Ok(found) = self.header(at, next_offset)?
            {
                return Ok(Some((at, found)));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Whether a batch has the checksum its header says, if there is budget to see it.
    fn holds(&mut self, header: &Header, position: u64, budget: &mut u64) -> io::Result<bool> {
        match budget.checked_sub(header.total_bytes() as u64) {
            Some(left) => *budget = left,
            None => return Ok(false),
        }
        self.checksum_holds(header, position)
    }

    /// Where the zeros at the end of the file start, looking no further back than `from`.
    pub(crate) fn data_end(&mut self, from: u64) -> io::Result<u64> {
        let mut end = from;
        let mut at = from;
        while at < self.end {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at += bytes.len() as u64;
        }
        Ok(end)
    }

    /// Whether no data is in the file from `at` on: space reserved for later batches is zeros.
    pub(crate) fn only_zeros_from(&mut self, mut at: u64) -> io::Result<bool> {
        while at < self.end {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
                return Ok(bytes.is_empty());
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Whether a block between `from`, where the batch of `next_offset` should start, and `to`,
    /// where a good batch does, was never written.
    ///
    /// A block reaches the disk as it was at some time, so an unwritten one is zeros to its end,
    /// even where the good batch starts in it. Of the first block only what is in the range counts,
    /// and only if a batch there would not be zeros too: it starts with its offset and its length.
    pub(crate) fn has_hole(&mut self, from: u64, to: u64, next_offset: i64) -> io::Result<bool> {
        let mut at = from;
        while at < to {
            let block_end = (at / BLOCK_BYTES + 1) * BLOCK_BYTES;
            let part = self.bytes(at, block_end - at)?;
            let not_zeros =
                next_offset.to_be_bytes().iter().take(part.len()).any(|byte| *byte != 0)
                    || part.len() >= LOG_OVERHEAD_BYTES;
            if not_zeros && part.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            at = block_end;
        }
        Ok(false)
    }
}

/// A header, or what is wrong with it.
pub(crate) type Checked = Result<Header, String>;

/// Whether the batch of `header` follows on `next_offset`, and the bytes `after` it on the batch.
///
/// Offsets are not under the checksum, so a flipped bit shows only in what comes next. Compaction
/// leaves gaps between batches and batches with fewer records than offsets, so a batch that starts
/// later than `next_offset` is believed if the one after it starts later still, or there is none.
pub(crate) fn follows(header: &Header, next_offset: i64, after: &[u8]) -> Result<(), String> {
    let Header { base_offset, last_offset_delta, record_count, .. } = *header;
    if base_offset < next_offset {
        return Err(format!("batch of offset {base_offset} where {next_offset} or more follows"));
    }
    // There is an offset after the last one, too.
    let end = base_offset.checked_add(i64::from(last_offset_delta) + 1);
    if last_offset_delta < 0 || end.is_none() {
        return Err(format!("last offset delta {last_offset_delta}"));
    }
    if record_count < 0 || i64::from(record_count) > i64::from(last_offset_delta) + 1 {
        return Err(format!("{record_count} records in {last_offset_delta} + 1 offsets"));
    }
    match within_offsets(header, after) {
        Some(after) if base_offset > next_offset => {
            Err(format!("batch of offset {base_offset} before one of {}", after.base_offset))
        }
        _ => Ok(()),
    }
}

/// The batch at the start of the bytes `after` one, if it has an offset that this one says it has.
pub(crate) fn within_offsets(header: &Header, after: &[u8]) -> Option<Header> {
    // Its base offset comes first, and is all that is looked at of nearly every batch.
    let base_offset = i64::from_be_bytes(*after.first_chunk()?);
    let is_within = base_offset <= header.last_offset();
    is_within.then(|| Header::parse(after).ok()).flatten()
}

/// The headers of a segment up to the first damage.
pub(crate) struct Walk {
    pub window: Window,
    pub position: u64,
    pub next_offset: i64,
}

impl Walk {
    pub(crate) fn next(&mut self) -> io::Result<Option<Header>> {
        if self.position >= self.window.end() {
            return Ok(None);
        }
        let header = self.window.header(self.position, self.next_offset)?.ok();
        if let Some(header) = &header {
            self.position += header.total_bytes() as u64;
            self.next_offset = header.last_offset() + 1;
        }
        Ok(header)
    }

    /// The first one that is `wanted`.
    pub(crate) fn find(&mut self, wanted: impl Fn(&Header) -> bool) -> io::Result<Option<Header>> {
        while let Some(header) = self.next()? {
            if wanted(&header) {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}

/// The header of the batch at the start of `bytes`, with the checksum unless it is known to hold.
pub(crate) fn whole_batch(bytes: &[u8], next_offset: i64, checked: bool) -> Checked {
    let header = Header::parse(bytes).map_err(|error| error.to_string())?;
    whole(header, bytes, next_offset)?;
    if !checked {
        header.verify(bytes).map_err(|error| error.to_string())?;
    }
    Ok(header)
}

/// The same of one whose header is known and whose checksum is not looked at.
pub(crate) fn whole(header: Header, bytes: &[u8], next_offset: i64) -> Checked {
    let Some(after) = bytes.get(header.total_bytes()..) else {
        let (needed, left) = (header.total_bytes(), bytes.len());
        return Err(format!("batch of {needed} bytes, but {left} are left"));
    };
    follows(&header, next_offset, after)?;
    Ok(header)
}
