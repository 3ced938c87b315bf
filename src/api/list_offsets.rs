//! ListOffsets: the ends of a log, and the first record at or after a time.

use super::{READ_COMMITTED, log_error, once, repeated};
use crate::cluster::Cluster;
use crate::task::blocking;
use crate::topic::{Absent, LEADER_EPOCH, Topic};
use std::sync::Arc;
use tidelog_protocol::ErrorCode;
use tidelog_protocol::messages::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};

/// The end of the log.
const LATEST: i64 = -1;
/// The start of the log.
const EARLIEST: i64 = -2;
/// The record with the largest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// The start of what is stored here (KIP-405): everything is.
const EARLIEST_LOCAL: i64 = -4;
/// The end of what is in tiered storage (KIP-1005): nothing is.
const LATEST_TIERED: i64 = -5;
/// The start of what goes to tiered storage next (KIP-1023): nothing does.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The first version of a client that means something by this timestamp.
const fn since(timestamp: i64) -> i16 {
    match timestamp {
        LATEST | EARLIEST | 0.. => 0,
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => i16::MAX,
    }
}

/// Answers ListOffsets; lookups by time read the log, so they run off the async workers.
pub(super) async fn list_offsets(
    cluster: Arc<Cluster>,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let work = move || {
        let is_committed = request.isolation_level == READ_COMMITTED;
        let topics = request.topics.into_iter().map(|asked: ListOffsetsTopic| {
            let topic = cluster.topics.get(&asked.name);
            let twice = repeated(asked.partitions.iter().map(|it| &it.partition_index));
            let answer = |it: &ListOffsetsPartition| match twice.contains(&it.partition_index) {
                true => refused(it.partition_index, ErrorCode::INVALID_REQUEST),
                false => answer(topic.as_deref(), it, (version, is_committed)),
            };
            let partitions = once(asked.partitions, |it| it.partition_index);
            let partitions = partitions.iter().map(answer);
            ListOffsetsTopicResponse { partitions: partitions.collect(), name: asked.name }
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    };
    blocking(work).await
}

fn answer(
    topic: Option<&Topic>,
    asked: &ListOffsetsPartition,
    (version, is_committed): (i16, bool),
) -> ListOffsetsPartitionResponse {
    let partition_index = asked.partition_index;
    match find(topic, asked, (version, is_committed)) {
        Ok(found) => {
            let (offset, timestamp) = found.unwrap_or((-1, -1));
            let leader_epoch = if offset < 0 { -1 } else { LEADER_EPOCH };
            let error_code = ErrorCode::NONE;
            ListOffsetsPartitionResponse {
                partition_index,
                error_code,
                timestamp,
                offset,
                leader_epoch,
            }
        }
        Err(error_code) => refused(partition_index, error_code),
    }
}

fn refused(partition_index: i32, error_code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse { partition_index, error_code, ..Default::default() }
}

/// An offset and the timestamp of its record, -1 where it stands for no record. What the isolation
/// level may not read yet is not found.
fn find(
    topic: Option<&Topic>,
    asked: &ListOffsetsPartition,
    (version, is_committed): (i16, bool),
) -> Result<Option<(i64, i64)>, ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(asked.partition_index).map_err(Absent::code)?;
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
    }
    if version < since(asked.timestamp) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let log = partition.log();
    let failed = |error| log_error(&topic.name, asked.partition_index, &error);
    let end = match is_committed {
        true => log.last_stable_offset().map_err(failed)?,
        false => partition.high_watermark(),
    };
    let below_end = |found: Option<(i64, i64)>| found.filter(|(offset, _)| *offset < end);
    match asked.timestamp {
        LATEST => Ok(Some((end, -1))),
        EARLIEST | EARLIEST_LOCAL => Ok(Some((log.log_start_offset(), -1))),
        MAX_TIMESTAMP => log.max_timestamp().map(below_end).map_err(failed),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(None),
        timestamp => log.offset_for_time(timestamp).map(below_end).map_err(failed),
    }
}
