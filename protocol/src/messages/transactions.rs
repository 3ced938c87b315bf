//! Idempotence and transactions, as producers and coordinators speak of them.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Asks for a producer id; for a transactional one, fences the one before.
    InitProducerIdRequest {
        transactional_id: Option<Str>, transaction_timeout_ms: i32,
        producer_id: i64 [3..] = -1,
        producer_epoch: i16 [3..] = -1,
    }
    /// The id and epoch to produce with.
    InitProducerIdResponse {
        throttle_time_ms: i32, error_code: ErrorCode,
        producer_id: i64 = -1,
        producer_epoch: i16,
    }
    /// Adds partitions to a transaction: of a client up to version 3, of many from brokers since 4.
    AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnTransaction> [4..],
        v3_and_below_transactional_id: Str [..=3],
        v3_and_below_producer_id: i64 [..=3],
        v3_and_below_producer_epoch: i16 [..=3],
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [..=3],
    }
    AddPartitionsToTxnTransaction {
        transactional_id: Str, producer_id: i64, producer_epoch: i16, verify_only: bool,
        topics: Vec<AddPartitionsToTxnTopic>,
    }
    AddPartitionsToTxnTopic { name: Str, partitions: Vec<i32> }
    /// Whether each partition was added.
    AddPartitionsToTxnResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode [4..],
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4..],
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [..=3],
    }
    AddPartitionsToTxnResult {
        transactional_id: Str, topic_results: Vec<AddPartitionsToTxnTopicResult>,
    }
    AddPartitionsToTxnTopicResult {
        name: Str, results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
    }
    AddPartitionsToTxnPartitionResult { partition_index: i32, partition_error_code: ErrorCode }
    /// Adds the offsets of a group to a transaction.
    AddOffsetsToTxnRequest {
        transactional_id: Str, producer_id: i64, producer_epoch: i16, group_id: Str,
    }
    /// Whether they were added.
    AddOffsetsToTxnResponse { throttle_time_ms: i32, error_code: ErrorCode }
    /// Commits or aborts a transaction.
    EndTxnRequest { transactional_id: Str, producer_id: i64, producer_epoch: i16, committed: bool }
    /// Whether it ended; since version 5 with the epoch for the next one (KIP-890).
    EndTxnResponse {
        throttle_time_ms: i32, error_code: ErrorCode,
        producer_id: i64 [5..] = -1,
        producer_epoch: i16 [5..] = -1,
    }
    /// Writes the outcome of transactions to partitions; from coordinators and administrators.
    WriteTxnMarkersRequest { markers: Vec<WritableTxnMarker> }
    WritableTxnMarker {
        producer_id: i64, producer_epoch: i16, transaction_result: bool,
        topics: Vec<WritableTxnMarkerTopic>, coordinator_epoch: i32,
        transaction_version: i8 [2..],
    }
    WritableTxnMarkerTopic { name: Str, partition_indexes: Vec<i32> }
    /// Whether each marker was written.
    WriteTxnMarkersResponse { markers: Vec<WritableTxnMarkerResult> }
    WritableTxnMarkerResult { producer_id: i64, topics: Vec<WritableTxnMarkerTopicResult> }
    WritableTxnMarkerTopicResult { name: Str, partitions: Vec<WritableTxnMarkerPartitionResult> }
    WritableTxnMarkerPartitionResult { partition_index: i32, error_code: ErrorCode }
    /// Stores how far a group has read, as part of a transaction.
    TxnOffsetCommitRequest {
        transactional_id: Str, group_id: Str, producer_id: i64, producer_epoch: i16,
        generation_id: i32 [3..] = -1,
        member_id: Str [3..],
        group_instance_id: Option<Str> [3..],
        topics: Vec<TxnOffsetCommitRequestTopic>,
    }
    TxnOffsetCommitRequestTopic { name: Str, partitions: Vec<TxnOffsetCommitRequestPartition> }
    TxnOffsetCommitRequestPartition {
        partition_index: i32, committed_offset: i64,
        committed_leader_epoch: i32 [2..] = -1,
        committed_metadata: Option<Str>,
    }
    /// Whether each offset was taken.
    TxnOffsetCommitResponse { throttle_time_ms: i32, topics: Vec<TxnOffsetCommitResponseTopic> }
    TxnOffsetCommitResponseTopic { name: Str, partitions: Vec<TxnOffsetCommitResponsePartition> }
    TxnOffsetCommitResponsePartition { partition_index: i32, error_code: ErrorCode }
}
