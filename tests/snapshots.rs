//! Snapshots as a poller uses them, and again with the process killed at any moment of it.

use crate::support::http::{Answer, Http};
use crate::support::kafka::{self, Record};
use crate::support::process::{Tidelog, fixed_address};
use crate::support::{iterations, wait};
use fastrand::Rng;
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const SYNC: &str = "/v1/syncs/sync_1a107d79";
const DEFINITION: &str = r#"{"collections":{"contact":{"partitions":3}}}"#;
const SNAPSHOTS: &str = "/v1/syncs/sync_1a107d79/collections/contact/snapshots";
const RECORDS: &str = "/v1/syncs/sync_1a107d79/collections/contact/records";
const TOPIC: &str = "sequin.sync_1a107d79.contact";

#[test]
fn a_snapshot_deletes_what_its_source_has_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    http.put(SYNC, DEFINITION).json();
    for id in ["1", "2", "3", "4"] {
        http.put(&format!("{RECORDS}/{id}"), r#"{"v":1}"#).json();
    }
    assert_eq!(http.get(SNAPSHOTS).json(), serde_json::json!([]));

    let opened = http.post(SNAPSHOTS, "");
    assert_eq!(opened.status, 201);
    let id = opened.json()["id"].as_str().unwrap().to_owned();
    let snapshot = format!("{SNAPSHOTS}/{id}");
    let refused = http.post(SNAPSHOTS, "").refusal(409);
    assert!(refused.contains(&format!("'{id}' of this collection is not finished")), "{refused}");
    let page = "{\"op\":\"upsert\",\"id\":\"1\",\"data\":{\"v\":1}}\n{\"op\":\"upsert\",\"id\":\"2\",\"data\":{\"v\":2}}\n";
    let answer = http.post(&format!("{snapshot}/records"), page).json();
    let events: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|it| it["event"].clone()).collect();
    assert_eq!(events, [Value::Null, "updated".into()]);
    http.patch(&format!("{RECORDS}/3"), r#"{"v":3}"#).json();
    let progress = http.get(&snapshot).json();
    assert_eq!((&progress["state"], &progress["touched"]), (&"open".into(), &3.into()));

    let closed = http.post(&format!("{snapshot}/close"), "").json();
    assert_eq!((&closed["state"], &closed["deleted"]), (&"closed".into(), &1.into()));
    assert_eq!(http.post(&format!("{snapshot}/close"), "").json(), closed, "again");
    http.get(&format!("{RECORDS}/4")).refusal(404);
    let deleted = kafka::read_all(&kafka::dev(&tidelog.ready), TOPIC);
    let deleted: Vec<_> = deleted.iter().map(event).filter(|it| it["event"] == "deleted").collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(
        (&deleted[0]["id"], &deleted[0]["data"]),
        (&"4".into(), &serde_json::json!({"v":1}))
    );

    http.delete(&snapshot).refusal(409);
    http.post(&format!("{snapshot}/records"), page).refusal(409);
    http.get(&format!("{SNAPSHOTS}/snap_1")).refusal(404);
    let next = http.post(SNAPSHOTS, "").json()["id"].as_str().unwrap().to_owned();
    assert_eq!(http.delete(&format!("{SNAPSHOTS}/{next}")).json()["state"], "abandoned");
    http.get(&snapshot).refusal(404);
    assert_eq!(http.get(&format!("{RECORDS}/1")).json()["v"], 1);
}

/// Records there were before the snapshot; of every three, one is gone from the source, one has
/// changed and one has not.
const OLD: usize = 1200;
/// Records that are new in it.
const NEW: usize = 100;
/// Of those that are gone, every so many is written by somebody else while the snapshot is open.
const TOUCHED_EVERY: usize = 15;
const PAGE: usize = 60;
const ROUNDS: u64 = 2;
/// Requests answered between two kills, at most.
const ANSWERS_MAX: u64 = 6;

#[test]
fn a_snapshot_survives_kills_in_its_pages_and_its_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (address, http) = (fixed_address(), fixed_address());
    let mut tidelog = Tidelog::dev_at(dir.path(), &address, &http);
    let client = Http::dev(&tidelog.ready);
    let mut random = Rng::with_seed(1);
    let mut kills = 0;
    for round in 0..iterations(ROUNDS) {
        // A sync of its own, so that every round begins with an empty collection.
        let source = Source {
            http: client.clone(),
            sync: format!("sync_{round}"),
            answers: AtomicU64::new(0),
        };
        source.send(Method::PUT, "", DEFINITION);
        source.write_old();
        thread::scope(|scope| {
            let snapshot = scope.spawn(|| source.take_snapshot());
            while !snapshot.is_finished() {
                let before = source.answers.load(Ordering::SeqCst);
                let after = before + random.u64(..=ANSWERS_MAX);
                wait::until("answers before a kill", || {
                    let enough = source.answers.load(Ordering::SeqCst) >= after;
                    (enough || snapshot.is_finished()).then_some(())
                });
                // At some moment of the next one.
                wait::run_for(Duration::from_micros(random.u64(..1 << 15)));
                tidelog.kill();
                tidelog = Tidelog::dev_at(dir.path(), &address, &http);
                kills += 1;
            }
        });
        source.check(&kafka::read_all(&kafka::anonymous(&address), &source.topic()));
    }
    assert!(tidelog.stop().success());
    println!("{kills} kills in {} snapshots", iterations(ROUNDS));
}

