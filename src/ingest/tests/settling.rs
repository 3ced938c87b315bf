//! Records move to the state store behind the answers, and memory is bounded all the same.

use super::*;
use crate::ingest::registry::Topics;
use crate::ingest::state::{Row, Rows};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_cannot_be_deleted_knows_what_its_records_are() {
    let sandbox = Sandbox::new().await;
    let (cluster, id) = (sandbox.cluster(), SyncId::parse("sync_a").unwrap());
    sandbox.put("contact", r#"{"a":1}"#).await.unwrap();
    let target = sandbox.target("contact").await;
    sandbox.broker.shared.control.close().await;
    for topics in [Topics::Keep, Topics::Delete] {
        sandbox.ingest.delete_sync(&cluster, &id, topics).await.unwrap_err();
        assert_eq!(sandbox.put("contact", r#"{"a":1}"#).await.unwrap().published, None);
    }
    let done = target.mutate(vec![upsert("003", r#"{"a":1}"#)]).pop().unwrap();
    assert_eq!(done.unwrap().published, None, "also whoever found it before");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_records_are_read_a_few_at_a_time() {
    let sandbox = Sandbox::new().await;
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(900_000));
    for id in 10..22 {
        sandbox.mutate("contact", upsert(&id.to_string(), &text)).await.unwrap();
    }
    let stream = sandbox.target("contact").await.stream;
    stream.settle().unwrap();
    let (known, is_all) = stream.known_after("", 1000).unwrap();
    assert_eq!((known.len(), is_all), (10, false), "8 MiB, and the record that goes beyond");

    let mut next = Some("/v1/syncs/sync_a/collections/contact/records?limit=1000".to_owned());
    let mut listed = Vec::new();
    while let Some(page) = next {
        let answer = sandbox.http(&format!("GET {page}"), &[], "").await.json;
        let records = answer["records"].as_array().unwrap();
        listed.extend(records.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        next = answer["next"].as_str().map(str::to_owned);
    }
    assert_eq!(listed, (10..22).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn small_patches_of_a_large_record_do_not_fill_the_memory() {
    let sandbox = Sandbox::new().await;
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(900_000));
    sandbox.mutate("contact", upsert("1", &text)).await.unwrap();
    let stream = sandbox.target("contact").await.stream;
    let rows = Rows::new(sandbox.broker.shared.state.clone(), stream.topic().id);
    let patch = |value| format!(r#"{{"op":"patch","id":"1","data":{{"b":{value}}}}}"#);
    let patches = |count| (0..count).map(patch).collect::<Vec<_>>().join("\n");
    let versions = |count| {
        let version = |at| format!(r#"{{"op":"patch","id":"1","data":{{}},"version":{at}}}"#);
        (0..count).map(version).collect::<Vec<_>>().join("\n")
    };

    let records = "POST /v1/syncs/sync_a/collections/contact/records";
    let answer = sandbox.http(records, &[], &patches(25)).await.json;
    let results = answer["results"].as_array().unwrap();
    let events: Vec<_> = results.iter().map(|it| it["event"].as_str()).collect();
    assert_eq!(events, [Some("updated"); 25]);
    let offsets: Vec<_> = results.iter().map(|it| it["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, (1..26).collect::<Vec<_>>());
    let row = rows.get("1").unwrap();
    assert!(row.offset >= 18, "what came before the last 8 MiB is not in memory any more");

    let refused = sandbox.http(&format!("{records}?atomic=true"), &[], &patches(160)).await;
    assert_eq!(refused.status, 413, "{}", refused.json);
    assert_eq!(sandbox.events("contact").await, 26);

    // Under a key they stay in memory until they are answered.
    let keyed = sandbox.http(records, &[("idempotency-key", "k")], &patches(160)).await.json;
    let results = keyed["results"].as_array().unwrap();
    let published = results.iter().take_while(|it| it["event"] == "updated").count();
    assert!((140..155).contains(&published), "{published}");
    assert!(results[published..].iter().all(|it| it["code"] == "too_large"));

    // A version that publishes nothing is held with its record.
    let atomic = format!("{records}?atomic=true");
    assert_eq!(sandbox.http(&atomic, &[], &versions(160)).await.status, 413);
    let keyed = sandbox.http(records, &[("idempotency-key", "v")], &versions(160)).await.json;
    assert_eq!(keyed["results"][159]["code"], "too_large");
    assert_eq!(sandbox.http(&atomic, &[], &versions(3)).await.status, 200);
}

/// Nobody settles here but what mutations do themselves, so what they leave to others is seen.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_waits_for_the_store_until_too_much_waits_for_it() {
    let sandbox = Sandbox::new().await;
    let stream = sandbox.target("contact").await.stream;
    let rows = Rows::new(sandbox.broker.shared.state.clone(), stream.topic().id);
    let stored = |id: &str| rows.get(id).unwrap() != Row::NONE;
    let text = |id: usize| format!(r#"{{"a":"{id}{}"}}"#, "x".repeat(100_000));

    sandbox.mutate("contact", upsert("0", &text(0))).await.unwrap();
    assert!(!stream.had_much(), "the next round of the settler does it");
    sandbox.mutate("contact", upsert("1", &text(1))).await.unwrap();
    sandbox.mutate("contact", upsert("2", &text(2))).await.unwrap();
    assert!(stream.had_much(), "it is asked to come sooner");
    assert!(!stream.had_much(), "and once");

    let mut put = 3;
    while !stored("0") {
        assert!(put * 100_000 < 5 * MIB, "memory grows without end");
        sandbox.mutate("contact", upsert(&put.to_string(), &text(put))).await.unwrap();
        put += 1;
    }
    assert!(put * 100_000 > 4 * MIB, "an answer waited for the store at {put} records");
    stream.settle().unwrap();
    assert!((0..put).all(|id| stored(&id.to_string())));
}
