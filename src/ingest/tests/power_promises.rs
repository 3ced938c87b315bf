//! Power cuts under what is promised to who sends a request again until it is answered: keyed
//! writes, single ones and batches, publish nothing twice and answer the same; an atomic batch is
//! there whole or not at all; a snapshot that is closed deletes what no write came to since its
//! opening, and nothing else; one that is abandoned deletes nothing.
//!
//! As in `power.rs`, the logs are on a file system that keeps as little as it may, and the state
//! store's journal is cut at any byte; but not before the last answer, since what that rests on was
//! synced. Threads sync the logs here, so that a seed tells not quite all.

use super::crashes::{copy, cut_journals, journals};
use super::*;
use crate::consumer;
use crate::faulty::{Fault, Faulty};
use crate::iterations::iterations;
use crate::random::Random;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

const HISTORIES: u64 = 6;
const LIVES: u64 = 3;
const CUTS: u64 = 3;
const RECORDS: u64 = 8;
const ITEMS_MAX: u64 = 6;
const COLLECTION: &str = "/v1/syncs/sync_a/collections/deal";

/// A mutation, or its event: a record, its number, which each has of its own, and whether it is a
/// deletion, of the state with that number.
type Change = (String, u64, bool);

/// What is asked.
#[derive(Clone, Debug)]
enum Ask {
    /// A write of these changes, under a key, in a batch or not.
    Write {
        line: String,
        key: String,
        body: String,
        changes: Vec<Change>,
        is_atomic: bool,
    },
    Open,
    Close(String),
    Abandon(String),
}

/// What the answers have said.
#[derive(Clone, Default)]
struct Model {
    asked: u64,
    number: u64,
    records: BTreeMap<String, u64>,
    /// By partition and offset.
    events: BTreeMap<(i64, i64), Change>,
    /// What closed snapshots deleted, whose places no answer has said.
    deleted: Vec<Change>,
    /// The open snapshot, and what was written since.
    snapshot: Option<(String, BTreeSet<String>)>,
    /// What was asked last, if it was not answered.
    pending: Option<Ask>,
    /// A write, and its answer.
    answered: Option<(Ask, Value)>,
    /// What was synced of each journal when the last answer was given.
    synced: BTreeMap<OsString, u64>,
}

impl Model {
    fn next(&mut self, random: &mut Random) -> Ask {
        let page = match (&self.snapshot, random.below(12)) {
            (None, 0 | 1) => return Ask::Open,
            (Some((id, _)), 0) => return Ask::Close(id.clone()),
            (Some((id, _)), 1) => return Ask::Abandon(id.clone()),
            (Some((id, _)), 2..5) => Some(id.clone()),
            _ => None,
        };
        self.asked += 1;
        let key = format!("key {}", self.asked);
        let (is_single, is_atomic) = (random.below(3) == 0 && page.is_none(), random.below(2) == 0);
        let changes = self.changes(if is_single { 1 } else { 1 + random.below(ITEMS_MAX) }, random);
        if is_single {
            let (id, number, is_deleted) = &changes[0];
            let (method, body) = match is_deleted {
                true => ("DELETE", String::new()),
                false => ("PUT", json!({ "number": number }).to_string()),
            };
            let line = format!("{method} {COLLECTION}/records/{id}");
            return Ask::Write { line, key, body, changes, is_atomic: false };
        }
        let body = Value::from(changes.iter().map(item).collect::<Vec<_>>()).to_string();
        let of = page.map_or_else(String::new, |id| format!("/snapshots/{id}"));
        let atomic = if is_atomic { "?atomic=true" } else { "" };
        let line = format!("POST {COLLECTION}{of}/records{atomic}");
        Ask::Write { line, key, body, changes, is_atomic }
    }

    /// Changes of any records, also of one that an earlier one is of.
    fn changes(&mut self, count: u64, random: &mut Random) -> Vec<Change> {
        let mut records = self.records.clone();
        let change = |_| {
            self.number += 1;
            let id = format!("r{}", random.below(RECORDS));
            match records.remove(&id) {
                Some(before) if random.below(3) == 0 => (id, before, true),
                _ => {
                    records.insert(id.clone(), self.number);
                    (id, self.number, false)
                }
            }
        };
        (0..count).map(change).collect()
    }

