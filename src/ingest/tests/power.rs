//! Power cuts under mutations: the log is on a file system that keeps as little as it may, and the
//! state store is what it was at any earlier moment of its journal, or gone. Whatever is left, the
//! state is the replay of the events, no acknowledged event is missing, and the next mutation is
//! compared with the truth.
//!
//! The store is a crate of its own on real files, so it cannot be put on the faulty file system.
//! What a power cut leaves of it, as far as it is promised, is a prefix of its journal over the
//! tables that were synced before; so its journal is cut at any byte, torn entries included.

use super::crashes::{copy, cut_journals};
use super::*;
use crate::faulty::{Bug, Fault, Faulty};
use crate::ingest::replay::replay_topic;
use crate::ingest::run::Destination;
use crate::ingest::stream::Stream;
use crate::ingest::sync::Sync;
use crate::ingest::version::Version;
use crate::iterations::iterations;
use crate::random::Random;
use crate::state::State as Store;
use crate::topic::{Config, Partition, Topic};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tidelog_protocol::Uuid;
use tidelog_storage as storage;

/// Histories; each has a few lives, and each life is cut off in several ways.
const HISTORIES: u64 = 12;
/// A mistake of the file system is found in one of so many.
const BUGGY_HISTORIES_MAX: u64 = 200;
const CUTS: u64 = 6;
const PARTITIONS: i32 = 2;
const RECORDS: u64 = 8;
const TOPIC_ID: Uuid = [7; 16];

/// What an event made of its record: its JSON, and its version.
type Made = (String, Option<String>, Option<i64>);

/// What was appended to each partition, and how much of it was acknowledged.
#[derive(Clone, Default)]
struct History {
    events: [Vec<Made>; PARTITIONS as usize],
    acknowledged: [usize; PARTITIONS as usize],
}

impl History {
    fn records(&self) -> BTreeMap<String, (Option<String>, Option<i64>)> {
        let events = self.events.iter().flatten().cloned();
        events.map(|(id, data, version)| (id, (data, version))).collect()
    }
}

/// A collection, open on a log and a store.
struct Opened {
    volume: storage::Volume,
    store: Store,
    sync: Sync,
    stream: Stream,
}

impl Opened {
    fn new(fs: &Faulty, store: &Path) -> storage::Result<Self> {
        let options = storage::VolumeOptions { flush: storage::Flush::Manual };
        let fs = Arc::new(fs.clone());
        let volume = storage::Volume::open(fs, Path::new("/data"), options, Box::new(|_| {}))?;
        let config = Config::new(BTreeMap::new()).unwrap();
        let options =
            storage::PartitionOptions { segment_bytes: 12_000, ..config.partition_options() };
        let mut partitions = Vec::new();
        for index in 0..PARTITIONS {
            let dir = PathBuf::from(format!("deal-{index}"));
            partitions.push(Some(Partition::open(&volume, &dir, TOPIC_ID, options)?));
        }
        let (id, name, sync) = (TOPIC_ID, "deal".to_owned(), Some("sync_a".to_owned()));
        let topic = Topic { name, id, partitions, config, sync };
        let store = Store::open(store, Arc::new(|_| {})).unwrap();
        let (damaged, snapshots) = replay_topic("a", &topic, &store).unwrap();
        assert_eq!(damaged, [].into());
        let (topic, snapshots) = (Arc::new(topic), Arc::new(snapshots));
        let stream = Stream::new(topic, store.clone(), &damaged, (snapshots, None), Arc::default());
        let collections = [("deal".to_owned(), CollectionDefinition::default())].into();
        let definition = Definition { collections, ..Definition::default() };
        let sync = Sync::new(SyncId::parse("sync_a").unwrap(), definition, None).unwrap();
        Ok(Self { volume, store, sync, stream })
    }

    fn mutate(&self, mutations: Vec<Mutation<'_>>) -> Vec<Result<Done, Error>> {
        let defined = &self.sync.collections["deal"];
        self.stream.mutate(Destination { sync: &self.sync, defined }, mutations)
    }

    /// Any mutations, until there are enough of them or the disk fails.
    fn live(&self, random: &mut Random, history: &mut History) -> storage::Result<()> {
        for _ in 0..random.below(30) {
            match random.below(8) {
                0..5 => self.mutate_some(random, history)?,
                5..7 => {
                    self.volume.sync()?;
                    for (at, (_, partition)) in self.stream.partitions().enumerate() {
                        history.acknowledged[at] = partition.high_watermark() as usize;
                    }
                    self.stream.settle().unwrap();
                }
                _ => self.volume.checkpoint()?,
            }
        }
        Ok(())
    }

