//! Compaction on random histories against the state they lead to, and with power cuts inside.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_protocol::records::{Batch, BatchBuilder, Compression, Record};
use tidelog_storage::fs::Fs;
use tidelog_storage::{
    Compacted, Compaction, Error, Event, Flush, Partition, PartitionOptions, Volume, VolumeOptions,
    repair,
};

use crate::faulty::{Call, Fault, Faulty};
use crate::support::{DIR, Random, SMALL, batch, batches, iterations, open, open_volume, read_all};

const KEYS: u64 = 12;
const HOUR_MS: i64 = 3_600_000;
/// As much as there is, at once.
const ALL: Compaction = Compaction {
    dirty_ratio_min: 0.0,
    lag_min_ms: 0,
    lag_max_ms: 0,
    delete_retention_ms: HOUR_MS,
    keys_max: 1000,
    until: i64::MAX,
};

fn start(fs: &Faulty) -> (Volume, Partition) {
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Manual);
    let (partition, recovered) = open(&volume, SMALL);
    assert_eq!(recovered.repairs, []);
    (volume, partition)
}

/// Some records with few keys, a tombstone now and then.
fn random_batch(random: &mut Random, now_ms: i64) -> Batch {
    let compression = Compression::ALL[random.below(5) as usize];
    let mut builder = BatchBuilder::new(compression, 1 << 16);
    for _ in 0..1 + random.below(5) {
        let key = format!("key-{}", random.below(KEYS));
        let len = random.below(150) as usize;
        let value = (random.below(5) > 0).then(|| random.bytes(len));
        builder.append(now_ms, Some(key.as_bytes()), value.as_deref(), &[]).unwrap();
    }
    builder.finish().unwrap()
}

fn records(batches: &[Batch]) -> Vec<Record> {
    let records = batches.iter().flat_map(|batch| batch.records(4 << 20).unwrap());
    records.map(Result::unwrap).collect()
}

type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// The log's segments, in order.
fn segments(fs: &Faulty) -> Vec<PathBuf> {
    let dir = Path::new("/data").join(DIR);
    let names = fs.list(&dir).unwrap().into_iter().map(|entry| entry.name);
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".log")).collect();
    names.sort_unstable();
    names.iter().map(|name| dir.join(name)).collect()
}

/// Bytes in each segment's file.
fn logs(fs: &Faulty) -> Vec<usize> {
    segments(fs).iter().map(|path| fs.contents(path).len()).collect()
}

/// What a reader of these records ends up with.
fn state(records: &[Record]) -> State {
    let mut state = State::new();
    for record in records.iter().filter(|record| !is_marker(record)) {
        let key = record.key.as_deref().unwrap().to_vec();
        match &record.value {
            Some(value) => state.insert(key, value.to_vec()),
            None => state.remove(&key),
        };
    }
    state
}

/// A marker of [`append_transaction`].
fn is_marker(record: &Record) -> bool {
    record.key.as_deref() == Some(&[0, 0, 0, 1])
}

/// The log leads to the same state, with records that were written, at their offsets.
fn check(partition: &Partition, history: &[Record], case: &str) -> Vec<Record> {
    let found = records(&read_all(partition, 0));
    assert!(found.is_sorted_by_key(|record| record.offset), "{case}");
    for record in &found {
        assert_eq!(*record, history[record.offset as usize], "{case}");
    }
    assert_eq!(state(&found), state(history), "{case}");
    assert_eq!(partition.log_end_offset(), history.len() as i64, "{case}");
    found
}

fn append(partition: &Partition, history: &mut Vec<Record>, random: &mut Random, now_ms: i64) {
    append_batch(partition, history, random_batch(random, now_ms));
}

fn append_batch(partition: &Partition, history: &mut Vec<Record>, batch: Batch) {
    let appended = partition.append(&batch, 0).unwrap();
    let sent = records(&[batch]);
    let at = (appended.base_offset..).zip(sent);
    history.extend(at.map(|(offset, record)| Record { offset, ..record }));
}

