//! What is refused: what it leaves behind, and what its answer waits for.

use super::*;

const SNAPSHOTS: &str = "/v1/syncs/sync_a/collections/deal/snapshots";
const RECORDS: &str = "/v1/syncs/sync_a/collections/deal/records";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_could_not_take_is_no_record_that_is_gone() {
    let sandbox = Sandbox::new().await;
    let upsert = |id: &str, data: &str| format!(r#"{{"op":"upsert","id":"{id}","data":{data}}}"#);
    for id in ["gone", "deep", "put", "atomic", "beside", "much"] {
        sandbox.mutate("deal", super::upsert(id, "{}")).await.unwrap();
    }
    let snapshot = sandbox.http(&format!("POST {SNAPSHOTS}"), &[], "").await.json;
    let page = format!("POST {SNAPSHOTS}/{}/records", snapshot["id"].as_str().unwrap());
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    let refused = sandbox.http(&page, &[], &upsert("deep", &deep)).await;
    assert_eq!(refused.json["results"][0]["code"], "bad_request");
    assert_eq!(sandbox.http(&format!("PUT {RECORDS}/put"), &[], "{").await.status, 400);
    let atomic = format!("{page}?atomic=true");
    for wrong in [r#"{"op":"patch","id":"1"}"#.to_owned(), upsert("1", &deep), "{}".to_owned()] {
        let items = [upsert("atomic", r#"{"a":1}"#), wrong, upsert("beside", "{}")];
        assert_eq!(sandbox.http(&atomic, &[], &items.join("\n")).await.status, 400);
    }
    // More than is held of an atomic batch: what comes after is touched and not compared.
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(900_000));
    sandbox.mutate("deal", super::upsert("large", &large)).await.unwrap();
    let mut items: Vec<_> = (0..160).map(|b| upsert("large", &format!(r#"{{"b":{b}}}"#))).collect();
    items.iter_mut().for_each(|item| *item = item.replace("upsert", "patch"));
    items.push(upsert("much", "{}"));
    assert_eq!(sandbox.http(&atomic, &[], &items.join("\n")).await.status, 413);

    let close = format!("POST {SNAPSHOTS}/{}/close", snapshot["id"].as_str().unwrap());
    let closed = sandbox.http(&close, &[], "").await.json;
    assert_eq!((&closed["state"], &closed["deleted"]), (&"closed".into(), &1.into()));
    assert_eq!(sandbox.http(&format!("GET {RECORDS}/gone"), &[], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_waits_for_nothing_that_it_would_have_done_and_leaves_nothing_of_it() {
    let sandbox = Sandbox::new().await;
    let put = async |id: &str, version: &str| {
        let version = [("tidelog-version", version)];
        sandbox.http(&format!("PUT {RECORDS}/{id}"), &version, "{}").await.json
    };
    put("held", "5").await;
    let atomic = format!("POST {RECORDS}?atomic=true");
    for (id, version) in [("new", 5), ("held", 7)] {
        let item = |version: &str| {
            format!(r#"{{"op":"upsert","id":"{id}","version":{version},"data":{{}}}}"#)
        };
        let items = [item(&version.to_string()), item(r#""2024-11-10T18:39:00Z""#)];
        let refused = sandbox.http(&atomic, &[], &items.join("\n")).await.json;
        assert_eq!(refused["results"][0]["index"], 1, "{refused}");
    }
    assert_eq!(put("held", "6").await["version"], 6);
    assert_eq!(sandbox.events("deal").await, 1);
}
