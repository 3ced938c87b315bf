//! How often memory is asked for to answer a request: a pinned number, whatever is in the batch.

use super::{Client, batch};
use crate::api::{Outcome, dispatch};
use allocation_counter::measure;
use futures_util::FutureExt;
use std::future::poll_fn;
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::messages::*;
use tidelog_protocol::{ApiKey, Reader, Request, Str, Writer};

/// For a produced batch: names and lists of the request and of its answer, the future, the frame.
const PRODUCE_MAX: u64 = 18;
/// For a fetched one.
const FETCH_MAX: u64 = 20;

/// Bytes that each partition of a fetch takes while it waits.
const WAITING_BYTES_MAX: i64 = 350;

/// Allocations from a request's bytes to those of its answer.
async fn allocations(client: &Client, version: i16, request: Request) -> u64 {
    let key = request.api_key();
    let version = key.version(version);
    let mut frame = Writer::default();
    request.write(&mut frame, version);
    let frame = frame.into_bytes();
    let header = RequestHeader { key, version, correlation_id: 1, client_id: None };
    let mut pending = None;
    let mut count = measure(|| {
        let request = Request::read(key, version, &mut Reader::new(frame)).unwrap();
        pending = Some(dispatch(&client.cluster, &client.session, &header, request));
    })
    .count_total;
    let mut pending = pending.unwrap();
    let outcome = poll_fn(|context| {
        let mut polled = None;
        count += measure(|| polled = Some(pending.poll_unpin(context))).count_total;
        polled.unwrap()
    });
    let Outcome::Answer(answer) = outcome.await else { panic!("no answer") };
    count += measure(|| {
        let mut out = Writer::default();
        answer.write(&mut out, version);
        drop(out.into_frame());
    })
    .count_total;
    count
}

fn produce(records: i64) -> Request {
    let data = PartitionProduceData { index: 0, records: Some(batch(records).bytes().clone()) };
    let name = Str::from_static("red");
    let topic = TopicProduceData { name, partition_data: vec![data], ..Default::default() };
    let topic_data = vec![topic];
    Request::Produce(ProduceRequest { acks: -1, topic_data, ..Default::default() })
}

#[tokio::test]
async fn a_produced_batch_leaves_memory_before_it_is_answered() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let (key, version) = (ApiKey::Produce, ApiKey::Produce.version(9));
    let mut frame = Writer::default();
    produce(1).write(&mut frame, version);
    let frame = frame.into_bytes();
    let request = Request::read(key, version, &mut Reader::new(frame.clone())).unwrap();
    let header = RequestHeader { key, version, correlation_id: 1, client_id: None };
    let answer = dispatch(&client.cluster, &client.session, &header, request);
    assert!(frame.is_unique());
    assert!(matches!(answer.await, Outcome::Answer(_)));
}

#[tokio::test]
async fn a_batch_is_produced_and_fetched_in_a_stated_number_of_allocations() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let fetch = || {
        let partition_max_bytes = 1 << 20;
        let partition = FetchPartition { partition_max_bytes, ..Default::default() };
        let topic = Str::from_static("red");
        let topic = FetchTopic { topic, partitions: vec![partition], ..Default::default() };
        let topics = vec![topic];
        let max_bytes = 1 << 20;
        Request::Fetch(FetchRequest { session_epoch: -1, max_bytes, topics, ..Default::default() })
    };
    // The first of each opens files.
    allocations(&client, 9, produce(1)).await;
    allocations(&client, 11, fetch()).await;
    for records in [1, 1_000] {
        let produced = allocations(&client, 9, produce(records)).await;
        assert!(produced <= PRODUCE_MAX, "{produced} for {records} records");
        let fetched = allocations(&client, 11, fetch()).await;
        assert!(fetched <= FETCH_MAX, "{fetched} for {records} records");
    }
}

#[tokio::test]
async fn a_fetch_that_waits_takes_little_memory_and_of_an_account_only_so_many_wait() {
    const PARTITIONS: i32 = 1_000;
    let client = Client::new().await;
    client.topic("red", PARTITIONS).await;
    let (key, version) = (ApiKey::Fetch, ApiKey::Fetch.version(11));
    let header = RequestHeader { key, version, correlation_id: 1, client_id: None };
    let request = |max_wait_ms| {
        let partition = |partition| FetchPartition {
            partition,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let partitions = (0..PARTITIONS).map(partition).collect();
        let topics = vec![FetchTopic { topic: "red".into(), partitions, ..Default::default() }];
        let (session_epoch, min_bytes) = (-1, 1);
        let request =
            FetchRequest { session_epoch, max_wait_ms, min_bytes, topics, ..Default::default() };
        dispatch(&client.cluster, &client.session, &header, Request::Fetch(request))
    };
    // The first one reads.
    request(0).await;
    let mut fetch = None;
    let waiting = measure(|| {
        // Far more than the test takes.
        let fetch = fetch.insert(request(60_000));
        assert!(fetch.now_or_never().is_none());
    });
    let each = waiting.bytes_current / i64::from(PARTITIONS);
    assert!(each <= WAITING_BYTES_MAX, "{each}");

    let room = &client.cluster.waiting_fetches;
    let _others = room.try_take(room.left() - 1).unwrap();
    assert!(matches!(request(60_000).now_or_never(), Some(Outcome::Answer(_))));
    drop(fetch);
    assert_eq!(room.left(), 1 + usize::try_from(PARTITIONS).unwrap());
}