    /// A few mutations in one go, each of a record of its own, as they must end.
    fn mutate_some(&self, random: &mut Random, history: &mut History) -> storage::Result<()> {
        let records = history.records();
        let first = random.below(RECORDS);
        let mut texts = Vec::new();
        for step in 0..1 + random.below(4) {
            let id = format!("r{}", (first + step) % RECORDS);
            let (data, held) = records.get(&id).cloned().unwrap_or_default();
            // Versions only rise, together with a change: one that publishes nothing is not in the
            // log.
            let version = (random.below(3) == 0).then(|| held.unwrap_or(0) + 1);
            let padding = "x".repeat([0, 0, 900][random.below(3) as usize]);
            let next = match random.below(4) {
                0 => None,
                _ if version.is_some() => Some(format!(r#"{{"v":"{}"}}"#, held.unwrap_or(0) + 1)),
                value => Some(format!(r#"{{"a":{value},"b":"{padding}"}}"#)),
            };
            let changes = data != next;
            texts.push((id, data, next, version.filter(|_| changes), held));
        }
        let mut mutations = Vec::new();
        for (id, _, next, version, _) in &texts {
            let mutation = next.as_deref().map_or_else(|| delete(id), |next| upsert(id, next));
            mutations.push(Mutation { version: version.map(Version::Number), ..mutation });
        }
        let outcomes = self.mutate(mutations);
        let mut failed = Ok(());
        for ((id, data, next, version, held), outcome) in texts.iter().zip(outcomes) {
            let changes = data != next;
            match outcome {
                Ok(done) => assert_eq!(done.published.is_some(), changes, "{id} {data:?} {next:?}"),
                Err(Error::Log(error)) => failed = Err(Arc::into_inner(error).unwrap_or(POISONED)),
                Err(error) => panic!("{id}: {error}"),
            }
            // Of an append that failed, all or nothing may be there.
            if changes {
                let id = RecordId::parse(id).unwrap();
                let partition = self.stream.partition_of(&id) as usize;
                let made = (id.as_str().to_owned(), next.clone(), version.or(*held));
                history.events[partition].push(made);
            }
        }
        failed
    }

    /// All that was acknowledged is there, the state is the replay of what is there, and mutations
    /// are compared with that.
    fn check(&self, history: &mut History, when: &str) {
        for (at, (_, partition)) in self.stream.partitions().enumerate() {
            let end = partition.log().log_end_offset() as usize;
            let (least, most) = (history.acknowledged[at], history.events[at].len());
            assert!((least..=most).contains(&end), "{when}: {end}, not {least} to {most}");
            history.events[at].truncate(end);
            history.acknowledged[at] = end;
        }
        let records = history.records();
        let (report, told) = super::verifies::compare(&self.stream);
        assert_eq!((told, report.unverified), (Vec::new(), 0), "{when}");
        let there = records.values().filter(|(data, _)| data.is_some()).count();
        assert_eq!(report.records, there as u64, "{when}");
        for (id, (data, version)) in &records {
            let row = self.stream.get(&RecordId::parse(id).unwrap()).unwrap().row;
            let text = row.data.map(|it| String::from_utf8(it.to_vec()).unwrap());
            assert_eq!((&text, row.version), (data, version.map(Version::Number)), "{when}: {id}");
            let again = data.as_deref().map_or_else(|| delete(id), |data| upsert(id, data));
            let done = self.mutate(vec![again]).pop().unwrap().unwrap();
            assert_eq!(done.published, None, "{when}: {id}");
        }
    }
}

const POISONED: storage::Error = storage::Error::Poisoned;

/// The places of the stores of one history.
struct Stores {
    dir: tempfile::TempDir,
    made: u64,
}

impl Stores {
    /// In memory where there is such a file system: what is left of a store is cut by hand, so
    /// nothing rests on its syncs.
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { dir, made: 0 }
    }

    fn next(&mut self) -> PathBuf {
        self.made += 1;
        self.dir.path().join(self.made.to_string())
    }

    /// A copy of a store, as it was at any earlier moment.
    fn earlier(&mut self, store: &Path, random: &mut Random) -> PathBuf {
        let earlier = self.next();
        // One of six is lost; one that was lost before may not have been made again.
        if random.below(6) > 0 && store.is_dir() {
            copy(store, &earlier);
            cut_journals(&earlier, |_, written| random.below(written + 1));
        }
        earlier
    }
}

/// Lives and power cuts, each cut in several ways, and the last of these lived on.
fn survive(seed: u64, bug: Option<Bug>) -> u64 {
    let mut random = Random::new(seed);
    let mut fs = Faulty::new(seed);
    bug.into_iter().for_each(|bug| fs.seed(bug));
    let mut stores = Stores::new();
    let (mut history, mut store, mut cases) = (History::default(), stores.next(), 0);
    for life in 0..2 + random.below(3) {
        if random.below(2) == 0 {
            fs.fault_after(30 + random.below(100), Fault::Dies);
        }
        let lived = Opened::new(&fs, &store).and_then(|opened| {
            // Tables of the store, and not only its journal.
            if random.below(3) == 0 {
                opened.store.records.rotate_memtable_and_wait().unwrap();
            }
            opened.live(&mut random, &mut history)
        });
        assert!(lived.is_ok() || fs.faulted(), "seed {seed}: {lived:?}");
        let (mut left, mut after) = (fs.clone(), history.clone());
        let before = store.clone();
        for cut in 0..CUTS {
            (left, after) = (fs.crash(random.next()), history.clone());
            store = stores.earlier(&before, &mut random);
            let opened = Opened::new(&left, &store).unwrap();
            opened.check(&mut after, &format!("seed {seed}, life {life}, cut {cut}"));
            cases += 1;
        }
        (fs, history) = (left, after);
    }
    cases
}

#[test]
fn state_is_the_replay_of_the_events_after_every_power_cut() {
    let cases = (0..iterations(HISTORIES)).map(|seed| survive(seed, None)).sum::<u64>();
    println!("{cases} power cuts");
}

#[test]
fn a_log_that_is_not_synced_is_found_by_its_records() {
    for bug in [Bug::FileNotSynced, Bug::FailureIgnored] {
        let found = (0..BUGGY_HISTORIES_MAX)
            .any(|seed| std::panic::catch_unwind(|| survive(seed, Some(bug))).is_err());
        assert!(found, "{bug:?} is not found");
    }
}
