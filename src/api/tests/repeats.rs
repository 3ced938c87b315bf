//! What is named twice in a request: answered once or refused, and never multiplied.

use super::{Client, ask, batch};
use futures_util::FutureExt;
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str};

const RED: Str = Str::from_static("red");

#[tokio::test]
async fn what_is_described_twice_is_answered_once() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let groups = vec![Str::from_static("group"); 3];
    let request = DescribeGroupsRequest { groups, ..Default::default() };
    assert_eq!(ask!(client, 5, DescribeGroups, request).groups.len(), 1);

    let resource =
        DescribeConfigsResource { resource_type: 2, resource_name: RED, configuration_keys: None };
    let request = DescribeConfigsRequest { resources: vec![resource; 3], ..Default::default() };
    assert_eq!(ask!(client, 4, DescribeConfigs, request).results.len(), 1);

    let topic = MetadataRequestTopic { name: Some(RED), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic; 3]), ..Default::default() };
    assert_eq!(ask!(client, 12, Metadata, request).topics.len(), 1);

    let topic = DescribableLogDirTopic { topic: RED, partitions: vec![0, 0] };
    let request = DescribeLogDirsRequest { topics: Some(vec![topic; 3]) };
    let topics = ask!(client, 4, DescribeLogDirs, request).results.remove(0).topics;
    assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));

    let topic = DescribeProducersTopic { name: RED, partition_indexes: vec![0, 0] };
    let request = DescribeProducersRequest { topics: vec![topic; 3] };
    let topics = ask!(client, 0, DescribeProducers, request).topics;
    assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));

    let topic = DescribeTopicPartitionsTopic { name: RED };
    let request = DescribeTopicPartitionsRequest { topics: vec![topic; 3], ..Default::default() };
    assert_eq!(ask!(client, 0, DescribeTopicPartitions, request).topics.len(), 1);
}

#[tokio::test]
async fn what_is_changed_twice_is_refused_and_not_changed() {
    let client = Client::new().await;
    let topic = |name: &str, num_partitions| CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: -1,
        ..Default::default()
    };
    let create = async |topics: Vec<CreatableTopic>| {
        let request = CreateTopicsRequest { topics, ..Default::default() };
        let results = ask!(client, 7, CreateTopics, request).topics;
        results.into_iter().map(|it| (it.name, it.error_code)).collect::<Vec<_>>()
    };
    let blue = Str::from_static("blue");
    assert_eq!(
        create(vec![topic("red", 1), topic("blue", 1), topic("red", 2)]).await,
        [(RED, ErrorCode::INVALID_REQUEST), (blue.clone(), ErrorCode::NONE)]
    );
    assert!(client.cluster.topics.get("red").is_none());
    assert_eq!(
        create(vec![topic("red", i32::MAX), topic("green", i32::MAX)]).await[0],
        (RED, ErrorCode::POLICY_VIOLATION)
    );

    let topic = CreatePartitionsTopic { name: blue, count: 2, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![topic; 2], ..Default::default() };
    let results = ask!(client, 3, CreatePartitions, request).results;
    assert!(results.iter().all(|it| it.error_code == ErrorCode::INVALID_REQUEST));
    assert_eq!(client.cluster.topics.get("blue").unwrap().count(), 1);
}

#[tokio::test]
async fn a_partition_that_is_named_in_two_entries_is_looked_at_once() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    client.produce("red", batch(3)).await;
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: RED, partitions: vec![partition] };
    let request = ListOffsetsRequest { topics: vec![topic; 2], ..Default::default() };
    let topics = ask!(client, 7, ListOffsets, request).topics;
    let codes = topics.iter().map(|it| it.partitions[0].error_code);
    assert_eq!(codes.collect::<Vec<_>>(), [ErrorCode::INVALID_REQUEST; 2]);

    let to = |offset| {
        let partition = DeleteRecordsPartition { offset, ..Default::default() };
        DeleteRecordsTopic { name: RED, partitions: vec![partition] }
    };
    let request = DeleteRecordsRequest { topics: vec![to(3), to(2)], timeout_ms: 1000 };
    let topics = ask!(client, 2, DeleteRecords, request).topics;
    assert_eq!((topics.len(), topics[0].partitions[0].low_watermark), (1, 2));
}

#[tokio::test]
async fn lookups_by_time_take_turns_and_hold_up_none_of_the_ends() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    client.produce("red", batch(3)).await;
    let ask = async |timestamp| {
        let partition = ListOffsetsPartition { timestamp, ..Default::default() };
        let topic = ListOffsetsTopic { name: RED, partitions: vec![partition] };
        let request = ListOffsetsRequest { topics: vec![topic], ..Default::default() };
        ask!(client, 7, ListOffsets, request).topics.remove(0).partitions.remove(0).offset
    };
    let turns = &client.cluster.time_lookups;
    let all = u32::try_from(turns.available_permits()).unwrap();
    let taken = turns.acquire_many(all).await.unwrap();
    assert_eq!(ask(1).now_or_never(), None);
    assert_eq!(ask(-3).now_or_never(), None);
    assert_eq!(ask(-1).await, 3);
    drop(taken);
    assert_eq!(ask(1).await, 1);
}
