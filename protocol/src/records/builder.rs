//! Builds a batch, record by record.
//!
//! Records are written once, straight into the buffer that becomes the batch; the header before
//! them is filled in at the end. What the buffer may grow to is the caller's bound, so that a
//! batch is cut where `max.message.bytes` says: append until it is full, finish, go on with a new
//! one. **A finished batch is never longer than [`BatchBuilder::size_bytes`] said**: records that
//! do not shrink under compression are left as they are.

use super::{
    Attributes, Batch, Compression, HEADER_BYTES, Header, LOG_OVERHEAD_BYTES, RecordHeader,
};
use bytes::Bytes;

/// A batch under construction.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then records.
    buf: Vec<u8>,
    bytes_max: usize,
    compression: Compression,
    level: Option<i32>,
    attributes: i16,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// The record does not fit. If the batch is empty, it fits none of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} bytes do not fit a batch of {bytes_max}")]
pub struct BatchFull {
    /// Bytes the batch would take with the record.
    pub needed: usize,
    /// Bytes it may take.
    pub bytes_max: usize,
}

impl BatchBuilder {
    /// Starts a batch of at most `bytes_max` bytes, header included, before compression.
    pub fn new(compression: Compression, bytes_max: usize) -> Self {
        Self {
            buf: vec![0; HEADER_BYTES],
            bytes_max: bytes_max.min(i32::MAX as usize),
            compression,
            level: None,
            attributes: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
        }
    }

    /// Compresses at this level rather than the codec's default one.
    #[must_use]
    pub fn level(mut self, level: Option<i32>) -> Self {
        self.level = level;
        self
    }

    /// Names the idempotent producer (KIP-98); `base_sequence` is the first record's, or -1 for
    /// a control batch.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// Makes the batch part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes |= Attributes::TRANSACTIONAL;
        self
    }

    /// Makes the batch one of control records, which consumers never see.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes |= Attributes::CONTROL;
        self
    }

    /// Appends a record. `timestamp` is in ms since 1970; of headers, no more than
    /// [`Record::HEADERS_MAX`](super::Record::HEADERS_MAX) can be read back. If the record does
    /// not fit, nothing changes.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> Result<(), BatchFull> {
        let base_timestamp = if self.count == 0 { timestamp } else { self.base_timestamp };
        let fields = Fields {
            timestamp_delta: zigzag(timestamp.wrapping_sub(base_timestamp)),
            offset_delta: zigzag(i64::from(self.count)),
            key,
            value,
            headers,
        };
        let body = fields.bytes();
        let needed = self.buf.len() + uvarint_bytes(zigzag(body as i64)) + body;
        if needed > self.bytes_max {
            return Err(BatchFull { needed, bytes_max: self.bytes_max });
        }
        self.buf.reserve(needed - self.buf.len());
        fields.put(body, &mut self.buf);
        debug_assert_eq!(self.buf.len(), needed);
        self.max_timestamp = match self.count {
            0 => timestamp,
            _ => self.max_timestamp.max(timestamp),
        };
        self.base_timestamp = base_timestamp;
        self.count += 1;
        Ok(())
    }

    /// Records appended so far.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes the batch takes, header included, before compression: the most it can take.
    pub fn size_bytes(&self) -> usize {
        self.buf.len()
    }

    /// The batch, at base offset 0 and leader epoch -1, or nothing if it is empty.
    pub fn finish(mut self) -> Option<Batch> {
        if self.is_empty() {
            return None;
        }
        if self.compression != Compression::None {
            let mut compressed = Vec::with_capacity(self.buf.len() / 2);
            compressed.resize(HEADER_BYTES, 0);
            let records = &self.buf[HEADER_BYTES..];
            self.compression.compress_into(records, self.level, &mut compressed);
            if compressed.len() < self.buf.len() {
                self.buf = compressed;
                self.attributes |= self.compression.codec();
            }
        }
        let header = self.header().seal(&self.buf[HEADER_BYTES..]);
        self.buf[..HEADER_BYTES].copy_from_slice(&header);
        let mut bytes = Bytes::from(self.buf);
        Some(Batch::split_from(&mut bytes).expect("the header was just written"))
    }

    fn header(&self) -> Header {
        Header {
            base_offset: 0,
            batch_length: i32::try_from(self.buf.len() - LOG_OVERHEAD_BYTES)
                .expect("bytes_max is at most what an i32 holds"),
            leader_epoch: -1,
            crc: 0,
            attributes: Attributes(self.attributes),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.count,
        }
    }
}

