//! Moving partitions and their leaders.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Asks for the preferred leader (0) or, unclean, any (1); null topics are all.
    ElectLeadersRequest {
        election_type: i8 [1..],
        topic_partitions: Option<Vec<ElectLeadersTopic>>,
        timeout_ms: i32 = 60000,
    }
    ElectLeadersTopic { topic: Str, partitions: Vec<i32> }
    /// What came of each election.
    ElectLeadersResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode [1..],
        replica_election_results: Vec<ElectLeadersTopicResult>,
    }
    ElectLeadersTopicResult { topic: Str, partition_result: Vec<ElectLeadersPartitionResult> }
    ElectLeadersPartitionResult {
        partition_id: i32, error_code: ErrorCode, error_message: Option<Str>,
    }
    /// Moves partitions to other brokers; null replicas call a move off.
    AlterPartitionReassignmentsRequest {
        timeout_ms: i32 = 60000,
        allow_replication_factor_change: bool [1..] = true,
        topics: Vec<ReassignableTopic>,
    }
    ReassignableTopic { name: Str, partitions: Vec<ReassignablePartition> }
    ReassignablePartition { partition_index: i32, replicas: Option<Vec<i32>> }
    /// Whether each move began.
    AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32,
        allow_replication_factor_change: bool [1..] = true,
        error_code: ErrorCode, error_message: Option<Str>,
        responses: Vec<ReassignableTopicResponse>,
    }
    ReassignableTopicResponse { name: Str, partitions: Vec<ReassignablePartitionResponse> }
    ReassignablePartitionResponse {
        partition_index: i32, error_code: ErrorCode, error_message: Option<Str>,
    }
    /// Asks for moves under way; null topics are all.
    ListPartitionReassignmentsRequest {
        timeout_ms: i32 = 60000,
        topics: Option<Vec<ListPartitionReassignmentsTopic>>,
    }
    ListPartitionReassignmentsTopic { name: Str, partition_indexes: Vec<i32> }
    /// The moves under way.
    ListPartitionReassignmentsResponse {
        throttle_time_ms: i32, error_code: ErrorCode, error_message: Option<Str>,
        topics: Vec<OngoingTopicReassignment>,
    }
    OngoingTopicReassignment { name: Str, partitions: Vec<OngoingPartitionReassignment> }
    OngoingPartitionReassignment {
        partition_index: i32, replicas: Vec<i32>, adding_replicas: Vec<i32>,
        removing_replicas: Vec<i32>,
    }
}
