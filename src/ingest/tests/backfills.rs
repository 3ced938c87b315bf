//! What a backfill publishes, and what it leaves alone.

use super::*;
use crate::consumer;
use crate::ingest::backfill::{self, Of, Phase};
use crate::ingest::event;
use crate::ingest::replay::header;
use std::collections::BTreeMap;

/// Of each record in order: the event, its changes if it has any, and its backfill.
type Events = BTreeMap<String, Vec<(String, serde_json::Value, Option<String>)>>;

async fn events(sandbox: &Sandbox, collection: &str) -> Events {
    let mut events = Events::new();
    for (_, partition) in sandbox.target(collection).await.stream.topic().online() {
        // The start carries the backfill out beside the test, and may wait for what it published.
        partition.durable(partition.log().log_end_offset() - 1).await;
        let mut next = 0;
        while next < partition.high_watermark() {
            let read = consumer::read(partition, next, 1 << 20, 1000).unwrap();
            for record in &read.records {
                let event: serde_json::Value =
                    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
                let backfill = header(record, event::BACKFILL).map(str::to_owned);
                let kind = event["event"].as_str().unwrap().to_owned();
                let id = event["id"].as_str().unwrap().to_owned();
                events.entry(id).or_default().push((kind, event["changes"].clone(), backfill));
            }
            next = read.next;
        }
    }
    events
}

async fn to_its_end(sandbox: &Sandbox) -> backfill::Backfill {
    let stream = sandbox.target("deal").await.stream;
    let id = stream.backfill.lock().as_ref().unwrap().id.clone();
    let of = Of { sync: "sync_a".to_owned(), collection: "deal".to_owned(), id };
    backfill::run(sandbox.ingest.clone(), sandbox.cluster(), of).await;
    stream.backfill.lock().clone().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_that_cannot_be_read_keeps_nothing_from_starting() {
    let sandbox = Sandbox::new().await;
    sandbox.target("deal").await.stream.rows().write_backfill(b"{").unwrap();
    let sandbox = sandbox.restart(State::Kept, |_| ()).await;
    assert!(sandbox.target("deal").await.stream.backfill.lock().is_none());
    let begun = sandbox.http("POST /v1/syncs/sync_a/collections/deal/backfill", &[], "").await;
    assert_eq!(begun.status, 202, "{}", begun.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_meet_under_the_mapping_of_now_are_not_merged() {
    let sandbox = Sandbox::new().await;
    for id in ["1", "2", "3"] {
        sandbox.mutate("deal", upsert(id, r#"{"a":1,"b":2}"#)).await.unwrap();
    }
    let mapped = r#"{"collections":{"deal":{"columns":{"a":"b"}}}}"#;
    assert_eq!(sandbox.http("PATCH /v1/syncs/sync_a", &[], mapped).await.status, 200);
    let meets = r#"columns "a" and "b" both map to "b": give each its own name"#;
    let write = async |method: &str, id: &str, body: &str| {
        let line = format!("{method} /v1/syncs/sync_a/collections/deal/records/{id}");
        sandbox.http(&line, &[], body).await
    };
    let refused = write("PATCH", "1", r#"{"c":1}"#).await;
    assert_eq!((refused.status, &refused.json["error"]), (400, &meets.into()));
    backfill::begin(&sandbox.target("deal").await.stream, 1).unwrap();
    let failed = to_its_end(&sandbox).await;
    assert_eq!((failed.phase, failed.published), (Phase::Failed, 0));
    let problem = failed.problem.unwrap();
    assert!(problem.starts_with("record '") && problem.ends_with(meets), "{problem}");

    // Where nothing of it stays, it is in nobody's way.
    assert_eq!(write("PUT", "1", r#"{"a":3}"#).await.json["event"], "updated");
    assert_eq!(write("DELETE", "2", "").await.json["event"], "deleted");
    let events = events(&sandbox, "deal").await;
    assert_eq!(events["1"][1].1, serde_json::json!({"a":1,"b":2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_says_once_what_each_record_is_under_the_mapping_of_now() {
    let sandbox = Sandbox::new().await;
    for id in 0..10 {
        let mutation = upsert(&id.to_string(), r#"{"LastName":"B","Secret":1}"#);
        sandbox.mutate("deal", mutation).await.unwrap();
    }
    sandbox.mutate("deal", delete("9")).await.unwrap();
    let mapped = r#"{"collections":{"deal":{"columns":{"LastName":"name"},"drop":["Secret"]}}}"#;
    assert_eq!(sandbox.http("PATCH /v1/syncs/sync_a", &[], mapped).await.status, 200);
    let before = sandbox.events("deal").await;
    let stream = sandbox.target("deal").await.stream;
    let begun = backfill::begin(&stream, 1).unwrap();
    assert!(
        matches!(backfill::begin(&stream, 1), Err(backfill::Refused::Running(id)) if id == begun.id)
    );
    // After it began: these need no other event, and what is gone none at all.
    sandbox.mutate("deal", upsert("0", r#"{"LastName":"C"}"#)).await.unwrap();
    sandbox.mutate("deal", delete("1")).await.unwrap();
    sandbox.mutate("deal", upsert("new", r#"{"LastName":"D"}"#)).await.unwrap();

    let target = sandbox.target("deal").await;
    let id = begun.id.clone();
    let step = crate::task::blocking(move || backfill::step(&target, &id, 3).unwrap().unwrap());
    let (_, next) = step.await;
    assert!(next.is_some(), "three of eleven");
    drop(stream);
    // How far it came was not noted when it crashed. The start goes on with it, as this does.
    let sandbox = sandbox.restart(State::Kept, |_| ()).await;
    let done = to_its_end(&sandbox).await;
    assert_eq!((done.phase, done.problem, done.id == begun.id), (Phase::Done, None, true));
    assert_eq!(sandbox.events("deal").await, before + 3 + 7);
    let mut events = events(&sandbox, "deal").await;
    for id in 2..9 {
        let events = events.remove(&id.to_string()).unwrap();
        let [(_, _, None), (kind, changes, Some(by))] = &events[..] else { panic!("{events:?}") };
        assert_eq!((kind.as_str(), by), ("updated", &begun.id));
        let want = serde_json::json!({ "name": null, "LastName": "B", "Secret": 1 });
        assert_eq!(changes, &want);
    }
    assert!(events.values().flatten().all(|(.., by)| by.is_none()), "{events:?}");

    // The same again: nothing is otherwise than it was said last.
    let target = sandbox.target("deal").await;
    backfill::begin(&target.stream, 1).unwrap();
    let of_the_first = move || backfill::step(&target, &begun.id, 3).unwrap();
    assert!(
        crate::task::blocking(of_the_first).await.is_none(),
        "a backfill takes the next one up"
    );
    let again = to_its_end(&sandbox).await;
    assert_eq!((again.records, again.published), (9, 9));
    let events = self::events(&sandbox, "deal").await;
    let last = events["0"].last().unwrap();
    assert_eq!((last.0.as_str(), &last.1), ("updated", &serde_json::json!({})));
    // A version, and what it is compared with, are as before.
    let unchanged = sandbox.mutate("deal", upsert("2", r#"{"LastName":"B"}"#)).await.unwrap();
    assert_eq!(unchanged.published, None);
}
