//! The consumer group protocol of KIP-848.

use crate::error_code::ErrorCode;
use crate::wire::{Str, Uuid};

messages! {
    /// Joins (epoch 0), stays in or leaves (-1, static -2) a group; null is no change.
    ConsumerGroupHeartbeatRequest {
        group_id: Str, member_id: Str, member_epoch: i32, instance_id: Option<Str>,
        rack_id: Option<Str>,
        rebalance_timeout_ms: i32 = -1,
        subscribed_topic_names: Option<Vec<Str>>,
        subscribed_topic_regex: Option<Str> [1..],
        server_assignor: Option<Str>,
        topic_partitions: Option<Vec<ConsumerGroupTopicPartitions>>,
    }
    ConsumerGroupTopicPartitions { topic_id: Uuid, partitions: Vec<i32> }
    /// The member's epoch, and its assignment if that changed.
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32, error_code: ErrorCode, error_message: Option<Str>,
        member_id: Option<Str>, member_epoch: i32, heartbeat_interval_ms: i32,
        assignment: Option<ConsumerGroupAssignment>,
    }
    ConsumerGroupAssignment { topic_partitions: Vec<ConsumerGroupTopicPartitions> }
    /// Asks for groups of the consumer protocol.
    ConsumerGroupDescribeRequest { group_ids: Vec<Str>, include_authorized_operations: bool }
    /// The groups with their members, and what each has and is to have.
    ConsumerGroupDescribeResponse {
        throttle_time_ms: i32, groups: Vec<ConsumerGroupDescribedGroup>,
    }
    ConsumerGroupDescribedGroup {
        error_code: ErrorCode, error_message: Option<Str>, group_id: Str, group_state: Str,
        group_epoch: i32, assignment_epoch: i32, assignor_name: Str,
        members: Vec<ConsumerGroupMember>,
        authorized_operations: i32 = i32::MIN,
    }
    ConsumerGroupMember {
        member_id: Str, instance_id: Option<Str>, rack_id: Option<Str>, member_epoch: i32,
        client_id: Str, client_host: Str, subscribed_topic_names: Vec<Str>,
        subscribed_topic_regex: Option<Str>, assignment: ConsumerGroupNamedAssignment,
        target_assignment: ConsumerGroupNamedAssignment,
        member_type: i8 [1..] = -1,
    }
    ConsumerGroupNamedAssignment { topic_partitions: Vec<ConsumerGroupNamedTopicPartitions> }
    /// Partitions of a topic, with its name for those who read it.
    ConsumerGroupNamedTopicPartitions { topic_id: Uuid, topic_name: Str, partitions: Vec<i32> }
}