    /// Takes an answer for what it says.
    fn take(&mut self, ask: &Ask, answer: &Value) {
        match ask {
            Ask::Write { changes, .. } => {
                let single = std::slice::from_ref(answer);
                let results = answer["results"].as_array().map_or(single, Vec::as_slice);
                assert_eq!(results.len(), changes.len(), "{answer}");
                for (change, result) in changes.iter().zip(results) {
                    let place = [&result["partition"], &result["offset"]].map(Value::as_i64);
                    let [Some(partition), Some(offset)] = place else {
                        panic!("{ask:?}: {answer}")
                    };
                    self.events.insert((partition, offset), change.clone());
                    self.note(change);
                }
                self.answered = Some((ask.clone(), answer.clone()));
            }
            Ask::Open => {
                let id = answer["id"].as_str().unwrap().to_owned();
                self.snapshot = Some((id, BTreeSet::new()));
            }
            Ask::Close(_) => {
                assert_eq!(answer["state"], "closed", "{answer}");
                for gone in self.swept() {
                    self.records.remove(&gone.0);
                    self.deleted.push(gone);
                }
                // Its pages are not taken again, answered or not.
                (self.snapshot, self.answered) = (None, None);
            }
            Ask::Abandon(_) => (self.snapshot, self.answered) = (None, None),
        }
    }

    fn note(&mut self, (id, number, is_deleted): &Change) {
        match is_deleted {
            true => drop(self.records.remove(id)),
            false => drop(self.records.insert(id.clone(), *number)),
        }
        if let Some((_, touched)) = &mut self.snapshot {
            touched.insert(id.clone());
        }
    }

    /// What closing the snapshot deletes.
    fn swept(&self) -> Vec<Change> {
        let Some((_, touched)) = &self.snapshot else { return Vec::new() };
        let gone = self.records.iter().filter(|(id, _)| !touched.contains(*id));
        gone.map(|(id, number)| (id.clone(), *number, true)).collect()
    }

    /// What there is beyond what was answered is of what was asked last: of an atomic batch, all.
    fn check_events(&self, found: &BTreeMap<(i64, i64), Change>, when: &str) {
        for (at, change) in &self.events {
            assert_eq!(found.get(at), Some(change), "{when}: at {at:?}");
        }
        let more = found.iter().filter(|(at, _)| !self.events.contains_key(at));
        let more: Vec<Change> = more.map(|(_, change)| change.clone()).collect();
        let asked = match &self.pending {
            Some(Ask::Write { changes, .. }) => changes.clone(),
            Some(Ask::Close(_)) => self.swept(),
            _ => Vec::new(),
        };
        let times = |changes: &[Change], of: &Change| changes.iter().filter(|it| *it == of).count();
        for gone in &self.deleted {
            assert_eq!(times(&more, gone), 1, "{when}: {gone:?}");
        }
        for change in &more {
            let known = times(&asked, change) + times(&self.deleted, change);
            assert_eq!((times(&more, change), known), (1, 1), "{when}: {change:?} {asked:?}");
        }
        if let Some(Ask::Write { is_atomic: true, .. }) = &self.pending {
            let of_it = more.len() - self.deleted.len();
            assert!([0, asked.len()].contains(&of_it), "{when}: {more:?} of {asked:?}");
        }
    }
}

fn item((id, number, is_deleted): &Change) -> Value {
    match is_deleted {
        true => json!({ "op": "delete", "id": id }),
        false => json!({ "op": "upsert", "id": id, "data": { "number": number } }),
    }
}

impl Sandbox {
    /// Asks until it is answered; `None` if the logs have failed, after which nothing is.
    async fn ask(&self, fs: &Faulty, ask: &Ask) -> Option<Value> {
        loop {
            let (line, key, body) = match ask {
                Ask::Write { line, key, body, .. } => (line.clone(), key.as_str(), body.as_str()),
                Ask::Open => (format!("POST {COLLECTION}/snapshots"), "", ""),
                Ask::Close(id) => (format!("POST {COLLECTION}/snapshots/{id}/close"), "", ""),
                Ask::Abandon(id) => (format!("DELETE {COLLECTION}/snapshots/{id}"), "", ""),
            };
            let headers = [("idempotency-key", key)];
            let headers = if key.is_empty() { &[][..] } else { &headers[..] };
            let answer = tokio::select! {
                answer = self.http(&line, headers, body) => answer,
                _ = self.broker.failed() => return None,
            };
            match answer.status {
                200 | 201 => return Some(answer.json),
                // It goes on by itself.
                202 => {}
                _ if fs.faulted() => return None,
                status => panic!("{ask:?}: {status} {}", answer.json),
            }
        }
    }

