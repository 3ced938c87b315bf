//! What a client is told of an error: the code, and Kafka's words where it has any.

use crate::topic;
use tidelog_protocol::ErrorCode;
use tidelog_storage as storage;

/// The code that tells a client about a failed log, and a line that tells the operator.
pub(super) fn log_error(topic: &str, partition: i32, error: &storage::Error) -> ErrorCode {
    let code = storage_code(error);
    match code {
        // Said once, by who opened the volume.
        ErrorCode::KAFKA_STORAGE_ERROR if error.is_disk_full() => {}
        ErrorCode::KAFKA_STORAGE_ERROR | ErrorCode::CORRUPT_MESSAGE => {
            tracing::error!("{topic}-{partition}: {error}");
        }
        _ => tracing::debug!("{topic}-{partition}: {error}"),
    }
    code
}

/// What Kafka says of it: the code, and its words where it has any.
pub(super) fn refusal(error: &topic::Error) -> (ErrorCode, String) {
    let text = match error {
        topic::Error::InvalidName(name) => invalid_name(name),
        topic::Error::InvalidPartitions(..=0) => {
            "Number of partitions was set to an invalid non-positive value.".to_owned()
        }
        topic::Error::NotAnIncrease { partitions, asked, .. }
            if usize::try_from(*asked) == Ok(*partitions) =>
        {
            format!("Topic already has {partitions} partition(s).")
        }
        topic::Error::Storage(error) if error.is_disk_full() => {
            "The disk is full; nothing was stored.".to_owned()
        }
        topic::Error::Exists(name) => format!("Topic '{name}' already exists."),
        topic::Error::Collides { name, other } => {
            format!("Topic '{name}' collides with existing topic: {other}")
        }
        topic::Error::Unknown(_) => NOT_HOSTED.to_owned(),
        error => error.to_string(),
    };
    (topic_error(error), text)
}

/// Kafka's words for a topic or partition that is not there.
pub(super) const NOT_HOSTED: &str = "This server does not host this topic-partition.";

/// Bytes of a name that a text quotes.
const QUOTED_BYTES_MAX: usize = 2 * topic::NAME_BYTES_MAX;

/// A name as texts quote it. Unlike Kafka: not all of one that is far too long for a topic, since a
/// text may stand in an answer many times.
pub(super) fn quoted(name: &str) -> &str {
    &name[..name.floor_char_boundary(QUOTED_BYTES_MAX)]
}

/// What is wrong with a topic's name.
pub(super) fn invalid_name(name: &str) -> String {
    let quoted = quoted(name);
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        name if name.len() > topic::NAME_BYTES_MAX => format!(
            "the length of '{quoted}' is longer than the max allowed length {}",
            topic::NAME_BYTES_MAX
        ),
        _ => format!(
            "'{quoted}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ),
    };
    format!("Topic name is invalid: {reason}")
}

pub(super) fn topic_error(error: &topic::Error) -> ErrorCode {
    match error {
        topic::Error::InvalidName(_) | topic::Error::Collides { .. } => {
            ErrorCode::INVALID_TOPIC_EXCEPTION
        }
        topic::Error::InvalidPartitions(_) | topic::Error::NotAnIncrease { .. } => {
            ErrorCode::INVALID_PARTITIONS
        }
        topic::Error::Synced(_) | topic::Error::AccountFull { .. } => ErrorCode::POLICY_VIOLATION,
        topic::Error::InvalidConfig(_) => ErrorCode::INVALID_CONFIG,
        topic::Error::Exists(_) => ErrorCode::TOPIC_ALREADY_EXISTS,
        topic::Error::Unknown(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        topic::Error::Unreadable(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        topic::Error::Control(_) => ErrorCode::UNKNOWN_SERVER_ERROR,
        topic::Error::Storage(error) => storage_code(error),
    }
}

/// The code of a failed log.
fn storage_code(error: &storage::Error) -> ErrorCode {
    match error {
        storage::Error::OffsetOutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        storage::Error::Corrupt { .. } => ErrorCode::CORRUPT_MESSAGE,
        storage::Error::OutOfOrderSequence { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        storage::Error::InvalidProducerEpoch { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
        storage::Error::Closed => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        _ => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}
