//! The main job, on real input, through every door: records in, change events out, again after a
//! kill in the middle of it, on the same directory.

use crate::support::fixtures::{Members, stripe};
use crate::support::http::{Answer, Http};
use crate::support::kafka::{self, Record};
use crate::support::process::{Tidelog, fixed_address};
use crate::support::receiver::{Delivery, Receiver};
use crate::support::wait;
use rdkafka::config::ClientConfig;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use tidelog::webhook::signature::Secret;

#[test]
fn mutations_come_out_as_events_through_every_door_before_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    let printed = tidelog.ready.clone();
    let first = Round { sync: "sync_1a107d79", group: "before" };
    let published = first.run(&Doors::of(&tidelog));
    let (before, acknowledged) = kill_while_writing(&mut tidelog, first.sync);

    let mut tidelog = Tidelog::dev(dir.path());
    let credentials = |it: &crate::support::process::Ready| {
        (it.account.clone(), it.username.clone(), it.password.clone(), it.admin_token.clone())
    };
    assert_eq!(credentials(&tidelog.ready), credentials(&printed), "the same directory's account");
    let doors = Doors::of(&tidelog);
    let after = Snapshot::take(&doors, first.sync);
    after.must_hold(&before, &acknowledged);
    first.check(&doors, &published);
    first.consumes_only_what_is_new(&doors);

    let second = Round { sync: "sync_2b208e8a", group: "after" };
    second.run(&doors);
    assert!(tidelog.stop().success(), "SIGTERM is a clean end");
}

/// The program's doors, for the dev account.
struct Doors {
    http: Http,
    kafka: ClientConfig,
}

impl Doors {
    fn of(tidelog: &Tidelog) -> Self {
        Self { http: Http::dev(&tidelog.ready), kafka: kafka::dev(&tidelog.ready) }
    }
}

/// The collections, each with the column that is renamed and its name in the database.
const COLLECTIONS: [(&str, &str, &str); 5] = [
    ("subscription", "created", "made_at"),
    ("customer", "created", "made_at"),
    ("invoice", "created", "made_at"),
    ("charge", "created", "made_at"),
    ("contact", "LastName", "last_name"),
];

/// One pass over points 1 to 3, on a sync and a group of its own.
struct Round {
    sync: &'static str,
    group: &'static str,
}

/// A mutation that was acknowledged, and what its event must say.
struct Published {
    collection: &'static str,
    id: String,
    event: &'static str,
    partition: i32,
    offset: i64,
    data: Members,
    changes: Option<Vec<(&'static str, String)>>,
}

impl Round {
    fn run(&self, doors: &Doors) -> Vec<Published> {
        let mut columns = BTreeMap::new();
        for (collection, from, to) in COLLECTIONS {
            columns.insert(
                collection,
                json!({ "table": format!("{collection}s"), "columns": { from: to } }),
            );
        }
        let sync = json!({ "provider": "stripe", "collections": columns }).to_string();
        doors.http.put(&format!("/v1/syncs/{}", self.sync), sync).json();
        let mut published = self.stripe(&doors.http);
        published.extend(self.contacts(&doors.http));
        self.check(doors, &published);
        self.consumes_and_goes_on(doors);
        published
    }

    fn path(&self, collection: &str, id: &str) -> String {
        format!("/v1/syncs/{}/collections/{collection}/records/{id}", self.sync)
    }

