//! Writes under an `Idempotency-Key`.

use super::*;
use crate::ingest::answers::{ACCOUNT_BYTES_MAX, Answers, Note, RETENTION};
use crate::ingest::event::Kind;
use crate::ingest::mutation::{Hold, Published};

const RECORD: &str = "PUT /v1/syncs/sync_a/collections/deal/records/1";
const BATCH: &str = "POST /v1/syncs/sync_a/collections/deal/records";

fn key(key: &str) -> [(&str, &str); 1] {
    [("idempotency-key", key)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_sent_again_is_answered_as_the_first_time() {
    let mut sandbox = Sandbox::new().await;
    let first = sandbox.http(RECORD, &key("k"), r#"{"a":1}"#).await;
    assert_eq!((first.status, &first.json["event"]), (200, &"inserted".into()));
    let batch = r#"[{"op":"upsert","id":"1","data":{"a":1}},{"op":"patch","id":"2"},
        {"op":"upsert","id":"3","data":{}}]"#;
    let of_batch = sandbox.http(BATCH, &key("b"), batch).await;
    let events = sandbox.events("deal").await;
    assert_eq!(events, 2);
    // What others do meanwhile does not matter, nor does a restart.
    sandbox.http(RECORD, &[], r#"{"a":2}"#).await;
    for _ in 0..2 {
        let again = sandbox.http(RECORD, &key("k"), r#"{"a":1}"#).await;
        assert_eq!((again.status, &again.json), (200, &first.json));
        assert_eq!(again.headers["idempotent-replayed"], "true");
        assert_eq!(again.headers["etag"], first.headers["etag"]);
        let again = sandbox.http(BATCH, &key("b"), batch).await;
        assert_eq!(again.json, of_batch.json);
        sandbox = sandbox.restart(State::Kept, |_| ()).await;
    }
    assert_eq!(sandbox.events("deal").await, events + 1);
    // With a URI as a proxy is asked.
    let again = sandbox.http(&BATCH.replace("/v1", "http://localhost/v1"), &key("b"), batch).await;
    assert_eq!(again.json, of_batch.json);

    // Another request needs another key.
    let longer = batch.replace(']', r#",{"op":"delete","id":"1"}]"#);
    let others =
        [(RECORD, "k", "{}"), (BATCH, "b", "[]"), (BATCH, "b", &longer), (BATCH, "k", batch)];
    for (line, name, body) in others {
        let refused = sandbox.http(line, &key(name), body).await;
        assert_eq!(
            (refused.status, &refused.json["code"]),
            (422, &"idempotency_key_reused".into())
        );
    }
    // What was refused is not remembered.
    assert_eq!(sandbox.http(RECORD, &key("r"), "{").await.status, 400);
    assert_eq!(sandbox.http(RECORD, &key("r"), "{}").await.json["event"], "updated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_in_use_until_its_write_is_answered() {
    let sandbox = Sandbox::new().await;
    let account = sandbox.cluster().account.id.clone();
    let ticket = sandbox.ingest.answers.begin(&account, "k").unwrap();
    let refused = sandbox.http(RECORD, &key("k"), "{}").await;
    assert_eq!((refused.status, &refused.json["code"]), (409, &"idempotency_key_in_use".into()));
    assert!(sandbox.ingest.answers.begin("other", "k").is_ok());
    drop(ticket);
    assert_eq!(sandbox.http(RECORD, &key("k"), "{}").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_append_and_answer_publishes_nothing_twice() {
    for state in [State::Kept, State::Lost] {
        let sandbox = Sandbox::new().await;
        sandbox.http(BATCH, &[], r#"{"op":"upsert","id":"2","data":{"a":1}}"#).await;
        let account = sandbox.cluster().account.id.clone();
        // Events of a write whose answer is never stored: settling must not pass them.
        let hold = Hold::default();
        let ticket = sandbox.ingest.answers.begin(&account, "k").unwrap();
        let single = Mutation { key: Some(ticket.key(None, &hold)), ..upsert("1", r#"{"a":1}"#) };
        let single = sandbox.mutate("deal", single).await.unwrap().published.unwrap();
        drop(ticket);
        let ticket = sandbox.ingest.answers.begin(&account, "b").unwrap();
        let of_batch =
            Mutation { key: Some(ticket.key(Some(1), &hold)), ..upsert("2", r#"{"a":2}"#) };
        let of_batch = sandbox.mutate("deal", of_batch).await.unwrap().published.unwrap();
        sandbox.target("deal").await.stream.settle().unwrap();
        drop(ticket);

        // What it was diffed against is gone when it is sent again.
        let sandbox = sandbox.restart(state, |_| ()).await;
        sandbox.http(RECORD, &[], r#"{"a":3}"#).await;
        let sandbox = sandbox.restart(State::Kept, |_| ()).await;
        let events = sandbox.events("deal").await;
        let again = sandbox.http(RECORD, &key("k"), r#"{"a":1}"#).await;
        assert_eq!(again.json["event"], "inserted");
        assert_eq!(again.json["offset"], single.offset);
        let batch = r#"[{"op":"delete","id":"9"},{"op":"upsert","id":"2","data":{"a":2}},
            {"op":"upsert","id":"3","data":{}}]"#;
        let again = sandbox.http(BATCH, &key("b"), batch).await.json;
        let kinds: Vec<_> = (0..3).map(|at| again["results"][at]["event"].as_str()).collect();
        assert_eq!(kinds, [None, Some("updated"), Some("inserted")]);
        assert_eq!(again["results"][1]["offset"], of_batch.offset);
        assert_eq!(sandbox.events("deal").await, events + 1);
        drop(hold);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_forgotten_when_they_are_old() {
    let sandbox = Sandbox::new().await;
    let account = sandbox.cluster().account.id.clone();
    sandbox.http(RECORD, &key("k"), "{}").await;
    let answers = &sandbox.ingest.answers;
    answers.forget(std::slice::from_ref(&account), crate::clock::unix_ms()).unwrap();
    assert_eq!(sandbox.http(RECORD, &key("k"), "{}").await.json["event"], "inserted");
    let size = answers.size(&account);
    assert!((50..1000).contains(&size), "{size} of {ACCOUNT_BYTES_MAX}");
    answers.forget(std::slice::from_ref(&account), i64::MAX).unwrap();
    assert_eq!(answers.size(&account), 0);
    assert_eq!(sandbox.http(RECORD, &key("k"), "{}").await.json["event"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_answers_that_are_old_are_forgotten_at_once() {
    let sandbox = Sandbox::new().await;
    let (account, state) = (sandbox.cluster().account.id.clone(), &sandbox.broker.shared.state);
    let rows = || state.records.prefix([&[0; 16], account.as_bytes()].concat()).count();
    let mut changes = crate::state::Changes::new();
    for at_ms in 0..25_000 {
        let published = Published { kind: Kind::Inserted, offset: at_ms };
        let (topic, partition, version, id) = ([1; 16], 0, None, "1");
        let note = Note { at_ms, topic, partition, published, version, id };
        Answers::note(&account, &format!("k{at_ms}"), &note, &mut changes);
    }
    state.apply(&state.records, changes).unwrap();
    let retention_ms = i64::try_from(RETENTION.as_millis()).unwrap();
    let account_of = std::slice::from_ref(&account);
    sandbox.ingest.answers.forget(account_of, retention_ms + 24_999).unwrap();
    // Each has its row and its place in time.
    assert_eq!(rows(), 2);
}

/// Items of one record in a batch, each a record or a deletion; how many of them were carried out
/// before the crash; what each answers when all are sent again.
type Retry<'a> = (&'a [Option<&'a str>], usize, &'a [Option<&'a str>]);

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_again_does_not_go_back_before_what_it_published() {
    const A: Option<&str> = Some(r#"{"v":"a"}"#);
    const B: Option<&str> = Some(r#"{"v":"b"}"#);
    const INSERTED: Option<&str> = Some("inserted");
    const UPDATED: Option<&str> = Some("updated");
    let retries: [Retry<'_>; 3] = [
        (&[None, A], 2, &[None, INSERTED]),
        (&[A, A, B], 3, &[INSERTED, None, UPDATED]),
        (&[A, B, B, A, A], 3, &[INSERTED, UPDATED, None, UPDATED, None]),
    ];
    for (items, carried_out, want) in retries {
        let sandbox = Sandbox::new().await;
        let hold = Hold::default();
        let ticket = sandbox.ingest.answers.begin(&sandbox.cluster().account.id, "b").unwrap();
        let mutation = |(at, item): (usize, &Option<&'static str>)| Mutation {
            key: Some(ticket.key(Some(at), &hold)),
            ..item.map_or_else(|| delete("1"), |data| upsert("1", data))
        };
        let mutations = items.iter().enumerate().take(carried_out).map(mutation).collect();
        let target = sandbox.target("deal").await;
        let done: Vec<_> = target.mutate(mutations).into_iter().map(Result::unwrap).collect();
        target.stream.confirm(done.iter()).await;
        drop((ticket, target));

        let sandbox = sandbox.restart(State::Kept, |_| ()).await;
        let item = |item: &Option<&str>| match item {
            Some(data) => format!(r#"{{"op":"upsert","id":"1","data":{data}}}"#),
            None => r#"{"op":"delete","id":"1"}"#.to_owned(),
        };
        let body = items.iter().map(item).collect::<Vec<_>>().join("\n");
        let answer = sandbox.http(BATCH, &key("b"), &body).await.json;
        let results = answer["results"].as_array().unwrap();
        let kinds: Vec<_> = results.iter().map(|it| it["event"].as_str()).collect();
        assert_eq!(kinds, want);
        assert_eq!(sandbox.events("deal").await, want.iter().flatten().count() as i64);
        let record = sandbox.http(&RECORD.replace("PUT", "GET"), &[], "").await;
        let last: serde_json::Value = serde_json::from_str(items.last().unwrap().unwrap()).unwrap();
        assert_eq!(record.json, last);
        drop(hold);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_of_one_collection() {
    let sandbox = Sandbox::new().await;
    let run = async |collection: &str| {
        let body = serde_json::json!({
            "kind": "create", "sync_id": "sync_a", "collection_id": collection,
            "records": [{"upstream_id": "1", "data": {"a": 1}}],
        });
        sandbox.http("POST /v1/mutations/run", &key("k"), &body.to_string()).await
    };
    let first = run("contact").await;
    assert_eq!(first.json["results"][0]["topic"], "sequin.sync_a.contact");
    assert_eq!(run("contact").await.headers["idempotent-replayed"], "true");
    let other = run("deal").await;
    assert_eq!((other.status, &other.json["code"]), (422, &"idempotency_key_reused".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_forgotten_with_the_topic_it_is_about() {
    let sandbox = Sandbox::new().await;
    let item = r#"{"op":"upsert","id":"2","data":{"a":1}}"#;
    let atomic = format!("{BATCH}?atomic=true");
    let requests =
        [(RECORD, "r", r#"{"a":1}"#), (BATCH, "b", item), (&atomic, "t", &item.replace('2', "3"))];
    let send = async |sandbox: &Sandbox| {
        for (line, name, body) in requests {
            let answer = sandbox.http(line, &key(name), body).await;
            let event = answer.json.get("event").unwrap_or(&answer.json["results"][0]["event"]);
            assert_eq!((answer.status, event), (200, &"inserted".into()), "{line}");
            assert!(!answer.headers.contains_key("idempotent-replayed"), "{line}");
            let again = sandbox.http(line, &key(name), body).await;
            assert_eq!(again.headers["idempotent-replayed"], "true", "{line}");
        }
    };
    send(&sandbox).await;
    assert!(sandbox.http("DELETE /v1/syncs/sync_a?topics=delete", &[], "").await.status < 300);
    assert_eq!(sandbox.http("PUT /v1/syncs/sync_a", &[], "{}").await.status, 200);
    send(&sandbox).await;
    assert_eq!(sandbox.events("deal").await, 3);
}
