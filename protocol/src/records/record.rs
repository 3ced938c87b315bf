//! Records, one by one, out of a batch.
//!
//! ```text
//! length varint | attributes i8, unused | timestamp_delta varlong | offset_delta varint
//! key_length varint, -1 is null | key | value_length varint, -1 is null | value
//! header_count varint | (key_length varint | key | value_length varint, -1 is null | value)*
//! ```
//!
//! All integers are zigzag base-128. **Whatever the bytes are, reading neither panics nor
//! allocates beyond them**: keys, values and headers are slices of the decompressed batch.
//!
//! Unlike Kafka: offset deltas must rise from record to record and stay within the batch, so that
//! no damaged or hostile batch can show an offset that belongs to another; and a record has at
//! most [`Record::HEADERS_MAX`] headers, because each takes two bytes here and sixty in memory.

use super::{Batch, Compression, CompressionError, Header};
use crate::wire::Str;
use bytes::{Buf, Bytes};
use std::iter::FusedIterator;
use std::ops::Range;

/// One record: what a producer sends and a consumer gets.
///
/// A record keeps the whole decompressed batch in memory; copy what is to be kept for long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Place in the partition.
    pub offset: i64,
    /// In ms since 1970; -1 if the producer gave none.
    pub timestamp: i64,
    /// What the record is about.
    pub key: Option<Bytes>,
    /// What is said; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// In the producer's order; keys may repeat (KIP-82).
    pub headers: Vec<RecordHeader>,
}

/// A name and a value beside a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordHeader {
    /// The name.
    pub key: Str,
    /// The value.
    pub value: Option<Bytes>,
}

/// Why a batch's records cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The attributes name no codec.
    #[error("unknown compression codec {0}")]
    UnknownCompression(i16),
    /// The records do not decompress.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// A value goes on past the end of its record, or a record past the end of the batch.
    #[error("{needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the value takes.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A variable-length integer longer than its type.
    #[error("variable-length integer too long")]
    InvalidVarint,
    /// A length below what its field allows.
    #[error("length {0} is negative")]
    InvalidLength(i32),
    /// A header's key that is not UTF-8.
    #[error("header key is not UTF-8")]
    InvalidHeaderKey,
    /// More headers than the record has bytes for, or than are allowed.
    #[error("invalid header count {0}")]
    InvalidHeaderCount(i32),
    /// An offset below its predecessor's or outside the batch.
    #[error("offset delta {delta} is not in {min}..={max}")]
    InvalidOffsetDelta {
        /// What the record says.
        delta: i32,
        /// One more than the record before.
        min: i32,
        /// The batch's last.
        max: i32,
    },
    /// The header says fewer than none.
    #[error("record count {0} is negative")]
    InvalidCount(i32),
    /// A record or the batch goes on after its last field.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
}

impl Record {
    /// Headers a record may have.
    pub const HEADERS_MAX: usize = 64 << 10;
}

impl Batch {
    /// The records, decompressed to at most `limit` bytes.
    ///
    /// The checksum is not looked at: [`Batch::check`] or [`Header::verify`] does that.
    pub fn records(&self, limit: usize) -> Result<Records, RecordError> {
        let header = *self.header();
        let codec = header.attributes.codec();
        let compression =
            Compression::from_codec(codec).ok_or(RecordError::UnknownCompression(codec))?;
        let left = u32::try_from(header.record_count)
            .map_err(|_| RecordError::InvalidCount(header.record_count))?;
        let bytes = compression.decompress(self.payload(), limit)?;
        Ok(Records { header, bytes, left, offset_delta_min: 0, failed: false })
    }
}

/// The records of a batch, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    header: Header,
    bytes: Bytes,
    left: u32,
    offset_delta_min: i32,
    failed: bool,
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = match (self.left, self.bytes.len()) {
            (0, 0) => return None,
            (0, left) => Err(RecordError::TrailingBytes(left)),
            _ => self.read(),
        };
        self.failed = item.is_err();
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.bytes.len()))
    }
}

impl FusedIterator for Records {}

impl Records {
    fn read(&mut self) -> Result<Record, RecordError> {
        let mut input = Cursor { bytes: &self.bytes, position: 0, end: self.bytes.len() };
        input.end = input.length()?.end;
        let (record, offset_delta) = self.read_body(&mut input)?;
        if input.left() > 0 {
            return Err(RecordError::TrailingBytes(input.left()));
        }
        let end = input.end;
        self.bytes.advance(end);
        self.left -= 1;
        self.offset_delta_min = offset_delta.saturating_add(1);
        Ok(record)
    }

