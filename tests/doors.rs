//! The doors, as Stripe, Debezium and Salesforce knock on them.

use crate::support::fixtures::stripe;
use crate::support::http::{Answer, Http};
use crate::support::kafka;
use crate::support::process::Tidelog;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use standardwebhooks::Webhook;
use tidelog::clock;

const SYNC: &str = "/v1/syncs/sync_1a107d79";
const SECRET: &str = "whsec_0123456789abcdef";
const ROLLED: &str = "whsec_fedcba9876543210";

fn now_s() -> i64 {
    clock::unix_ms() / 1000
}

/// Posts to a door, and says nothing of itself but what the headers say.
fn deliver(http: &Http, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    http.try_send(Method::POST, path, headers, body.to_owned()).unwrap()
}

fn results(answer: &Answer) -> Vec<Value> {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    body["results"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone()
}

/// Everything that was published of a collection: event, id, and `name` of what it holds.
fn published(tidelog: &Tidelog, collection: &str, name: &str) -> Vec<String> {
    let topic = format!("sequin.sync_1a107d79.{collection}");
    let records = kafka::read_all(&kafka::dev(&tidelog.ready), &topic);
    let text = |record: &kafka::Record| {
        let event: Value = serde_json::from_str(record.value.as_deref().unwrap()).unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        format!("{} {} {}", text("event"), text("id"), event["data"][name])
    };
    records.iter().map(text).collect()
}

/// What Stripe sends, some time ago.
struct Stripe<'a> {
    http: &'a Http,
    sync: &'a str,
    secret: &'a str,
    age_s: i64,
}

impl Stripe<'_> {
    fn signature(&self, body: &str) -> String {
        let at = now_s() - self.age_s;
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(format!("{at}.{body}").as_bytes());
        let hex: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={at},v1={hex},v0=00")
    }

    fn send(&self, body: &str) -> Answer {
        let path = format!("/v1/ingest/stripe/{}", self.sync);
        deliver(self.http, &path, &[("stripe-signature", &self.signature(body))], body)
    }
}

/// An event of Stripe's about its own fixture of a subscription.
fn event(id: &str, kind: &str, created: i64, status: &str) -> String {
    let mut object: Value = serde_json::from_str(stripe()["subscription"].get()).unwrap();
    let before = object["status"].take();
    object["status"] = status.into();
    object["id"] = "sub_1".into();
    json!({
        "id": id, "object": "event", "api_version": null, "created": created, "type": kind,
        "data": {"object": object, "previous_attributes": {"status": before}},
        "livemode": false, "pending_webhooks": 1,
    })
    .to_string()
}

