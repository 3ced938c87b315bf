//! Who leads what and which replicas are where: all of it is on the one broker, which says so to
//! ElectLeaders, AlterPartitionReassignments, ListPartitionReassignments and DescribeQuorum.

use super::{NOT_HOSTED, Session, quoted};
use crate::cluster::{Cluster, NODE_ID};
use crate::topic::Topic;
use tidelog_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, ElectLeadersPartitionResult, ElectLeadersRequest, ElectLeadersResponse,
    ElectLeadersTopicResult, QuorumListener, QuorumNode, QuorumPartition, QuorumReplica,
    QuorumTopic, ReassignablePartition, ReassignablePartitionResponse, ReassignableTopicResponse,
};
use tidelog_protocol::{ErrorCode, Str};

type Refusal = (ErrorCode, String);

/// The preferred leader, or any replica (KIP-460).
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = PREFERRED..=1;
const PREFERRED: i8 = 0;

/// No partition needs an election. Asked about all, none is named, as Kafka names only those that
/// had one.
pub(super) fn elect_leaders(
    cluster: &Cluster,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    if !ELECTION_TYPES.contains(&request.election_type) {
        let error_code = ErrorCode::INVALID_REQUEST;
        return ElectLeadersResponse { error_code, ..Default::default() };
    }
    let results = request.topic_partitions.unwrap_or_default().into_iter().map(|asked| {
        let (topic, name) = (cluster.topics.get(&asked.topic), quoted(&asked.topic));
        let elect = |partition_id| {
            let (error_code, text) = match &topic {
                None => {
                    let text = format!("No such topic as {name}");
                    (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text)
                }
                Some(topic) if !topic.has(partition_id) => {
                    let text = format!("No such partition as {name}-{partition_id}");
                    (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text)
                }
                Some(topic) if topic.is_offline(partition_id) => {
                    let (code, text) = match request.election_type {
                        PREFERRED => (
                            ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
                            "The preferred leader was not available.",
                        ),
                        _ => (
                            ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
                            "Eligible topic partition leaders are not available.",
                        ),
                    };
                    (code, text.to_owned())
                }
                Some(_) => {
                    let text = "Leader election not needed for topic partition.";
                    (ErrorCode::ELECTION_NOT_NEEDED, text.to_owned())
                }
            };
            let error_message = Some(text.into());
            ElectLeadersPartitionResult { partition_id, error_code, error_message }
        };
        let partition_result = asked.partitions.iter().copied().map(elect).collect();
        ElectLeadersTopicResult { topic: asked.topic, partition_result }
    });
    ElectLeadersResponse { replica_election_results: results.collect(), ..Default::default() }
}

/// Accepts the placement that is, and refuses any other.
pub(super) fn alter_reassignments(
    cluster: &Cluster,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let responses = request.topics.into_iter().map(|topic| {
        let found = cluster.topics.get(&topic.name);
        let alter = |asked: ReassignablePartition| {
            let reassigned = reassign(found.as_deref(), quoted(&topic.name), &asked);
            let (error_code, text) = match reassigned {
                Ok(()) => (ErrorCode::NONE, None),
                Err((code, text)) => (code, Some(text.into())),
            };
            let partition_index = asked.partition_index;
            ReassignablePartitionResponse { partition_index, error_code, error_message: text }
        };
        let partitions = topic.partitions.into_iter().map(alter).collect();
        ReassignableTopicResponse { name: topic.name, partitions }
    });
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: responses.collect(),
        ..Default::default()
    }
}

fn reassign(
    topic: Option<&Topic>,
    name: &str,
    asked: &ReassignablePartition,
) -> Result<(), Refusal> {
    let index = asked.partition_index;
    let unknown = |text| Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text));
    let Some(topic) = topic else {
        return unknown(format!("Unable to find a topic named {name}."));
    };
    if !topic.has(index) {
        return unknown(format!("Unable to find partition {name}:{index}."));
    }
    match &asked.replicas {
        Some(replicas) => check_replicas(replicas),
        None => {
            let code = ErrorCode::NO_REASSIGNMENT_IN_PROGRESS;
            Err((code, code.message().to_owned()))
        }
    }
}

/// Kafka's words for partitions placed by hand of which one is left out.
pub(super) const NOT_CONSECUTIVE: &str =
    "partitions should be a consecutive 0-based integer sequence";

/// Accepts this broker, once, as the place of a partition's replicas.
pub(super) fn check_replicas(brokers: &[i32]) -> Result<(), Refusal> {
    let what = match brokers {
        [NODE_ID] => return Ok(()),
        [] => "an empty replica list.".to_owned(),
        brokers => match brokers.iter().find(|broker| **broker != NODE_ID) {
            Some(other) => format!("broker {other}, but no such broker is registered."),
            None => format!("the broker {NODE_ID} more than once."),
        },
    };
    let text = format!("The manual partition assignment includes {what}");
    Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, text))
}

/// The topic that Kafka's controllers keep the metadata in.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// A quorum of one, with nothing in its log: metadata is not replicated here.
pub(super) fn describe_quorum(
    session: &Session,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let topics: Vec<_> = request
        .topics
        .into_iter()
        .map(|topic| {
            let is_metadata = topic.topic_name == METADATA_TOPIC;
            let describe = |partition_index| match (is_metadata, partition_index) {
                (true, 0) => QuorumPartition {
                    leader_id: NODE_ID,
                    current_voters: vec![QuorumReplica {
                        replica_id: NODE_ID,
                        ..Default::default()
                    }],
                    ..Default::default()
                },
                _ => QuorumPartition {
                    partition_index,
                    error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    error_message: Some(Str::from_static(NOT_HOSTED)),
                    ..Default::default()
                },
            };
            let partitions =
                topic.partitions.iter().map(|it| describe(it.partition_index)).collect();
            QuorumTopic { topic_name: topic.topic_name, partitions }
        })
        .collect();
    let mut partitions = topics.iter().flat_map(|topic: &QuorumTopic| &topic.partitions);
    let nodes = match partitions.any(|partition| partition.error_code.is_none()) {
        true => {
            let (host, port) = session.advertised.clone();
            let listener = QuorumListener { name: Str::from_static("CONTROLLER"), host, port };
            vec![QuorumNode { node_id: NODE_ID, listeners: vec![listener] }]
        }
        false => Vec::new(),
    };
    DescribeQuorumResponse { topics, nodes, ..Default::default() }
}
