//! Offsets of a log: finding them by time or epoch, and cutting a log off below one.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Asks for the first offset at or after a time, or for a special one by negative timestamp.
    ListOffsetsRequest {
        replica_id: i32,
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic>,
        timeout_ms: i32 [10..],
    }
    ListOffsetsTopic { name: Str, partitions: Vec<ListOffsetsPartition> }
    ListOffsetsPartition {
        partition_index: i32,
        current_leader_epoch: i32 [4..] = -1,
        timestamp: i64,
    }
    /// One offset a partition, -1 if nothing is that late.
    ListOffsetsResponse { throttle_time_ms: i32 [2..], topics: Vec<ListOffsetsTopicResponse> }
    ListOffsetsTopicResponse { name: Str, partitions: Vec<ListOffsetsPartitionResponse> }
    ListOffsetsPartitionResponse {
        partition_index: i32, error_code: ErrorCode,
        timestamp: i64 = -1,
        offset: i64 = -1,
        leader_epoch: i32 [4..] = -1,
    }
    /// Asks where a leader epoch ended, to find out whether a log was truncated (KIP-320).
    OffsetForLeaderEpochRequest { replica_id: i32 [3..] = -2, topics: Vec<OffsetForLeaderTopic> }
    OffsetForLeaderTopic { topic: Str, partitions: Vec<OffsetForLeaderPartition> }
    OffsetForLeaderPartition {
        partition: i32,
        current_leader_epoch: i32 [2..] = -1,
        leader_epoch: i32,
    }
    /// The end offset of the largest epoch up to the one asked for.
    OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [2..],
        topics: Vec<OffsetForLeaderTopicResult>,
    }
    OffsetForLeaderTopicResult { topic: Str, partitions: Vec<EpochEndOffset> }
    EpochEndOffset {
        error_code: ErrorCode, partition: i32,
        leader_epoch: i32 [1..] = -1,
        end_offset: i64 = -1,
    }
    /// Raises the log start offset of partitions.
    DeleteRecordsRequest { topics: Vec<DeleteRecordsTopic>, timeout_ms: i32 }
    DeleteRecordsTopic { name: Str, partitions: Vec<DeleteRecordsPartition> }
    DeleteRecordsPartition { partition_index: i32, offset: i64 }
    /// The log start offsets after that.
    DeleteRecordsResponse { throttle_time_ms: i32, topics: Vec<DeleteRecordsTopicResult> }
    DeleteRecordsTopicResult { name: Str, partitions: Vec<DeleteRecordsPartitionResult> }
    DeleteRecordsPartitionResult { partition_index: i32, low_watermark: i64, error_code: ErrorCode }
}
