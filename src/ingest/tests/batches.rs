//! Batches: mixed, streamed, bounded, and in Sequin's shape.

use super::*;
use serde_json::{Value, json};

const MIXED: &str = "POST /v1/syncs/sync_a/records";
const BATCH: &str = "POST /v1/syncs/sync_a/collections/contact/records";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_mixes_operations_and_collections_and_answers_each() {
    let sandbox = Sandbox::new().await;
    let lines = [
        r#"{"op":"upsert","collection":"contact","id":"1","data":{"a":1},"version":3}"#,
        r#"{"op":"upsert","collection":"deal","id":"1","data":{"a":1}}"#,
        r#"{"op":"patch","collection":"contact","id":"1","data":{"b":2}}"#,
        r#"{"op":"upsert","collection":"a b","id":"1","data":{}}"#,
        r#"{"op":"upsert","id":"1","data":{}}"#,
        r#"{"op":"delete","collection":"contact","id":"1","version":2}"#,
        r#"{"op":"upsert","collection":"contact","id":"1","data":[]}"#,
        r#"{"op":"merge","collection":"contact","id":"1"}"#,
        r#"{"op":"delete","collection":"contact","id":"1"}"#,
    ];
    let done = |event: Value, topic: &str, offset: Value| json!({"event": event, "topic": topic, "partition": 0, "offset": offset});
    let contact = |event: &str, offset: i64| {
        let mut answer = done(event.into(), "sequin.sync_a.contact", offset.into());
        answer["version"] = 3.into();
        answer
    };
    let answer = sandbox.http(MIXED, &[], &lines.join("\n")).await;
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!(results.len(), lines.len());
    assert_eq!(results[0], contact("inserted", 0));
    assert_eq!(
        (&results[1]["event"], &results[1]["topic"]),
        (&"inserted".into(), &"sequin.sync_a.deal".into())
    );
    assert_eq!(results[2], contact("updated", 1));
    let mut stale = done(Value::Null, "sequin.sync_a.contact", Value::Null);
    (stale["version"], stale["stale"]) = (3.into(), true.into());
    assert_eq!(results[5], stale);
    assert_eq!(results[8], contact("deleted", 2));
    let errors = [
        (3, "in a collection, found ' '"),
        (4, "missing field `collection`"),
        (6, "data: expected a JSON object, found array at line 1 column 1"),
        (7, "unknown variant `merge`, expected one of `upsert`, `patch`, `delete`"),
    ];
    for (at, text) in errors {
        assert_eq!(results[at]["index"], at);
        assert!(results[at]["error"].as_str().unwrap().contains(text), "{}", results[at]);
    }
    let other = sandbox.http(BATCH, &[], lines[1]).await.json;
    assert!(other["results"][0]["error"].as_str().unwrap().contains("'deal' is not 'contact'"));
    // All of a partition's events of one batch are one record batch.
    let topic = sandbox.target("contact").await.stream.topic();
    let bytes = topic.partition(0).unwrap().log().read(0, 1 << 20, 3).unwrap();
    assert_eq!(tidelog_protocol::records::batches(bytes).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_carried_out_in_parts_and_a_broken_one_up_to_where_it_breaks() {
    let sandbox = Sandbox::new().await;
    let item = |at: usize| format!(r#"{{"op":"upsert","id":"{at}","data":{{"a":{at}}}}}"#);
    let items: Vec<_> = (0..2500).map(item).collect();
    let answer = sandbox.http(BATCH, &[], &format!("[{}", items.join(","))).await;
    let results = answer.json["results"].as_array().unwrap();
    // The last item may be cut off, so it is not carried out.
    assert_eq!((answer.status, results.len()), (200, 2500));
    assert_eq!(results[2498]["offset"], 2498);
    assert_eq!(results[2499]["index"], 2499);
    let text = results[2499]["error"].as_str().unwrap();
    assert!(text.contains("ends before the array does") && text.contains("line 1"), "{text}");

    let key = [("idempotency-key", "k")];
    let body = items.join("\n");
    let first = sandbox.http(BATCH, &key, &body).await;
    assert_eq!(first.json["results"][2499]["offset"], 2499);
    let again = sandbox.http(BATCH, &key, &body).await;
    assert_eq!(again.json, first.json);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(sandbox.http(BATCH, &key, &items[..1000].join("\n")).await.status, 422);
    assert_eq!(sandbox.events("contact").await, 2500);

    let many = "{}\n".repeat(100_001);
    let answer = sandbox.http(BATCH, &[], &many).await;
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!(results[100_000]["code"], "too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn mutations_run_in_the_shape_that_sequin_had() {
    let sandbox = Sandbox::new().await;
    let run = async |kind: &str, records: Value| {
        let body = json!({
            "kind": kind, "sync_id": "sync_a", "collection_id": "contact", "records": records,
        });
        sandbox.http("POST /v1/mutations/run", &[], &body.to_string()).await.json
    };
    let created = run("create", json!([{"upstream_id": "1", "data": {"a": 1, "b": 2}}])).await;
    assert_eq!(created["results"][0]["event"], "inserted");
    let updated =
        run("update", json!([{"upstream_id": "1", "data": {"b": 3}}, {"upstream_id": "1"}]));
    let updated = updated.await;
    assert_eq!(updated["results"][0]["event"], "updated");
    assert!(updated["results"][1]["error"].as_str().unwrap().contains("'data' is missing"));
    let record = "GET /v1/syncs/sync_a/collections/contact/records/1";
    assert_eq!(sandbox.http(record, &[], "").await.json, json!({"a": 1, "b": 3}));
    let missing = run("create", json!([{"data": {}}])).await;
    assert_eq!(missing["error"], "records[0]: upstream_id is missing");
    let body =
        r#"{"kind":"delete","sync_id":"sync_a","collection_id":"contact","upstream_ids":["1"]}"#;
    let deleted = sandbox.http("POST /v1/mutations/run", &[], body).await.json;
    assert_eq!(deleted["results"][0]["event"], "deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_versions_over_http() {
    let sandbox = Sandbox::new().await;
    let record = "PUT /v1/syncs/sync_a/collections/contact/records/1";
    let inserted =
        sandbox.http(record, &[("if-none-match", "*"), ("tidelog-version", "7")], "{}").await;
    let tag = inserted.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!((inserted.status, &tag[9..]), (200, "-0\""));
    let others = [tag.replace("-0", "-5"), "\"0\"".to_owned(), "W/\"00000000-0\"".to_owned()];
    let refused = sandbox.http(record, &[("if-match", &others.join(", "))], r#"{"a":1}"#).await;
    assert_eq!(refused.status, 412);
    assert_eq!(refused.json["error"], format!("record '1' has ETag {tag}, version 7"));
    let read = record.replace("PUT", "GET");
    let answer = sandbox.http(&read, &[], "").await;
    assert_eq!(
        (&answer.headers["etag"], &answer.headers["tidelog-version"]),
        (&tag.parse().unwrap(), &"7".parse().unwrap())
    );
    assert_eq!(sandbox.http(&read, &[("if-none-match", &tag)], "").await.status, 304);
    for (header, value) in
        [("if-match", "0"), ("if-none-match", "\"0\""), ("tidelog-version", "v7")]
    {
        let refused = sandbox.http(record, &[(header, value)], "{}").await;
        assert_eq!(refused.status, 400, "{header}: {value}");
    }

    // A tag of the sync that was of this name is no tag of this one's records.
    sandbox.http("DELETE /v1/syncs/sync_a?topics=delete", &[], "").await;
    sandbox.http("PUT /v1/syncs/sync_a", &[], r#"{"collections":{"contact":{}}}"#).await;
    assert_eq!(sandbox.http(record, &[], r#"{"a":2}"#).await.json["offset"], 0);
    assert_eq!(sandbox.http(&read, &[("if-none-match", &tag)], "").await.status, 200);
    assert_eq!(sandbox.http(record, &[("if-match", &tag)], "{}").await.status, 412);
}

/// A part on a blocking thread waits for its collection, which needs such a thread to be made.
#[test]
fn batches_of_more_new_collections_than_there_are_threads_come_to_their_ends() {
    const THREADS: usize = 72;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().max_blocking_threads(THREADS).build().unwrap();
    let answers = runtime.block_on(async {
        let sandbox = Sandbox::new().await;
        let item = |at| format!(r#"{{"op":"upsert","collection":"c{at}","id":"1","data":{{}}}}"#);
        let items: Vec<_> = (0..THREADS + 20).map(item).collect();
        let answers = items.iter().map(|item| sandbox.http(MIXED, &[], item));
        let all = futures_util::future::join_all(answers);
        tokio::time::timeout(std::time::Duration::from_secs(60), all).await
    });
    // Nor does the test wait for what never ends.
    runtime.shutdown_background();
    let answers = answers.expect("all threads wait for one more");
    assert!(answers.iter().all(|it| it.json["results"][0]["event"] == "inserted"));
}
