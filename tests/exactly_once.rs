//! SIGKILL under mutations: whoever sends one again under its `Idempotency-Key` until it is
//! answered finds its event once, where the answer said, and in order; and after each kill the
//! records' state is what a replay of the events makes of it.

use crate::support::http::Http;
use crate::support::process::{Tidelog, fixed_address};
use crate::support::{iterations, kafka, wait};
use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const SYNC: &str = "/v1/syncs/sync_1a107d79";
const TOPIC: &str = "sequin.sync_1a107d79.deal";
const WRITERS: usize = 3;
const RECORDS: usize = 5;
/// Items of a batch, all of them changes; some of one record.
const ITEMS: usize = 7;
/// Of a writer's mutations, every so many is a deletion if there is something to delete.
const DELETED_EVERY: u64 = 11;
const KILLS: u64 = 10;

/// What there is at a partition and offset: a record, and its number unless it is deleted.
type Said = BTreeMap<(i64, i64), (String, Option<u64>)>;

#[test]
fn a_mutation_that_is_sent_until_it_is_answered_is_published_once_whatever_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (address, http) = (fixed_address(), fixed_address());
    let start = || Tidelog::dev_at(dir.path(), &address, &http);
    let mut tidelog = start();
    let client = Http::dev(&tidelog.ready);
    let sync = r#"{"collections":{"deal":{"partitions":3}}}"#;
    assert_eq!(client.put(SYNC, sync).status, 200);

    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writer = |writer: usize| {
        let (client, done, answered) = (client.clone(), done.clone(), answered.clone());
        thread::spawn(move || write(writer, &client, &done, &answered))
    };
    let writers: Vec<_> = (0..WRITERS).map(writer).collect();
    let mut random = Rng::with_seed(1);
    for round in 0..iterations(KILLS) {
        let before = answered.load(Ordering::SeqCst);
        wait::until(&format!("answers before kill {round}"), || {
            (answered.load(Ordering::SeqCst) > before + 20).then_some(())
        });
        wait::run_for(Duration::from_micros(random.u64(..1 << 16)));
        tidelog.kill();
        tidelog = start();
        verify(&client, round);
    }
    done.store(true, Ordering::SeqCst);
    let mut said = Said::new();
    writers.into_iter().for_each(|writer| said.extend(writer.join().unwrap()));

    let mut found = Said::new();
    let mut latest: BTreeMap<String, u64> = BTreeMap::new();
    for record in kafka::read_all(&kafka::anonymous(&address), TOPIC) {
        let event: Value = serde_json::from_str(record.value.as_deref().unwrap()).unwrap();
        let number = event["data"]["number"].as_u64().unwrap();
        let id = event["id"].as_str().unwrap().to_owned();
        let is_deleted = event["event"] == "deleted";
        // What it was compared with is what the event before it said.
        let before = match is_deleted {
            true => latest.remove(&id),
            false => latest.insert(id.clone(), number),
        };
        match is_deleted {
            true => assert_eq!(before, Some(number), "{event}"),
            false => assert!(before < Some(number), "{number} after {before:?}"),
        }
        let prior = if is_deleted { None } else { before };
        assert_eq!(event["changes"]["number"].as_u64(), prior, "{event}");
        let at = (i64::from(record.partition), record.offset);
        found.insert(at, (id, (!is_deleted).then_some(number)));
    }
    assert_eq!(verify(&client, iterations(KILLS)), latest.len() as u64);
    assert_eq!(found, said, "events are where the answers said, and no others are there");
    for (id, number) in latest {
        let record = client.get(&format!("{SYNC}/collections/deal/records/{id}")).json();
        assert_eq!(record["number"], number, "{id}");
    }
    println!("{} events over {} kills", said.len(), iterations(KILLS));
}

/// Compares the state with the log, and gives how many records there are.
fn verify(client: &Http, round: u64) -> u64 {
    let compared = client.get(&format!("{SYNC}/verify")).body;
    let last: Value = serde_json::from_str(compared.lines().last().unwrap()).unwrap();
    let summary = &last["summary"];
    assert_eq!(summary["differences"], 0, "kill {round}: {compared}");
    assert_eq!(summary["unverified"], 0, "kill {round}: {compared}");
    summary["records"].as_u64().unwrap()
}

/// Records of a writer's own, with numbered states.
struct Records {
    writer: usize,
    number: u64,
    there: BTreeSet<String>,
}

impl Records {
    /// The next mutation: a record, and its number unless it is to be deleted.
    fn next(&mut self) -> (String, Option<u64>) {
        self.number += 1;
        let id = format!("{}-{}", self.writer, self.number % RECORDS as u64);
        if self.number.is_multiple_of(DELETED_EVERY) && self.there.remove(&id) {
            return (id, None);
        }
        self.there.insert(id.clone());
        (id, Some(self.number))
    }
}

/// Writes states of its own records, single ones and batches in turn.
fn write(writer: usize, client: &Http, done: &AtomicBool, answered: &AtomicUsize) -> Said {
    let mut said = Said::new();
    let number = writer as u64 * 1_000_000_000;
    let mut records = Records { writer, number, there: BTreeSet::new() };
    for request in 0_u64.. {
        if done.load(Ordering::SeqCst) {
            break;
        }
        let key = format!("{writer}/{request}");
        let answers = match request % 2 {
            0 => {
                let (id, number) = records.next();
                let path = format!("{SYNC}/collections/deal/records/{id}");
                let body = number.map(|number| json!({ "number": number }).to_string());
                let method = if body.is_some() { Method::PUT } else { Method::DELETE };
                let body = body.unwrap_or_default();
                let answer = until_answered(client, method, &path, &key, &body);
                vec![((id, number), answer)]
            }
            _ => {
                let items: Vec<_> = (0..ITEMS).map(|_| records.next()).collect();
                let body = Value::from(items.iter().map(item).collect::<Vec<_>>()).to_string();
                let atomic = if request % 4 == 1 { "?atomic=true" } else { "" };
                let path = format!("{SYNC}/records{atomic}");
                let answer = until_answered(client, Method::POST, &path, &key, &body);
                let results = answer["results"].as_array().unwrap().clone();
                assert_eq!(results.len(), ITEMS, "{answer}");
                items.into_iter().zip(results).collect()
            }
        };
        for (mutation, answer) in answers {
            let partition = answer["partition"].as_i64().unwrap();
            let offset = answer["offset"].as_i64();
            let offset = offset.unwrap_or_else(|| panic!("{mutation:?} did nothing: {answer}"));
            assert_eq!(said.insert((partition, offset), mutation), None, "one offset, two events");
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
    said
}

fn item((id, number): &(String, Option<u64>)) -> Value {
    match number {
        Some(number) => {
            json!({ "op": "upsert", "collection": "deal", "id": id, "data": { "number": number } })
        }
        None => json!({ "op": "delete", "collection": "deal", "id": id }),
    }
}

fn until_answered(client: &Http, method: Method, path: &str, key: &str, body: &str) -> Value {
    let headers = [("idempotency-key", key)];
    wait::until(&format!("an answer to {key}"), || {
        match client.try_send(method.clone(), path, &headers, body.to_owned()) {
            Ok(answer) if answer.status == 200 => Some(serde_json::from_str(&answer.body).unwrap()),
            // The first is still being carried out, or the process is going down.
            Ok(answer) => {
                assert!(matches!(answer.status, 409 | 500 | 503), "{answer:?}");
                None
            }
            Err(_) => None,
        }
    })
}
