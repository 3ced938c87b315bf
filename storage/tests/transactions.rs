//! Transactions in random interleavings, with rolls, compactions, crashes and lost index files,
//! against a list of what was sent; and the bytes of `.txnindex`.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidelog_protocol::records::{
    Batch, BatchBuilder, Compression, EndTxnMarker, Record, TransactionResult,
};
use tidelog_storage::fs::Fs;
use tidelog_storage::{
    AbortedTxn, Compaction, Partition, PartitionOptions, Result, Retention, Volume, VolumeOptions,
};

use crate::faulty::{Fault, Faulty};
use crate::support::{DIR, MANUAL, Random, SMALL, TOPIC, batches, iterations, open, open_volume};

const PRODUCERS: u64 = 4;
const KEYS: u64 = 10;
const HOUR_MS: i64 = 3_600_000;

/// A batch that was sent.
#[derive(Clone, Debug)]
struct Sent {
    producer: i64,
    transactional: bool,
    /// How the producer's transaction ends here, if that is what the batch says.
    end: Option<TransactionResult>,
    records: Vec<Record>,
}

impl Sent {
    fn first(&self) -> i64 {
        self.records[0].offset
    }
    fn last(&self) -> i64 {
        self.records[self.records.len() - 1].offset
    }
}

/// All that was sent, whether a crash took it back or not yet.
#[derive(Default)]
struct Model {
    sent: Vec<Sent>,
    /// Offsets below it survive a crash.
    durable: i64,
    /// Whether compaction may have taken something.
    compacted: bool,
}

impl Model {
    fn end(&self) -> i64 {
        self.sent.last().map_or(0, |sent| sent.last() + 1)
    }

