//! What a failed log is to a Kafka client.

use tidelog_protocol::ErrorCode;
use tidelog_storage::Error;

/// The error code for a client.
pub fn code(error: &Error) -> ErrorCode {
    match error {
        Error::OffsetOutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        Error::Corrupt { .. } => ErrorCode::CORRUPT_MESSAGE,
        Error::OutOfOrderSequence { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        Error::InvalidProducerEpoch { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
        Error::Closed => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        _ => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}
