//! Snapshots on a broker in a directory of its own; its state store is set back as a crash would.

use super::super::json::Object;
use super::super::mutation::{Hold, Key, Mutation, Operation};
use super::super::name::{RecordId, SyncId};
use super::super::state::Row;
use super::super::sync::{CollectionDefinition, Definition};
use super::super::target::Target;
use super::super::tests::open;
use super::{Error, Id, Phase, expire, finish};
use crate::broker::Broker;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const FIRST: Id = Id(7);
const SECOND: Id = Id(8);
const NOW: i64 = 1_700_000_000_000;
/// How often what must not happen is given the time to.
const YIELDS: usize = 20_000;

/// A collection of several partitions, on a broker that can be started again.
struct Collection {
    broker: Arc<Broker>,
    target: Target,
}

impl Collection {
    async fn open(dir: &Path) -> Self {
        let (broker, ingest) = open(dir).await;
        let cluster = broker.cluster_by_name("dev").unwrap();
        if ingest.sync(&cluster, "sync_a").is_none() {
            let contact = CollectionDefinition { partitions: Some(3), ..Default::default() };
            let collections = [("contact".to_owned(), contact)].into();
            let definition = Definition { collections, ..Definition::default() };
            let id = SyncId::parse("sync_a").unwrap();
            ingest.put_sync(&cluster, id, definition).await.unwrap();
        }
        let target = Target::find(&ingest, &cluster, "sync_a", "contact").await.unwrap();
        Self { broker, target }
    }

    async fn close(self) {
        self.broker.close().await.unwrap();
    }

    /// What was published, and whether anything was refused.
    async fn mutate(&self, operation: Operation, id: &str, data: &'static str) -> Option<bool> {
        let data = Some(Object::parse(data.as_bytes()).unwrap());
        let id = RecordId::parse(id).unwrap();
        let mutation = Mutation::new(id, operation, data);
        let done = self.target.mutate(vec![mutation]).pop().unwrap().ok()?;
        self.target.stream.confirm([&done].into_iter()).await;
        Some(done.published.is_some())
    }

    async fn put(&self, id: &str, data: &'static str) -> bool {
        self.mutate(Operation::Upsert, id, data).await.unwrap()
    }

    fn open_snapshot(&self, id: Id) -> Result<(), Error> {
        let stream = &self.target.stream;
        stream.between_mutations(|ends| stream.snapshots.open(id, ends, NOW)).map(drop)
    }

    fn close_snapshot(&self, id: Id) {
        self.target.stream.snapshots.close(id).unwrap();
    }

    fn phase(&self) -> Option<Phase> {
        self.target.stream.snapshots.current().map(|(it, _)| it.phase)
    }

    /// The records there are, of `ids`.
    fn there(&self, ids: &str) -> String {
        let has = |id: &char| {
            let id = RecordId::parse(&id.to_string()).unwrap();
            self.target.stream.get(&id).unwrap().row.data.is_some()
        };
        ids.chars().filter(has).collect()
    }

    fn marks(&self) -> usize {
        let state = &self.broker.shared.state;
        let prefix = [&self.target.stream.topic().id, &b"s"[..]].concat();
        state.records.prefix(prefix).count()
    }