/// A transaction of one batch and its marker, by keys that others use too.
fn append_transaction(
    partition: &Partition,
    history: &mut Vec<Record>,
    sequence: &mut i32,
    now_ms: i64,
) {
    let mut data = BatchBuilder::new(Compression::Lz4, 1 << 16)
        .producer(PRODUCER, 0, *sequence)
        .transactional();
    for n in 0..2 {
        let key = format!("key-{}", (*sequence as u64 + n) % KEYS);
        data.append(now_ms, Some(key.as_bytes()), Some(IN_TRANSACTION), &[]).unwrap();
    }
    *sequence += 2;
    let mut marker = BatchBuilder::new(Compression::None, 100)
        .producer(PRODUCER, 0, -1)
        .transactional()
        .control();
    marker.append(now_ms, Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[]).unwrap();
    for batch in [data.finish().unwrap(), marker.finish().unwrap()] {
        let appended = partition.append(&batch, 0).unwrap();
        let at = (appended.base_offset..).zip(records(&[batch]));
        history.extend(at.map(|(offset, record)| Record { offset, ..record }));
    }
}

const PRODUCER: i64 = 7;
const IN_TRANSACTION: &[u8] = b"in a transaction";

#[test]
fn a_compacted_log_leads_to_the_state_that_the_whole_one_does() {
    // In 256 records go from a segment whose new file would not be worth it for its size.
    for seed in (0..iterations(20)).chain([256]) {
        let mut random = Random::new(seed);
        let fs = Faulty::new(seed);
        let (mut volume, mut partition) = start(&fs);
        let (mut history, mut now_ms) = (Vec::new(), 10 * HOUR_MS);
        let (transactions, mut sequence) = (seed % 2 == 1, 0);
        for step in 0..60 {
            let case = format!("seed {seed}, step {step}");
            for _ in 0..random.below(12) {
                append(&partition, &mut history, &mut random, now_ms);
                if transactions && random.below(6) == 0 {
                    append_transaction(&partition, &mut history, &mut sequence, now_ms);
                }
            }
            volume.sync().unwrap();
            now_ms += random.below(HOUR_MS as u64) as i64;
            let options = Compaction {
                dirty_ratio_min: random.below(3) as f64 / 2.0,
                lag_min_ms: random.below(2) as i64 * HOUR_MS / 2,
                lag_max_ms: if random.below(2) == 0 { HOUR_MS } else { i64::MAX },
                delete_retention_ms: HOUR_MS,
                keys_max: 1 + random.below(20) as usize,
                until: i64::MAX,
            };
            partition.compact(now_ms, options, &mut |_| ()).unwrap();
            let found = check(&partition, &history, &case);
            let from = random.below(history.len() as u64 + 1) as i64;
            let next = found.iter().find(|record| record.offset >= from);
            let read = read_all(&partition, from);
            let read = records(&read).into_iter().find(|record| record.offset >= from);
            assert_eq!(read.as_ref(), next, "{case}: from {from}");
            if random.below(8) == 0 {
                if random.below(2) == 0 {
                    volume.close().unwrap();
                }
                drop((volume, partition));
                (volume, partition) = start(&fs);
            }
        }
        // All of it, until tombstones and markers are gone too, which takes something new.
        // Records go in one pass, what had to stay in the one after it, and the marker of what went
        // is given its time in the next and goes in the one after that.
        for _ in 0..5 {
            let mut last = BatchBuilder::new(Compression::None, 1 << 10);
            last.append(now_ms, Some(b"last"), Some(b""), &[]).unwrap();
            append_batch(&partition, &mut history, last.finish().unwrap());
            volume.sync().unwrap();
            now_ms += 2 * HOUR_MS;
            partition.compact(now_ms, ALL, &mut |_| ()).unwrap();
        }
        let found = check(&partition, &history, &format!("seed {seed}, at last"));
        // Only a transaction that has something left has its marker.
        let left = read_all(&partition, 0);
        let left = left.iter().map(|batch| batch.header().attributes);
        let left = left.filter(|it| it.is_transactional() && !it.is_control()).count();
        let markers = found.iter().filter(|it| is_marker(it)).count();
        assert_eq!(markers, left, "seed {seed}");
        let found = found.len() - markers;
        assert_eq!(found, state(&history).len(), "seed {seed}: a record for each key");
    }
}

