//! Atomic batches, and crashes in the middle of them.

use super::*;
use crate::ingest::intents::Intent;
use crate::ingest::run::Run;

const ATOMIC: &str = "POST /v1/syncs/sync_a/records?atomic=true";

/// Items that change records of several partitions and collections.
fn items() -> String {
    let item = |collection: &str, id: usize| {
        format!(r#"{{"op":"upsert","collection":"{collection}","id":"{id}","data":{{"a":{id}}}}}"#)
    };
    let items = (0..20).flat_map(|id| COLLECTIONS.map(|collection| item(collection, id)));
    items.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_is_carried_out_whole_or_not_at_all() {
    let sandbox = Sandbox::new().await;
    let refused = format!("{}\n{}", items(), r#"{"op":"patch","collection":"deal","id":"1"}"#);
    let answer = sandbox.http(ATOMIC, &[], &refused).await;
    assert_eq!((answer.status, &answer.json["code"]), (400, &"atomic_refused".into()));
    assert_eq!(answer.json["results"].as_array().unwrap().len(), 1);
    assert_eq!(answer.json["results"][0]["index"], 40);
    assert_eq!(sandbox.events("deal").await + sandbox.events("contact").await, 0);
    for _ in 0..2 {
        let answer = sandbox.http(ATOMIC, &[("idempotency-key", "k")], &items()).await;
        assert_eq!(answer.json["results"].as_array().unwrap().len(), 40);
        assert!(
            answer.json["results"].as_array().unwrap().iter().all(|it| it["event"] == "inserted")
        );
        assert_eq!(sandbox.events("deal").await + sandbox.events("contact").await, 40);
    }
    let many = "{}\n".repeat(10_000);
    assert_eq!(sandbox.http(ATOMIC, &[], &many).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_append_of_an_atomic_batch_ends_with_all_of_them() {
    for appended in 0..=3 {
        let sandbox = Sandbox::new().await;
        let target = sandbox.target("deal").await;
        let account = sandbox.cluster().account.id.clone();
        let ticket = sandbox.ingest.answers.begin(&account, "k").unwrap();
        let hold = crate::ingest::mutation::Hold::default();
        let (stream, destination) = (target.stream.clone(), target.destination());
        let mut runs: Vec<_> =
            (0..3).map(|index| stream.run(destination, index).unwrap()).collect();
        for at in 0..20 {
            let key = Some(ticket.key(Some(at), &hold));
            let (id, data) = (at.to_string(), format!(r#"{{"a":{at}}}"#));
            let mutation = Mutation { key, ..upsert(&id, &data) };
            let index = usize::try_from(stream.partition_of(&mutation.id)).unwrap();
            runs[index].plan(mutation).unwrap();
        }
        let state = sandbox.broker.shared.state.clone();
        let intent = Intent::write(&state, runs.iter_mut().map(Run::batches));
        for run in runs.into_iter().take(appended) {
            run.append_promised().unwrap();
        }
        std::mem::forget(intent);
        drop((ticket, stream, target, state));
        let sandbox = sandbox.restart(State::Kept, |_| ()).await;
        assert_eq!(sandbox.events("deal").await, 20);
        // Sent again, it is answered from what the restart completed.
        let item = |at| {
            format!(r#"{{"op":"upsert","collection":"deal","id":"{at}","data":{{"a":{at}}}}}"#)
        };
        let body = (0..20).map(item).collect::<Vec<_>>().join("\n");
        let answer = sandbox.http(ATOMIC, &[("idempotency-key", "k")], &body).await;
        assert!(
            answer.json["results"].as_array().unwrap().iter().all(|it| it["event"] == "inserted")
        );
        let sandbox = sandbox.restart(State::Kept, |_| ()).await;
        assert_eq!(sandbox.events("deal").await, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_sent_again_holds_the_versions_that_published_nothing() {
    let mut sandbox = Sandbox::new().await;
    let record = |id: &str| format!("PUT /v1/syncs/sync_a/collections/contact/records/{id}");
    sandbox.http(&record("1"), &[("tidelog-version", "9")], "{}").await;
    // A crash after its event, and before what the store is to hold of it.
    let hold = crate::ingest::mutation::Hold::default();
    let ticket = sandbox.ingest.answers.begin(&sandbox.cluster().account.id, "k").unwrap();
    let keyed = Mutation { key: Some(ticket.key(Some(0), &hold)), ..upsert("2", r#"{"v":1}"#) };
    sandbox.mutate("contact", keyed).await.unwrap();
    drop(ticket);
    sandbox = sandbox.restart(State::Kept, |_| ()).await;

    let body = r#"
        {"op":"upsert","collection":"contact","id":"2","data":{"v":1}}
        {"op":"delete","collection":"contact","id":"3","version":9}
        {"op":"upsert","collection":"contact","id":"1","data":{"v":1},"version":8}"#;
    let answer = sandbox.http(ATOMIC, &[("idempotency-key", "k")], body).await.json;
    let results = &answer["results"];
    assert_eq!(results[0]["event"], "inserted");
    assert_eq!((&results[1]["event"], &results[1]["version"]), (&().into(), &9.into()));
    assert_eq!((&results[2]["event"], &results[2]["stale"]), (&().into(), &true.into()));
    assert_eq!(sandbox.events("contact").await, 2);
    for _ in 0..2 {
        let late = sandbox.http(&record("3"), &[("tidelog-version", "5")], "{}").await;
        assert_eq!(late.json["stale"], true, "{}", late.json);
        sandbox = sandbox.restart(State::Kept, |_| ()).await;
    }
    drop(hold);
}