    /// Everything in the collection's log; each event is of a state that the one before it made.
    async fn log(&self) -> BTreeMap<(i64, i64), Change> {
        let stream = self.target("deal").await.stream;
        let (mut found, mut latest) = (BTreeMap::new(), BTreeMap::new());
        for (index, partition) in stream.partitions() {
            let mut next = 0;
            while next < partition.high_watermark() {
                let read = consumer::read(partition, next, 1 << 20, 1000).unwrap();
                next = read.next;
                for record in read.records {
                    let event: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
                    let id = event["id"].as_str().unwrap().to_owned();
                    let number = event["data"]["number"].as_u64().unwrap();
                    let is_deleted = event["event"] == "deleted";
                    match is_deleted {
                        true => assert_eq!(latest.remove(&id), Some(number), "{event}"),
                        false => {
                            assert!(latest.insert(id.clone(), number) < Some(number), "{event}")
                        }
                    }
                    found.insert((index.into(), record.offset), (id, number, is_deleted));
                }
            }
        }
        found
    }

    /// All that was answered is so; and what was not answered is, once it is asked again.
    async fn check(&self, fs: &Faulty, model: &mut Model, when: &str) {
        model.check_events(&self.log().await, when);
        let ends = matches!(&model.pending, Some(Ask::Close(_) | Ask::Abandon(_)));
        if let Some((ask, answer)) = model.answered.clone().filter(|_| !ends) {
            assert_eq!(self.ask(fs, &ask).await, Some(answer), "{when}: {ask:?} again");
        }
        match model.pending.take() {
            // Who does not know whether it was opened looks.
            Some(Ask::Open) => {
                let open = self.http(&format!("GET {COLLECTION}/snapshots"), &[], "").await.json;
                let is_open = open[0]["state"] == "open";
                model.snapshot =
                    is_open.then(|| (open[0]["id"].as_str().unwrap().to_owned(), BTreeSet::new()));
            }
            Some(ask) => {
                let answer = self.ask(fs, &ask).await.unwrap();
                model.take(&ask, &answer);
            }
            None => {}
        }
        let stream = self.target("deal").await.stream;
        let (report, told) = super::verifies::compare(&stream);
        assert_eq!((told, report.unverified), (Vec::new(), 0), "{when}");
        for at in 0..RECORDS {
            let id = format!("r{at}");
            let row = stream.get(&RecordId::parse(&id).unwrap()).unwrap().row;
            let found = row.data.map(|it| serde_json::from_slice::<Value>(&it).unwrap());
            let wanted = model.records.get(&id).map(|number| json!({ "number": number }));
            assert_eq!(found, wanted, "{when}: {id}");
        }
        let log = self.log().await;
        model.check_events(&log, when);
        (model.events, model.deleted) = (log, Vec::new());
        model.synced = journals(&self.dir.path().join("state"));
    }

    async fn live(&self, fs: &Faulty, random: &mut Random, model: &mut Model) {
        for _ in 0..5 + random.below(15) {
            let ask = model.next(random);
            model.pending = Some(ask.clone());
            let Some(answer) = self.ask(fs, &ask).await else { return };
            model.take(&ask, &answer);
            model.pending = None;
            model.synced = journals(&self.dir.path().join("state"));
            if random.below(6) == 0 && self.target("deal").await.stream.settle().is_err() {
                return;
            }
        }
    }
}

async fn survive(seed: u64) {
    let mut random = Random::new(seed);
    let scratch = || tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (mut fs, mut model) = (Faulty::new(seed), Model::default());
    let mut sandbox = Sandbox::on(Arc::new(fs.clone()), scratch()).await;
    for life in 0..LIVES {
        if random.below(3) > 0 {
            fs.fault_after(20 + random.below(150), Fault::Dies);
        }
        sandbox.live(&fs, &mut random, &mut model).await;
        // The store first: it may be behind the logs, and never ahead.
        let (image, from) = (scratch(), sandbox.dir.path().to_owned());
        copy(&from, image.path());
        let before = (fs.clone(), model.clone());
        for cut in 0..CUTS {
            model = before.1.clone();
            fs = before.0.crash(random.next());
            let dir = scratch();
            copy(image.path(), dir.path());
            // What these write before their first event is synced before it.
            let is_ahead =
                matches!(model.pending, Some(Ask::Close(_) | Ask::Write { is_atomic: true, .. }));
            cut_journals(&dir.path().join("state"), |name, written| {
                let synced = model.synced.get(name).copied().unwrap_or(0).min(written);
                if is_ahead { written } else { synced + random.below(written - synced + 1) }
            });
            fs.rename(&from, dir.path()).unwrap();
            let (broker, ingest) = open_on(Arc::new(fs.clone()), dir.path()).await;
            sandbox = Sandbox { dir, broker, ingest };
            let when = format!("seed {seed}, life {life}, cut {cut}");
            sandbox.check(&fs, &mut model, &when).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_holds_after_every_power_cut() {
    for seed in 0..iterations(HISTORIES) {
        survive(seed).await;
    }
}
