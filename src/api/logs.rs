//! DeleteRecords, OffsetForLeaderEpoch, DescribeLogDirs and AlterReplicaLogDirs: where logs begin
//! and end, how large they are, and where.

use super::{first_places, log_error, once};
use crate::cluster::Cluster;
use crate::task::blocking;
use crate::topic::{Absent, LEADER_EPOCH, Partition, Topic};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::messages::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse, DeleteRecordsPartition, DeleteRecordsPartitionResult,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic, DeleteRecordsTopicResult,
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic, EpochEndOffset,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};
use tidelog_protocol::{ErrorCode, Str};

/// Stands for the high watermark in DeleteRecords.
const ALL: i64 = -1;
/// How long DeleteRecords waits at most, whatever the client allows.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Removes the oldest records, durably, one partition after the other, so that a client that leaves
/// is done with at the next. Events whose record state is not in the state store yet are waited
/// for.
pub(super) fn delete_records(
    cluster: Arc<Cluster>,
    mut request: DeleteRecordsRequest,
) -> impl Future<Output = DeleteRecordsResponse> + use<> {
    keep_last(&mut request.topics);
    for topic in &mut request.topics {
        // A slice of the frame would keep all of it in memory while this waits.
        topic.name = Str::from(&*topic.name);
    }
    async move {
        let all = futures_util::future::join_all(unreleased(&cluster, &request));
        let timeout = Duration::from_millis(request.timeout_ms.try_into().unwrap_or_default());
        // What is not released in time is refused by `delete`.
        let _ = tokio::time::timeout(timeout.min(WAIT_MAX), all).await;
        let mut topics = Vec::with_capacity(request.topics.len());
        for asked in request.topics {
            let topic = cluster.topics.get(&asked.name);
            let mut partitions = Vec::with_capacity(asked.partitions.len());
            for asked in asked.partitions {
                let deleted = delete(&cluster, topic.as_ref(), &asked).await;
                partitions.push(DeleteRecordsPartitionResult {
                    partition_index: asked.partition_index,
                    low_watermark: deleted.unwrap_or(-1),
                    error_code: deleted.err().unwrap_or_default(),
                });
            }
            topics.push(DeleteRecordsTopicResult { partitions, name: asked.name });
        }
        DeleteRecordsResponse { topics, ..Default::default() }
    }
}

/// Of a partition that is named more than once, what is said last counts.
fn keep_last(topics: &mut Vec<DeleteRecordsTopic>) {
    let places = first_places(topics.iter().map(|topic| &topic.name));
    let mut seen = HashSet::new();
    for (topic, place) in topics.iter_mut().zip(places).rev() {
        topic.partitions.reverse();
        topic.partitions.retain(|it| seen.insert((place, it.partition_index)));
        topic.partitions.reverse();
    }
    topics.retain(|topic| !topic.partitions.is_empty());
}

/// Waits for the partitions whose records that are to go are still needed.
fn unreleased(
    cluster: &Cluster,
    request: &DeleteRecordsRequest,
) -> Vec<impl Future<Output = ()> + use<>> {
    let mut waits = Vec::new();
    for topic in &request.topics {
        let Some(found) = cluster.topics.get(&topic.name) else { continue };
        for asked in &topic.partitions {
            let Ok(partition) = found.partition(asked.partition_index) else { continue };
            let Some(end) = end_of_deletion(partition, asked.offset) else { continue };
            if partition.released() < end {
                let partition = partition.clone();
                waits.push(async move { partition.released_past(end).await });
            }
        }
    }
    waits
}

/// Where what is asked to go ends; `None` if that is beyond what is there.
fn end_of_deletion(partition: &Partition, offset: i64) -> Option<i64> {
    let all = partition.high_watermark();
    match offset {
        ALL => Some(all),
        _ => (0..=all).contains(&offset).then_some(offset),
    }
}