    /// Real objects: each inserted, put again unchanged, patched, and one in two deleted.
    fn stripe(&self, http: &Http) -> Vec<Published> {
        let objects = stripe();
        let mut published = Vec::new();
        for (index, (collection, from, to)) in COLLECTIONS[..4].iter().enumerate() {
            let text = objects[*collection].get();
            let whole = Members::of(text);
            let id = whole.text("id");
            let path = self.path(collection, &id);
            let mut data = renamed(whole, from, to);
            let publish = |answer: Answer, event, data: &Members, changes| {
                let (partition, offset) = acknowledged(&answer, event);
                let (id, data) = (id.clone(), data.clone());
                Published { collection, id, event, partition, offset, data, changes }
            };
            published.push(publish(http.put(&path, text), "inserted", &data, None));

            // Other text, the same values.
            let compact = serde_json::from_str::<Value>(text).unwrap().to_string();
            nothing_published(&http.put(&path, compact));
            nothing_published(&http.patch(&path, format!("{{\"{from}\":{}}}", data.raw(to))));

            let patch = format!(
                "{{\"{from}\":{BIG},\"metadata\":{{\"tide\":\"in\"}},\"level\":{PRECISE}}}"
            );
            let changes = vec![
                (*to, data.raw(to).to_owned()),
                ("metadata", data.raw("metadata").to_owned()),
                ("level", "null".to_owned()),
            ];
            data.set(to, BIG);
            data.set("metadata", "{\"tide\":\"in\"}");
            data.set("level", PRECISE);
            published.push(publish(http.patch(&path, patch), "updated", &data, Some(changes)));
            assert_eq!(Members::of(&http.get(&path).body).raw("level"), PRECISE);

            if index % 2 == 0 {
                published.push(publish(http.delete(&path), "deleted", &data, None));
                nothing_published(&http.delete(&path));
                http.get(&path).refusal(404);
            }
        }
        published
    }

