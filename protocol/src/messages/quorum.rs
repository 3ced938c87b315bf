//! The KRaft quorum.

use crate::error_code::ErrorCode;
use crate::wire::{Str, Uuid};

messages! {
    /// Asks for the state of the metadata quorum.
    DescribeQuorumRequest { topics: Vec<DescribeQuorumTopic> }
    DescribeQuorumTopic { topic_name: Str, partitions: Vec<DescribeQuorumPartition> }
    DescribeQuorumPartition { partition_index: i32 }
    /// Leader, voters and observers of the quorum.
    DescribeQuorumResponse {
        error_code: ErrorCode,
        error_message: Option<Str> [2..],
        topics: Vec<QuorumTopic>,
        nodes: Vec<QuorumNode> [2..],
    }
    QuorumTopic { topic_name: Str, partitions: Vec<QuorumPartition> }
    QuorumPartition {
        partition_index: i32, error_code: ErrorCode,
        error_message: Option<Str> [2..],
        leader_id: i32, leader_epoch: i32, high_watermark: i64,
        current_voters: Vec<QuorumReplica>, observers: Vec<QuorumReplica>,
    }
    QuorumReplica {
        replica_id: i32,
        replica_directory_id: Uuid [2..],
        log_end_offset: i64,
        last_fetch_timestamp: i64 [1..] = -1,
        last_caught_up_timestamp: i64 [1..] = -1,
    }
    QuorumNode { node_id: i32, listeners: Vec<QuorumListener> }
    QuorumListener { name: Str, host: Str, port: u16 }
}