#[test]
fn stripes_webhooks_become_events_in_the_order_in_which_things_happened() {
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    let owner = Http::dev(&tidelog.ready);
    owner.put(SYNC, r#"{"collections":{"subscription":{}}}"#).json();
    let door = format!("{SYNC}/doors/stripe");
    owner.get(&door).refusal(404);
    let shown = owner.put(&door, json!({ "secret": SECRET }).to_string()).json();
    assert_eq!(shown["secrets"], json!(["whsec_...cdef"]));
    assert_eq!(shown["url"], format!("{}/v1/ingest/stripe/sync_1a107d79", tidelog.ready.http));

    let nobody = Http::nobody(&tidelog.ready);
    let from = Stripe { http: &nobody, sync: "sync_1a107d79", secret: SECRET, age_s: 0 };
    let created = event("evt_1", "customer.subscription.created", 100, "trialing");
    let updated = event("evt_2", "customer.subscription.updated", 200, "active");
    let deleted = event("evt_3", "customer.subscription.deleted", 300, "canceled");
    let outcome = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        let result = results(answer).remove(0);
        (result["event"].clone(), result["stale"] == true)
    };
    assert_eq!(outcome(&from.send(&updated)), ("inserted".into(), false));
    assert_eq!(outcome(&from.send(&created)), (Value::Null, true), "late");
    let same_second = event("evt_5", "customer.subscription.created", 200, "incomplete");
    assert_eq!(outcome(&from.send(&same_second)), (Value::Null, true), "late, by less");
    assert_eq!(outcome(&from.send(&updated)), (Value::Null, false), "again");
    let balance = r#"{"id":"evt_4","object":"event","type":"balance.available","created":1,"data":{"object":{"object":"balance"}}}"#;
    assert_eq!(
        results(&from.send(balance))[0]["passed"],
        "a 'balance' has no id, so it is no record"
    );
    from.send("{}").refusal(400);

    // A door outlives the process, and a secret its successor's arrival.
    tidelog.kill();
    let tidelog = Tidelog::dev(dir.path());
    let (owner, nobody) = (Http::dev(&tidelog.ready), Http::nobody(&tidelog.ready));
    let from = Stripe { http: &nobody, sync: "sync_1a107d79", secret: SECRET, age_s: 0 };
    owner.put(&door, json!({ "secrets": [ROLLED, SECRET] }).to_string()).json();
    assert_eq!(outcome(&from.send(&deleted)), ("deleted".into(), false));
    let rolled = Stripe { secret: ROLLED, ..from };
    assert_eq!(outcome(&rolled.send(&updated)), (Value::Null, true), "it stays deleted");
    let want = [r#"inserted sub_1 "active""#, r#"deleted sub_1 "active""#];
    assert_eq!(published(&tidelog, "subscription", "status"), want);

    // Whoever has no right signature learns nothing of what is there.
    owner.put("/v1/syncs/sync_no_door", "{}").json();
    let refusals = [
        Stripe { secret: "whsec_another", ..rolled }.send(&updated),
        Stripe { sync: "sync_no_door", ..rolled }.send(&updated),
        Stripe { sync: "sync_unknown", ..rolled }.send(&updated),
        deliver(&nobody, "/v1/ingest/stripe/sync_1a107d79", &[], &updated),
        deliver(&owner, "/v1/ingest/stripe/sync_1a107d79", &[], &updated),
    ];
    for refusal in &refusals {
        assert_eq!((refusal.status, &refusal.body), (401, &refusals[0].body));
    }
    let old = Stripe { age_s: 301, ..rolled }.send(&updated).refusal(401);
    assert_eq!(old, "the signature was made more than 300 seconds from now");
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20));
    rolled.send(&long).refusal(413);
    owner.delete(&door);
    assert_eq!(rolled.send(&updated).body, refusals[0].body);
}

