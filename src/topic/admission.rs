//! What a topic's configs make of a batch before it is appended, whichever door it came through.

use super::Config;
use crate::task::in_place;
use tidelog_protocol::records::{Batch, Compression, CompressionError, RecordError, Records};

/// Bytes a batch may decompress to, when its keys are looked at or its codec changes.
const RECORDS_BYTES_MAX: usize = 64 << 20;

/// Why a batch does not come in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Compaction goes by keys.
    #[error("Compacted topic cannot accept message without key")]
    Keyless,
    /// Its records had to be read and cannot be.
    #[error(transparent)]
    Unreadable(#[from] RecordError),
    /// It was within the limit before it was compressed as the topic wants.
    #[error(
        "the batch takes {bytes} bytes in the topic's compression.type, over max.message.bytes, {bytes_max}"
    )]
    TooLarge {
        /// Bytes it would take.
        bytes: usize,
        /// Bytes it may take.
        bytes_max: usize,
    },
}

/// The batch with the largest timestamp of its records in its header, whatever its producer put
/// there: retention, lookups by time and the age of idempotent producers go by it, and a widespread
/// client left it out. `largest` is what [`Batch::check`] gave.
///
/// Unlike Kafka: compressed records are looked at only where the header says less than its first
/// record, since else every such batch had to be decompressed.
///
/// # Errors
/// [`Refused::Unreadable`] if its records had to be read and cannot be.
pub fn timed(batch: Batch, largest: Option<i64>) -> Result<Batch, Refused> {
    let header = batch.header();
    let largest = match largest {
        Some(largest) => largest,
        None if header.max_timestamp >= header.base_timestamp => return Ok(batch),
        None => {
            let largest = |mut records: Records| {
                records.try_fold(i64::MIN, |largest, it| Ok(largest.max(it?.timestamp)))
            };
            look_inside(&batch, largest)?
        }
    };
    if largest == header.max_timestamp { Ok(batch) } else { Ok(batch.with_max_timestamp(largest)) }
}

/// Gives `look` the records of a batch. To decompress them may take long, which then holds up no
/// other connection.
///
/// # Errors
/// [`Refused::Unreadable`] if they cannot be read, and what `look` refuses.
pub fn look_inside<T>(
    batch: &Batch,
    look: impl FnOnce(Records) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let look = || look(batch.records(decoded_bytes_max(batch))?);
    match batch.header().attributes.codec() == Compression::None.codec() {
        true => look(),
        false => in_place(look),
    }
}

/// Bytes that the records of a batch may decompress to: what came uncompressed is there already.
fn decoded_bytes_max(batch: &Batch) -> usize {
    RECORDS_BYTES_MAX.max(batch.bytes().len())
}

impl Refused {
    /// Whether its records take more bytes than are decompressed here.
    pub fn is_too_much(&self) -> bool {
        let Self::Unreadable(RecordError::Compression(error)) = self else { return false };
        matches!(error, CompressionError::LimitExceeded(_))
    }
}

impl Config {
    /// The batch as it is to be appended: as it came, unless the topic has a codec of its own. Only
    /// then, and where records need keys, are its bytes looked at.
    ///
    /// # Errors
    /// [`Refused`], and nothing of the batch may be appended.
    pub fn admit(&self, batch: Batch) -> Result<Batch, Refused> {
        if self.is_compacted() {
            look_inside(&batch, |mut records| {
                records.try_for_each(|it| it?.key.is_some().then_some(()).ok_or(Refused::Keyless))
            })?;
        }
        let codec = batch.header().attributes.codec();
        let Some(compression) = self.compression().filter(|own| own.codec() != codec) else {
            return Ok(batch);
        };
        let (level, limit) = (self.compression_level(), decoded_bytes_max(&batch));
        let batch = in_place(|| batch.recompressed(compression, level, limit))?;
        let (bytes, bytes_max) = (batch.bytes().len(), self.max_message_bytes());
        if bytes > bytes_max { Err(Refused::TooLarge { bytes, bytes_max }) } else { Ok(batch) }
    }
}
