//! The fixed part of a batch, and a batch in one piece.
//!
//! ```text
//!  0 base_offset i64 | 8 batch_length i32 (bytes after this field) | 12 leader_epoch i32
//! 16 magic i8 = 2 | 17 crc u32 | 21 attributes i16 | 23 last_offset_delta i32
//! 27 base_timestamp i64 | 35 max_timestamp i64
//! 43 producer_id i64 | 51 producer_epoch i16 | 53 base_sequence i32
//! 57 record_count i32 | 61 records
//! ```
//!
//! The CRC-32C covers byte 21 to the end, so that offset and epoch, which the broker assigns, can
//! change without a second pass over the records.

use super::record::check_frames;
use bytes::{BufMut, Bytes};
use nom::number::complete::{be_i8, be_i16, be_i32, be_i64, be_u32};
use nom::{IResult, Parser};

/// Bytes before the records.
pub const HEADER_BYTES: usize = 61;
/// Bytes that `batch_length` does not count: `base_offset` and itself.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// Where the checksum is.
const CRC_AT: usize = 17;
/// Where the bytes covered by the checksum start.
const CHECKED_FROM: usize = 21;
/// The only message format since Kafka 4.
const MAGIC: i8 = 2;

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the batch says it has.
    #[error("batch is cut short: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes the batch takes.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A length that cannot hold a header.
    #[error("batch length {0} is below the header's 49 bytes")]
    InvalidLength(i32),
    /// Another message format.
    #[error("message format {0} is not supported, only 2")]
    InvalidMagic(i8),
    /// The checksum does not match.
    #[error("checksum is {stored:#010x}, the bytes have {computed:#010x}")]
    InvalidCrc {
        /// What the header says.
        stored: u32,
        /// What the bytes say.
        computed: u32,
    },
    /// Count and last offset disagree, or there are no records.
    #[error("{count} records do not fit a last offset delta of {last_offset_delta}")]
    InvalidCount {
        /// Records in the batch.
        count: i32,
        /// Offset of the last record, from the first.
        last_offset_delta: i32,
    },
    /// No such compression.
    #[error("unknown compression codec {0}")]
    UnknownCompression(i16),
    /// Records are fewer or more than the header says, or out of order.
    #[error("record {index} is not where its batch says: {count} records end with it")]
    InvalidRecord {
        /// The first record that is wrong, counted from 0; the count where bytes are left over.
        index: i32,
        /// Records in the batch.
        count: i32,
    },
}

