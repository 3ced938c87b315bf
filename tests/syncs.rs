//! Syncs over HTTP, as their owner uses them: made, changed, deleted, and what events are like
//! before and after.

use crate::support::desk::{Desk, records};
use serde_json::{Value, json};

#[test]
fn a_sync_is_made_listed_read_changed_and_deleted() {
    let desk = Desk::new();
    let http = &desk.http;
    let made = http.post("/v1/syncs", r#"{"provider":"hubspot"}"#);
    assert_eq!(made.status, 201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let digits = id.strip_prefix("sync_").unwrap();
    assert!(digits.len() == 8 && digits.bytes().all(|it| it.is_ascii_hexdigit()), "{id}");

    let definition = json!({
        "name": "CRM", "provider": "salesforce", "external_id": "42",
        "metadata": {"team": "sales"}, "naming": "snake_case",
        "collections": {"Contact": {"drop": ["Secret"], "retention": "7days", "partitions": 2}},
    });
    let put = desk.put_sync("crm", definition.clone());
    for (field, value) in definition.as_object().unwrap() {
        assert_eq!(&put[field], value);
    }
    let status = json!({"Contact": {
        "topic": "sequin.crm.Contact", "table": "contact", "mapping_version": 1,
    }});
    assert_eq!(put["status"]["collections"], status);
    assert_eq!(http.get("/v1/syncs/crm").json(), put);
    let topics = http.get("/v1/topics").json();
    assert_eq!(topics[0]["partitions"], 2);
    assert_eq!(topics[0]["configs"], json!({"retention.ms": "604800000"}));

    // Two pages.
    let first = http.get("/v1/syncs?limit=1");
    assert_eq!(first.json().as_array().unwrap().len(), 1);
    assert_eq!(first.json()[0]["id"], "crm");
    let second = http.get("/v1/syncs?limit=1&after=crm").json();
    assert_eq!(second[0]["id"], *id);
    assert_eq!(http.get("/v1/syncs").json().as_array().unwrap().len(), 2);

    let patch = r#"{"name":null,"collections":{"Contact":{"retention":"forever"}}}"#;
    let patched = http.patch("/v1/syncs/crm", patch).json();
    assert_eq!(patched["name"], Value::Null);
    assert_eq!(patched["collections"]["Contact"]["drop"], json!(["Secret"]));
    assert_eq!(http.get("/v1/topics").json()[0]["configs"], json!({"retention.ms": "-1"}));
    let grown = r#"{"collections":{"Contact":{"partitions":3}}}"#;
    let refusal = http.patch("/v1/syncs/crm", grown).refusal(409);
    assert!(refusal.contains("sequin.crm.Contact' has 2 partition(s)"), "{refusal}");
    http.patch("/v1/syncs/none", "{}").refusal(404);

    assert_eq!(desk.put("crm/Contact/1", json!({"LastName": "B", "Secret": 1})), "inserted");
    assert_eq!(http.get(&records("crm/Contact/1")).json(), json!({"last_name": "B"}));
}

#[test]
fn a_deleted_sync_takes_nothing_and_its_topics_stay_unless_they_are_to_go() {
    let desk = Desk::new();
    let http = &desk.http;
    for sync in ["kept", "gone"] {
        desk.put_sync(sync, json!({}));
        assert_eq!(desk.put(&format!("{sync}/contact/1"), json!({"a": 1})), "inserted");
    }
    let kept = http.delete("/v1/syncs/kept").json();
    let topic = "sequin.kept.contact";
    let want = json!({"deleted": "kept", "topics": {"kept": [topic], "deleted": []}});
    assert_eq!(kept, want);
    let gone = http.delete("/v1/syncs/gone?topics=delete").json();
    assert_eq!(gone["topics"]["deleted"], json!(["sequin.gone.contact"]));
    for sync in ["kept", "gone"] {
        http.put(&records(&format!("{sync}/contact/1")), "{}").refusal(404);
        http.get(&format!("/v1/syncs/{sync}")).refusal(404);
        http.delete(&format!("/v1/syncs/{sync}")).refusal(404);
    }
    let topics = http.get("/v1/topics").json();
    assert_eq!(topics.as_array().unwrap().len(), 1);
    assert_eq!(desk.values(topic).len(), 1);
    // The topic is one like any other now.
    http.post(&format!("/produce/{topic}"), r#"{"value":"mine"}"#).json();
    let taken = http.put("/v1/syncs/kept", r#"{"collections":{"contact":{}}}"#).refusal(409);
    assert!(taken.contains(topic), "{taken}");

    // A sync made anew knows nothing of what there was.
    desk.put_sync("gone", json!({}));
    assert_eq!(desk.put("gone/contact/1", json!({"a": 1})), "inserted");
}

#[test]
fn the_first_record_makes_its_collection_with_topic_and_table() {
    let desk = Desk::new();
    let http = &desk.http;
    desk.put_sync("crm", json!({"naming": "snake_case"}));
    http.get(&records("crm/LineItem/1")).refusal(404);
    assert_eq!(desk.put("crm/LineItem/1", json!({"UnitPrice": 1.50})), "inserted");
    let batch = r#"[{"op":"upsert","id":"1","data":{}}]"#;
    http.post("/v1/syncs/crm/collections/Order.v2/records", batch).json();
    let status = &http.get("/v1/syncs/crm").json()["status"]["collections"];
    assert_eq!(status["LineItem"]["table"], "line_item");
    assert_eq!(status["Order.v2"]["table"], "order_v2");
    let event = &desk.values("sequin.crm.LineItem")[0];
    assert_eq!(event["table_db_name"], "line_item");
    assert_eq!(event["data"], json!({"unit_price": 1.5}));
    // Records do not lose their table because the rule is another now.
    http.patch("/v1/syncs/crm", r#"{"naming":"as-is"}"#).json();
    let status = &http.get("/v1/syncs/crm").json()["status"]["collections"];
    assert_eq!(status["LineItem"]["table"], "line_item");
    // A definition that does not mention a collection does not end it.
    let put = desk.put_sync("crm", json!({"new_collections": "refuse"}));
    assert_eq!(put["status"]["collections"].as_object().unwrap().len(), 2);
    let refusal = http.put(&records("crm/Ordr/1"), "{}").refusal(404);
    assert!(refusal.contains("LineItem, Order.v2"), "{refusal}");
    http.put(&records("crm/a b/1"), "{}").refusal(400);
}

#[test]
fn another_mapping_is_used_by_later_events_and_changes_no_record_by_itself() {
    let desk = Desk::new();
    let http = &desk.http;
    desk.put_sync("crm", json!({"collections": {"contact": {}}}));
    let record = |name: &str| json!({"LastName": name, "FirstName": "A", "Secret": 1});
    for id in ["1", "2", "3"] {
        assert_eq!(desk.put(&format!("crm/contact/{id}"), record("B")), "inserted");
    }
    let other = json!({"naming": "snake_case", "collections": {"contact": {
        "columns": {"LastName": "surname"}, "drop": ["Secret"], "lock": ["FirstName"],
    }}});
    let put = desk.put_sync("crm", other);
    assert_eq!(put["status"]["collections"]["contact"]["mapping_version"], 2);
    assert_eq!(put["collections"]["contact"]["lock"], json!({"FirstName": "FirstName"}));

    // Who sends the same again changes nothing, also if only what is left out is another.
    assert_eq!(desk.put("crm/contact/1", record("B")), Value::Null);
    let secret = json!({"LastName": "B", "FirstName": "A", "Secret": 2});
    assert_eq!(desk.put("crm/contact/1", secret), Value::Null);
    assert_eq!(
        http.patch(&records("crm/contact/1"), r#"{"LastName":"B"}"#).json()["event"],
        Value::Null
    );

    assert_eq!(desk.put("crm/contact/1", record("C")), "updated");
    let patched = http.patch(&records("crm/contact/2"), r#"{"FirstName":"D"}"#).json();
    assert_eq!(patched["event"], "updated");
    assert_eq!(http.delete(&records("crm/contact/3")).json()["event"], "deleted");
    let events = desk.values("sequin.crm.contact");
    let [one, two, three] = &events[3..] else { panic!("{events:?}") };
    assert_eq!(one["data"], json!({"surname": "C", "FirstName": "A"}));
    assert_eq!(one["changes"], json!({"surname": "B"}));
    assert_eq!(two["data"], json!({"surname": "B", "FirstName": "D"}));
    assert_eq!(two["changes"], json!({"FirstName": "A"}));
    assert_eq!(three["data"], json!({"surname": "B", "FirstName": "A"}));
}

#[test]
fn where_compaction_is_on_a_null_value_follows_a_deleted_event() {
    let desk = Desk::new();
    let collections = json!({
        "contact": {"compaction": true},
        "deal": {"compaction": true, "tombstones": false},
    });
    desk.put_sync("crm", json!({"collections": collections}));
    for collection in ["contact", "deal"] {
        let path = format!("crm/{collection}/1");
        assert_eq!(desk.put(&path, json!({"a": 1})), "inserted");
        desk.http.delete(&records(&path)).json();
        assert_eq!(desk.put(&path, json!({"a": 1})), "inserted", "it was gone");
    }
    let kinds = |topic: &str| {
        let kind = |value: &Value| value["event"].as_str().unwrap_or("null").to_owned();
        desk.values(topic).iter().map(kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds("sequin.crm.contact"), ["inserted", "deleted", "null", "inserted"]);
    assert_eq!(kinds("sequin.crm.deal"), ["inserted", "deleted", "inserted"]);
    let topics = desk.http.get("/v1/topics").json();
    assert_eq!(topics[0]["configs"], json!({"cleanup.policy": "compact"}));
}
