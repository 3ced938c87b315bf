//! Produce: batches are checked, appended in order, and answered when they are durable.
//!
//! Unlike Kafka: acks=1 waits for the sync as acks=all does; with one replica they promise the
//! same. Nobody but a sync's ingest writes to its topics, since what is in them is what the next
//! mutation is compared with.

use super::{Outcome, Pending, log_error};
use crate::clock;
use crate::cluster::Cluster;
use crate::topic::{Absent, Config, Partition, Refused, Topic, look_inside, timed};
use bytes::Bytes;
use std::sync::Arc;
use tidelog_protocol::messages::{
    self, PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use tidelog_protocol::records::{Batch, BatchError, Compression, Record};
use tidelog_protocol::{ErrorCode, Str};

const ACKS_NONE: i16 = 0;
const ACKS: std::ops::RangeInclusive<i16> = -1..=1;

/// What a record without a timestamp has in its place.
const NO_TIMESTAMP: i64 = -1;
/// Zstandard may be produced since this version (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// Topics go by id since this version.
const TOPIC_IDS_SINCE: i16 = 13;
/// Records that one refusal names (KIP-467). Unlike Kafka: it names them all, however many.
const RECORD_ERRORS_MAX: usize = 100;
/// Records that all refusals of an answer name: a batch of a hundred bytes may have a hundred.
const RECORD_ERRORS_OF_ANSWER_MAX: usize = 10_000;

struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    /// Which records are at fault.
    records: Vec<messages::RecordError>,
    /// Where the log starts, if it was the log that refused, else -1.
    log_start_offset: i64,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, records: Vec::new(), log_start_offset: -1 }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Keyless => ErrorCode::INVALID_RECORD,
            // Java's producer splits the batch and tries again.
            Refused::Unreadable(_) if refused.is_too_much() => ErrorCode::MESSAGE_TOO_LARGE,
            Refused::Unreadable(_) => ErrorCode::CORRUPT_MESSAGE,
            Refused::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        };
        Self::new(code, refused.to_string())
    }
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..Self::from(code) }
    }
}

/// Appends before it returns; the future waits for the syncs.
pub(super) fn produce(cluster: &Cluster, request: ProduceRequest, version: i16) -> Pending {
    let acks = request.acks;
    let transactional = request.transactional_id.is_some();
    let (mut durable, mut record_errors_left) = (Vec::new(), RECORD_ERRORS_OF_ANSWER_MAX);
    let mut append_all = |topic: TopicProduceData| {
        let found = find(cluster, &topic, version, acks, transactional);
        let mut append_one = |data: PartitionProduceData| {
            let index = data.index;
            let appended = found.as_ref().map_err(|code| Refusal::from(*code));
            match appended.and_then(|topic| append(topic, data, version)) {
                Ok((partition, appended, append_time_ms)) => {
                    durable.push((partition, appended.last_offset));
                    PartitionProduceResponse {
                        index,
                        base_offset: appended.base_offset,
                        log_start_offset: appended.log_start_offset,
                        log_append_time_ms: append_time_ms.unwrap_or(-1),
                        ..Default::default()
                    }
                }
                Err(mut refusal) => {
                    refusal.records.truncate(record_errors_left);
                    record_errors_left -= refusal.records.len();
                    PartitionProduceResponse {
                        index,
                        error_code: refusal.code,
                        base_offset: -1,
                        log_start_offset: refusal.log_start_offset,
                        record_errors: refusal.records,
                        error_message: refusal.message.map(Str::from),
                        ..Default::default()
                    }
                }
            }
        };
        TopicProduceResponse {
            // A slice of the frame would keep all of it in memory until the sync.
            name: Str::from(&*topic.name),
            topic_id: topic.topic_id,
            partition_responses: topic.partition_data.into_iter().map(&mut append_one).collect(),
        }
    };
    let responses: Vec<_> = request.topic_data.into_iter().map(&mut append_all).collect();
    let durable = async move {
        for (partition, last_offset) in durable {
            partition.durable(last_offset).await;
        }
    };
    if acks == ACKS_NONE {
        let mut partitions = responses.iter().flat_map(|topic| &topic.partition_responses);
        let failed = partitions.any(|it| it.error_code != ErrorCode::NONE);
        let outcome = Outcome::Silence { failed, held: Box::pin(durable) };
        return Box::pin(std::future::ready(outcome));
    }
    Box::pin(async move {
        durable.await;
        Outcome::Answer(ProduceResponse { responses, ..Default::default() }.into())
    })
}

