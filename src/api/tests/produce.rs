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

#[tokio::test]
async fn a_topic_with_a_codec_stores_every_batch_in_it_and_one_without_as_it_came() {
    let own = [("uncompressed", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];
    for (name, codec) in own.into_iter().chain([("producer", -1)]) {
        for sent in Compression::ALL {
            let mut builder = BatchBuilder::new(sent, 1 << 16);
            (0..40).for_each(|n| builder.append(n, None, Some(&[7; 100]), &[]).unwrap());
            let batch = builder.finish().unwrap();
            let (client, taken) = produce(("compression.type", name), batch.clone()).await;
            assert_eq!(taken.error_code, ErrorCode::NONE);
            let topic = client.cluster.topics.get("red").unwrap();
            let log = topic.partition(0).unwrap().log();
            let mut bytes = log.read(0, 1 << 20, i64::MAX).unwrap();
            let stored = Batch::split_from(&mut bytes).unwrap();
            stored.check().unwrap();
            let expected = if codec < 0 { sent.codec() } else { codec };
            assert_eq!(stored.header().attributes.codec(), expected, "{sent} to {name}");
            let values = |it: &Batch| {
                it.records(1 << 16).unwrap().map(|it| it.unwrap().value).collect::<Vec<_>>()
            };
            assert_eq!(values(&stored), values(&batch));
        }
    }
}

#[tokio::test]
async fn what_the_topics_codec_makes_too_large_or_cannot_read_is_refused() {
    let mut builder = BatchBuilder::new(Compression::Gzip, 4 << 20);
    builder.append(0, None, Some(&vec![7; 2 << 20]), &[]).unwrap();
    let bomb = builder.finish().unwrap();
    let (_client, refused) = produce(("compression.type", "uncompressed"), bomb).await;
    assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(refused.error_message.unwrap().contains("max.message.bytes"));
}