#[test]
fn a_tombstone_stays_until_its_horizon() {
    let (volume, partition) = start(&Faulty::new(1));
    let append = |value: Option<&[u8]>| {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 10);
        builder.append(0, Some(b"key"), value, &[]).unwrap();
        partition.append(&builder.finish().unwrap(), 0).unwrap();
    };
    append(Some(b"value"));
    append(None);
    volume.sync().unwrap();
    let compact = |now_ms| {
        partition.compact(now_ms, ALL, &mut |_| ()).unwrap();
        records(&read_all(&partition, 0)).len()
    };
    assert_eq!(compact(1000), 1);
    assert_eq!(compact(1000 + HOUR_MS - 1), 1);
    assert_eq!(compact(1000 + HOUR_MS), 0);
    // Without records, and yet with something that takes readers past the gap.
    let rest = batches(partition.read(0, 1000, 2).unwrap());
    assert_eq!(rest.last().unwrap().header().last_offset(), 1);
}

#[test]
fn a_tombstone_that_cannot_go_has_the_log_read_no_more_than_once_for_it() {
    let (volume, partition) = start(&Faulty::new(1));
    let append = |key: &str, value: Option<&[u8]>| {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 10);
        builder.append(0, Some(key.as_bytes()), value, &[]).unwrap();
        partition.append(&builder.finish().unwrap(), 0).unwrap();
        volume.sync().unwrap();
    };
    // Whose keys this has nobody can tell.
    partition.append(&batch(1, 0, b"not a record"), 0).unwrap();
    append("key", Some(b"value"));
    append("key", None);
    let spent = |hours| {
        let mut spent = 0;
        partition.compact(hours * HOUR_MS, ALL, &mut |bytes| spent += bytes).unwrap();
        spent
    };
    let batches = || read_all(&partition, 0).len();
    assert!(spent(1) > 0);
    assert_eq!(batches(), 2, "the tombstone stays");
    assert!(spent(3) > 0, "its time has come");
    assert_eq!((spent(5), spent(7)), (0, 0), "nothing has changed");
    append("other", Some(b"value"));
    assert!(spent(9) > 0);
    assert_eq!((spent(11), batches()), (0, 3));
}

#[test]
fn small_neighbours_become_one_segment_and_a_restart_knows_what_was_done() {
    let fs = Faulty::new(2);
    let (volume, partition) = start(&fs);
    let (mut random, mut history) = (Random::new(2), Vec::new());
    for _ in 0..200 {
        append(&partition, &mut history, &mut random, 0);
    }
    volume.sync().unwrap();
    let before = logs(&fs);
    let mut spent = 0;
    let compacted = partition.compact(HOUR_MS, ALL, &mut |bytes| spent += bytes).unwrap();
    assert_eq!(compacted.segments, before.len(), "and the active one, which was sealed");
    let after = logs(&fs);
    assert!(before.len() > 10 && after.len() == 2, "{before:?} {after:?}");
    let read = before.iter().sum::<usize>() as u64;
    assert!(spent > read && spent < 3 * read, "{spent} for {read}");
    let found = check(&partition, &history, "merged");
    for from in 0..history.len() as i64 {
        let next = found.iter().find(|record| record.offset >= from);
        let read = records(&read_all(&partition, from)).into_iter();
        assert_eq!(read.into_iter().find(|it| it.offset >= from).as_ref(), next, "from {from}");
    }
    volume.checkpoint().unwrap();
    drop((volume, partition));
    let (_volume, partition) = start(&fs);
    check(&partition, &history, "opened again");
    let mut spend = |bytes| panic!("{bytes} bytes for nothing");
    let again = partition.compact(HOUR_MS + 1, ALL, &mut spend).unwrap();
    assert_eq!(again, Compacted::default());
    // The tombstones' time is known too.
    let compacted = partition.compact(2 * HOUR_MS, ALL, &mut |_| ()).unwrap();
    assert!(compacted.bytes > 0, "{compacted:?}");
    check(&partition, &history, "without tombstones");
}