    /// Many mutations in one request, as NDJSON and as an array.
    fn contacts(&self, http: &Http) -> Vec<Published> {
        let path = format!("/v1/syncs/{}/collections/contact/records", self.sync);
        let upsert = |id: &str, name: &str| {
            format!(
                r#"{{"op":"upsert","id":"{id}","data":{{"LastName":"{name}","n":{BIG},"at":{{"z":[1.0,null],"a":1}}}}}}"#
            )
        };
        let lines = [
            upsert("003", "Hopper"),
            upsert("003", "Hopper"),
            r#"{"op":"patch","id":"003","data":{"LastName":"Murray Hopper"}}"#.to_owned(),
            upsert("004/ü", "Lovelace"),
            r#"{"op":"delete","id":"004/ü"}"#.to_owned(),
        ];
        let data = |name: &str| {
            let text =
                format!(r#"{{"last_name":"{name}","n":{BIG},"at":{{"z":[1.0,null],"a":1}}}}"#);
            Members::of(&text)
        };
        let hopper = vec![("last_name", "\"Hopper\"".to_owned())];
        let expected = [
            Some(("003", "inserted", data("Hopper"), None)),
            None,
            Some(("003", "updated", data("Murray Hopper"), Some(hopper))),
            Some(("004/ü", "inserted", data("Lovelace"), None)),
            Some(("004/ü", "deleted", data("Lovelace"), None)),
        ];
        let mut published = batch(&http.post(&path, lines.join("\n")), expected);
        let array = format!("[{},\n {}]", upsert("005", "Liskov"), upsert("003", "Hamilton"));
        let murray = vec![("last_name", "\"Murray Hopper\"".to_owned())];
        let expected = [
            Some(("005", "inserted", data("Liskov"), None)),
            Some(("003", "updated", data("Hamilton"), Some(murray))),
        ];
        published.extend(batch(&http.post(&path, array), expected));
        published
    }

    /// Kafka clients and REST show the same events, each once, where it was acknowledged.
    fn check(&self, doors: &Doors, published: &[Published]) {
        for (collection, ..) in COLLECTIONS {
            let topic = format!("sequin.{}.{collection}", self.sync);
            let records = kafka::read_all(&doors.kafka, &topic);
            assert_eq!(fetch_all(&doors.http, &topic, &records), records, "{topic} over REST");
            let expected = published.iter().filter(|it| it.collection == collection);
            for event in expected.clone() {
                let at =
                    |it: &&Record| (it.partition, it.offset) == (event.partition, event.offset);
                let found: Vec<_> = records.iter().filter(at).collect();
                assert_eq!(found.len(), 1, "{topic}-{} at {}", event.partition, event.offset);
                self.check_event(event, found[0]);
            }
            let mine: BTreeSet<_> = expected.clone().map(|it| it.id.as_str()).collect();
            let keys = records.iter().filter_map(|it| it.key.as_deref());
            let seen = keys.filter(|key| mine.contains(key)).count();
            assert_eq!(seen, expected.count(), "{topic} has each event once");
        }
    }

    fn check_event(&self, event: &Published, record: &Record) {
        let value = Members::of(record.value.as_deref().unwrap());
        let table = format!("{}s", event.collection);
        assert_eq!(record.key.as_deref(), Some(event.id.as_str()));
        for (name, expected) in [
            ("collection", event.collection),
            ("event", event.event),
            ("id", &event.id),
            ("task", &table),
            ("table_db_name", &table),
        ] {
            assert_eq!(value.text(name), expected, "{value:?}");
        }
        assert_eq!(Members::of(value.raw("data")), event.data, "columns pass as they came");
        let created_at = value.text("created_at");
        assert!(created_at.parse::<jiff::Timestamp>().is_ok() && created_at.len() == 27);
        let changes = value.names().contains(&"changes").then(|| {
            let Members(mut changes) = Members::of(value.raw("changes"));
            changes.sort();
            changes
        });
        let expected = event.changes.clone().map(|mut changes| {
            changes.sort();
            let owned = changes.into_iter().map(|(name, prior)| (name.to_owned(), prior));
            owned.collect::<Vec<_>>()
        });
        assert_eq!(changes, expected, "only what changed, as it was");
        let header = |name: &str| {
            let found = record.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        assert_eq!(header("event"), event.event);
        assert_eq!(header("sync_id"), self.sync);
        assert_eq!(header("collection"), event.collection);
        assert!(!header("idempotency_key").is_empty(), "{record:?}");
    }

    /// A REST consumer gets every event, and then only those that are new.
    fn consumes_and_goes_on(&self, doors: &Doors) {
        let topic = format!("sequin.{}.contact", self.sync);
        let all = kafka::read_all(&doors.kafka, &topic);
        let consumed = self.consume(doors, all.len());
        assert_eq!(consumed, all, "consumed over REST");
        self.consumes_only_what_is_new(doors);
    }

    /// Writes one more event; it alone is consumed, then committed.
    fn consumes_only_what_is_new(&self, doors: &Doors) {
        let topic = format!("sequin.{}.contact", self.sync);
        let known = self.committed(doors, &topic);
        let name = format!("{{\"LastName\":\"{} {known}\"}}", self.group);
        let answer = doors.http.put(&self.path("contact", "006"), name).json();
        let consumed = self.consume(doors, 1);
        let at = consumed.iter().map(|it| (json!(it.partition), json!(it.offset)));
        let expected = (answer["partition"].clone(), answer["offset"].clone());
        assert!(at.eq([expected]), "{consumed:?} is not {answer}");
        let committed = doors.http.post(&format!("/commit/{}/one", self.group), "").json();
        assert_eq!(committed["result"], "Success");
        assert_eq!(self.committed(doors, &topic), consumed[0].offset + 1);
    }

    /// Consumes until `count` records came, and nothing after them.
    fn consume(&self, doors: &Doors, count: usize) -> Vec<Record> {
        let topic = format!("sequin.{}.contact", self.sync);
        let path = format!("/consume/{}/one/{topic}?timeout=1000", self.group);
        let headers =
            [("Kafka-Auto-Offset-Reset", "earliest"), ("Kafka-Enable-Auto-Commit", "false")];
        let ask = || {
            let answer = doors.http.try_send(Method::GET, &path, &headers, String::new()).unwrap();
            rest_records(&answer)
        };
        let mut consumed = Vec::new();
        wait::until("the records to consume", || {
            consumed.extend(ask());
            (consumed.len() >= count).then_some(())
        });
        consumed.extend(ask());
        consumed.sort_by_key(|it| (it.partition, it.offset));
        assert_eq!(consumed.len(), count, "{consumed:?}");
        consumed
    }

    /// What the group has committed in the topic's one partition.
    fn committed(&self, doors: &Doors, topic: &str) -> i64 {
        let body = json!([{ "topic": topic, "partition": 0 }]).to_string();
        let answer = doors.http.post(&format!("/committed/{}/one", self.group), body).json();
        answer[0]["offset"].as_i64().unwrap()
    }
}

/// More than a double can count to.
const BIG: &str = "9007199254740993";
/// More digits than a double has.
const PRECISE: &str = "0.10000000000000000000000000000000000001";

/// A record under its database names.
fn renamed(Members(mut members): Members, from: &str, to: &str) -> Members {
    for (name, _) in members.iter_mut().filter(|(name, _)| name == from) {
        to.clone_into(name);
    }
    Members(members)
}

/// Where an event was published.
fn acknowledged(answer: &Answer, event: &str) -> (i32, i64) {
    let json = answer.json();
    assert_eq!(json["event"], event, "{json}");
    let partition = i32::try_from(json["partition"].as_i64().unwrap()).unwrap();
    (partition, json["offset"].as_i64().unwrap())
}

fn nothing_published(answer: &Answer) {
    let json = answer.json();
    assert!(json["event"].is_null() && json["offset"].is_null(), "{json}");
}

type Expected = (&'static str, &'static str, Members, Option<Vec<(&'static str, String)>>);

fn batch(answer: &Answer, expected: impl IntoIterator<Item = Option<Expected>>) -> Vec<Published> {
    let results = answer.json()["results"].as_array().unwrap().clone();
    let expected: Vec<_> = expected.into_iter().collect();
    assert_eq!(results.len(), expected.len(), "{answer:?}");
    let mut published = Vec::new();
    for (result, expected) in results.iter().zip(expected) {
        let answer = Answer { status: 200, body: result.to_string() };
        let Some((id, event, data, changes)) = expected else {
            nothing_published(&answer);
            continue;
        };
        let (partition, offset) = acknowledged(&answer, event);
        let (collection, id) = ("contact", id.to_owned());
        published.push(Published { collection, id, event, partition, offset, data, changes });
    }
    published
}

/// What `/fetch` gives of the partitions that `records` are in.
fn fetch_all(http: &Http, topic: &str, records: &[Record]) -> Vec<Record> {
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for record in records {
        ends.insert(record.partition, record.offset + 1);
    }
    let mut fetched = Vec::new();
    for (partition, end) in ends {
        let mut offset = 0;
        while offset < end {
            let body = json!({ "topic": topic, "partition": partition, "offset": offset });
            let page = rest_records(&http.post("/fetch", body.to_string()));
            assert!(!page.is_empty(), "nothing at {topic}-{partition} from {offset}");
            offset += page.len() as i64;
            fetched.extend(page);
        }
    }
    fetched
}

/// Messages of `/fetch` and `/consume` as records.
fn rest_records(answer: &Answer) -> Vec<Record> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let record = |message: &Value| Record {
        topic: text(&message["topic"]),
        partition: i32::try_from(message["partition"].as_i64().unwrap()).unwrap(),
        offset: message["offset"].as_i64().unwrap(),
        key: Some(text(&message["key"])),
        value: Some(text(&message["value"])),
        headers: message["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|header| (text(&header["key"]), text(&header["value"])))
            .collect(),
    };
    answer.json().as_array().unwrap().iter().map(record).collect()
}

/// Everything an account can see of a sync.
struct Snapshot {
    records: BTreeMap<String, Vec<Record>>,
    topics: Value,
    definition: Value,
}

impl Snapshot {
    fn take(doors: &Doors, sync: &str) -> Self {
        let topics = doors.http.get("/topics").json();
        let names = topics.as_object().unwrap().keys();
        let read = |name: &String| (name.clone(), kafka::read_all(&doors.kafka, name));
        let records = names.map(read).collect();
        let definition = doors.http.get(&format!("/v1/syncs/{sync}")).json();
        Self { records, topics, definition }
    }

    /// All of `before` is there unchanged; after it only what was being written at the kill.
    fn must_hold(&self, before: &Self, acknowledged: &[(String, i32, i64)]) {
        assert_eq!(self.topics, before.topics);
        assert_eq!(self.definition, before.definition);
        for (topic, before) in &before.records {
            let mut rest = self.records[topic].iter();
            for record in before {
                assert!(rest.any(|it| it == record), "{topic}: {record:?} is gone");
            }
        }
        let written: Vec<_> = self.records.values().flatten().collect();
        for (id, partition, offset) in acknowledged {
            let with_key = written.iter().filter(|it| it.key.as_deref() == Some(id));
            let at: Vec<_> = with_key.map(|it| (it.partition, it.offset)).collect();
            assert_eq!(at, [(*partition, *offset)], "{id} is there once, where it was said to be");
        }
    }
}

/// Kills the process while records are put into it as fast as it takes them; gives what it held
/// before, and what was acknowledged since.
fn kill_while_writing(tidelog: &mut Tidelog, sync: &str) -> (Snapshot, Vec<(String, i32, i64)>) {
    const WRITES: usize = 20;
    let doors = Doors::of(tidelog);
    let before = Snapshot::take(&doors, sync);
    let (sender, receiver) = std::sync::mpsc::channel();
    let path = format!("/v1/syncs/{sync}/collections/customer/records");
    let writer = thread::spawn(move || {
        for index in 0.. {
            let id = format!("killed-{index}");
            let (path, body) = (format!("{path}/{id}"), format!("{{\"index\":{index}}}"));
            let Ok(answer) = doors.http.try_send(Method::PUT, &path, &[], body) else { return };
            let (partition, offset) = self::acknowledged(&answer, "inserted");
            if sender.send((id, partition, offset)).is_err() {
                return;
            }
        }
    });
    let mut acknowledged: Vec<_> = receiver.iter().take(WRITES).collect();
    tidelog.kill();
    acknowledged.extend(receiver.iter());
    writer.join().unwrap();
    (before, acknowledged)
}

#[test]
fn a_webhook_gets_every_event_although_its_receiver_failed_and_the_process_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    let sync = r#"{"collections":{"contact":{"table":"contacts"}}}"#;
    http.put("/v1/syncs/sync_1a107d79", sync).json();
    let put = |http: &Http, id: u32, version: u32| {
        let path = format!("/v1/syncs/sync_1a107d79/collections/contact/records/{id}");
        acknowledged_write(&http.put(&path, format!("{{\"version\":{version}}}")));
    };
    for id in 0..3 {
        put(&http, id, 1);
    }
    let mut receiver = Receiver::new(fixed_address());
    receiver.up(500);
    let webhook = json!({
        "url": receiver.url(), "topics": ["sequin.sync_1a107d79.*"], "start": "beginning",
        "retry": { "schedule": ["20ms", "50ms"] },
    });
    let created = http.post("/v1/webhooks", webhook.to_string()).json();
    let secret = Secret::parse(created["secret"].as_str().unwrap()).unwrap();
    wait::until("three attempts of one event", || {
        let refused = receiver.deliveries();
        refused
            .iter()
            .any(|it| refused.iter().filter(|other| other.id == it.id).count() >= 3)
            .then_some(())
    });
    receiver.down();
    put(&http, 0, 2);
    tidelog.kill();
    drop(tidelog);

    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    put(&http, 0, 3);
    receiver.up(200);
    let events = kafka::read_all(&kafka::dev(&tidelog.ready), "sequin.sync_1a107d79.contact");
    assert_eq!(events.len(), 5);
    let accepted = wait::until("every event", || {
        let accepted = receiver.accepted();
        let bodies: BTreeSet<_> = accepted.iter().map(|it| it.body.as_str()).collect();
        (bodies.len() == events.len()).then_some(accepted)
    });
    check_deliveries(&events, &accepted, &receiver.deliveries(), &secret);
}

fn acknowledged_write(answer: &Answer) {
    assert!(answer.json()["event"].is_string(), "{answer:?}");
}

/// The bodies are the events, in order per key, signed, each under one id in every attempt.
fn check_deliveries(events: &[Record], accepted: &[Delivery], all: &[Delivery], secret: &Secret) {
    let value = |it: &Record| it.value.clone().unwrap();
    for key in ["0", "1", "2"] {
        let with_key = events.iter().filter(|it| it.key.as_deref() == Some(key));
        let expected: Vec<_> = with_key.map(value).collect();
        let mut seen: Vec<_> = accepted.iter().map(|it| it.body.clone()).collect();
        seen.retain(|body| expected.contains(body));
        seen.dedup();
        assert_eq!(seen, expected, "in order, key {key}");
    }
    let mut ids = BTreeMap::new();
    for delivery in all {
        assert_eq!(ids.entry(&delivery.body).or_insert(&delivery.id), &&delivery.id);
        let timestamp = delivery.timestamp.parse().unwrap();
        let signature = secret.sign(&delivery.id, timestamp, delivery.body.as_bytes());
        assert_eq!(delivery.signature, signature);
    }
    assert_eq!(ids.values().collect::<BTreeSet<_>>().len(), ids.len(), "an id each");
}
