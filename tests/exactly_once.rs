//! SIGKILL under keyed mutations: whoever sends a mutation again under its `Idempotency-Key` until
//! it is answered finds its event once, where the answer said, and in order.

use crate::support::http::Http;
use crate::support::process::{Tidelog, fixed_address};
use crate::support::{iterations, kafka, wait};
use fastrand::Rng;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
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
const KILLS: u64 = 5;

/// Where the answers said that events are: by number, partition and offset.
type Said = BTreeMap<u64, (i64, i64)>;

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
    }
    done.store(true, Ordering::SeqCst);
    let mut said = Said::new();
    writers.into_iter().for_each(|writer| said.extend(writer.join().unwrap()));

    let mut found = Said::new();
    let mut latest: BTreeMap<String, u64> = BTreeMap::new();
    for record in kafka::read_all(&kafka::anonymous(&address), TOPIC) {
        let event: Value = serde_json::from_str(record.value.as_deref().unwrap()).unwrap();
        let number = event["data"]["number"].as_u64().unwrap();
        let at = (i64::from(record.partition), record.offset);
        assert_eq!(found.insert(number, at), None, "{number} was published twice");
        let id = event["id"].as_str().unwrap().to_owned();
        let before = latest.insert(id, number);
        assert!(before < Some(number), "{number} after {before:?}");
        // What it was compared with is what the event before it said.
        let prior = event["changes"]["number"].as_u64();
        assert_eq!(prior, before, "{event}");
    }
    let compared = client.get(&format!("{SYNC}/verify")).body;
    let last: Value = serde_json::from_str(compared.lines().last().unwrap()).unwrap();
    assert_eq!(last["summary"]["differences"], 0, "{compared}");
    assert_eq!(last["summary"]["records"], WRITERS * RECORDS);
    assert_eq!(found, said, "events are where the answers said, and no others are there");
    for (id, number) in latest {
        let record = client.get(&format!("{SYNC}/collections/deal/records/{id}")).json();
        assert_eq!(record["number"], number, "{id}");
    }
}

/// Writes numbered states of its own records, single ones and batches in turn.
fn write(writer: usize, client: &Http, done: &AtomicBool, answered: &AtomicUsize) -> Said {
    let mut said = Said::new();
    let mut number = writer as u64 * 1_000_000_000;
    for request in 0_u64.. {
        if done.load(Ordering::SeqCst) {
            break;
        }
        let mut next = || {
            number += 1;
            let id = format!("{writer}-{}", number % RECORDS as u64);
            (number, id, json!({ "number": number }))
        };
        let key = format!("{writer}/{request}");
        let answer = match request % 2 {
            0 => {
                let (number, id, data) = next();
                let path = format!("{SYNC}/collections/deal/records/{id}");
                let answer = until_answered(client, Method::PUT, &path, &key, &data.to_string());
                vec![(number, answer)]
            }
            _ => {
                let items: Vec<_> = (0..ITEMS).map(|_| next()).collect();
                let item = |(_, id, data): &(u64, String, Value)| {
                    let (op, collection) = ("upsert", "deal");
                    json!({ "op": op, "collection": collection, "id": id, "data": data })
                };
                let body = Value::from(items.iter().map(item).collect::<Vec<_>>()).to_string();
                let atomic = if request % 4 == 1 { "?atomic=true" } else { "" };
                let path = format!("{SYNC}/records{atomic}");
                let answer = until_answered(client, Method::POST, &path, &key, &body);
                let results = answer["results"].as_array().unwrap().clone();
                assert_eq!(results.len(), ITEMS, "{answer}");
                items.iter().map(|(number, ..)| *number).zip(results).collect()
            }
        };
        for (number, answer) in answer {
            let at = (answer["partition"].as_i64().unwrap(), answer["offset"].as_i64());
            let offset = at.1.unwrap_or_else(|| panic!("{number} published nothing: {answer}"));
            said.insert(number, (at.0, offset));
        }
        answered.fetch_add(1, Ordering::SeqCst);
    }
    said
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