/// Changes a byte of the log's batch number `n`, which is in its first segment.
fn damage(fs: &Faulty, n: usize) {
    let file = Path::new("/data").join(DIR).join(format!("{:020}.log", 0));
    let mut contents = fs.contents(&file);
    let length = |at: usize| i32::from_be_bytes(contents[at + 8..at + 12].try_into().unwrap());
    let at = (0..n).fold(0, |at, _| at + 12 + usize::try_from(length(at)).unwrap());
    contents[at + 70] ^= 1;
    fs.overwrite(&file, contents);
}

#[test]
fn a_deleted_key_does_not_come_back_when_damage_before_its_tombstone_is_repaired() {
    // The key is in the second batch: behind the damage and before it, which is there from the
    // start or comes later.
    for (damaged, late) in [(0, false), (3, false), (0, true), (3, true)] {
        let case = format!("batch {damaged} damaged, late: {late}");
        let fs = Faulty::new(1);
        let append = |partition: &Partition, key: &str, value: Option<&[u8]>| {
            let mut builder = BatchBuilder::new(Compression::None, 1 << 10);
            builder.append(0, Some(key.as_bytes()), value, &[]).unwrap();
            partition.append(&builder.finish().unwrap(), 0).unwrap();
        };
        let fill = |partition: &Partition, from: usize| {
            let keys = from..from + 40;
            keys.for_each(|n| append(partition, &format!("key-{n}"), Some(&[n as u8; 200])));
        };
        let compact = |partition: &Partition| {
            for hours in [1, 3, 5] {
                partition.compact(hours * HOUR_MS, ALL, &mut |_| ()).unwrap();
            }
        };
        let (volume, partition) = start(&fs);
        append(&partition, "first", Some(b"value"));
        append(&partition, "deleted", Some(b"value"));
        fill(&partition, 0);
        volume.sync().unwrap();
        if late {
            compact(&partition);
        }
        volume.close().unwrap();
        drop((volume, partition));
        damage(&fs, damaged);
        let (volume, partition) = start(&fs);
        let (told, events) = std::sync::mpsc::channel();
        volume.on_event(Box::new(move |event| told.send(event.clone()).unwrap()));
        append(&partition, "deleted", None);
        fill(&partition, 20);
        volume.sync().unwrap();
        compact(&partition);
        // Told once, however often it comes there.
        let segment = Path::new("/data").join(DIR).join(format!("{:020}.log", 0));
        let stopped = [Event::CompactionStopped(segment)];
        assert_eq!(events.try_iter().collect::<Vec<_>>(), stopped, "{case}");
        volume.close().unwrap();
        drop((volume, partition));

        let root = Path::new("/data");
        let excised = repair(&fs, root, &[root.join(DIR)], false, &mut |_| ()).unwrap();
        assert_eq!(excised.len(), 1, "{case}");
        let (_volume, partition) = start(&fs);
        compact(&partition);
        let found = records(&read_all(&partition, 0));
        let keys = state(&found);
        assert!(!keys.contains_key(&b"deleted"[..]), "{case}");
        // All but what was in the damage, and nothing of it twice.
        assert_eq!((keys.len(), found.len()), (60, 60), "{case}");
    }
}

