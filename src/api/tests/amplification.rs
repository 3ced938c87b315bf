//! How much longer an answer is than what was asked: a stated number, whatever the names.

use super::{Client, ask};
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Request, Response, Str, Writer};

/// Bytes of an answer for each of its request's: a partition that is asked about in four bytes may
/// be answered by a text that quotes its topic's name.
const ANSWER_PER_BYTE_MAX: usize = 160;
const PARTITIONS: i32 = 1_000;

/// Each asks about many partitions of one topic.
fn requests(name: &Str) -> Vec<(i16, Request)> {
    let (name, indexes) = (|| name.clone(), || 0..PARTITIONS);
    let describe = DescribeProducersTopic { name: name(), partition_indexes: indexes().collect() };
    let elect = ElectLeadersTopic { topic: name(), partitions: indexes().collect() };
    let reassign = |partition_index| ReassignablePartition { partition_index, replicas: None };
    let reassign =
        ReassignableTopic { name: name(), partitions: indexes().map(reassign).collect() };
    let list = |partition_index| ListOffsetsPartition { partition_index, ..Default::default() };
    let list = ListOffsetsTopic { name: name(), partitions: indexes().map(list).collect() };
    let delete = |partition_index| DeleteRecordsPartition { partition_index, offset: 1 };
    let delete = DeleteRecordsTopic { name: name(), partitions: indexes().map(delete).collect() };
    let fetch = |partition| FetchPartition { partition, ..Default::default() };
    let fetch = FetchTopic {
        topic: name(),
        partitions: indexes().map(fetch).collect(),
        ..Default::default()
    };
    vec![
        (0, Request::DescribeProducers(DescribeProducersRequest { topics: vec![describe] })),
        (
            2,
            Request::ElectLeaders(ElectLeadersRequest {
                topic_partitions: Some(vec![elect]),
                ..Default::default()
            }),
        ),
        (
            1,
            Request::AlterPartitionReassignments(AlterPartitionReassignmentsRequest {
                topics: vec![reassign],
                ..Default::default()
            }),
        ),
        (7, Request::ListOffsets(ListOffsetsRequest { topics: vec![list], ..Default::default() })),
        (
            2,
            Request::DeleteRecords(DeleteRecordsRequest {
                topics: vec![delete],
                ..Default::default()
            }),
        ),
        (12, Request::Fetch(FetchRequest { topics: vec![fetch], ..Default::default() })),
    ]
}

#[tokio::test]
async fn an_answer_is_so_many_times_its_request_at_most_whatever_the_name() {
    let client = Client::new().await;
    for bytes in [1, 498, 32_767] {
        for (version, request) in requests(&"n".repeat(bytes).into()) {
            let key = request.api_key();
            let (mut asked, mut answered) = (Writer::default(), Writer::default());
            request.write(&mut asked, key.version(version));
            let answer: Response = client.ask(version, request).await;
            answer.write(&mut answered, key.version(version));
            let (asked, answered) = (asked.len(), answered.len());
            let max = asked * ANSWER_PER_BYTE_MAX;
            assert!(answered <= max, "{} of {asked} bytes: {answered}", key.name());
        }
    }
}

#[tokio::test]
async fn a_session_keeps_no_name_that_is_too_long_for_a_topic() {
    let client = Client::new().await;
    let fetch = async |bytes, session_id, session_epoch| {
        let partitions = vec![FetchPartition::default()];
        let topic = "n".repeat(bytes).into();
        let topics = vec![FetchTopic { topic, partitions, ..Default::default() }];
        let request = FetchRequest {
            session_id,
            session_epoch,
            topics,
            max_wait_ms: 0,
            ..Default::default()
        };
        let answer = ask!(client, 12, Fetch, request);
        (answer.session_id, answer.error_code)
    };
    assert_eq!(fetch(250, 0, 0).await, (0, ErrorCode::NONE));
    let (session, _) = fetch(249, 0, 0).await;
    assert_ne!(session, 0);
    assert_eq!(fetch(250, session, 1).await, (0, ErrorCode::INVALID_TOPIC_EXCEPTION));
    assert_eq!(client.session.fetch.len(), 1);
}