    /// Every transaction in the order of their ends, the open ones last.
    fn transactions(&self) -> Vec<(AbortedTxn, Option<TransactionResult>)> {
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        let mut all = Vec::new();
        for sent in self.sent.iter().filter(|sent| sent.transactional) {
            let Some(result) = sent.end else {
                open.entry(sent.producer).or_insert(sent.first());
                continue;
            };
            let Some(first_offset) = open.remove(&sent.producer) else { continue };
            let last_offset = sent.last();
            let last_stable_offset = open.values().copied().min().unwrap_or(last_offset + 1);
            let producer_id = sent.producer;
            let ended = AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset };
            all.push((ended, Some(result)));
        }
        all.extend(open.into_iter().map(|(producer_id, first_offset)| {
            let (last_offset, last_stable_offset) = (i64::MAX, first_offset);
            (AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset }, None)
        }));
        all
    }

    fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        let all = self.transactions();
        let undecided = all.iter().filter(|(it, _)| it.last_offset >= high_watermark);
        undecided.map(|(it, _)| it.first_offset).min().unwrap_or(i64::MAX).min(high_watermark)
    }

    fn aborted(&self, from: i64, until: i64) -> Vec<AbortedTxn> {
        let aborted = self.transactions().into_iter();
        let aborted = aborted.filter(|(_, result)| *result == Some(TransactionResult::Abort));
        aborted
            .map(|(it, _)| it)
            .filter(|it| it.last_offset >= from && it.first_offset < until)
            .collect()
    }

    /// The records below `until` that count.
    fn committed(&self, until: i64) -> Vec<Record> {
        let aborted = self.aborted(0, until);
        let is_void = |sent: &Sent| {
            sent.transactional
                && aborted.iter().any(|it| {
                    it.producer_id == sent.producer
                        && (it.first_offset..it.last_offset).contains(&sent.first())
                })
        };
        let counts = |sent: &&Sent| sent.end.is_none() && sent.last() < until && !is_void(sent);
        self.sent.iter().filter(counts).flat_map(|sent| sent.records.clone()).collect()
    }

    /// The sequence number of the producer's next record.
    fn sequence(&self, producer: i64) -> i32 {
        let own = |sent: &&Sent| sent.producer == producer && sent.end.is_none();
        self.sent.iter().filter(own).map(|sent| sent.records.len() as i32).sum()
    }

    /// Appends; what fails may be there after a crash, or not.
    fn append(
        &mut self,
        partition: &Partition,
        batch: &Batch,
        end: Option<TransactionResult>,
    ) -> Result<()> {
        let base = self.end();
        let records = batch.records(1 << 20).unwrap().map(std::result::Result::unwrap);
        let records = (base..).zip(records).map(|(offset, it)| Record { offset, ..it }).collect();
        let header = batch.header();
        let (producer, transactional) = (header.producer_id, header.attributes.is_transactional());
        self.sent.push(Sent { producer, transactional, end, records });
        let appended = partition.append(batch, 0)?;
        assert_eq!(appended.base_offset, base);
        Ok(())
    }

    fn append_data(
        &mut self,
        partition: &Partition,
        random: &mut Random,
        now_ms: i64,
    ) -> Result<()> {
        let compression = Compression::ALL[random.below(5) as usize];
        let mut builder = BatchBuilder::new(compression, 1 << 16);
        // The last producer has no transactions.
        let producer = random.below(PRODUCERS + 1) as i64;
        builder = builder.producer(producer, 0, self.sequence(producer));
        if producer < PRODUCERS as i64 {
            builder = builder.transactional();
        }
        for _ in 0..1 + random.below(4) {
            let key = format!("key-{}", random.below(KEYS));
            let len = random.below(120) as usize;
            let value = (random.below(6) > 0).then(|| random.bytes(len));
            builder.append(now_ms, Some(key.as_bytes()), value.as_deref(), &[]).unwrap();
        }
        self.append(partition, &builder.finish().unwrap(), None)
    }

    fn append_marker(
        &mut self,
        partition: &Partition,
        random: &mut Random,
        now_ms: i64,
    ) -> Result<()> {
        let result = match random.below(2) {
            0 => TransactionResult::Commit,
            _ => TransactionResult::Abort,
        };
        let marker = EndTxnMarker { result, coordinator_epoch: 3 };
        let producer = random.below(PRODUCERS) as i64;
        self.append(partition, &marker.batch(now_ms, producer, 0), Some(result))
    }

    /// Takes what the log ends with for what was sent.
    fn recover(&mut self, partition: &Partition, case: &str) {
        let end = partition.log_end_offset();
        assert!((self.durable..=self.end()).contains(&end), "{case}: {end}");
        self.sent.retain(|sent| sent.last() < end);
        assert_eq!(self.end(), end, "{case}");
        self.durable = end;
    }

    fn check(&self, partition: &Partition, random: &mut Random, case: &str) -> Result<()> {
        let high_watermark = partition.high_watermark();
        let stable = partition.last_stable_offset()?;
        assert_eq!(stable, self.last_stable_offset(high_watermark), "{case}");
        assert_eq!(partition.known_last_stable_offset(), Some(stable), "{case}");
        if !self.compacted {
            let until = random.below(stable as u64 + 1) as i64;
            let from = random.below(until as u64 + 1) as i64;
            let found = partition.aborted_between(from, until)?;
            assert_eq!(found, self.aborted(from, until), "{case}: {from} to {until}");
        }
        let found = consume(partition, stable, 100 + random.below(3000) as usize)?;
        let wanted = self.committed(stable);
        if self.compacted {
            let sent: BTreeMap<i64, &Record> = wanted.iter().map(|it| (it.offset, it)).collect();
            for record in &found {
                assert_eq!(sent.get(&record.offset), Some(&record), "{case}");
            }
            assert_eq!(state(&found), state(&wanted), "{case}");
        } else {
            assert_eq!(found, wanted, "{case}");
        }
        Ok(())
    }
}

