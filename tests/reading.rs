//! Reading what is known of records: a collection in pages, and a record as it was.

use crate::support::desk::{Desk, records};
use serde_json::{Value, json};

#[test]
fn a_collection_is_read_by_id_in_pages_as_it_was_acknowledged() {
    let desk = Desk::new();
    let http = &desk.http;
    desk.put_sync("crm", json!({"collections": {"contact": {"partitions": 3}}}));
    let path = "/v1/syncs/crm/collections/contact/records";
    let ids: Vec<String> = (0..25).map(|it| format!("é/{it:02}")).collect();
    let items = ids.iter().map(|id| json!({"op": "upsert", "id": id, "data": {"n": id}}));
    http.post(path, Value::Array(items.collect()).to_string()).json();
    let gone = json!([{"op": "delete", "id": ids[3]}, {"op": "delete", "id": ids[24]}]);
    http.post(path, gone.to_string()).json();

    let mut found = Vec::new();
    let mut next = Some(format!("{path}?limit=7"));
    let mut pages = 0;
    while let Some(page) = next {
        let answer = http.get(&page).json();
        for record in answer["records"].as_array().unwrap() {
            assert_eq!(record["data"]["n"], record["id"]);
            found.push(record["id"].as_str().unwrap().to_owned());
        }
        next = answer["next"].as_str().map(str::to_owned);
        pages += 1;
        assert!(pages < 10);
    }
    let left: Vec<String> =
        ids.into_iter().filter(|id| !["é/03", "é/24"].contains(&&**id)).collect();
    assert_eq!(found, left);
    http.get("/v1/syncs/crm/collections/lead/records").refusal(404);
    let refusal = http.get(&format!("{path}?limit=1001")).refusal(400);
    assert!(refusal.contains("1 to 1000"), "{refusal}");
}

#[test]
fn a_record_is_read_as_it_was_at_a_time() {
    let desk = Desk::new();
    let http = &desk.http;
    desk.put_sync("crm", json!({}));
    let path = "crm/contact/1";
    let before = "2020-01-01T00:00:00Z";
    desk.put(path, json!({"name": "A"}));
    desk.put("crm/contact/2", json!({"name": "x"}));
    desk.put(path, json!({"name": "B"}));
    // Enough of others in between that the way back has more than one step.
    let others: Vec<_> =
        (0..3000).map(|it| json!({"op": "upsert", "id": format!("o{it}"), "data": {}})).collect();
    let batch = "/v1/syncs/crm/collections/contact/records";
    http.post(batch, Value::Array(others).to_string()).json();
    http.delete(&records(path)).json();
    desk.put(path, json!({"name": "C"}));

    let events = desk.values("sequin.crm.contact");
    let own = events.iter().filter(|event| event["id"] == "1");
    let at: Vec<_> = own.map(|event| event["created_at"].as_str().unwrap()).collect();
    let [inserted, updated, deleted, again] = at[..] else { panic!("{at:?}") };
    let read = |id: &str, at: &str| {
        http.get(&format!("{}?at={at}", records(&format!("crm/contact/{id}"))))
    };
    assert_eq!(read("1", inserted).body, r#"{"name":"A"}"#);
    assert_eq!(read("1", updated).body, r#"{"name":"B"}"#);
    let last = events[events.len() - 3]["created_at"].as_str().unwrap();
    assert_eq!(read("1", last).body, r#"{"name":"B"}"#);
    let refusal = read("1", deleted).refusal(404);
    assert!(refusal.contains("did not exist at"), "{refusal}");
    assert_eq!(read("1", again).body, r#"{"name":"C"}"#);
    assert_eq!(read("1", "2100-01-01T00:00:00Z").body, r#"{"name":"C"}"#);
    assert_eq!(read("2", "2100-01-01T00:00:00Z").body, r#"{"name":"x"}"#);
    read("1", before).refusal(404);
    read("none", again).refusal(404);
    let refusal = read("1", "yesterday").refusal(400);
    assert!(refusal.contains("RFC 3339") && refusal.contains("yesterday"), "{refusal}");

    // What compaction may have removed is not claimed never to have been.
    http.patch("/v1/syncs/crm", r#"{"collections":{"contact":{"compaction":true}}}"#).json();
    let refusal = read("1", before).refusal(410);
    assert!(refusal.contains("compaction"), "{refusal}");
}
