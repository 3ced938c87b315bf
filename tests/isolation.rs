//! A second account sees nothing of the first one, over any door, by name or by id.

use crate::support::http::Http;
use crate::support::kafka;
use crate::support::process::{Ready, Tidelog};
use crate::support::raw::Raw;
use serde_json::{Value, json};
use tidelog_protocol::messages::{
    FetchPartition, FetchRequest, FetchTopic, MetadataRequest, MetadataRequestTopic,
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetFetchRequest, OffsetFetchRequestGroup,
};
use tidelog_protocol::{ErrorCode, Response, Uuid};

const TOPIC: &str = "sequin.sync_1a107d79.contact";
const RECORD: &str = "/v1/syncs/sync_1a107d79/collections/contact/records/003";

#[test]
fn a_second_account_sees_nothing_over_any_door() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev_without_auto_create(dir.path());
    let owner = Http::dev(&tidelog.ready);
    let (topic_id, webhook) = fill(&tidelog.ready, &owner);

    let acme = Http::operator(&tidelog.ready).post("/v1/accounts", r#"{"name":"acme"}"#).json();
    assert_eq!(acme["account"], "acme");
    let (username, password) =
        (acme["username"].as_str().unwrap(), acme["password"].as_str().unwrap());
    let stranger = Http::account(&tidelog.ready.http, username, password);

    let config = kafka::sasl(&tidelog.ready.kafka, username, password);
    assert_eq!(kafka::topics(&config), []);
    let mut raw = Raw::authenticated(&tidelog.ready.kafka, username, password);
    sees_no_topic(&mut raw, topic_id);
    sees_no_records(&mut raw, topic_id);
    sees_no_group(&mut raw);
    sees_nothing_over_rest(&stranger);
    sees_no_sync_and_no_webhook(&stranger, &webhook);
    owns_what_has_the_same_name(&stranger, &owner, &config, &tidelog.ready);
    assert_eq!(owner.get("/v1/webhooks").json().as_array().unwrap().len(), 1, "still there");
}