#[test]
fn a_deleted_key_does_not_come_back_when_records_before_it_are_removed_during_a_pass() {
    let append = |partition: &Partition, key: &str, value: Option<&[u8]>| {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        builder.append(0, Some(key.as_bytes()), value, &[]).unwrap();
        partition.append(&builder.finish().unwrap(), 0).unwrap();
    };
    // Whichever look at whether to go on they are removed at, until there is none left.
    for removed_at in 1.. {
        let fs = Faulty::new(1);
        let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Manual);
        let options = PartitionOptions { segment_bytes: 700 << 10, ..PartitionOptions::DEFAULT };
        let (partition, _) = open(&volume, options);
        let big = &[7; 300 << 10];
        for key in ["a", "b", "deleted", "c"] {
            append(&partition, key, Some(big));
        }
        append(&partition, "deleted", None);
        ["a", "b"].iter().for_each(|key| append(&partition, key, Some(big)));
        volume.sync().unwrap();
        let mut looks = 0;
        let mut spend = |_| {
            looks += 1;
            if looks == removed_at {
                partition.delete_records(2).unwrap();
            }
        };
        // The file it was about to read may be gone.
        let _later = partition.compact(HOUR_MS, ALL, &mut spend);
        let removed = looks >= removed_at;
        // Done again without anything new, and then the tombstone goes.
        for hours in [2, 4, 6] {
            partition.compact(hours * HOUR_MS, ALL, &mut |_| ()).unwrap();
        }
        let found = records(&read_all(&partition, partition.log_start_offset()));
        let keys: Vec<_> = found.iter().map(|record| record.key.as_deref().unwrap()).collect();
        assert_eq!(keys, [b"c", b"a", b"b"], "removed at look {removed_at}");
        if !removed {
            return assert!(removed_at > 10, "the pass had only {} looks", removed_at - 1);
        }
    }
}

/// A batch of a record with the key `n` at that time; all keys are below 1000.
fn keyed(n: i64, value: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
    builder.append(n, Some(format!("{n:03}").as_bytes()), Some(value), &[]).unwrap();
    builder.finish().unwrap()
}

#[test]
fn a_reader_that_meets_the_new_file_does_not_look_into_it_by_the_old_index() {
    let root = Path::new("/data");
    let bytes = |batches: usize| vec![7; 100 * batches];
    let batch_bytes = keyed(0, &bytes(1)).bytes().len() as u64;
    let options = PartitionOptions { segment_bytes: 30 * batch_bytes, ..SMALL };
    let run = |look: fn(&Partition) -> i64| {
        let fs = Faulty::new(1);
        let volume = open_volume(Arc::new(fs.clone()), root, Flush::Manual);
        let (partition, _) = open(&volume, options);
        let append = |n, len| _ = partition.append(&keyed(n, &bytes(len)), 0).unwrap();
        // Of the first segment's batches, five go, since the third has their keys. The second is a
        // single batch: both become one, which is longer than the first was.
        (0..24).for_each(|n| append(n, 1));
        append(900, 15);
        append(901, 37);
        (0..5).for_each(|n| append(n, 1));
        append(902, 37);
        volume.close().unwrap();
        drop((volume, partition));
        let volume = open_volume(Arc::new(fs.clone()), root, Flush::Manual);
        let (partition, _) = open(&volume, options);
        let log = root.join(DIR).join("00000000000000000000.log");
        // Then the index that is made stays in memory.
        fs.remove(&log.with_extension("index"));
        let other = partition.clone();
        fs.before(Call::Open, &log, move || {
            other.read(12, 1, 24).unwrap();
            let compacted = other.compact(HOUR_MS, ALL, &mut |_| ()).unwrap();
            assert_eq!(compacted, Compacted { segments: 2, bytes: 5 * batch_bytes });
        });
        assert_eq!(look(&partition), 12);
        assert_eq!(partition.read(0, 1, 1).unwrap().len(), 0, "nothing was compacted");
    };
    run(|partition| batches(partition.read(12, 1, 24).unwrap())[0].header().base_offset);
    run(|partition| partition.offset_for_time(12).unwrap().unwrap().0);
}

