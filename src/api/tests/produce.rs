//! What a topic's configs make of a batch.

use super::{Client, batch};
use crate::clock;
use crate::topic::{Config, NewTopic};
use tidelog_protocol::ErrorCode;
use tidelog_protocol::messages::PartitionProduceResponse;
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};

/// Produces to a topic that has this one config.
async fn produce(config: (&str, &str), batch: Batch) -> (Client, PartitionProduceResponse) {
    let client = Client::new().await;
    let config = Config::new([(config.0.to_owned(), config.1.to_owned())]).unwrap();
    let new = NewTopic { name: "red".to_owned(), partitions: 1, config, sync: None };
    client.cluster.topics.create(new).await.unwrap();
    let mut answer = client.produce("red", batch).await;
    let partition = answer.responses.remove(0).partition_responses.remove(0);
    (client, partition)
}

#[tokio::test]
async fn a_compacted_topic_takes_only_records_with_keys() {
    let compact = ("cleanup.policy", "compact,delete");
    let (_client, refused) = produce(compact, batch(2)).await;
    assert_eq!(refused.error_code, ErrorCode::INVALID_RECORD);
    let mut keyed = BatchBuilder::new(Compression::Zstd, 1 << 10);
    keyed.append(0, Some(b"key"), None, &[]).unwrap();
    let (_client, taken) = produce(compact, keyed.finish().unwrap()).await;
    assert_eq!((taken.error_code, taken.log_append_time_ms), (ErrorCode::NONE, -1));
}

#[tokio::test]
async fn log_append_time_is_answered_and_stored() {
    let before = clock::unix_ms();
    let (client, taken) = produce(("message.timestamp.type", "LogAppendTime"), batch(3)).await;
    let time = taken.log_append_time_ms;
    assert!((before..=clock::unix_ms()).contains(&time), "{time}");
    let topic = client.cluster.topics.get("red").unwrap();
    let log = topic.partition(0).unwrap().log();
    assert_eq!(log.offset_for_time(time).unwrap(), Some((0, time)));
    assert_eq!(log.offset_for_time(time + 1).unwrap(), None);
}