/// What a reader of these records ends up with.
fn state(records: &[Record]) -> BTreeMap<Bytes, Bytes> {
    let mut state = BTreeMap::new();
    for record in records {
        let key = record.key.clone().unwrap();
        match record.value.clone() {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
    state
}

/// The records below `until` that count, by the rules of Kafka's consumers.
fn consume(partition: &Partition, until: i64, max_bytes: usize) -> Result<Vec<Record>> {
    let (mut next, mut all) = (0, Vec::new());
    while next < until {
        let read = batches(partition.read(next, max_bytes, until)?);
        let Some(last) = read.last() else { break };
        let end = last.header().last_offset() + 1;
        let mut aborted = partition.aborted_between(next, end)?;
        aborted.sort_by_key(|it| it.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut void = HashSet::new();
        for batch in read {
            let header = *batch.header();
            while let Some(begun) = aborted.next_if(|it| it.first_offset <= header.last_offset()) {
                void.insert(begun.producer_id);
            }
            let records = batch.records(1 << 20).unwrap().map(std::result::Result::unwrap);
            if header.attributes.is_control() {
                let markers = records.map(|it| EndTxnMarker::read(&it).unwrap().unwrap().result);
                if markers.last() == Some(TransactionResult::Abort) {
                    void.remove(&header.producer_id);
                }
            } else if !header.attributes.is_transactional() || !void.contains(&header.producer_id) {
                all.extend(records.filter(|it| it.offset >= next));
            }
        }
        next = end;
    }
    Ok(all)
}

fn try_open(fs: &Faulty, options: PartitionOptions) -> Result<(Volume, Partition)> {
    let options_of_volume = VolumeOptions { flush: MANUAL };
    let fs = Arc::new(fs.clone());
    let volume = Volume::open(fs, Path::new("/data"), options_of_volume, Box::new(|_| {}))?;
    let opened = volume.open_partition(Path::new(DIR), TOPIC, options, Box::new(|_| {}))?;
    Ok((volume, opened.0))
}

/// One life of a process: until an error, or its end.
fn live(
    fs: &Faulty,
    model: &mut Model,
    random: &mut Random,
    (compacts, now_ms): (bool, &mut i64),
    case: &str,
) -> Result<()> {
    let options = PartitionOptions { segment_bytes: 1500 + random.below(3000), ..SMALL };
    let (volume, partition) = try_open(fs, options)?;
    model.recover(&partition, case);
    // What is asked first differs: nothing is known before.
    if random.below(2) == 0 {
        model.check(&partition, random, case)?;
    }
    for step in 0..random.below(60) {
        *now_ms += random.below(HOUR_MS as u64 / 20) as i64;
        match random.below(16) {
            0..8 => model.append_data(&partition, random, *now_ms)?,
            8..12 => model.append_marker(&partition, random, *now_ms)?,
            12 => {
                volume.sync()?;
                model.durable = model.end();
            }
            13 if compacts => {
                model.compacted = true;
                partition.compact(*now_ms, compaction(random), &mut |_| ())?;
                // It seals, and what is sealed is synced.
                model.durable = model.durable.max(partition.high_watermark());
            }
            _ => model.check(&partition, random, &format!("{case}, step {step}"))?,
        }
    }
    if random.below(2) == 0 {
        volume.close()?;
        model.durable = model.end();
    }
    Ok(())
}

fn compaction(random: &mut Random) -> Compaction {
    Compaction {
        dirty_ratio_min: 0.0,
        lag_min_ms: 0,
        lag_max_ms: if random.below(2) == 0 { 0 } else { i64::MAX },
        delete_retention_ms: HOUR_MS,
        keys_max: 1 + random.below(30) as usize,
        until: i64::MAX,
    }
}

/// Removes or garbles an index file: with the `.index`, all that is said of a segment goes.
fn hurt_indexes(fs: &Faulty, random: &mut Random) {
    let dir = Path::new("/data").join(DIR);
    for entry in fs.list(&dir).unwrap_or_default() {
        let path = dir.join(&entry.name);
        match random.below(4) {
            0 if entry.name.ends_with(".index") => fs.remove(&path),
            1 if entry.name.ends_with(".txnindex") => {
                let len = random.below(100) as usize;
                fs.overwrite(&path, random.bytes(len));
            }
            _ => {}
        }
    }
}

#[test]
fn any_history_of_transactions_reads_as_the_list_of_its_batches_does() {
    for seed in 0..iterations(60) {
        let mut random = Random::new(seed);
        let (mut model, mut now_ms, compacts) = (Model::default(), 10 * HOUR_MS, seed % 2 == 1);
        let mut fs = Faulty::new(seed);
        for life in 0..6 {
            let case = format!("seed {seed}, life {life}");
            let dies = random.below(3) == 0;
            if dies {
                fs.fault_after(random.below(150), Fault::Dies);
            }
            let lived = live(&fs, &mut model, &mut random, (compacts, &mut now_ms), &case);
            match lived {
                Err(error) if !dies => panic!("{case}: {error}"),
                Err(_) => fs = fs.crash(seed + life),
                Ok(()) if random.below(3) == 0 => fs = fs.crash(seed + life),
                // A process that ended, on a machine that goes on.
                Ok(()) => fs.revive(),
            }
            if random.below(3) == 0 {
                hurt_indexes(&fs, &mut random);
            }
        }
        fs.revive();
        let (_volume, partition) = try_open(&fs, SMALL).unwrap();
        model.recover(&partition, &format!("seed {seed}, at last"));
        model.check(&partition, &mut random, &format!("seed {seed}, at last")).unwrap();
    }
}

fn start(fs: &Faulty) -> (Volume, Partition) {
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let (partition, recovered) = open(&volume, SMALL);
    assert_eq!(recovered.repairs, []);
    (volume, partition)
}

fn file(name: &str) -> PathBuf {
    Path::new("/data").join(DIR).join(name)
}

fn data(producer: i64, sequence: i32, value: &[u8]) -> Batch {
    let builder = BatchBuilder::new(Compression::None, 1 << 16);
    let mut builder = builder.producer(producer, 0, sequence).transactional();
    builder.append(0, Some(b"key"), Some(value), &[]).unwrap();
    builder.finish().unwrap()
}

fn marker(producer: i64, result: TransactionResult) -> Batch {
    EndTxnMarker { result, coordinator_epoch: 7 }.batch(0, producer, 0)
}

const ABORT: TransactionResult = TransactionResult::Abort;
const COMMIT: TransactionResult = TransactionResult::Commit;

#[test]
fn the_index_has_kafkas_bytes_and_is_there_only_if_a_transaction_was_aborted() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    let append = |batch: &Batch| _ = partition.append(batch, 0).unwrap();
    // Producer 5 from 0 to 4, aborted while 258, from 1 on, is open; 258 commits.
    append(&data(5, 0, b"void"));
    append(&data(258, 0, b"kept"));
    append(&data(5, 1, b"void"));
    append(&marker(6, ABORT));
    append(&marker(5, ABORT));
    append(&marker(258, COMMIT));
    append(&data(258, 1, b"void"));
    append(&marker(258, ABORT));
    volume.sync().unwrap();
    partition.enforce_retention(0, Retention { age_ms: None, bytes: None, until: 0 }).unwrap();
    volume.close().unwrap();
    let mut expected = vec![0, 0];
    expected.extend([0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1]);
    expected.extend([0, 0]);
    expected.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 6]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8]);
    assert_eq!(fs.contents(&file("00000000000000000000.txnindex")), expected);

    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    for batch in [data(5, 0, b"kept"), marker(5, COMMIT), marker(6, ABORT)] {
        partition.append(&batch, 0).unwrap();
    }
    volume.close().unwrap();
    let names = fs.list(&Path::new("/data").join(DIR)).unwrap();
    assert!(names.iter().all(|entry| !entry.name.ends_with(".txnindex")), "{names:?}");
}

