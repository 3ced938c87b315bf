//! What a topic's configs make of a batch before it is appended, whichever door it came through.

use super::Config;
use tidelog_protocol::records::{Batch, RecordError};

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

impl Config {
    /// The batch as it is to be appended: as it came, unless the topic has a codec of its own. Only
    /// then, and where records need keys, are its bytes looked at.
    ///
    /// # Errors
    /// [`Refused`], and nothing of the batch may be appended.
    pub fn admit(&self, batch: Batch) -> Result<Batch, Refused> {
        if self.is_compacted() {
            for record in batch.records(RECORDS_BYTES_MAX)? {
                if record?.key.is_none() {
                    return Err(Refused::Keyless);
                }
            }
        }
        let codec = batch.header().attributes.codec();
        let Some(compression) = self.compression().filter(|own| own.codec() != codec) else {
            return Ok(batch);
        };
        let batch = batch.recompressed(compression, self.compression_level(), RECORDS_BYTES_MAX)?;
        let (bytes, bytes_max) = (batch.bytes().len(), self.max_message_bytes());
        if bytes > bytes_max { Err(Refused::TooLarge { bytes, bytes_max }) } else { Ok(batch) }
    }
}
