//! Who leads what and which replicas are where: all of it is on the one broker, which says so to
//! ElectLeaders, AlterPartitionReassignments, ListPartitionReassignments and DescribeQuorum.

use super::Session;
use crate::cluster::{Cluster, NODE_ID};
use tidelog_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, ElectLeadersPartitionResult, ElectLeadersRequest, ElectLeadersResponse,
    ElectLeadersTopicResult, QuorumListener, QuorumNode, QuorumPartition, QuorumReplica,
    QuorumTopic, ReassignablePartition, ReassignablePartitionResponse, ReassignableTopicResponse,
};
use tidelog_protocol::{ErrorCode, Str};

/// The preferred leader, or any replica (KIP-460).
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

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
        let elect = |partition_id| {
            let error_code = match exists(cluster, &asked.topic, partition_id) {
                true => ErrorCode::ELECTION_NOT_NEEDED,
                false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            let error_message = Some(Str::from_static(error_code.message()));
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
        let alter = |asked: ReassignablePartition| {
            let exists = exists(cluster, &topic.name, asked.partition_index);
            let (error_code, text) = match (exists, asked.replicas.as_deref()) {
                (true, Some([NODE_ID])) => (ErrorCode::NONE, None),
                (true, Some(_)) => {
                    let text = format!("replicas can only be on broker {NODE_ID}, the only one");
                    (ErrorCode::INVALID_REPLICA_ASSIGNMENT, Some(text.into()))
                }
                (true, None) => described(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS),
                (false, _) => described(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
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

fn described(code: ErrorCode) -> (ErrorCode, Option<Str>) {
    (code, Some(Str::from_static(code.message())))
}

fn exists(cluster: &Cluster, topic: &str, partition: i32) -> bool {
    cluster.topics.get(topic).is_some_and(|topic| topic.partition(partition).is_some())
}

/// The topic that Kafka's controllers keep the metadata in.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// A quorum of one, with nothing in its log: metadata is not replicated here.
pub(super) fn describe_quorum(
    session: &Session,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let is_metadata = topic.topic_name == METADATA_TOPIC;
        let describe = |partition_index| match (is_metadata, partition_index) {
            (true, 0) => QuorumPartition {
                leader_id: NODE_ID,
                current_voters: vec![QuorumReplica { replica_id: NODE_ID, ..Default::default() }],
                ..Default::default()
            },
            _ => QuorumPartition {
                partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                ..Default::default()
            },
        };
        let partitions = topic.partitions.iter().map(|it| describe(it.partition_index)).collect();
        QuorumTopic { topic_name: topic.topic_name, partitions }
    });
    let (host, port) = session.advertised.clone();
    let listener = QuorumListener { name: Str::from_static("CONTROLLER"), host, port };
    let nodes = vec![QuorumNode { node_id: NODE_ID, listeners: vec![listener] }];
    DescribeQuorumResponse { topics: topics.collect(), nodes, ..Default::default() }
}