#[test]
fn a_transaction_is_decided_once_its_marker_is_below_the_high_watermark() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    let stable = || partition.last_stable_offset().unwrap();
    assert_eq!(stable(), 0);
    for batch in [data(1, 0, b"a"), data(2, 0, b"b"), marker(2, COMMIT)] {
        partition.append(&batch, 0).unwrap();
    }
    assert_eq!((partition.high_watermark(), stable()), (0, 0));
    volume.sync().unwrap();
    assert_eq!((partition.high_watermark(), stable()), (3, 0));
    partition.append(&marker(1, ABORT), 0).unwrap();
    assert_eq!(stable(), 0, "the marker may be lost");
    volume.sync().unwrap();
    assert_eq!((partition.high_watermark(), stable()), (4, 4));
    let aborted =
        AbortedTxn { producer_id: 1, first_offset: 0, last_offset: 3, last_stable_offset: 4 };
    assert_eq!(partition.aborted_between(0, 4).unwrap(), [aborted]);
    // Open over a restart, and not before the start of the log.
    partition.append(&data(1, 1, b"c"), 0).unwrap();
    partition.append(&data(1, 2, b"d"), 0).unwrap();
    volume.close().unwrap();
    drop((volume, partition));
    let (_volume, partition) = start(&fs);
    assert_eq!(partition.known_last_stable_offset(), None, "idle, it costs nothing");
    assert_eq!(partition.last_stable_offset().unwrap(), 4);
    assert_eq!(partition.producers().unwrap()[0].current_txn_first_offset, Some(4));
    assert_eq!(partition.producers().unwrap()[0].coordinator_epoch, 7);
    partition.delete_records(5).unwrap();
    assert_eq!(partition.last_stable_offset().unwrap(), 5);
}