/// A record as it is written.
pub(super) struct Fields<'a> {
    pub timestamp_delta: u64,
    pub offset_delta: u64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [RecordHeader],
}

impl Fields<'_> {
    /// Bytes after the length.
    pub(super) fn bytes(&self) -> usize {
        1 + uvarint_bytes(self.timestamp_delta)
            + uvarint_bytes(self.offset_delta)
            + blob_bytes(self.key)
            + blob_bytes(self.value)
            + uvarint_bytes(zigzag(self.headers.len() as i64))
            + self.headers.iter().map(header_bytes).sum::<usize>()
    }

    /// Writes the length, which is `body`, and that many bytes.
    pub(super) fn put(&self, body: usize, out: &mut Vec<u8>) {
        put_uvarint(out, zigzag(body as i64));
        out.push(0);
        put_uvarint(out, self.timestamp_delta);
        put_uvarint(out, self.offset_delta);
        put_blob(out, self.key);
        put_blob(out, self.value);
        put_uvarint(out, zigzag(self.headers.len() as i64));
        for header in self.headers {
            put_blob(out, Some(header.key.as_bytes()));
            put_blob(out, header.value.as_deref());
        }
    }
}

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn uvarint_bytes(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The length of a value as it is written, -1 for null.
fn blob_length(value: Option<&[u8]>) -> u64 {
    zigzag(value.map_or(-1, |value| value.len() as i64))
}

fn blob_bytes(value: Option<&[u8]>) -> usize {
    uvarint_bytes(blob_length(value)) + value.map_or(0, <[u8]>::len)
}

fn put_blob(out: &mut Vec<u8>, value: Option<&[u8]>) {
    put_uvarint(out, blob_length(value));
    out.extend_from_slice(value.unwrap_or_default());
}

fn header_bytes(header: &RecordHeader) -> usize {
    blob_bytes(Some(header.key.as_bytes())) + blob_bytes(header.value.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_refuses_a_record_and_stays_as_it_was() {
        let mut builder = BatchBuilder::new(Compression::None, 200);
        let value = [b'x'; 50];
        let mut sizes = vec![builder.size_bytes()];
        let refused = loop {
            match builder.append(7, Some(b"key"), Some(&value), &[]) {
                Ok(()) => sizes.push(builder.size_bytes()),
                Err(refused) => break refused,
            }
        };
        assert_eq!(sizes, [61, 121, 181]);
        assert_eq!(refused, BatchFull { needed: 241, bytes_max: 200 });
        builder.append(7, None, Some(b"a byte beyond"), &[]).unwrap_err();
        builder.append(7, None, Some(b"to the brink"), &[]).unwrap();
        assert_eq!((builder.len(), builder.size_bytes()), (3, 200));
        let batch = builder.finish().unwrap();
        batch.check().unwrap();
        assert_eq!(batch.bytes().len(), 200);
    }

    #[test]
    fn records_that_do_not_shrink_are_left_uncompressed() {
        for compression in Compression::ALL {
            let mut builder = BatchBuilder::new(compression, 1 << 10);
            builder.append(0, None, Some(b"q8$"), &[]).unwrap();
            let size = builder.size_bytes();
            let batch = builder.finish().unwrap();
            assert_eq!((batch.bytes().len(), batch.header().attributes.codec()), (size, 0));
        }
    }

    #[test]
    fn nothing_makes_no_batch() {
        let builder = BatchBuilder::new(Compression::Zstd, 1 << 10);
        assert!(builder.is_empty());
        assert!(builder.finish().is_none());
    }
}
