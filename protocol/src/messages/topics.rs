//! Creating, deleting and growing topics.

use crate::error_code::ErrorCode;
use crate::wire::{Str, Uuid};

messages! {
    /// Creates topics; -1 partitions or replicas stands for the default.
    CreateTopicsRequest {
        topics: Vec<CreatableTopic>,
        timeout_ms: i32 = 60000,
        validate_only: bool [1..],
    }
    CreatableTopic {
        name: Str, num_partitions: i32, replication_factor: i16,
        assignments: Vec<CreatableReplicaAssignment>, configs: Vec<CreatableTopicConfig>,
    }
    CreatableReplicaAssignment { partition_index: i32, broker_ids: Vec<i32> }
    CreatableTopicConfig { name: Str, value: Option<Str> }
    /// What was created, with its configuration since version 5.
    CreateTopicsResponse { throttle_time_ms: i32 [2..], topics: Vec<CreatableTopicResult> }
    CreatableTopicResult {
        name: Str,
        topic_id: Uuid [7..],
        error_code: ErrorCode,
        error_message: Option<Str> [1..],
        topic_config_error_code: ErrorCode [tag 0, 5..],
        num_partitions: i32 [5..] = -1,
        replication_factor: i16 [5..] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5..],
    }
    CreatableTopicConfigs {
        name: Str, value: Option<Str>, read_only: bool,
        config_source: i8 = -1,
        is_sensitive: bool,
    }
    /// Deletes topics by name, since version 6 also by id.
    DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<Str> [..=5],
        timeout_ms: i32,
    }
    DeleteTopicState { name: Option<Str>, topic_id: Uuid }
    /// Whether each topic was deleted.
    DeleteTopicsResponse { throttle_time_ms: i32 [1..], responses: Vec<DeletableTopicResult> }
    DeletableTopicResult {
        name: Option<Str> [null 6..],
        topic_id: Uuid [6..],
        error_code: ErrorCode,
        error_message: Option<Str> [5..],
    }
    /// Grows topics to a number of partitions.
    CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic>, timeout_ms: i32, validate_only: bool,
    }
    CreatePartitionsTopic {
        name: Str, count: i32, assignments: Option<Vec<CreatePartitionsAssignment>>,
    }
    CreatePartitionsAssignment { broker_ids: Vec<i32> }
    /// Whether each topic was grown.
    CreatePartitionsResponse { throttle_time_ms: i32, results: Vec<CreatePartitionsTopicResult> }
    CreatePartitionsTopicResult { name: Str, error_code: ErrorCode, error_message: Option<Str> }
}
