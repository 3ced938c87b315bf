//! ListOffsets: the ends of a log, and the first record at or after a time.

use super::{READ_COMMITTED, first_places, log_error, once};
use crate::cluster::Cluster;
use crate::task::blocking;
use crate::topic::{Absent, LEADER_EPOCH, Partition, Topic};
use std::collections::HashSet;
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

/// Answers ListOffsets, one partition after the other, so that a client that leaves is done with at
/// the next.
pub(super) async fn list_offsets(
    cluster: Arc<Cluster>,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let is_committed = request.isolation_level == READ_COMMITTED;
    let places = first_places(request.topics.iter().map(|topic| &topic.name));
    let twice = twice(&request.topics, &places);
    let mut topics = Vec::with_capacity(request.topics.len());
    for (asked, place) in request.topics.into_iter().zip(places) {
        let topic = cluster.topics.get(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for it in once(asked.partitions, |it| it.partition_index) {
            let index = it.partition_index;
            partitions.push(match twice.contains(&(place, index)) {
                true => refused(index, ErrorCode::INVALID_REQUEST),
                false => answer(&cluster, topic.as_ref(), it, (version, is_committed)).await,
            });
        }
        topics.push(ListOffsetsTopicResponse { partitions, name: asked.name });
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

/// The partitions asked for more than once, be it in entries of their own.
fn twice(topics: &[ListOffsetsTopic], places: &[usize]) -> HashSet<(usize, i32)> {
    let asked = topics.iter().zip(places).flat_map(|(topic, place)| {
        topic.partitions.iter().map(move |asked| (*place, asked.partition_index))
    });
    let mut seen = HashSet::new();
    asked.filter(|asked| !seen.insert(*asked)).collect()
}

/// What reads the log is off the async workers; what looks for a time waits for its turn.
async fn answer(
    cluster: &Cluster,
    topic: Option<&Arc<Topic>>,
    asked: ListOffsetsPartition,
    context: (i16, bool),
) -> ListOffsetsPartitionResponse {
    let index = asked.partition_index;
    let partition = topic.and_then(|topic| topic.partition(index).ok());
    let is_known = |it: &Partition| !context.1 || it.log().known_last_stable_offset().is_some();
    let looks_for_time = partition.is_some() && matches!(asked.timestamp, MAX_TIMESTAMP | 0..);
    if !looks_for_time && partition.is_none_or(is_known) {
        return describe(topic.map(|it| &**it), &asked, context);
    }
    let mut turn = None;
    if looks_for_time {
        turn = cluster.time_lookups.clone().acquire_owned().await.ok();
    }
    let topic = topic.cloned();
    blocking(move || {
        // Until it is done, also if the client left meanwhile.
        let _turn = turn;
        describe(topic.as_deref(), &asked, context)
    })
    .await
}

fn describe(
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