/// The attribute bits of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(super) const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    pub(super) const TRANSACTIONAL: i16 = 0x10;
    pub(super) const CONTROL: i16 = 0x20;
    pub(super) const DELETE_HORIZON: i16 = 0x40;

    /// The compression codec's number, 0 to 7; 5 to 7 are not assigned.
    pub const fn codec(self) -> i16 {
        self.0 & Self::CODEC
    }
    /// Whether the timestamps are the broker's, not the producer's.
    pub const fn is_log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }
    /// Whether the batch is part of a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }
    /// Whether the batch is a transaction marker, not data.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }
    /// Whether `base_timestamp` holds the time at which compaction may drop tombstones.
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// The fixed fields of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type, transaction bits.
    pub attributes: Attributes,
    /// Offset of the last record, from the first.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, in ms since 1970.
    pub base_timestamp: i64,
    /// Largest timestamp, in ms since 1970.
    pub max_timestamp: i64,
    /// Idempotent producer's id, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl Header {
    /// Reads the header at the start of `bytes`, checking length and magic but not whether the
    /// whole batch is there ([`Header::total_bytes`]) nor the checksum ([`Header::verify`]).
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let truncated = BatchError::Truncated { needed: HEADER_BYTES, left: bytes.len() };
        let (_, (header, magic)) = fields(bytes).map_err(|_| truncated)?;
        if magic != MAGIC {
            return Err(BatchError::InvalidMagic(magic));
        }
        if (header.batch_length as i64) < (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i64 {
            return Err(BatchError::InvalidLength(header.batch_length));
        }
        Ok(header)
    }

    /// Bytes the whole batch takes.
    pub fn total_bytes(&self) -> usize {
        LOG_OVERHEAD_BYTES + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Whether an idempotent producer sent the batch.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Checks `batch`, the whole batch this header is of, against the checksum.
    pub fn verify(&self, batch: &[u8]) -> Result<(), BatchError> {
        let needed = self.total_bytes();
        let Some(checked) = batch.get(CHECKED_FROM..needed) else {
            return Err(BatchError::Truncated { needed, left: batch.len() });
        };
        match crc32c::crc32c(checked) {
            computed if computed != self.crc => {
                Err(BatchError::InvalidCrc { stored: self.crc, computed })
            }
            _ => Ok(()),
        }
    }

    /// The header as it is written before `records`, the checksum made anew.
    pub(super) fn seal(&self, records: &[u8]) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = &mut bytes[..];
        rest.put_i64(self.base_offset);
        rest.put_i32(self.batch_length);
        rest.put_i32(self.leader_epoch);
        rest.put_i8(MAGIC);
        rest.put_u32(0);
        rest.put_i16(self.attributes.0);
        rest.put_i32(self.last_offset_delta);
        rest.put_i64(self.base_timestamp);
        rest.put_i64(self.max_timestamp);
        rest.put_i64(self.producer_id);
        rest.put_i16(self.producer_epoch);
        rest.put_i32(self.base_sequence);
        rest.put_i32(self.record_count);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[CHECKED_FROM..]), records);
        bytes[CRC_AT..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

fn fields(input: &[u8]) -> IResult<&[u8], (Header, i8)> {
    let (input, (base_offset, batch_length, leader_epoch, magic, crc)) =
        (be_i64, be_i32, be_i32, be_i8, be_u32).parse(input)?;
    let (input, (attributes, last_offset_delta, base_timestamp, max_timestamp)) =
        (be_i16, be_i32, be_i64, be_i64).parse(input)?;
    let (input, (producer_id, producer_epoch, base_sequence, record_count)) =
        (be_i64, be_i16, be_i32, be_i32).parse(input)?;
    let header = Header {
        base_offset,
        batch_length,
        leader_epoch,
        crc,
        attributes: Attributes(attributes),
        last_offset_delta,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count,
    };
    Ok((input, (header, magic)))
}

/// One whole batch, a slice of the frame or file it came from.
#[derive(Clone, Debug)]
pub struct Batch {
    header: Header,
    bytes: Bytes,
}

impl Batch {
    /// Splits the first batch off `bytes`; the checksum is not looked at.
    pub fn split_from(bytes: &mut Bytes) -> Result<Self, BatchError> {
        let header = Header::parse(bytes)?;
        let needed = header.total_bytes();
        if bytes.len() < needed {
            return Err(BatchError::Truncated { needed, left: bytes.len() });
        }
        Ok(Self { header, bytes: bytes.split_to(needed) })
    }

    /// Checks what a producer sent before it is appended: checksum, known compression, a count that
    /// agrees with the offsets and, where they are not compressed, with the records. One pass over
    /// the bytes, and a step from record to record: keys and values are not looked at.
    ///
    /// Gives the largest timestamp of the records, which may not be what the header says; `None`
    /// where they are compressed.
    ///
    /// Unlike Kafka: compressed records are not counted, which would take decompressing them.
    pub fn check(&self) -> Result<Option<i64>, BatchError> {
        let Header { record_count: count, last_offset_delta, attributes, .. } = self.header;
        if count <= 0 || last_offset_delta != count - 1 {
            return Err(BatchError::InvalidCount { count, last_offset_delta });
        }
        if attributes.codec() > 4 {
            return Err(BatchError::UnknownCompression(attributes.codec()));
        }
        self.header.verify(&self.bytes)?;
        match attributes.codec() {
            0 => check_frames(&self.bytes[HEADER_BYTES..], count, self.header.base_timestamp)
                .map(Some)
                .map_err(|index| BatchError::InvalidRecord { index, count }),
            _ => Ok(None),
        }
    }

    /// The batch with this as its largest timestamp, the checksum made anew.
    ///
    /// The batch must have passed [`Batch::check`] before.
    #[must_use]
    pub fn with_max_timestamp(&self, max_timestamp: i64) -> Self {
        Self::assemble(Header { max_timestamp, ..self.header }, &self.bytes[HEADER_BYTES..])
    }

    /// The fixed fields.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The batch as it is on the wire and on disk.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records, compressed as the attributes say.
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// The first 16 bytes as they are to be written at `base_offset` and `leader_epoch`; what
    /// follows from byte 16 on is unchanged, and so is the checksum.
    pub fn assigned_prefix(&self, base_offset: i64, leader_epoch: i32) -> [u8; 16] {
        let mut prefix = [0; 16];
        prefix[..8].copy_from_slice(&base_offset.to_be_bytes());
        prefix[8..12].copy_from_slice(&self.header.batch_length.to_be_bytes());
        prefix[12..].copy_from_slice(&leader_epoch.to_be_bytes());
        prefix
    }

    /// The header as it is to be written at `base_offset` and `leader_epoch` of a topic whose
    /// `message.timestamp.type` is LogAppendTime: every record gets `append_time`, in ms since
    /// 1970. The payload after it is unchanged; it is read once more, for the checksum.
    ///
    /// The checksum is made anew, so the batch must have passed [`Batch::check`] before.
    pub fn restamped_header(
        &self,
        base_offset: i64,
        leader_epoch: i32,
        append_time: i64,
    ) -> [u8; HEADER_BYTES] {
        let attributes = Attributes(self.header.attributes.0 | Attributes::LOG_APPEND_TIME);
        let max_timestamp = append_time;
        Header { base_offset, leader_epoch, attributes, max_timestamp, ..self.header }
            .seal(&self.bytes[HEADER_BYTES..])
    }
}
