//! What a coordinator keeps in `__consumer_offsets`: record keys and values, each with a version
//! number of two bytes before it.

use super::ConsumerGroupTopicPartitions;
use crate::wire::Str;
use bytes::Bytes;

messages! {
    /// Key versions 0 and 1: the committed offset of one partition. A null value deletes it.
    OffsetCommitKey {
        group: Str,
        topic: Str,
        partition: i32,
    }
    /// Versions 0 to 4; flexible since 4.
    OffsetCommitValue {
        offset: i64,
        leader_epoch: i32 [3..] = -1,
        metadata: Str,
        commit_timestamp: i64,
        expire_timestamp: i64 [1..=1] = -1,
    }
    /// Key version 2: the group itself. A null value deletes it.
    GroupMetadataKey {
        group: Str,
    }
    /// Versions 0 to 4; flexible since 4.
    GroupMetadataValue {
        protocol_type: Str,
        generation: i32,
        protocol: Option<Str>,
        leader: Option<Str>,
        current_state_timestamp: i64 [2..] = -1,
        members: Vec<MemberMetadata>,
    }
    /// A member of a group at the time its generation was formed.
    MemberMetadata {
        member_id: Str,
        group_instance_id: Option<Str> [3..],
        client_id: Str,
        client_host: Str,
        rebalance_timeout: i32 [1..] = -1,
        session_timeout: i32,
        subscription: Bytes,
        assignment: Bytes,
    }
    /// Key version 3: a group of the consumer protocol (KIP-848). A null value deletes it.
    ConsumerGroupMetadataKey {
        group: Str,
    }
    /// Version 0, flexible, as are the values of the keys that follow.
    ConsumerGroupMetadataValue {
        epoch: i32,
        metadata_hash: i64 [tag 0, 0..],
    }
    /// Key versions 5, 7 and 8: what a member asks for, is to have, and has.
    ConsumerGroupMemberKey {
        group: Str,
        member_id: Str,
    }
    /// Of key version 5.
    ConsumerGroupMemberMetadataValue {
        instance_id: Option<Str>, rack_id: Option<Str>, client_id: Str, client_host: Str,
        subscribed_topic_names: Vec<Str>,
        subscribed_topic_regex: Option<Str>,
        rebalance_timeout_ms: i32 = -1,
        server_assignor: Option<Str>,
        classic_member_metadata: Option<ClassicMemberMetadata> [tag 0, 0..],
    }
    /// Of a member that still speaks the classic protocol.
    ClassicMemberMetadata { session_timeout_ms: i32, supported_protocols: Vec<ClassicProtocol> }
    ClassicProtocol { name: Str, metadata: Bytes }
    /// Key version 6: the group's target assignment.
    ConsumerGroupTargetAssignmentMetadataKey {
        group: Str,
    }
    /// Of key version 6.
    ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: i32 }
    /// Of key version 7.
    ConsumerGroupTargetAssignmentMemberValue { topic_partitions: Vec<ConsumerGroupTopicPartitions> }
    /// Of key version 8.
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: i32, previous_member_epoch: i32, state: i8,
        assigned_partitions: Vec<ConsumerGroupTopicPartitions>,
        partitions_pending_revocation: Vec<ConsumerGroupTopicPartitions>,
    }
}
