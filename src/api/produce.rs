//! Produce: batches are checked, appended in order, and answered when they are durable.
//!
//! Unlike Kafka: acks=1 waits for the sync as acks=all does; with one replica they promise the
//! same. Nobody but a sync's ingest writes to its topics, since what is in them is what the next
//! mutation is compared with.

use super::{Outcome, Pending, log_error};
use crate::clock;
use crate::cluster::Cluster;
use crate::topic::{Partition, Refused, Topic};
use bytes::Bytes;
use std::sync::Arc;
use tidelog_protocol::messages::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use tidelog_protocol::records::{Batch, BatchError};
use tidelog_protocol::{ErrorCode, Str};

const ACKS_NONE: i16 = 0;
const ACKS: std::ops::RangeInclusive<i16> = -1..=1;

struct Refusal {
    code: ErrorCode,
    message: Option<String>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Keyless => ErrorCode::INVALID_RECORD,
            Refused::Unreadable(_) => ErrorCode::CORRUPT_MESSAGE,
            Refused::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        };
        Self::new(code, refused.to_string())
    }
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }
}

/// Appends before it returns; the future waits for the syncs.
pub(super) fn produce(cluster: &Cluster, request: ProduceRequest) -> Pending {
    let acks = request.acks;
    let transactional = request.transactional_id.is_some();
    let mut durable = Vec::new();
    let mut append = |topic: TopicProduceData| {
        let found = find(cluster, &topic, acks, transactional);
        let mut append = |data: PartitionProduceData| {
            let index = data.index;
            let appended = found.as_ref().map_err(|code| Refusal::from(*code));
            match appended.and_then(|topic| append(topic, data)) {
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
                Err(refusal) => PartitionProduceResponse {
                    index,
                    error_code: refusal.code,
                    base_offset: -1,
                    error_message: refusal.message.map(Str::from),
                    ..Default::default()
                },
            }
        };
        TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: topic.partition_data.into_iter().map(&mut append).collect(),
        }
    };
    let responses: Vec<_> = request.topic_data.into_iter().map(&mut append).collect();
    if acks == ACKS_NONE {
        let mut partitions = responses.iter().flat_map(|topic| &topic.partition_responses);
        let failed = partitions.any(|it| it.error_code != ErrorCode::NONE);
        let outcome = if failed { Outcome::Hangup } else { Outcome::Silence };
        return Box::pin(std::future::ready(outcome));
    }
    Box::pin(async move {
        for (partition, last_offset) in durable {
            partition.durable(last_offset).await;
        }
        Outcome::Answer(ProduceResponse { responses, ..Default::default() }.into())
    })
}

fn find(
    cluster: &Cluster,
    data: &TopicProduceData,
    acks: i16,
    transactional: bool,
) -> Result<Arc<Topic>, ErrorCode> {
    if !ACKS.contains(&acks) {
        return Err(ErrorCode::INVALID_REQUIRED_ACKS);
    }
    if transactional {
        return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    }
    let by_id = data.name.is_empty();
    let topic = match by_id {
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
) -> Result<(Partition, tidelog_storage::Appended, Option<i64>), Refusal> {
    let partition = topic.partition(data.index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let batch = check(data.records.unwrap_or_default(), topic.config.max_message_bytes())?;
    let batch = topic.config.admit(batch)?;
    let append_time_ms = topic.config.log_append_time().then(clock::unix_ms);
    if append_time_ms.is_none() {
        check_time(batch.header().max_timestamp, topic.config.timestamp_after_max_ms())?;
    }
    let appended = partition.append_stamped(&batch, append_time_ms);
    let appended = appended.map_err(|error| log_error(&topic.name, data.index, &error))?;
    Ok((partition.clone(), appended, append_time_ms))
}

/// Refuses records from too far in the future, which retention by time would never reach.
fn check_time(max_timestamp: i64, after_max_ms: i64) -> Result<(), Refusal> {
    match max_timestamp.saturating_sub(clock::unix_ms()) <= after_max_ms {
        true => Ok(()),
        false => {
            let text = format!(
                "timestamp {max_timestamp} is more than message.timestamp.after.max.ms, {after_max_ms}, ahead of the broker's time"
            );
            Err(Refusal::new(ErrorCode::INVALID_TIMESTAMP, text))
        }
    }
}

/// Takes exactly one sound batch of data.
fn check(mut records: Bytes, bytes_max: usize) -> Result<Batch, Refusal> {
    if records.len() > bytes_max {
        let text =
            format!("a batch of {} bytes is over max.message.bytes, {bytes_max}", records.len());
        return Err(Refusal::new(ErrorCode::MESSAGE_TOO_LARGE, text));
    }
    let refuse = |error: BatchError| {
        let code = match error {
            BatchError::InvalidCount { .. } => ErrorCode::INVALID_RECORD,
            BatchError::InvalidMagic(_) => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            BatchError::UnknownCompression(_) => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            _ => ErrorCode::CORRUPT_MESSAGE,
        };
        Refusal::new(code, error.to_string())
    };
    let batch = Batch::split_from(&mut records).map_err(refuse)?;
    if !records.is_empty() {
        let text = "a partition's records must be one batch";
        return Err(Refusal::new(ErrorCode::INVALID_RECORD, text));
    }
    batch.check().map_err(refuse)?;
    let attributes = batch.header().attributes;
    if attributes.is_control() || attributes.is_log_append_time() {
        let text = "a producer may not send control batches or log append time";
        return Err(Refusal::new(ErrorCode::INVALID_RECORD, text));
    }
    if attributes.is_transactional() {
        let text = "a transactional batch outside of a transaction";
        return Err(Refusal::new(ErrorCode::INVALID_TXN_STATE, text));
    }
    if batch.header().has_producer() && batch.header().base_sequence < 0 {
        let text = "an idempotent producer's batch needs a sequence number";
        return Err(Refusal::new(ErrorCode::INVALID_RECORD, text));
    }
    Ok(batch)
}