/// What sends its records, and repeats every request until it is answered.
struct Source {
    http: Http,
    sync: String,
    answers: AtomicU64,
}

/// What becomes of an old record in the source.
#[derive(PartialEq)]
enum Fate {
    Same,
    Changed,
    Gone,
    GoneAndTouched,
}

fn fate(index: usize) -> Fate {
    match index % 3 {
        0 => Fate::Same,
        1 => Fate::Changed,
        _ if index % TOUCHED_EVERY == 2 => Fate::GoneAndTouched,
        _ => Fate::Gone,
    }
}

impl Source {
    fn topic(&self) -> String {
        format!("sequin.{}.contact", self.sync)
    }

    /// Sends until there is an answer that is no failure of a process about to die.
    fn send(&self, method: Method, path: &str, body: &str) -> Answer {
        let path = format!("/v1/syncs/{}{path}", self.sync);
        wait::until(&format!("an answer to {path}"), || {
            let answer = self.http.try_send(method.clone(), &path, &[], body.to_owned()).ok()?;
            self.answers.fetch_add(1, Ordering::SeqCst);
            (answer.status < 500).then_some(answer)
        })
    }

    fn write_old(&self) {
        let items: Vec<_> = (0..OLD).map(|index| item(&format!("r{index}"), 1)).collect();
        for page in items.chunks(400) {
            let path = "/collections/contact/records";
            self.send(Method::POST, path, &page.join("\n")).json();
        }
    }

    fn take_snapshot(&self) {
        let snapshots = "/collections/contact/snapshots";
        let opened = self.send(Method::POST, snapshots, "");
        // Opened, and killed before the answer: the refusal of the second attempt names it.
        let id = match opened.status {
            201 => opened.json()["id"].as_str().unwrap().to_owned(),
            _ => opened.refusal(409).split('\'').nth(1).unwrap().to_owned(),
        };
        let old = (0..OLD).filter_map(|index| match fate(index) {
            Fate::Same => Some(item(&format!("r{index}"), 1)),
            Fate::Changed => Some(item(&format!("r{index}"), 2)),
            Fate::Gone | Fate::GoneAndTouched => None,
        });
        let new = (0..NEW).map(|index| item(&format!("n{index}"), 1));
        let items: Vec<_> = old.chain(new).collect();
        let mut others = (0..OLD).filter(|index| fate(*index) == Fate::GoneAndTouched);
        for page in items.chunks(PAGE) {
            let answer =
                self.send(Method::POST, &format!("{snapshots}/{id}/records"), &page.join("\n"));
            assert_eq!(answer.json()["results"].as_array().unwrap().len(), page.len());
            for index in others.by_ref().take(6) {
                // Half of them change nothing, and still say that the record is there.
                let body = if index % 2 == 0 { r#"{"v":1}"# } else { r#"{"v":3}"# };
                let path = format!("/collections/contact/records/r{index}");
                self.send(Method::PUT, &path, body).json();
            }
        }
        assert_eq!(others.next(), None, "pages enough for the others' writes");
        let close = format!("{snapshots}/{id}/close");
        wait::until("the snapshot is closed", || {
            (self.send(Method::POST, &close, "").json()["state"] == "closed").then_some(())
        });
    }

    /// Every record has exactly the events that the source's changes ask for.
    fn check(&self, records: &[Record]) {
        let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in records.iter().map(event) {
            let id = event["id"].as_str().unwrap().to_owned();
            let kind = event["event"].as_str().unwrap();
            events.entry(id).or_default().push(format!("{kind} {}", event["data"]["v"]));
        }
        for index in 0..OLD {
            let later = match fate(index) {
                Fate::Same => None,
                Fate::Changed => Some("updated 2"),
                Fate::Gone => Some("deleted 1"),
                Fate::GoneAndTouched => (index % 2 != 0).then_some("updated 3"),
            };
            let want: Vec<_> = ["inserted 1"].into_iter().chain(later).collect();
            let found = events.remove(&format!("r{index}")).unwrap();
            assert_eq!(found, want, "r{index} of {}", self.sync);
        }
        for index in 0..NEW {
            assert_eq!(events.remove(&format!("n{index}")).unwrap(), ["inserted 1"]);
        }
        assert_eq!(events, BTreeMap::new());
    }
}

fn item(id: &str, v: usize) -> String {
    format!(r#"{{"op":"upsert","id":"{id}","data":{{"v":{v}}}}}"#)
}

fn event(record: &Record) -> Value {
    serde_json::from_str(record.value.as_deref().unwrap()).unwrap()
}