#[test]
fn each_account_has_its_own_door_at_a_sync_of_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let owner = Http::dev(&tidelog.ready);
    let acme = Http::operator(&tidelog.ready).post("/v1/accounts", r#"{"name":"acme"}"#).json();
    let text = |name: &str| acme[name].as_str().unwrap();
    let other = Http::account(&tidelog.ready.http, text("username"), text("password"));
    let nobody = Http::nobody(&tidelog.ready);
    for (http, secret) in [(&owner, SECRET), (&other, ROLLED)] {
        http.put(SYNC, r#"{"collections":{"subscription":{}}}"#).json();
        http.put(&format!("{SYNC}/doors/stripe"), json!({ "secret": secret }).to_string()).json();
    }
    let sent = event("evt_1", "customer.subscription.created", 100, "active");
    let from = Stripe { http: &nobody, sync: "sync_1a107d79", secret: ROLLED, age_s: 0 };
    assert_eq!(results(&from.send(&sent))[0]["event"], "inserted");
    let record = format!("{SYNC}/collections/subscription/records/sub_1");
    owner.get(&record).refusal(404);
    assert_eq!(other.get(&record).json()["status"], "active");
}

#[test]
fn debezium_server_posts_its_envelopes_signed() {
    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let (owner, nobody) = (Http::dev(&tidelog.ready), Http::nobody(&tidelog.ready));
    owner.put(SYNC, r#"{"collections":{"orders":{}}}"#).json();
    let refused = owner.put(&format!("{SYNC}/doors/debezium"), r#"{"secret":"whsec_a"}"#);
    assert!(refused.refusal(400).starts_with("secrets[0]: expected base64"));
    owner.put(&format!("{SYNC}/doors/debezium"), json!({ "secret": KEY }).to_string()).json();
    let envelope = |op: &str, lsn: i64, n: Option<i64>| {
        let row = |n: i64| json!({ "no": 7, "n": n });
        json!({
            "before": if op == "d" { row(0) } else { Value::Null },
            "after": n.map(row),
            "source": {"connector": "postgresql", "table": "orders", "lsn": lsn, "ts_ms": 1},
            "op": op, "ts_ms": 2,
        })
    };
    let path = "/v1/ingest/debezium/sync_1a107d79?key=no";
    let send = |body: &str, key: &str| {
        let at = now_s();
        let key = Webhook::from_bytes(STANDARD.decode(&key[6..]).unwrap()).unwrap();
        let signature = key.sign("msg_1", at, body.as_bytes()).unwrap();
        let at = at.to_string();
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        deliver(&nobody, path, &headers, body)
    };
    let with_schema =
        json!({ "schema": {"type": "struct"}, "payload": envelope("c", 10, Some(1)) });
    assert_eq!(results(&send(&with_schema.to_string(), KEY))[0]["event"], "inserted");
    assert_eq!(results(&send(&envelope("u", 30, Some(3)).to_string(), KEY))[0]["event"], "updated");
    assert_eq!(results(&send(&envelope("u", 20, Some(2)).to_string(), KEY))[0]["stale"], true);
    let wrong = send("{}", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(wrong.status, 401);
    deliver(&nobody, path, &[], "{}").refusal(401);

    // Another table of the same name.
    let mut elsewhere = envelope("c", 10, Some(1));
    elsewhere["source"]["schema"] = "other".into();
    let named = format!("{path}&collection=schema.table");
    let other = results(&deliver(&owner, &named, &[], &elsewhere.to_string())).remove(0);
    assert_eq!(
        (&other["collection"], &other["event"]),
        (&"other.orders".into(), &"inserted".into())
    );
    let wrong = deliver(&owner, &format!("{path}&collection=x"), &[], "{}").refusal(400);
    assert!(wrong.contains("expected `table` or `schema.table`"), "{wrong}");

    // Lines with their keys, from somebody with the account's credentials.
    let lines = [
        json!({ "key": {"no": 8}, "value": envelope("r", 40, Some(8)) }),
        json!({ "key": {"no": 7}, "value": envelope("d", 50, None) }),
        json!({ "key": {"no": 7}, "value": null }),
    ];
    let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
    let events: Vec<_> = results(&deliver(&owner, path, &[], &lines.join("\n")))
        .iter()
        .map(|result| result["event"].clone())
        .collect();
    assert_eq!(events, ["inserted".into(), "deleted".into(), Value::Null]);
    let truncated =
        deliver(&owner, path, &[], &format!("[{},{}]", envelope("t", 60, None), lines[0]));
    assert_eq!(truncated.status, 400);
    assert_eq!(results(&truncated)[0]["index"], 0);
    let want = ["inserted 7 1", "updated 7 3", "inserted 8 8", "deleted 7 3"];
    assert_eq!(published(&tidelog, "orders", "n"), want);
}

/// What is sent, and what becomes of it, of one source's fixtures.
#[derive(serde::Deserialize)]
struct Sent {
    of: String,
    item: Value,
    want: String,
}

/// Sends each by itself, as its source's connector writes it.
fn become_what_they_say(http: &Http, path: &str, fixtures: &str) {
    let sent: Vec<Sent> = serde_json::from_str(fixtures).unwrap();
    for Sent { of, item, want } in sent {
        let found = results(&deliver(http, path, &[], &item.to_string())).into_iter();
        let text = |result: Value| {
            if result["passed"].is_string() {
                return "passed".to_owned();
            }
            if let Some(code) = result["code"].as_str() {
                return code.to_owned();
            }
            assert_ne!(result["stale"], true, "{of}");
            let text = |name: &str| result[name].as_str().unwrap_or("nothing").to_owned();
            format!("{} {} {}", text("event"), text("collection"), text("id"))
        };
        assert_eq!(found.map(text).collect::<Vec<_>>().join(", "), want, "{of}");
    }
}

#[test]
fn what_each_connector_writes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let owner = Http::dev(&tidelog.ready);
    owner.put(SYNC, "{}").json();
    let debezium = include_str!("fixtures/debezium-envelopes.json");
    become_what_they_say(&owner, "/v1/ingest/debezium/sync_1a107d79", debezium);
    let salesforce = include_str!("fixtures/salesforce-events.json");
    become_what_they_say(&owner, "/v1/ingest/salesforce/sync_1a107d79", salesforce);
    let account = owner.get(&format!("{SYNC}/collections/account/records/001Ws00000AbcDeIAJ"));
    assert_eq!(account.json()["BillingAddress"]["City"], "Stockholm");
}

#[test]
fn a_row_that_was_read_makes_no_later_change_stale() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let owner = Http::dev(&tidelog.ready);
    owner.put(SYNC, r#"{"collections":{"orders":{}}}"#).json();
    let send = |op: &str, source: &Value, n: i64| {
        let envelope = json!({ "op": op, "source": source, "after": {"id": 1, "n": n} });
        let path = "/v1/ingest/debezium/sync_1a107d79";
        let result = results(&deliver(&owner, path, &[], &envelope.to_string())).remove(0);
        let stale = result["stale"] == true;
        (result["event"].as_str().map(str::to_owned), result["version"].as_i64(), stale)
    };
    let at = |ms: i64| json!({ "connector": "mysql", "table": "orders", "ts_ms": ms });
    let event = |name: &str, version| (Some(name.to_owned()), version, false);
    // MySQL's snapshot is of one moment, and dates each row by when its turn came.
    assert_eq!(send("r", &at(50), 1), event("inserted", None));
    assert_eq!(send("u", &at(20), 2), event("updated", Some(20)));
    // Read before the change that is held it is older; read since it is not, and raises nothing.
    assert_eq!(send("r", &at(10), 1), (None, Some(20), true));
    assert_eq!(send("r", &at(30), 3), event("updated", Some(20)));
    assert_eq!(send("u", &at(25), 4), event("updated", Some(25)));
    assert_eq!(send("r", &at(60), 4), (None, Some(25), false));
    assert_eq!(send("u", &at(24), 2), (None, Some(25), true));
}

#[test]
fn salesforces_change_events_patch_what_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let (owner, nobody) = (Http::dev(&tidelog.ready), Http::nobody(&tidelog.ready));
    owner.put(SYNC, r#"{"collections":{"contact":{"columns":{"LastName":"last_name"}}}}"#).json();
    let change = |kind: &str, number: i64, lists: Value, fields: Value| {
        let mut header = json!({
            "entityName": "Contact", "recordIds": ["003A", "003B"], "changeType": kind,
            "commitNumber": number, "commitTimestamp": 1_700_000_000_000_i64,
        });
        header.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
        let mut payload = fields;
        payload["ChangeEventHeader"] = header;
        json!({ "schema": "s", "payload": payload, "event": {"replayId": 1} }).to_string()
    };
    let path = "/v1/ingest/salesforce/sync_1a107d79";
    let fields = json!({ "LastName": "A", "Phone": "1", "Title": "T" });
    let created = change("CREATE", 10, json!({}), fields);
    deliver(&nobody, path, &[], &created).refusal(401);
    assert_eq!(results(&deliver(&owner, path, &[], &created))[1]["id"], "003B");
    let lists = json!({ "changedFields": ["LastName", "Phone"], "nulledFields": ["Phone"] });
    let fields = json!({ "LastName": "B", "Phone": null, "Title": null });
    let updated = change("UPDATE", 20, lists, fields);
    let events = results(&deliver(&owner, path, &[], &updated));
    assert_eq!((&events[0]["event"], &events[1]["event"]), (&"updated".into(), &"updated".into()));
    let record = owner.get(&format!("{SYNC}/collections/contact/records/003A")).json();
    assert_eq!(record, json!({ "last_name": "B", "Title": "T" }));
    let gap = deliver(&owner, path, &[], &change("GAP_UPDATE", 30, json!({}), json!({})));
    assert_eq!(gap.status, 422);
    assert_eq!(results(&gap)[0]["code"], "gap");
    let gone = change("GAP_DELETE", 40, json!({}), json!({}));
    assert_eq!(results(&deliver(&owner, path, &[], &gone))[0]["event"], "deleted");
    assert_eq!(results(&deliver(&owner, path, &[], &updated))[0]["stale"], true);
}
