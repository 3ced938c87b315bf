//! Looking at producers and transactions.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Asks which producers write to partitions (KIP-664).
    DescribeProducersRequest { topics: Vec<DescribeProducersTopic> }
    DescribeProducersTopic { name: Str, partition_indexes: Vec<i32> }
    /// The producers with what a partition remembers of them.
    DescribeProducersResponse { throttle_time_ms: i32, topics: Vec<DescribeProducersTopicResponse> }
    DescribeProducersTopicResponse {
        name: Str, partitions: Vec<DescribeProducersPartitionResponse>,
    }
    DescribeProducersPartitionResponse {
        partition_index: i32, error_code: ErrorCode, error_message: Option<Str>,
        active_producers: Vec<ProducerState>,
    }
    ProducerState {
        producer_id: i64, producer_epoch: i32,
        last_sequence: i32 = -1,
        last_timestamp: i64 = -1,
        coordinator_epoch: i32,
        current_txn_start_offset: i64 = -1,
    }
    /// Asks for the state of transactions (KIP-664).
    DescribeTransactionsRequest { transactional_ids: Vec<Str> }
    /// The transactions.
    DescribeTransactionsResponse {
        throttle_time_ms: i32, transaction_states: Vec<DescribedTransaction>,
    }
    DescribedTransaction {
        error_code: ErrorCode, transactional_id: Str, transaction_state: Str,
        transaction_timeout_ms: i32, transaction_start_time_ms: i64, producer_id: i64,
        producer_epoch: i16, topics: Vec<TransactionTopic>,
    }
    TransactionTopic { topic: Str, partitions: Vec<i32> }
    /// Asks for the transactions that match, with -1 and empty for all (KIP-664).
    ListTransactionsRequest {
        state_filters: Vec<Str>, producer_id_filters: Vec<i64>,
        duration_filter: i64 [1..] = -1,
        transactional_id_pattern: Option<Str> [2..],
    }
    /// The transactions found.
    ListTransactionsResponse {
        throttle_time_ms: i32, error_code: ErrorCode, unknown_state_filters: Vec<Str>,
        transaction_states: Vec<ListedTransaction>,
    }
    ListedTransaction { transactional_id: Str, producer_id: i64, transaction_state: Str }
}
