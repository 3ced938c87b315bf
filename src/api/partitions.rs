//! CreatePartitions, and DescribeTopicPartitions page by page (KIP-966).

use super::cluster::NO_LEADER;
use super::placement::check_replicas;
use super::topics::DUPLICATE_NAME;
use super::{once, operations, refusal, repeated};
use crate::cluster::{Cluster, NODE_ID};
use crate::topic::{LEADER_EPOCH, Topic, is_valid_name};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidelog_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribedTopic, DescribedTopicPartition, TopicPartitionsCursor,
};
use tidelog_protocol::{ErrorCode, Str};

type Refusal = (ErrorCode, String);

/// Grows topics; new partitions are ready for records when it is answered.
pub(super) async fn create(
    cluster: Arc<Cluster>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let twice = repeated(request.topics.iter().map(|topic| &topic.name));
    let mut results = Vec::with_capacity(request.topics.len());
    for asked in &once(request.topics, |topic| topic.name.clone()) {
        let grown = match twice.contains(&asked.name) {
            true => Err((ErrorCode::INVALID_REQUEST, DUPLICATE_NAME.to_owned())),
            false => grow(&cluster, asked, request.validate_only).await,
        };
        let (error_code, error_message) = match grown {
            Ok(()) => (ErrorCode::NONE, None),
            Err((code, text)) => (code, Some(text.into())),
        };
        let name = asked.name.clone();
        results.push(CreatePartitionsTopicResult { name, error_code, error_message });
    }
    CreatePartitionsResponse { results, ..Default::default() }
}

async fn grow(
    cluster: &Cluster,
    asked: &CreatePartitionsTopic,
    dry_run: bool,
) -> Result<(), Refusal> {
    if let (Some(assignments), Some(topic)) = (&asked.assignments, cluster.topics.get(&asked.name))
    {
        let have = topic.count();
        let added = asked.count.saturating_sub(have).max(0);
        if usize::try_from(added) != Ok(assignments.len()) {
            let text = format!(
                "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text));
        }
        assignments.iter().try_for_each(|it| check_replicas(&it.broker_ids))?;
    }
    let grown = cluster.topics.grow(&asked.name, asked.count, dry_run).await;
    grown.map_err(|error| refusal(&error))
}

/// Partitions of one answer, whatever the client allows: Kafka's
/// `max.request.partition.size.limit`.
const PAGE_MAX: usize = 2000;

/// Describes topics in the order of their names, from the cursor on.
pub(super) fn describe(
    cluster: &Cluster,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let listed: BTreeSet<Str> = request.topics.into_iter().map(|topic| topic.name).collect();
    let cursor = request.cursor.unwrap_or_default();
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0);
    left = left.clamp(1, PAGE_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    if !listed.is_empty() && !is_within(&cursor, &listed) {
        let refused = |name| described(ErrorCode::INVALID_REQUEST, name, i32::MIN);
        response.topics = listed.into_iter().map(refused).collect();
        return response;
    }
    let names = match listed.is_empty() {
        true => cluster.topics.all().iter().map(|topic| topic.name.as_str().into()).collect(),
        false => listed,
    };
    for name in names.into_iter().filter(|name| *name >= cursor.topic_name) {
        let first = match name == cursor.topic_name {
            true => usize::try_from(cursor.partition_index).unwrap_or(0),
            false => 0,
        };
        if left == 0 {
            response.next_cursor = Some(next(name, first));
            break;
        }
        let Some(topic) = cluster.topics.get(&name) else {
            response.topics.push(missing(name));
            continue;
        };
        let page = page(&topic, first, left);
        left -= page.partitions.len();
        let end = first + page.partitions.len();
        response.topics.push(page);
        if i32::try_from(end).is_ok_and(|end| end < topic.count()) {
            response.next_cursor = Some(next(name, end));
            break;
        }
    }
    response
}

fn next(topic_name: Str, partition: usize) -> TopicPartitionsCursor {
    let partition_index = i32::try_from(partition).unwrap_or(i32::MAX);
    TopicPartitionsCursor { topic_name, partition_index }
}

/// Whether a page can start there, when these topics are asked for; no cursor has no name.
fn is_within(cursor: &TopicPartitionsCursor, listed: &BTreeSet<Str>) -> bool {
    cursor.topic_name.is_empty()
        || (cursor.partition_index >= 0 && listed.contains(&cursor.topic_name))
}

fn missing(name: Str) -> DescribedTopic {
    match is_valid_name(&name) {
        true => described(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, name, operations::TOPIC),
        false => described(ErrorCode::INVALID_TOPIC_EXCEPTION, name, i32::MIN),
    }
}

fn described(error_code: ErrorCode, name: Str, operations: i32) -> DescribedTopic {
    DescribedTopic {
        error_code,
        name: Some(name),
        topic_authorized_operations: operations,
        ..Default::default()
    }
}

fn page(topic: &Topic, first: usize, count: usize) -> DescribedTopic {
    let partition = |partition_index| {
        let is_offline = topic.is_offline(partition_index);
        DescribedTopicPartition {
            partition_index,
            leader_id: if is_offline { NO_LEADER } else { NODE_ID },
            leader_epoch: LEADER_EPOCH,
            replica_nodes: vec![NODE_ID],
            isr_nodes: vec![NODE_ID],
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: if is_offline { vec![NODE_ID] } else { Vec::new() },
            ..Default::default()
        }
    };
    let indexes = (0..topic.count()).skip(first).take(count);
    DescribedTopic {
        name: Some(topic.name.as_str().into()),
        topic_id: topic.id,
        partitions: indexes.map(partition).collect(),
        topic_authorized_operations: operations::TOPIC,
        ..Default::default()
    }
}
