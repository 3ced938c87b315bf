//! Brokers, topics, partitions: what a client needs to find its way.

use crate::error_code::ErrorCode;
use crate::wire::{Str, Uuid};

messages! {
    /// Asks about some topics, or all: null, and in version 0 the empty list.
    MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [null 1..],
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }
    MetadataRequestTopic {
        topic_id: Uuid [10..],
        name: Option<Str> [null 10..],
    }
    /// The brokers of the cluster, and who leads what.
    MetadataResponse {
        throttle_time_ms: i32 [3..],
        brokers: Vec<MetadataResponseBroker>,
        cluster_id: Option<Str> [2..],
        controller_id: i32 [1..] = -1,
        topics: Vec<MetadataResponseTopic>,
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        error_code: ErrorCode [13..],
    }
    MetadataResponseBroker { node_id: i32, host: Str, port: i32, rack: Option<Str> [1..] }
    MetadataResponseTopic {
        error_code: ErrorCode,
        name: Option<Str> [null 12..],
        topic_id: Uuid [10..],
        is_internal: bool [1..],
        partitions: Vec<MetadataResponsePartition>,
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }
    MetadataResponsePartition {
        error_code: ErrorCode, partition_index: i32, leader_id: i32,
        leader_epoch: i32 [7..] = -1,
        replica_nodes: Vec<i32>, isr_nodes: Vec<i32>,
        offline_replicas: Vec<i32> [5..],
    }
    /// Asks for the brokers, or since version 1 the controllers.
    DescribeClusterRequest {
        include_cluster_authorized_operations: bool,
        endpoint_type: i8 [1..] = 1,
        include_fenced_brokers: bool [2..],
    }
    /// The cluster and its brokers.
    DescribeClusterResponse {
        throttle_time_ms: i32, error_code: ErrorCode, error_message: Option<Str>,
        endpoint_type: i8 [1..] = 1,
        cluster_id: Str,
        controller_id: i32 = -1,
        brokers: Vec<DescribeClusterBroker>,
        cluster_authorized_operations: i32 = i32::MIN,
    }
    DescribeClusterBroker {
        broker_id: i32, host: Str, port: i32, rack: Option<Str>,
        is_fenced: bool [2..],
    }
    /// Asks about topics page by page (KIP-966).
    DescribeTopicPartitionsRequest {
        topics: Vec<DescribeTopicPartitionsTopic>,
        response_partition_limit: i32 = 2000,
        cursor: Option<TopicPartitionsCursor>,
    }
    DescribeTopicPartitionsTopic { name: Str }
    TopicPartitionsCursor { topic_name: Str, partition_index: i32 }
    /// A page of topics, and where the next starts.
    DescribeTopicPartitionsResponse {
        throttle_time_ms: i32, topics: Vec<DescribedTopic>,
        next_cursor: Option<TopicPartitionsCursor>,
    }
    DescribedTopic {
        error_code: ErrorCode, name: Option<Str>, topic_id: Uuid, is_internal: bool,
        partitions: Vec<DescribedTopicPartition>,
        topic_authorized_operations: i32 = i32::MIN,
    }
    DescribedTopicPartition {
        error_code: ErrorCode, partition_index: i32, leader_id: i32,
        leader_epoch: i32 = -1,
        replica_nodes: Vec<i32>, isr_nodes: Vec<i32>,
        eligible_leader_replicas: Option<Vec<i32>>, last_known_elr: Option<Vec<i32>>,
        offline_replicas: Vec<i32>,
    }
}
