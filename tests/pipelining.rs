//! Many requests on one connection before the first answer.

use crate::support::http::Http;
use crate::support::process::Tidelog;
use crate::support::raw::{self, Raw};
use tidelog_protocol::messages::{FetchPartition, FetchRequest, FetchTopic, MetadataRequest};
use tidelog_protocol::{Request, Response};

/// More than a broker takes up at once.
const ROUNDS: i64 = 100;
const TOPIC: &str = "red";

/// Each fetch waits for the batch that the next request brings, so that it is answered last of its
/// round, and what comes after it on the connection is ready long before.
#[test]
fn answers_leave_in_the_order_of_requests_though_the_first_wait_for_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    Http::dev(&tidelog.ready).post("/v1/topics", r#"{"name":"red"}"#).json();
    let round = |at: i64| [(fetch(at), 12), (raw::produce(TOPIC), 9), (metadata(), 9)];
    let requests: Vec<_> = (0..ROUNDS).flat_map(round).collect();
    let answers = Raw::connect(&tidelog.ready.kafka).pipeline(&requests);
    for (at, answers) in (0..ROUNDS).zip(answers.chunks(3)) {
        let [Response::Fetch(fetched), Response::Produce(produced), Response::Metadata(described)] =
            answers
        else {
            panic!("{answers:?}");
        };
        let records = fetched.responses[0].partitions[0].records.as_ref();
        assert!(records.is_some_and(|bytes| !bytes.is_empty()), "fetch {at} is empty");
        assert_eq!(produced.responses[0].partition_responses[0].base_offset, at);
        assert_eq!(described.topics[0].name.as_deref(), Some(TOPIC));
    }
}

fn fetch(offset: i64) -> Request {
    let partition =
        FetchPartition { fetch_offset: offset, partition_max_bytes: 1, ..Default::default() };
    let topic =
        FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..Default::default() };
    let patient =
        FetchRequest { max_wait_ms: 20_000, min_bytes: 1, max_bytes: 1, ..Default::default() };
    FetchRequest { topics: vec![topic], ..patient }.into()
}

fn metadata() -> Request {
    MetadataRequest { topics: None, ..Default::default() }.into()
}
