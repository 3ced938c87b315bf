//! Idempotent producers: ids, sequences, and looking at them.

use super::{Client, ask};
use crate::clock;
use tidelog_protocol::messages::*;
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_protocol::{ErrorCode, Str};

async fn new_id(client: &Client, version: i16) -> i64 {
    let request = InitProducerIdRequest { transaction_timeout_ms: 1, ..Default::default() };
    let answer = ask!(client, version, InitProducerId, request);
    assert_eq!((answer.error_code, answer.producer_epoch), (ErrorCode::NONE, 0));
    answer.producer_id
}

/// A batch of two records.
fn batch(producer: (i64, i16, i32), timestamp: i64) -> Batch {
    let (id, epoch, sequence) = producer;
    let mut builder = BatchBuilder::new(Compression::None, 1000).producer(id, epoch, sequence);
    (0..2).for_each(|_| builder.append(timestamp, None, Some(b"value"), &[]).unwrap());
    builder.finish().unwrap()
}

async fn produce(client: &Client, batch: Batch) -> (ErrorCode, i64) {
    let answer = client.produce("red", batch).await;
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

#[tokio::test]
async fn ids_are_fresh_and_retries_get_the_first_answer_over_a_restart_too() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let (mut ids, none) = (Vec::new(), ErrorCode::NONE);
    for version in 0..=5 {
        ids.push(new_id(&client, version).await);
    }
    let id = ids[0];
    assert_eq!(produce(&client, batch((id, 0, 0), 1)).await, (none, 0));
    assert_eq!(produce(&client, batch((id, 0, 2), 2)).await, (none, 2));
    assert_eq!(produce(&client, batch((id, 0, 0), 1)).await, (none, 0));
    let gap = (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
    assert_eq!(produce(&client, batch((id, 0, 6), 3)).await, gap);

    let client = client.restart().await;
    ids.push(new_id(&client, 0).await);
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    assert_eq!(produce(&client, batch((id, 0, 2), 2)).await, (none, 2));
    assert_eq!(produce(&client, batch((id, 1, 0), 4)).await, (none, 4));
    let fenced = (ErrorCode::INVALID_PRODUCER_EPOCH, -1);
    assert_eq!(produce(&client, batch((id, 0, 4), 5)).await, fenced);

    let topic = DescribeProducersTopic { name: "red".into(), partition_indexes: vec![0, 1] };
    let request = DescribeProducersRequest { topics: vec![topic] };
    let client = client.restart().await;
    let partitions = ask!(client, 0, DescribeProducers, request).topics.remove(0).partitions;
    let expected = ProducerState {
        producer_id: id,
        producer_epoch: 1,
        last_sequence: 1,
        last_timestamp: 4,
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    };
    assert_eq!(partitions[0].active_producers, [expected]);
    assert_eq!(partitions[1].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn transactional_ids_are_refused() {
    let client = Client::new().await;
    let refused = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    for (id, code) in [("", ErrorCode::INVALID_REQUEST), ("txn", refused)] {
        let transactional_id = Some(Str::from(id));
        let request = InitProducerIdRequest { transactional_id, ..Default::default() };
        let answer = ask!(client, 5, InitProducerId, request);
        assert_eq!((answer.error_code, answer.producer_id), (code, -1));
    }
    // What librdkafka asks first, and asks on and on unless it is told this.
    let coordinator_keys = vec![Str::from_static("txn")];
    let request = FindCoordinatorRequest { key_type: 1, coordinator_keys, ..Default::default() };
    let answer = ask!(client, 4, FindCoordinator, request);
    assert_eq!(answer.coordinators[0].error_code, refused);
}

#[tokio::test]
async fn records_from_the_far_past_are_refused_where_the_topic_says_so() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let ago = |ms| batch((-1, -1, -1), clock::unix_ms() - ms);
    assert_eq!(produce(&client, ago(1_000_000_000_000)).await.0, ErrorCode::NONE);
    let change = |config: &crate::topic::Config| {
        let hour = crate::topic::Change::Set("3600000".to_owned());
        config.changed([("message.timestamp.before.max.ms".to_owned(), hour)])
    };
    client.cluster.topics.configure("red", change, false).await.unwrap();
    assert_eq!(produce(&client, ago(3_000_000)).await.0, ErrorCode::NONE);
    assert_eq!(produce(&client, ago(4_000_000)).await.0, ErrorCode::INVALID_TIMESTAMP);
    // Records without a timestamp are of no time.
    assert_eq!(produce(&client, batch((-1, -1, -1), -1)).await.0, ErrorCode::NONE);
}

#[tokio::test]
async fn records_from_the_far_future_are_refused() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let ahead = |ms| batch((-1, -1, -1), clock::unix_ms() + ms);
    assert_eq!(produce(&client, ahead(3_000_000)).await.0, ErrorCode::NONE);
    assert_eq!(produce(&client, ahead(4_000_000)).await.0, ErrorCode::INVALID_TIMESTAMP);
    let change = |config: &crate::topic::Config| {
        let forever = crate::topic::Change::Set(i64::MAX.to_string());
        config.changed([("message.timestamp.after.max.ms".to_owned(), forever)])
    };
    client.cluster.topics.configure("red", change, false).await.unwrap();
    assert_eq!(produce(&client, batch((-1, -1, -1), i64::MAX)).await.0, ErrorCode::NONE);
}