    fn events(&self) -> i64 {
        self.target.stream.between_mutations(|ends| ends.iter().sum())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_deletes_the_records_that_nothing_touched_since_the_opening() {
    let dir = tempfile::tempdir().unwrap();
    let collection = Collection::open(dir.path()).await;
    for id in ["a", "b", "c", "d", "e", "f", "g"] {
        assert!(collection.put(id, r#"{"v":1}"#).await);
    }
    assert_eq!(collection.marks(), 0, "without a snapshot nothing is marked");
    collection.open_snapshot(FIRST).unwrap();
    assert!(!collection.put("a", r#"{"v":1.0}"#).await, "in it, unchanged");
    assert!(collection.put("b", r#"{"v":2}"#).await, "in it, changed");
    assert!(collection.put("n", r#"{"v":1}"#).await, "in it, new");
    assert_eq!(collection.mutate(Operation::Patch, "c", "{}").await, Some(false));
    assert_eq!(collection.mutate(Operation::Delete, "d", "{}").await, Some(true));
    let refused = collection.mutate(Operation::Patch, "e", r#"{"v":{"\ud800":1}}"#).await;
    assert_eq!(refused, None, "a refused mutation is no proof that the record is gone");

    collection.close_snapshot(FIRST);
    finish(collection.target.clone()).await.unwrap();
    assert_eq!(collection.there("abcdefgn"), "abcen");
    let (snapshot, problem) = collection.target.stream.snapshots.current().unwrap();
    assert_eq!((snapshot.phase, snapshot.deleted, snapshot.touched), (Phase::Closed, 2, 6));
    assert_eq!(problem, None);
    assert_eq!(collection.marks(), 0);
    let events = collection.events();
    finish(collection.target.clone()).await.unwrap();
    assert_eq!(collection.events(), events, "a closed one stays closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_lost_of_the_store_is_marked_again_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let collection = Collection::open(dir.path()).await;
    for id in ["a", "b", "c"] {
        collection.put(id, r#"{"v":1}"#).await;
    }
    // The last events before the opening are not in the store; their replay is no sign of life.
    collection.open_snapshot(FIRST).unwrap();
    collection.close().await;
    let (state, saved) = (dir.path().join("state"), dir.path().join("saved"));
    copy(&state, &saved);

    let collection = Collection::open(dir.path()).await;
    assert_eq!(collection.marks(), 0);
    collection.put("a", r#"{"v":2}"#).await;
    collection.put("n", r#"{"v":1}"#).await;
    assert_eq!(collection.marks(), 2);
    collection.close().await;
    std::fs::remove_dir_all(&state).unwrap();
    copy(&saved, &state);

    let collection = Collection::open(dir.path()).await;
    assert_eq!(collection.marks(), 2);
    collection.close_snapshot(FIRST);
    collection.close().await;
    // It was closing when the process ended, so the next one closes it unasked.
    let collection = Collection::open(dir.path()).await;
    finish(collection.target.clone()).await.unwrap();
    assert_eq!((collection.phase(), collection.there("abcn")), (Some(Phase::Closed), "an".into()));
    assert_eq!(collection.events(), 3 + 2 + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_given_up_or_forgotten_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let collection = Collection::open(dir.path()).await;
    let snapshots = collection.target.stream.snapshots.clone();
    collection.put("a", r#"{"v":1}"#).await;
    let message = |refused: Result<_, Error>| refused.map(drop).unwrap_err().to_string();
    let unknown = "snapshot 'snap_0000000000000007' does not exist; there was none yet";
    assert_eq!(message(snapshots.close(FIRST)), unknown);

    collection.open_snapshot(FIRST).unwrap();
    collection.put("b", r#"{"v":1}"#).await;
    let unfinished = message(collection.open_snapshot(SECOND).map(|()| unreachable!()));
    assert!(unfinished.ends_with("is not finished: close or abandon it first"), "{unfinished}");
    let page = snapshots.page(FIRST, NOW).unwrap();
    let waiting = message(snapshots.close(FIRST));
    assert!(waiting.starts_with("1 pages of snapshot"), "{waiting}");
    let abandon = || collection.target.stream.between_mutations(|_| snapshots.abandon(FIRST));
    assert_eq!(abandon().unwrap().phase, Phase::Abandoned);
    assert_eq!(abandon().unwrap().phase, Phase::Abandoned, "again");
    let over = message(snapshots.close(FIRST));
    assert_eq!(over, "snapshot 'snap_0000000000000007' is abandoned and cannot be closed");

    // A page outlives its snapshot, and the next one knows nothing of it.
    collection.open_snapshot(SECOND).unwrap();
    drop(page);
    assert_eq!(collection.marks(), 0);
    snapshots.page(SECOND, NOW + 1).unwrap();
    let day = 24 * 60 * 60 * 1000;
    expire(&collection.target.stream, NOW + day);
    assert_eq!(collection.phase(), Some(Phase::Open));
    expire(&collection.target.stream, NOW + 1 + day);
    assert_eq!(collection.phase(), Some(Phase::Expired));
    assert_eq!((collection.there("ab"), collection.events()), ("ab".into(), 2));
    collection.put("c", r#"{"v":1}"#).await;
    assert_eq!(collection.marks(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closing_takes_many_steps_and_ends_once() {
    let dir = tempfile::tempdir().unwrap();
    let collection = Collection::open(dir.path()).await;
    let put = |range: std::ops::Range<usize>| {
        let data = || Some(Object::parse(br#"{"v":1}"#).unwrap());
        let id = |index| RecordId::parse(&format!("{index:05}")).unwrap();
        let mutation = |index| Mutation::new(id(index), Operation::Upsert, data());
        collection.target.mutate(range.map(mutation).collect())
    };
    assert!(put(0..4500).iter().all(Result::is_ok));
    collection.open_snapshot(FIRST).unwrap();
    put(1000..1900);
    collection.close_snapshot(FIRST);
    let closings = (0..3).map(|_| tokio::spawn(finish(collection.target.clone())));
    for closing in closings.collect::<Vec<_>>() {
        closing.await.unwrap().unwrap();
    }
    let (snapshot, _) = collection.target.stream.snapshots.current().unwrap();
    assert_eq!((snapshot.deleted, collection.events()), (3600, 4500 + 3600));
    let ids = (0..4500).map(|index| format!("{index:05}"));
    let is_there = |id: &String| {
        collection.target.stream.get(&RecordId::parse(id).unwrap()).unwrap().row.data.is_some()
    };
    let left: BTreeSet<String> = ids.filter(is_there).collect();
    assert_eq!(left, (1000..1900).map(|index| format!("{index:05}")).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closing_waits_for_what_a_keyed_write_keeps_from_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let collection = Collection::open(dir.path()).await;
    let stream = collection.target.stream.clone();
    let hold = Hold::default();
    let ids = "abcdefgh";
    for id in ids.chars() {
        collection.put(&id.to_string(), r#"{"v":1}"#).await;
    }
    let data = Some(Object::parse(br#"{"v":2}"#).unwrap());
    let keyed = Mutation::new(RecordId::parse("a").unwrap(), Operation::Upsert, data);
    let key = Some(Key { text: "k".into(), hold: hold.clone() });
    let done = collection.target.mutate(vec![Mutation { key, ..keyed }]).pop().unwrap().unwrap();
    stream.confirm([&done].into_iter()).await;
    // In the same partition, after it.
    let same = |id: &String| stream.partition_of(&RecordId::parse(id).unwrap()) == done.partition;
    let after = (0..100).map(|it| it.to_string()).find(same).unwrap();
    collection.put(&after, r#"{"v":1}"#).await;

    collection.open_snapshot(FIRST).unwrap();
    collection.close_snapshot(FIRST);
    let closing = tokio::spawn(finish(collection.target.clone()));
    while stream.rows().get("h").unwrap() == Row::NONE {
        tokio::task::yield_now().await;
    }
    // All that may is in the store; a closing that did not wait would soon be done.
    for _ in 0..YIELDS {
        tokio::task::yield_now().await;
    }
    assert_eq!(collection.phase(), Some(Phase::Closing));
    drop(hold);
    while !closing.is_finished() {
        stream.settle().unwrap();
        tokio::task::yield_now().await;
    }
    closing.await.unwrap().unwrap();
    assert_eq!(collection.there(ids), "");
    assert!(stream.get(&RecordId::parse(&after).unwrap()).unwrap().row.data.is_none());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(std::fs::copy(&path, &to).unwrap()),
        }
    }
}