fn find(
    cluster: &Cluster,
    data: &TopicProduceData,
    version: i16,
    acks: i16,
    transactional: bool,
) -> Result<Arc<Topic>, ErrorCode> {
    if !ACKS.contains(&acks) {
        return Err(ErrorCode::INVALID_REQUIRED_ACKS);
    }
    if transactional {
        return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    let topic = match version >= TOPIC_IDS_SINCE {
        true => cluster.topics.by_id(&data.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
        false => cluster.topics.get(&data.name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }?;
    match topic.sync {
        Some(_) => Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
        None => Ok(topic),
    }
}

fn append(
    topic: &Topic,
    data: PartitionProduceData,
    version: i16,
) -> Result<(Partition, tidelog_storage::Appended, Option<i64>), Refusal> {
    let partition = topic.partition(data.index).map_err(Absent::code)?;
    let batch = one_batch(data.records.unwrap_or_default(), topic.config.max_message_bytes())?;
    if version < ZSTD_SINCE && batch.header().attributes.codec() == Compression::Zstd.codec() {
        let text = format!(
            "Produce requests with version {version} are not allowed to use ZStandard compression"
        );
        return Err(Refusal::new(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, text));
    }
    append_batch(topic, partition, batch, data.index).map_err(|refusal| match refusal.code {
        ErrorCode::CORRUPT_MESSAGE | ErrorCode::MESSAGE_TOO_LARGE => refusal,
        _ => Refusal { log_start_offset: partition.log().log_start_offset(), ..refusal },
    })
}

fn append_batch(
    topic: &Topic,
    partition: &Partition,
    batch: Batch,
    index: i32,
) -> Result<(Partition, tidelog_storage::Appended, Option<i64>), Refusal> {
    let append_time_ms = topic.config.log_append_time().then(clock::unix_ms);
    let largest = batch.check().map_err(|error| refuse(&error))?;
    validate(&batch)?;
    let batch = match append_time_ms {
        Some(_) => batch,
        None => {
            let batch = timed(batch, largest)?;
            check_times(&batch, &topic.config)?;
            batch
        }
    };
    let keyed = topic.config.is_compacted().then(|| batch.clone());
    let batch = topic.config.admit(batch).map_err(|refused| match (refused, keyed) {
        (Refused::Keyless, Some(batch)) => keyless(&batch, &topic.name, index),
        (refused, _) => refused.into(),
    })?;
    let appended = partition.append_stamped(&batch, append_time_ms);
    let appended = appended.map_err(|error| log_error(&topic.name, index, &error))?;
    // Of a batch that is sent again the time it got at first.
    let append_time_ms = append_time_ms.map(|_| appended.max_timestamp);
    Ok((partition.clone(), appended, append_time_ms))
}

/// Takes exactly one batch, whatever is in it.
fn one_batch(mut records: Bytes, bytes_max: usize) -> Result<Batch, Refusal> {
    if records.len() > bytes_max {
        let text =
            format!("a batch of {} bytes is over max.message.bytes, {bytes_max}", records.len());
        return Err(Refusal::new(ErrorCode::MESSAGE_TOO_LARGE, text));
    }
    let batch = Batch::split_from(&mut records).map_err(|error| refuse(&error))?;
    if !records.is_empty() {
        let text = "a partition's records must be one batch";
        return Err(Refusal::new(ErrorCode::INVALID_RECORD, text));
    }
    Ok(batch)
}

fn refuse(error: &BatchError) -> Refusal {
    let code = match error {
        BatchError::InvalidCount { .. }
        | BatchError::InvalidRecord { .. }
        | BatchError::Truncated { .. }
        | BatchError::InvalidMagic(0 | 1) => ErrorCode::INVALID_RECORD,
        BatchError::UnknownCompression(_) => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        _ => ErrorCode::CORRUPT_MESSAGE,
    };
    Refusal::new(code, error.to_string())
}

/// Sees that a batch is one that a producer may send.
fn validate(batch: &Batch) -> Result<(), Refusal> {
    let (header, invalid) = (batch.header(), ErrorCode::INVALID_RECORD);
    if header.base_offset != 0 {
        let text = format!("the base offset must be 0, not {}", header.base_offset);
        return Err(Refusal::new(invalid, text));
    }
    if header.attributes.is_control() || header.attributes.is_log_append_time() {
        let text = "a producer may not send control batches or log append time";
        return Err(Refusal::new(invalid, text));
    }
    if header.attributes.is_transactional() {
        let text = "a transactional batch outside of a transaction";
        return Err(Refusal::new(ErrorCode::INVALID_TXN_STATE, text));
    }
    if header.attributes.has_delete_horizon() {
        let text = "only compaction sets when tombstones may go";
        return Err(Refusal::new(invalid, text));
    }
    if header.has_producer() && header.base_sequence < 0 {
        let text = "an idempotent producer's batch needs a sequence number";
        return Err(Refusal::new(invalid, text));
    }
    if header.has_producer() && header.producer_epoch < 0 {
        let text = "an idempotent producer's batch needs an epoch";
        return Err(Refusal::new(ErrorCode::INVALID_PRODUCER_EPOCH, text));
    }
    Ok(())
}

/// Refuses records with times that the topic does not take.
fn check_times(batch: &Batch, config: &Config) -> Result<(), Refusal> {
    let times = config.times_at(clock::unix_ms());
    let (first, last) = (*times.start(), *times.end());
    let in_time = batch.header().max_timestamp <= last;
    // Only the records themselves tell how old the oldest is.
    if in_time && config.timestamp_before_max_ms().is_none() {
        return Ok(());
    }
    let records = at_fault(batch, |index, record| {
        let time = record.timestamp;
        let refused = time != NO_TIMESTAMP && !times.contains(&time);
        refused.then(|| format!("Timestamp {time} of message with offset {index} is out of range. The timestamp should be within [{first}, {last}]"))
    })?;
    if in_time && records.is_empty() {
        return Ok(());
    }
    let text = "One or more records have been rejected due to invalid timestamp";
    Err(Refusal { records, ..Refusal::new(ErrorCode::INVALID_TIMESTAMP, text) })
}

/// Names the records without keys, since compaction goes by them.
fn keyless(batch: &Batch, topic: &str, partition: i32) -> Refusal {
    let records = at_fault(batch, |_, record| {
        let refused = || {
            format!(
                "Compacted topic cannot accept message without key in topic partition {topic}-{partition}"
            )
        };
        record.key.is_none().then(refused)
    });
    let records = match records {
        Ok(records) => records,
        Err(refusal) => return refusal,
    };
    let shown = |it: &messages::RecordError| {
        let text = it.batch_index_error_message.as_deref().unwrap_or_default();
        format!("RecordError(batchIndex={}, message='{text}')", it.batch_index)
    };
    let shown: Vec<String> = records.iter().take(3).map(shown).collect();
    let (count, shown) = (records.len(), shown.join(", "));
    let text = format!(
        "One or more records have been rejected due to {count} record errors in total, and only showing the first three errors at most: [{shown}]"
    );
    Refusal { records, ..Refusal::new(ErrorCode::INVALID_RECORD, text) }
}

/// The first records of which something is wrong, and what.
fn at_fault(
    batch: &Batch,
    wrong: impl Fn(i32, &Record) -> Option<String>,
) -> Result<Vec<messages::RecordError>, Refusal> {
    let found = look_inside(batch, |records| {
        let mut found = Vec::new();
        for (index, record) in (0..).zip(records) {
            let Some(text) = wrong(index, &record?) else { continue };
            let batch_index_error_message = Some(text.into());
            found.push(messages::RecordError { batch_index: index, batch_index_error_message });
            if found.len() == RECORD_ERRORS_MAX {
                break;
            }
        }
        Ok(found)
    });
    Ok(found?)
}
