//! Log directories: where replicas are on disk, and how large.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Moves replicas to a directory.
    AlterReplicaLogDirsRequest { dirs: Vec<AlterReplicaLogDir> }
    AlterReplicaLogDir { path: Str, topics: Vec<AlterReplicaLogDirTopic> }
    AlterReplicaLogDirTopic { name: Str, partitions: Vec<i32> }
    /// Whether each replica is moving.
    AlterReplicaLogDirsResponse {
        throttle_time_ms: i32, results: Vec<AlterReplicaLogDirTopicResult>,
    }
    AlterReplicaLogDirTopicResult {
        topic_name: Str, partitions: Vec<AlterReplicaLogDirPartitionResult>,
    }
    AlterReplicaLogDirPartitionResult { partition_index: i32, error_code: ErrorCode }
    /// Asks what is in the log directories; null topics are all.
    DescribeLogDirsRequest { topics: Option<Vec<DescribableLogDirTopic>> }
    DescribableLogDirTopic { topic: Str, partitions: Vec<i32> }
    /// The directories, their replicas, and sizes in bytes.
    DescribeLogDirsResponse {
        throttle_time_ms: i32,
        error_code: ErrorCode [3..],
        results: Vec<DescribeLogDirsResult>,
    }
    DescribeLogDirsResult {
        error_code: ErrorCode, log_dir: Str, topics: Vec<DescribeLogDirsTopic>,
        total_bytes: i64 [4..] = -1,
        usable_bytes: i64 [4..] = -1,
        is_cordoned: bool [5..],
    }
    DescribeLogDirsTopic { name: Str, partitions: Vec<DescribeLogDirsPartition> }
    DescribeLogDirsPartition {
        partition_index: i32, partition_size: i64, offset_lag: i64, is_future_key: bool,
    }
}
