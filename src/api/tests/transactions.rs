//! What readers of committed records get while transactions are open, and once they have ended.

use super::{Client, ask};
use crate::consumer::{read, read_committed};
use bytes::Bytes;
use std::time::Duration;
use tidelog_protocol::Str;
use tidelog_protocol::messages::*;
use tidelog_protocol::records::{
    Batch, BatchBuilder, Compression, EndTxnMarker, Record, TransactionResult, batches,
};

fn data(producer: i64, sequence: i32, value: &str) -> Batch {
    let builder = BatchBuilder::new(Compression::None, 1 << 16);
    let mut builder = builder.producer(producer, 0, sequence).transactional();
    builder.append(1000, None, Some(value.as_bytes()), &[]).unwrap();
    builder.finish().unwrap()
}

fn marker(producer: i64, result: TransactionResult) -> Batch {
    EndTxnMarker { result, coordinator_epoch: 0 }.batch(1000, producer, 0)
}

/// An answer's high watermark, last stable offset, aborted transactions and batches by offset.
async fn fetch(
    client: &Client,
    isolation_level: i8,
    fetch_offset: i64,
) -> (i64, i64, Option<Vec<(i64, i64)>>, Vec<i64>) {
    let partition =
        FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = Str::from_static("red");
    let topics = vec![FetchTopic { topic, partitions: vec![partition], ..Default::default() }];
    let request = FetchRequest { isolation_level, topics, session_epoch: -1, ..Default::default() };
    let mut answer = ask!(client, 11, Fetch, request);
    let it = answer.responses.remove(0).partitions.remove(0);
    assert!(it.error_code.is_none());
    let aborted = it.aborted_transactions;
    let aborted =
        aborted.map(|all| all.iter().map(|it| (it.producer_id, it.first_offset)).collect());
    let offsets = batches(it.records.unwrap()).map(|it| it.unwrap().header().base_offset);
    (it.high_watermark, it.last_stable_offset, aborted, offsets.collect())
}

async fn list(client: &Client, isolation_level: i8, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let name = Str::from_static("red");
    let topics = vec![ListOffsetsTopic { name, partitions: vec![partition] }];
    let request = ListOffsetsRequest { isolation_level, topics, ..Default::default() };
    ask!(client, 7, ListOffsets, request).topics[0].partitions[0].offset
}

fn values(records: &[Record]) -> Vec<Bytes> {
    records.iter().map(|record| record.value.clone().unwrap()).collect()
}

#[tokio::test]
async fn committed_readers_stop_at_open_transactions_and_are_told_of_aborted_ones() {
    use TransactionResult::{Abort, Commit};
    let client = Client::new().await;
    let topic = client.topic("red", 1).await;
    let append = async |partition: &crate::topic::Partition, sent: &[Batch]| {
        for batch in sent {
            let appended = partition.append(batch).unwrap();
            partition.durable(appended.last_offset).await;
        }
    };
    let sent = [data(1, 0, "void"), data(2, 0, "kept"), marker(1, Abort)];
    append(topic.partition(0).unwrap(), &sent).await;
    append(topic.partition(0).unwrap(), &[data(1, 1, "void too"), marker(2, Commit)]).await;
    client.produce("red", super::batch(1)).await;
    let waits = topic.partition(0).unwrap().clone();
    let waits = tokio::spawn(async move { waits.stable_past(4).await });

    let void = vec![(1, 0)];
    assert_eq!(fetch(&client, 0, 0).await, (6, 3, None, vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(fetch(&client, 1, 0).await, (6, 3, Some(void), vec![0, 1, 2]));
    assert_eq!(fetch(&client, 1, 3).await, (6, 3, Some(vec![]), vec![]));
    assert_eq!((list(&client, 0, -1).await, list(&client, 1, -1).await), (6, 3));
    assert_eq!((list(&client, 0, 1).await, list(&client, 1, 1).await), (0, 0));
    assert!(!waits.is_finished());
    append(topic.partition(0).unwrap(), &[marker(1, Abort)]).await;
    tokio::time::timeout(Duration::from_secs(60), waits).await.unwrap().unwrap();

    // After a restart nothing is known before it is asked for.
    drop(topic);
    let client = client.restart().await;
    let both = vec![(1, 0), (1, 3)];
    assert_eq!(fetch(&client, 1, 0).await, (7, 7, Some(both), vec![0, 1, 2, 3, 4, 5, 6]));
    assert_eq!(fetch(&client, 0, 6).await, (7, 7, None, vec![6]));
    assert_eq!(fetch(&client, 1, 4).await.2, Some(vec![(1, 3)]));
    let topic = client.cluster.topics.get("red").unwrap();
    let all = read(topic.partition(0).unwrap(), 0, 1 << 20, 100).unwrap();
    assert_eq!((values(&all.records).len(), all.next), (4, 7));
    let committed = read_committed(topic.partition(0).unwrap(), 0, 1 << 20, 100).unwrap();
    assert_eq!(
        (values(&committed.records), committed.next),
        (vec!["kept".into(), "value".into()], 7)
    );
}
