//! Fetch: reading record batches.

use super::produce::{LeaderIdAndEpoch, NodeEndpoint};
use crate::error_code::ErrorCode;
use crate::wire::{Str, Uuid};
use bytes::Bytes;

messages! {
    /// Reads batches, waiting for some to come. Topics go by id since version 13.
    FetchRequest {
        cluster_id: Option<Str> [tag 0, 12..],
        replica_id: i32 [..=14] = -1,
        replica_state: FetchReplicaState [tag 1, 15..],
        max_wait_ms: i32, min_bytes: i32,
        max_bytes: i32 = i32::MAX,
        isolation_level: i8,
        session_id: i32 [7..],
        session_epoch: i32 [7..] = -1,
        topics: Vec<FetchTopic>,
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: Str [11..],
    }
    FetchReplicaState { replica_id: i32 = -1, replica_epoch: i64 = -1 }
    FetchTopic {
        topic: Str [..=12],
        topic_id: Uuid [13..],
        partitions: Vec<FetchPartition>,
    }
    FetchPartition {
        partition: i32,
        current_leader_epoch: i32 [9..] = -1,
        fetch_offset: i64,
        last_fetched_epoch: i32 [12..] = -1,
        log_start_offset: i64 [5..] = -1,
        partition_max_bytes: i32,
        replica_directory_id: Uuid [tag 0, 17..],
    }
    ForgottenTopic {
        topic: Str [..=12],
        topic_id: Uuid [13..],
        partitions: Vec<i32>,
    }
    /// Batches, and how far each partition reaches. A session answers with what changed (KIP-227).
    FetchResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode [7..],
        session_id: i32 [7..],
        responses: Vec<FetchTopicResponse>,
        node_endpoints: Vec<NodeEndpoint> [tag 0, 16..],
    }
    FetchTopicResponse {
        topic: Str [..=12],
        topic_id: Uuid [13..],
        partitions: Vec<FetchPartitionResponse>,
    }
    /// `records` holds whole batches, the last one perhaps cut short.
    FetchPartitionResponse {
        partition_index: i32, error_code: ErrorCode, high_watermark: i64,
        last_stable_offset: i64 = -1,
        log_start_offset: i64 [5..] = -1,
        diverging_epoch: FetchDivergingEpoch [tag 0, 12..],
        current_leader: LeaderIdAndEpoch [tag 1, 12..],
        snapshot_id: FetchSnapshotId [tag 2, 12..],
        aborted_transactions: Option<Vec<AbortedTransaction>>,
        preferred_read_replica: i32 [11..] = -1,
        records: Option<Bytes>,
    }
    /// Where the reader's log parts from the leader's.
    FetchDivergingEpoch { epoch: i32 = -1, end_offset: i64 = -1 }
    FetchSnapshotId { end_offset: i64 = -1, epoch: i32 = -1 }
    /// A transaction whose records up to its marker a read-committed reader skips.
    AbortedTransaction { producer_id: i64, first_offset: i64 }
}
