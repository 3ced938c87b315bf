//! Produce: appending record batches.

use crate::error_code::ErrorCode;
use crate::wire::{Str, Uuid};
use bytes::Bytes;

messages! {
    /// Appends batches; not answered when `acks` is 0. Topics go by id since version 13.
    ProduceRequest {
        transactional_id: Option<Str> [3..],
        acks: i16, timeout_ms: i32, topic_data: Vec<TopicProduceData>,
    }
    TopicProduceData {
        name: Str [..=12],
        topic_id: Uuid [13..],
        partition_data: Vec<PartitionProduceData>,
    }
    PartitionProduceData { index: i32, records: Option<Bytes> }
    /// Where the batches went.
    ProduceResponse {
        responses: Vec<TopicProduceResponse>,
        throttle_time_ms: i32 [1..],
        node_endpoints: Vec<NodeEndpoint> [tag 0, 10..],
    }
    TopicProduceResponse {
        name: Str [..=12],
        topic_id: Uuid [13..],
        partition_responses: Vec<PartitionProduceResponse>,
    }
    PartitionProduceResponse {
        index: i32, error_code: ErrorCode, base_offset: i64,
        log_append_time_ms: i64 [2..] = -1,
        log_start_offset: i64 [5..] = -1,
        record_errors: Vec<RecordError> [8..],
        error_message: Option<Str> [8..],
        current_leader: LeaderIdAndEpoch [tag 0, 10..],
    }
    /// Why one record of a batch was refused (KIP-467).
    RecordError { batch_index: i32, batch_index_error_message: Option<Str> }
    /// Where a partition is led now, so that the client need not ask (KIP-951).
    LeaderIdAndEpoch { leader_id: i32 = -1, leader_epoch: i32 = -1 }
    NodeEndpoint { node_id: i32, host: Str, port: i32, rack: Option<Str> }
}
