//! Committed offsets of consumer groups.

use crate::error_code::ErrorCode;
use crate::wire::{Str, Uuid};

messages! {
    /// Stores how far a group has read. Topics go by id since version 10.
    OffsetCommitRequest {
        group_id: Str,
        generation_id_or_member_epoch: i32 [1..] = -1,
        member_id: Str [1..],
        group_instance_id: Option<Str> [7..],
        retention_time_ms: i64 [2..=4] = -1,
        topics: Vec<OffsetCommitRequestTopic>,
    }
    OffsetCommitRequestTopic {
        name: Str [..=9],
        topic_id: Uuid [10..],
        partitions: Vec<OffsetCommitRequestPartition>,
    }
    OffsetCommitRequestPartition {
        partition_index: i32, committed_offset: i64,
        committed_leader_epoch: i32 [6..] = -1,
        commit_timestamp: i64 [1..=1] = -1,
        committed_metadata: Option<Str>,
    }
    /// Whether each offset was stored.
    OffsetCommitResponse { throttle_time_ms: i32 [3..], topics: Vec<OffsetCommitResponseTopic> }
    OffsetCommitResponseTopic {
        name: Str [..=9],
        topic_id: Uuid [10..],
        partitions: Vec<OffsetCommitResponsePartition>,
    }
    OffsetCommitResponsePartition { partition_index: i32, error_code: ErrorCode }
    /// Asks how far one group, since version 8 several, have read. Null topics are all.
    OffsetFetchRequest {
        group_id: Str [..=7],
        topics: Option<Vec<OffsetFetchRequestTopic>> [null 2.., ..=7],
        groups: Vec<OffsetFetchRequestGroup> [8..],
        require_stable: bool [7..],
    }
    OffsetFetchRequestTopic { name: Str, partition_indexes: Vec<i32> }
    /// One of several groups, since version 8.
    OffsetFetchRequestGroup {
        group_id: Str,
        member_id: Option<Str> [9..],
        member_epoch: i32 [9..] = -1,
        topics: Option<Vec<OffsetFetchRequestGroupTopic>>,
    }
    OffsetFetchRequestGroupTopic {
        name: Str [..=9],
        topic_id: Uuid [10..],
        partition_indexes: Vec<i32>,
    }
    /// The committed offsets, -1 where there is none.
    OffsetFetchResponse {
        throttle_time_ms: i32 [3..],
        topics: Vec<OffsetFetchResponseTopic> [..=7],
        error_code: ErrorCode [2..=7],
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }
    OffsetFetchResponseTopic { name: Str, partitions: Vec<OffsetFetchResponsePartition> }
    OffsetFetchResponsePartition {
        partition_index: i32, committed_offset: i64,
        committed_leader_epoch: i32 [5..] = -1,
        metadata: Option<Str>, error_code: ErrorCode,
    }
    OffsetFetchResponseGroup {
        group_id: Str, topics: Vec<OffsetFetchResponseGroupTopic>, error_code: ErrorCode,
    }
    OffsetFetchResponseGroupTopic {
        name: Str [..=9],
        topic_id: Uuid [10..],
        partitions: Vec<OffsetFetchResponseGroupPartition>,
    }
    OffsetFetchResponseGroupPartition {
        partition_index: i32, committed_offset: i64,
        committed_leader_epoch: i32 = -1,
        metadata: Option<Str>, error_code: ErrorCode,
    }
    /// Forgets committed offsets of a group.
    OffsetDeleteRequest { group_id: Str, topics: Vec<OffsetDeleteRequestTopic> }
    OffsetDeleteRequestTopic { name: Str, partitions: Vec<OffsetDeleteRequestPartition> }
    OffsetDeleteRequestPartition { partition_index: i32 }
    /// Whether each offset was forgotten.
    OffsetDeleteResponse {
        error_code: ErrorCode, throttle_time_ms: i32, topics: Vec<OffsetDeleteResponseTopic>,
    }
    OffsetDeleteResponseTopic { name: Str, partitions: Vec<OffsetDeleteResponsePartition> }
    OffsetDeleteResponsePartition { partition_index: i32, error_code: ErrorCode }
}