async fn delete(
    cluster: &Arc<Cluster>,
    topic: Option<&Arc<Topic>>,
    asked: &DeleteRecordsPartition,
) -> Result<i64, ErrorCode> {
    let index = asked.partition_index;
    let topic = topic.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(index).map_err(Absent::code)?;
    if !topic.config.is_deleted() {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    // Read once: what is appended from here on may not be released, and is not asked to go.
    let end = end_of_deletion(partition, asked.offset).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
    if partition.released() < end {
        return Err(ErrorCode::REQUEST_TIMED_OUT);
    }
    let (cluster, topic, partition) = (cluster.clone(), topic.clone(), partition.clone());
    let remove = move || {
        // Events of a sync are the write-ahead log of its records' state, which must be safe first.
        if topic.sync.is_some()
            && let Err(error) = cluster.shared.state.sync()
        {
            tracing::error!("deleting records of {} failed: {error}", topic.name);
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        let deleted = partition.log().delete_records(end);
        deleted.map_err(|error| log_error(&topic.name, index, &error))
    };
    blocking(remove).await
}

fn find(topic: Option<&Topic>, index: i32) -> Result<(&Topic, &Partition), ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    Ok((topic, topic.partition(index).map_err(Absent::code)?))
}

/// Tells where leader epochs end (KIP-320). There is one, and it ends with the log.
pub(super) fn offset_for_leader_epoch(
    cluster: &Cluster,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|asked| {
        let topic = cluster.topics.get(&asked.topic);
        let partitions = asked.partitions.iter().map(|it| epoch_end(topic.as_deref(), it));
        OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: asked.topic }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn epoch_end(topic: Option<&Topic>, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let partition = asked.partition;
    let unknown = EpochEndOffset { partition, ..Default::default() };
    let found = find(topic, partition).and_then(|found| match asked.current_leader_epoch {
        ..=LEADER_EPOCH => Ok(found),
        _ => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
    });
    match found {
        Ok((_, log)) if asked.leader_epoch == LEADER_EPOCH => EpochEndOffset {
            leader_epoch: LEADER_EPOCH,
            end_offset: log.log().log_end_offset(),
            ..unknown
        },
        Ok(_) => unknown,
        Err(error_code) => EpochEndOffset { error_code, ..unknown },
    }
}

/// Tells how large logs are. An account sees its own in one directory, under a name that says
/// nothing of the machine; what is left of the disk is left to all accounts.
pub(super) fn describe_dirs(
    cluster: &Cluster,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let topics: Vec<DescribeLogDirsTopic> = match request.topics {
        None => cluster.topics.all().iter().map(|topic| sizes(topic, None)).collect(),
        Some(asked) => {
            let sizes = |asked: DescribableLogDirTopic| {
                let topic = cluster.topics.get(&asked.topic)?;
                let partitions = asked.partitions.into_iter().collect();
                Some(sizes(&topic, Some(&partitions)))
            };
            let asked = once(asked, |topic| topic.topic.clone());
            asked.into_iter().filter_map(sizes).collect()
        }
    };
    let space = tidelog_storage::space(&cluster.shared.settings.data_dir);
    let bytes = |bytes: fn(tidelog_storage::Space) -> u64| {
        space.as_ref().map_or(-1, |it| i64::try_from(bytes(*it)).unwrap_or(i64::MAX))
    };
    let dir = DescribeLogDirsResult {
        log_dir: log_dir(cluster),
        topics,
        total_bytes: bytes(|space| space.total_bytes),
        usable_bytes: bytes(|space| space.usable_bytes),
        ..Default::default()
    };
    DescribeLogDirsResponse { results: vec![dir], ..Default::default() }
}

fn log_dir(cluster: &Cluster) -> Str {
    format!("/accounts/{}", cluster.account.id).into()
}

/// Accepts the one directory for logs that are there, and knows no other.
pub(super) fn alter_dirs(
    cluster: &Cluster,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let own = log_dir(cluster);
    let results = request.dirs.into_iter().flat_map(|dir| {
        let is_own = dir.path == own;
        dir.topics.into_iter().map(move |topic| (is_own, topic))
    });
    let results = results.map(|(is_own, asked)| {
        let topic = cluster.topics.get(&asked.name);
        let alter = |partition_index| {
            let error_code = match find(topic.as_deref(), partition_index) {
                _ if !is_own => ErrorCode::LOG_DIR_NOT_FOUND,
                found => found.err().unwrap_or_default(),
            };
            AlterReplicaLogDirPartitionResult { partition_index, error_code }
        };
        let partitions = asked.partitions.into_iter().map(alter).collect();
        AlterReplicaLogDirTopicResult { topic_name: asked.name, partitions }
    });
    AlterReplicaLogDirsResponse { results: results.collect(), ..Default::default() }
}

fn sizes(topic: &Topic, asked: Option<&HashSet<i32>>) -> DescribeLogDirsTopic {
    let wanted = |index: &i32| asked.is_none_or(|asked| asked.contains(index));
    let partitions = topic.online().filter(|(index, _)| wanted(index));
    let size = |(partition_index, partition): (i32, &Partition)| DescribeLogDirsPartition {
        partition_index,
        partition_size: i64::try_from(partition.log().size_bytes()).unwrap_or(i64::MAX),
        ..Default::default()
    };
    let name = Str::from(topic.name.as_str());
    DescribeLogDirsTopic { name, partitions: partitions.map(size).collect() }
}