    fn read_body(&self, input: &mut Cursor<'_>) -> Result<(Record, i32), RecordError> {
        let _attributes = input.byte()?;
        let timestamp_delta = input.varlong()?;
        let offset_delta = input.varint()?;
        let (min, max) = (self.offset_delta_min, self.header.last_offset_delta);
        if !(min..=max).contains(&offset_delta) {
            return Err(RecordError::InvalidOffsetDelta { delta: offset_delta, min, max });
        }
        let timestamp = match self.header.attributes.is_log_append_time() {
            true => self.header.max_timestamp,
            // As in Java, so that any two timestamps fit one batch.
            false => self.header.base_timestamp.wrapping_add(timestamp_delta),
        };
        let record = Record {
            offset: self.header.base_offset.saturating_add(i64::from(offset_delta)),
            timestamp,
            key: input.nullable()?,
            value: input.nullable()?,
            headers: read_headers(input)?,
        };
        Ok((record, offset_delta))
    }
}

/// Sees that `count` records stand one after the other, with the offset deltas 0, 1, 2, ..., and
/// nothing after them, and gives the largest of their timestamps, which are stored as what is added
/// to `base_timestamp`; else says which is the first that does not.
pub(super) fn check_frames(mut rest: &[u8], count: i32, base_timestamp: i64) -> Result<i64, i32> {
    let mut largest = i64::MIN;
    for index in 0..count {
        let timestamp_delta;
        (timestamp_delta, rest) = skip_record(rest, index).ok_or(index)?;
        largest = largest.max(base_timestamp.wrapping_add(timestamp_delta));
    }
    if rest.is_empty() { Ok(largest) } else { Err(count) }
}

/// The timestamp delta of a record with this offset delta, and what stands after it.
fn skip_record(bytes: &[u8], offset_delta: i32) -> Option<(i64, &[u8])> {
    let (length, rest) = split_varint(bytes)?;
    let (record, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let (_attributes, record) = record.split_first()?;
    let (timestamp_delta, record) = split_varint(record)?;
    let (delta, _) = split_varint(record)?;
    (delta == i64::from(offset_delta)).then_some((timestamp_delta, rest))
}

/// A zigzag base-128 integer of at most 10 bytes, and what stands after it.
fn split_varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0;
    for (shift, (at, byte)) in (0..u64::BITS).step_by(7).zip(bytes.iter().enumerate()) {
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), &bytes[at + 1..]));
        }
    }
    None
}

/// The least a header takes: the lengths of its key and value.
const RECORD_HEADER_BYTES_MIN: usize = 2;

fn read_headers(input: &mut Cursor<'_>) -> Result<Vec<RecordHeader>, RecordError> {
    let claimed = input.varint()?;
    let count_max = Record::HEADERS_MAX.min(input.left() / RECORD_HEADER_BYTES_MIN);
    let count = match usize::try_from(claimed) {
        Ok(count) if count <= count_max => count,
        _ => return Err(RecordError::InvalidHeaderCount(claimed)),
    };
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let range = input.length()?;
        let key = Str::try_from(input.take(range)).map_err(|_| RecordError::InvalidHeaderKey)?;
        headers.push(RecordHeader { key, value: input.nullable()? });
    }
    Ok(headers)
}

/// The unread part of one record.
struct Cursor<'a> {
    bytes: &'a Bytes,
    position: usize,
    end: usize,
}

impl Cursor<'_> {
    fn left(&self) -> usize {
        self.end - self.position
    }

    fn byte(&mut self) -> Result<u8, RecordError> {
        match self.bytes[..self.end].get(self.position) {
            Some(byte) => {
                self.position += 1;
                Ok(*byte)
            }
            None => Err(RecordError::Truncated { needed: 1, left: 0 }),
        }
    }

    /// Reads a length that may not be null, and checks it.
    fn length(&mut self) -> Result<Range<usize>, RecordError> {
        let length = self.varint()?;
        self.range(length)
    }

    /// The next `length` bytes, if there are that many.
    fn range(&self, length: i32) -> Result<Range<usize>, RecordError> {
        let needed = usize::try_from(length).map_err(|_| RecordError::InvalidLength(length))?;
        match self.left() {
            left if left < needed => Err(RecordError::Truncated { needed, left }),
            _ => Ok(self.position..self.position + needed),
        }
    }

    fn take(&mut self, range: Range<usize>) -> Bytes {
        self.position = range.end;
        self.bytes.slice(range)
    }

    fn nullable(&mut self) -> Result<Option<Bytes>, RecordError> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(None);
        }
        let range = self.range(length)?;
        Ok(Some(self.take(range)))
    }

    fn varint(&mut self) -> Result<i32, RecordError> {
        let value = self.uvarint(u32::BITS)? as u32;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    fn varlong(&mut self) -> Result<i64, RecordError> {
        let value = self.uvarint(u64::BITS)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// An unsigned base-128 integer of at most `bits` bits, hence of at most 5 or 10 bytes.
    fn uvarint(&mut self, bits: u32) -> Result<u64, RecordError> {
        let mut value = 0;
        for shift in (0..bits).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if low.checked_shr(bits - shift).unwrap_or(0) != 0 {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::InvalidVarint)
    }
}