#[test]
fn compaction_drops_aborted_records_and_then_their_markers() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    let all = Compaction {
        dirty_ratio_min: 0.0,
        lag_min_ms: 0,
        lag_max_ms: 0,
        delete_retention_ms: HOUR_MS,
        keys_max: 100,
        until: i64::MAX,
    };
    partition.append(&data(1, 0, b"kept"), 0).unwrap();
    partition.append(&marker(1, COMMIT), 0).unwrap();
    partition.append(&data(1, 1, b"void"), 0).unwrap();
    partition.append(&marker(1, ABORT), 0).unwrap();
    partition.append(&data(1, 2, b"open"), 0).unwrap();
    volume.sync().unwrap();
    let offsets = |partition: &Partition| -> Vec<i64> {
        let read = crate::support::read_all(partition, 0);
        read.iter().map(|batch| batch.header().base_offset).collect()
    };
    let index = "00000000000000000000.txnindex";
    // Nothing as long as a transaction in the segment is open.
    partition.compact(HOUR_MS, all, &mut |_| ()).unwrap();
    assert_eq!(offsets(&partition), [0, 1, 2, 3, 4]);
    partition.append(&marker(1, ABORT), 0).unwrap();
    partition.append(&data(2, 0, b"last"), 0).unwrap();
    partition.append(&marker(2, COMMIT), 0).unwrap();
    volume.sync().unwrap();
    // The aborted records replace nothing; the committed one does. Markers and entries stay.
    partition.compact(HOUR_MS, all, &mut |_| ()).unwrap();
    assert_eq!(offsets(&partition), [1, 3, 5, 6, 7]);
    assert_eq!(fs.contents(&file(index)).len(), 2 * 34);
    // Nothing is left of three transactions: their markers get a horizon, the entries go.
    partition.append(&data(2, 1, b"more"), 0).unwrap();
    partition.append(&marker(2, COMMIT), 0).unwrap();
    volume.sync().unwrap();
    partition.compact(2 * HOUR_MS, all, &mut |_| ()).unwrap();
    assert_eq!(offsets(&partition), [1, 3, 5, 7, 8, 9]);
    assert!(fs.list(&file("")).unwrap().iter().all(|entry| entry.name != index));
    partition.compact(3 * HOUR_MS - 1, all, &mut |_| ()).unwrap();
    assert_eq!(offsets(&partition), [1, 3, 5, 7, 8, 9]);
    partition.compact(3 * HOUR_MS, all, &mut |_| ()).unwrap();
    assert_eq!(offsets(&partition), [7, 8, 9]);
    assert_eq!(partition.last_stable_offset().unwrap(), 10);
    assert_eq!(partition.aborted_between(0, 10).unwrap(), []);
}

#[test]
fn a_power_cut_at_any_call_of_a_seal_leaves_no_aborted_record_to_be_read() {
    let mut call = 0;
    loop {
        let fs = Faulty::new(call);
        let (volume, partition) = try_open(&fs, SMALL).unwrap();
        partition.append(&data(1, 0, b"void"), 0).unwrap();
        partition.append(&marker(1, ABORT), 0).unwrap();
        volume.sync().unwrap();
        // Two segments to seal, the second with an entry too.
        for sequence in 1..3 {
            partition.append(&data(1, sequence, &[7; 3950]), 0).unwrap();
            partition.append(&marker(1, ABORT), 0).unwrap();
        }
        fs.fault_after(call, Fault::Dies);
        let synced = volume.sync();
        for seed in 0..30 {
            let (_volume, partition) = try_open(&fs.crash(seed), SMALL).unwrap();
            let stable = partition.last_stable_offset().unwrap();
            assert_eq!(consume(&partition, stable, 1 << 16).unwrap(), [], "call {call}, {seed}");
        }
        if synced.is_ok() {
            break;
        }
        call += 1;
    }
    assert!(call > 15, "the fault was met at only {call} calls");
}

#[test]
fn a_power_cut_in_a_seal_without_room_leaves_no_older_index_to_be_believed() {
    let mut both = 0;
    for (full, then) in (0..12).flat_map(|full| (0..16).map(move |then| (full, then))) {
        let fs = Faulty::new(full);
        let (volume, partition) = try_open(&fs, SMALL).unwrap();
        partition.append(&data(1, 0, b"void"), 0).unwrap();
        partition.append(&marker(1, ABORT), 0).unwrap();
        volume.close().unwrap();
        drop((volume, partition));
        // The index files from then know of one aborted transaction, the segment has two.
        let (volume, partition) = try_open(&fs, SMALL).unwrap();
        partition.append(&data(1, 1, b"void"), 0).unwrap();
        partition.append(&marker(1, ABORT), 0).unwrap();
        partition.append(&data(1, 2, &[7; 3950]), 0).unwrap();
        partition.append(&marker(1, ABORT), 0).unwrap();
        fs.fault_after(full, Fault::Fails(ErrorKind::StorageFull));
        fs.then_fault_after(then, Fault::Dies);
        let before = fs.calls();
        let _ = volume.sync();
        both += u64::from(fs.calls() > before + full + then + 1);
        for seed in 0..10 {
            let (_volume, partition) = try_open(&fs.crash(seed), SMALL).unwrap();
            let stable = partition.last_stable_offset().unwrap();
            let found = consume(&partition, stable, 1 << 16).unwrap();
            assert_eq!(found, [], "call {full}, {then} later, {seed}");
        }
    }
    assert!(both > 50, "both faults were met {both} times");
}