#[test]
fn compaction_ends_before_a_segment_that_the_disk_does_not_give() {
    let fs = Faulty::new(4);
    let (volume, partition) = start(&fs);
    let (told, events) = std::sync::mpsc::channel();
    volume.on_event(Box::new(move |event| told.send(event.clone()).unwrap()));
    let (mut random, mut history) = (Random::new(4), Vec::new());
    for _ in 0..100 {
        append(&partition, &mut history, &mut random, 0);
    }
    volume.sync().unwrap();
    let before = segments(&fs);
    let contents: Vec<_> = before.iter().map(|path| fs.contents(path)).collect();
    fs.unreadable(&before[1]);
    for hours in 1..4 {
        let compacted = partition.compact(hours * HOUR_MS, ALL, &mut |_| ()).unwrap();
        assert_eq!(compacted.segments > 0, hours == 1, "{compacted:?}");
    }
    assert!(fs.contents(&before[0]).len() < contents[0].len(), "what is before it is compacted");
    // The last one was sealed meanwhile.
    for n in 1..before.len() - 1 {
        assert!(fs.contents(&before[n]) == contents[n], "{:?} was changed", before[n]);
    }
    fs.readable();
    check(&partition, &history, "ended early");
    let stopped = [Event::CompactionStopped(before[1].clone())];
    assert_eq!(events.try_iter().collect::<Vec<_>>(), stopped);
}

#[test]
fn batches_longer_than_what_is_read_at_once_are_compacted_too() {
    let fs = Faulty::new(5);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Manual);
    let options = PartitionOptions { segment_bytes: 5 << 20, ..PartitionOptions::DEFAULT };
    let (partition, _) = open(&volume, options);
    let (mut random, mut history) = (Random::new(5), Vec::new());
    for n in 0..40_u64 {
        let len = [100, 700_000, 2_500_000, 1 << 20][random.below(4) as usize];
        let mut builder = BatchBuilder::new(Compression::None, 4 << 20);
        let key = format!("key-{}", n % KEYS);
        builder.append(0, Some(key.as_bytes()), Some(&vec![n as u8; len]), &[]).unwrap();
        append_batch(&partition, &mut history, builder.finish().unwrap());
    }
    volume.sync().unwrap();
    partition.compact(HOUR_MS, ALL, &mut |_| ()).unwrap();
    let found = check(&partition, &history, "long batches");
    assert_eq!(found.len(), KEYS as usize);
}