/// The owner's topic, record, committed offset and webhook; gives the topic's id, the webhook's.
fn fill(ready: &Ready, owner: &Http) -> (Uuid, String) {
    owner.put("/v1/syncs/sync_1a107d79", r#"{"collections":{"contact":{}}}"#).json();
    assert_eq!(owner.put(RECORD, r#"{"a":1}"#).json()["event"], "inserted");
    let webhook = json!({ "url": "http://127.0.0.1:9/", "topics": [TOPIC] });
    let webhook = owner.post("/v1/webhooks", webhook.to_string()).json();
    let mut raw = Raw::authenticated(&ready.kafka, &ready.username, &ready.password);
    let committed = raw.call(
        OffsetCommitRequest {
            group_id: "group".into(),
            topics: vec![OffsetCommitRequestTopic {
                name: TOPIC.into(),
                partitions: vec![OffsetCommitRequestPartition {
                    committed_offset: 1,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
        8,
    );
    let Response::OffsetCommit(committed) = committed else { panic!("{committed:?}") };
    assert_eq!(committed.topics[0].partitions[0].error_code, ErrorCode::NONE);
    assert!(committed_offsets(&mut raw).contains("committed_offset: 1"));
    let topic = describe(&mut raw, TOPIC);
    assert_eq!(topic.0, ErrorCode::NONE);
    (topic.1, webhook["id"].as_str().unwrap().to_owned())
}

fn describe(raw: &mut Raw, name: &str) -> (ErrorCode, Uuid) {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    match raw.call(request, 12) {
        Response::Metadata(it) => (it.topics[0].error_code, it.topics[0].topic_id),
        other => panic!("{other:?}"),
    }
}

fn sees_no_topic(raw: &mut Raw, topic_id: Uuid) {
    assert_eq!(describe(raw, TOPIC).0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let by_id = MetadataRequestTopic { topic_id, name: None };
    let request = MetadataRequest { topics: Some(vec![by_id]), ..Default::default() };
    let Response::Metadata(answer) = raw.call(request, 12) else { panic!() };
    assert_eq!(answer.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(answer.topics[0].name, None);
}

fn sees_no_records(raw: &mut Raw, topic_id: Uuid) {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: TOPIC.into(), topic_id, partitions: vec![partition] };
    let by_name = FetchRequest { topics: vec![topic], ..Default::default() };
    for (version, expected) in
        [(12, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), (13, ErrorCode::UNKNOWN_TOPIC_ID)]
    {
        let Response::Fetch(answer) = raw.call(by_name.clone(), version) else { panic!() };
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(partition.error_code, expected, "version {version}");
        assert!(partition.records.as_ref().is_none_or(|records| records.is_empty()));
    }
}

/// What the group called `group` has committed, as it is printed.
fn committed_offsets(raw: &mut Raw) -> String {
    let group = OffsetFetchRequestGroup { group_id: "group".into(), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    match raw.call(request, 8) {
        Response::OffsetFetch(it) => format!("{:?}", it.groups[0].topics),
        other => panic!("{other:?}"),
    }
}

fn sees_no_group(raw: &mut Raw) {
    assert_eq!(committed_offsets(raw), "[]");
}

fn sees_nothing_over_rest(stranger: &Http) {
    assert_eq!(stranger.get("/topics").json(), json!({}));
    assert_eq!(stranger.get("/consumers").json(), json!([]));
    let fetch = json!({ "topic": TOPIC, "partition": 0, "offset": 0, "timeout": 1 });
    stranger.post("/fetch", fetch.to_string()).refusal(404);
    stranger.get(&format!("/consume/group/one/{TOPIC}?timeout=1")).refusal(404);
    stranger.get(&format!("/produce/{TOPIC}/hello")).refusal(404);
    stranger.post("/delete-consumer/group/one", "").refusal(404);
    let connection = stranger.get("/v1/connection").json();
    assert_eq!(connection["topics"], json!([]));
    assert_eq!(connection["password"], Value::Null, "only the dev account is told its own");
    assert_eq!(stranger.get("/v1/topics").json(), json!([]));
}

fn sees_no_sync_and_no_webhook(stranger: &Http, webhook: &str) {
    assert_eq!(stranger.get("/v1/syncs").json(), json!([]));
    stranger.get("/v1/syncs/sync_1a107d79").refusal(404);
    stranger.get(RECORD).refusal(404);
    let refusal = stranger.put(RECORD, r#"{"a":2}"#).refusal(404);
    assert!(!refusal.contains("contact"), "{refusal}");
    stranger.delete(RECORD).refusal(404);
    assert_eq!(stranger.get("/v1/webhooks").json(), json!([]));
    stranger.get(&format!("/v1/webhooks/{webhook}")).refusal(404);
    stranger.delete(&format!("/v1/webhooks/{webhook}")).refusal(404);
    // An account's credential is not the operator's token, and nobody has neither.
    stranger.post("/v1/accounts", r#"{"name":"third"}"#).refusal(401);
}

#[test]
fn of_many_who_ask_for_one_account_name_at_once_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev_without_auto_create(dir.path());
    let operator = Http::operator(&tidelog.ready);
    let ask = || operator.post("/v1/accounts", r#"{"name":"acme"}"#).status;
    let mut statuses: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|it| it.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
}

/// The same names in another account are other things.
fn owns_what_has_the_same_name(
    stranger: &Http,
    owner: &Http,
    config: &rdkafka::ClientConfig,
    ready: &Ready,
) {
    stranger.put("/v1/syncs/sync_1a107d79", r#"{"collections":{"contact":{}}}"#).json();
    stranger.get(RECORD).refusal(404);
    assert_eq!(stranger.put(RECORD, r#"{"mine":true}"#).json()["event"], "inserted");
    let values = |records: Vec<kafka::Record>| {
        let data = |it: &kafka::Record| {
            let value: Value = serde_json::from_str(it.value.as_deref().unwrap()).unwrap();
            value["data"].clone()
        };
        records.iter().map(data).collect::<Vec<_>>()
    };
    assert_eq!(values(kafka::read_all(config, TOPIC)), [json!({ "mine": true })]);
    assert_eq!(values(kafka::read_all(&kafka::dev(ready), TOPIC)), [json!({ "a": 1 })]);
    assert_eq!(owner.get(RECORD).json(), json!({ "a": 1 }));
}