#[test]
fn compaction_of_a_full_disk_leaves_half_of_the_margin_and_goes_on_when_there_is_room() {
    const MARGIN: u64 = 10 << 20;
    const TOTAL: u64 = 100 * MARGIN;
    let fs = Faulty::new(6);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Manual);
    let (told, events) = std::sync::mpsc::channel();
    volume.on_event(Box::new(move |event| told.send(event.clone()).unwrap()));
    let options = PartitionOptions { segment_bytes: 6 << 20, ..PartitionOptions::DEFAULT };
    let (partition, _) = open(&volume, options);
    let (mut random, mut history) = (Random::new(6), Vec::new());
    for n in 0..100 {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
        let key = if n % 6 == 0 { "again".to_owned() } else { format!("key-{n}") };
        builder.append(0, Some(key.as_bytes()), Some(&random.bytes(200 << 10)), &[]).unwrap();
        append_batch(&partition, &mut history, builder.finish().unwrap());
    }
    volume.sync().unwrap();
    let (before, disk) = (segments(&fs), Path::new("/data"));
    let free = || fs.space(disk).unwrap().usable_bytes;
    // Records are refused, and a new segment does not fit above half of the margin.
    fs.leave_free(MARGIN / 2 + (4 << 20), TOTAL);
    for hours in 1..4 {
        let mut least = u64::MAX;
        let mut spend = |_| least = least.min(free());
        let ended = partition.compact(hours * HOUR_MS, ALL, &mut spend).unwrap_err();
        assert!(ended.is_disk_full(), "{ended}");
        assert!(least < MARGIN / 2 + (1 << 20), "ended while {least} bytes were free");
        assert!(least >= MARGIN / 2 - (1 << 20), "only {least} bytes were left");
        assert!(free() > MARGIN / 2 + (3 << 20), "what was written is not gone");
        volume.check_spare().expect("what compaction leaves is for the stores beside the logs");
    }
    assert!(segments(&fs).starts_with(&before));
    check(&partition, &history, "full");
    let events: Vec<_> = events.try_iter().collect();
    assert!(matches!(&events[..], [Event::Full(_)]), "told once: {events:?}");
    // Room for one segment at a time, which each one written makes more.
    fs.leave_free(MARGIN / 2 + (8 << 20), TOTAL);
    let compacted = partition.compact(5 * HOUR_MS, ALL, &mut |_| ()).unwrap();
    assert!(compacted.bytes > 3 << 20, "{compacted:?}");
    check(&partition, &history, "compacted");
}

#[test]
fn a_deletion_ends_a_pass_and_leaves_nothing() {
    // While keys are taken, and while the log is written.
    for calls in [2, 6] {
        let fs = Faulty::new(3);
        let (volume, partition) = start(&fs);
        for n in 0..4 {
            let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
            builder.append(n, Some(b"key"), Some(&[7; 300 << 10]), &[]).unwrap();
            partition.append(&builder.finish().unwrap(), 0).unwrap();
        }
        volume.sync().unwrap();
        let mut left = calls;
        let mut spend = |_| {
            left -= 1;
            if left == 0 {
                partition.clone().delete().unwrap();
            }
        };
        let ended = partition.compact(HOUR_MS, ALL, &mut spend);
        assert!(matches!(ended, Err(Error::Closed)), "{ended:?}");
        assert_eq!(fs.list(Path::new("/data/accounts/dev")).unwrap().len(), 0);
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_the_old_file_or_the_new_one() {
    for seed in 0..iterations(3) {
        let mut call = 0;
        loop {
            let mut random = Random::new(seed);
            let fs = Faulty::new(seed);
            let options = VolumeOptions { flush: Flush::Manual };
            let disk = Arc::new(fs.clone());
            let volume = Volume::open(disk, Path::new("/data"), options, Box::new(|_| {})).unwrap();
            let (partition, _) = open(&volume, SMALL);
            let mut history = Vec::new();
            for _ in 0..40 {
                append(&partition, &mut history, &mut random, 0);
            }
            volume.sync().unwrap();
            volume.checkpoint().unwrap();
            let fault = match call % 3 {
                0 | 1 => Fault::Dies,
                _ => Fault::Fails(ErrorKind::StorageFull),
            };
            fs.fault_after(call, fault);
            let compacted = partition.compact(HOUR_MS, ALL, &mut |_| ());
            assert!(compacted.is_ok() || fs.faulted(), "{compacted:?}");
            let met = fs.faulted();
            let case = format!("seed {seed}, call {call}");
            if matches!(fault, Fault::Fails(_)) {
                // Without a crash the log goes on, if need be with the old files.
                check(&partition, &history, &case);
            }
            for crash in 0..8 {
                let (_volume, partition) = start(&fs.crash(crash * 1000 + call));
                check(&partition, &history, &case);
                partition.compact(HOUR_MS, ALL, &mut |_| ()).unwrap();
                check(&partition, &history, &case);
            }
            call += 1;
            if !met {
                break;
            }
        }
        assert!(call > 50, "the fault was met at only {call} calls");
    }
}
