//! Idempotent producers across restarts.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_storage::fs::Fs;
use tidelog_storage::{Compaction, Error, Partition, PartitionOptions, Volume, VolumeOptions};

use crate::faulty::{Fault, Faulty};
use crate::support::{
    DIR, MANUAL, Random, SMALL, batch_of, iterations, open, open_volume, read_all,
};

fn start(fs: &Faulty) -> (Volume, Partition) {
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let (partition, _) = open(&volume, SMALL);
    (volume, partition)
}

#[test]
fn a_retry_gets_its_first_answer_however_the_log_was_left() {
    for seed in 0..iterations(100) {
        let mut random = Random::new(seed);
        let mut fs = Faulty::new(seed);
        let (mut volume, mut partition) = start(&fs);
        // Of each producer, what its batches were answered.
        let mut producers = [const { Vec::new() }; 3];
        for _ in 0..150 {
            let id = random.below(3) as usize;
            let next = 2 * producers[id].len() as i32;
            match random.below(12) {
                0..8 => {
                    let sent = batch_of((id as i64, 0, next), 2, 0, &[7; 90]);
                    let appended = partition.append(&sent, 0).unwrap();
                    assert_eq!(appended.base_offset + 2, partition.log_end_offset());
                    volume.sync().unwrap();
                    producers[id].push(appended);
                }
                8..10 => {
                    let end = partition.log_end_offset();
                    for (n, first) in producers[id].iter().enumerate().rev().take(5) {
                        let retry = batch_of((id as i64, 0, 2 * n as i32), 2, 0, &[7; 90]);
                        assert_eq!(partition.append(&retry, 0).unwrap(), *first, "seed {seed}");
                    }
                    if next == 0 {
                        continue;
                    }
                    let ahead = partition.append(&batch_of((id as i64, 0, next + 9), 2, 0, &[]), 0);
                    assert!(matches!(ahead, Err(Error::OutOfOrderSequence { .. })), "seed {seed}");
                    assert_eq!(partition.log_end_offset(), end);
                }
                how => {
                    if how == 10 {
                        volume.close().unwrap();
                    }
                    drop((volume, partition));
                    fs = fs.crash(random.next());
                    (volume, partition) = start(&fs);
                }
            }
        }
        let batches: usize = producers.iter().map(Vec::len).sum();
        assert_eq!(read_all(&partition, 0).len(), batches, "seed {seed}");
    }
}

#[test]
fn a_producer_of_old_records_is_remembered_for_as_long_as_any() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    // The second has no time.
    let sent = [(7, 1000), (8, -1)].map(|(id, time)| batch_of((id, 0, 0), 1, time, b"once"));
    let send = |partition: &Partition| sent.each_ref().map(|it| partition.append(it, 0).unwrap());
    let first = send(&partition);
    // The clock of a process begins anywhere.
    let [now, just_before] = [9 * DAY, 10 * DAY - Duration::from_secs(1)];
    partition.expire_producers(now, DAY);
    partition.expire_producers(just_before, DAY);
    assert_eq!(send(&partition), first);
    volume.close().unwrap();
    drop((volume, partition));
    let (_volume, partition) = start(&fs);
    partition.prepare().unwrap();
    partition.expire_producers(now, DAY);
    partition.expire_producers(just_before, DAY);
    assert_eq!(send(&partition), first, "they count from the start");
    partition.expire_producers(10 * DAY, DAY);
    assert_eq!(partition.producers().unwrap(), []);
}

#[test]
fn a_first_append_that_was_prepared_reads_nothing() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    for n in 0..100 {
        partition.append(&batch_of((4, 0, n), 1, 0, &[7; 90]), 0).unwrap();
    }
    volume.sync().unwrap();
    let reads = |prepare: fn(&Partition)| {
        let fs = fs.crash(1);
        let (_volume, partition) = start(&fs);
        assert!(!partition.is_prepared());
        prepare(&partition);
        let before = fs.reads();
        partition.append(&batch_of((4, 0, 100), 1, 0, &[]), 0).unwrap();
        fs.reads() - before
    };
    let prepare = |partition: &Partition| {
        partition.prepare().unwrap();
        assert!(partition.is_prepared());
    };
    assert!(reads(|_| {}) > 0);
    assert_eq!(reads(prepare), 0);
}

#[test]
fn a_damaged_snapshot_is_made_up_for_by_the_log() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    for n in 0..100 {
        partition.append(&batch_of((4, 0, n), 1, 0, &[7; 90]), 0).unwrap();
    }
    volume.close().unwrap();
    let snapshot = Path::new("/data").join(DIR).join(format!("{:020}.snapshot", 100));
    let mut contents = fs.contents(&snapshot);
    // Version 1, one producer: id 4, epoch 0, last sequence 99, last offset 99.
    assert_eq!(contents[..2], [0, 1]);
    assert_eq!(contents[6..18], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4]);
    assert_eq!(contents[18..32], [0, 0, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 99]);
    contents[20] ^= 1;
    fs.overwrite(&snapshot, contents);
    let (_volume, partition) = start(&fs);
    let known = partition.append(&batch_of((4, 0, 98), 1, 0, &[7; 90]), 0).unwrap();
    assert_eq!(known.base_offset, 98);
    assert_eq!(partition.append(&batch_of((4, 0, 100), 1, 0, &[]), 0).unwrap().base_offset, 100);
}

#[test]
fn a_snapshot_from_beyond_the_end_is_not_believed() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    for n in 0..5 {
        partition.append(&batch_of((4, 0, n), 1, 0, &[7; 90]), 0).unwrap();
    }
    volume.close().unwrap();
    drop((volume, partition));
    let path = |name: &str| -> PathBuf { Path::new("/data").join(DIR).join(name) };
    let log = path("00000000000000000000.log");
    fs.overwrite(&log, fs.contents(&log)[..3 * 151].to_vec());
    fs.overwrite(Path::new("/data/recovery-checkpoint"), Vec::new());
    let (_volume, partition) = start(&fs);
    let third = partition.append(&batch_of((4, 0, 3), 1, 0, b"again"), 0).unwrap();
    assert_eq!(third.base_offset, 3);
}

/// Compaction of all that is sealed.
const ALL: Compaction = Compaction {
    dirty_ratio_min: 0.0,
    lag_min_ms: 0,
    lag_max_ms: i64::MAX,
    delete_retention_ms: 0,
    keys_max: 100,
    until: i64::MAX,
};

/// A record with a key, from a producer if there is a sequence number.
fn keyed(sequence: Option<i32>, key: &str, len: usize) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
    if let Some(sequence) = sequence {
        builder = builder.producer(5, 0, sequence);
    }
    builder.append(0, Some(key.as_bytes()), Some(&vec![7; len]), &[]).unwrap();
    builder.finish().unwrap()
}

#[test]
fn what_compaction_takes_from_segments_that_a_crash_left_unsealed_is_still_known() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs);
    // Written at once, so that a crash leaves what no round has seen.
    partition.configure(PartitionOptions { preallocate: false, ..SMALL });
    let append = |partition: &Partition, sent: &Batch| partition.append(sent, 0).unwrap();
    append(&partition, &keyed(Some(0), "stays", 10));
    append(&partition, &keyed(Some(1), "replaced", 10));
    append(&partition, &keyed(None, "last", 10));
    append(&partition, &keyed(None, "replaced", 3900));
    append(&partition, &keyed(None, "other", 3900));
    // The second and third segment have no name yet.
    drop((volume, partition));
    let (volume, partition) = start(&fs);
    partition.compact(0, ALL, &mut |_| ()).unwrap();
    let left: Vec<_> =
        read_all(&partition, 0).iter().map(|batch| batch.header().base_offset).collect();
    assert_eq!(left, [0, 2, 3, 4], "the producer's last batch is gone");
    volume.sync().unwrap();
    drop((volume, partition));
    let (_volume, partition) = start(&fs);
    assert_eq!(append(&partition, &keyed(Some(1), "replaced", 10)).base_offset, 1, "a retry");
    assert_eq!(append(&partition, &keyed(Some(2), "more", 10)).base_offset, 5);
}

/// A volume whose syncs may fail, with its partition.
fn start_that_may_fail(fs: &Faulty) -> (Volume, Partition) {
    let options = VolumeOptions { flush: MANUAL };
    let volume = Volume::open(Arc::new(fs.clone()), Path::new("/data"), options, Box::new(|_| {}));
    let volume = volume.unwrap();
    let (partition, _) = open(&volume, SMALL);
    (volume, partition)
}

#[test]
fn the_snapshots_that_are_there_stay_while_there_is_no_room_for_new_ones() {
    let names = |fs: &Faulty| -> Vec<String> {
        let entries = fs.list(&Path::new("/data").join(DIR)).unwrap();
        entries.into_iter().map(|it| it.name).collect()
    };
    let mut refused = 0;
    for call in 0..20 {
        let fs = Faulty::new(call);
        let (volume, partition) = start_that_may_fail(&fs);
        let mut sequence = 0;
        // Each time a segment is sealed, the last two with a call that finds no room.
        let sealed = [false, false, false, true, true].iter().all(|no_room| {
            for _ in 0..24 {
                partition.append(&batch_of((7, 0, sequence), 1, 0, &[1; 100]), 0).unwrap();
                sequence += 1;
            }
            if *no_room {
                fs.fault_after(call, Fault::Fails(ErrorKind::StorageFull));
            }
            // For some calls that ends the volume, and then nothing is said of the snapshots.
            volume.sync().is_ok()
        });
        if !sealed {
            continue;
        }
        let names = names(&fs);
        let snapshots = names.iter().filter(|name| name.ends_with(".snapshot")).count();
        assert_eq!(snapshots, 2, "call {call}: {names:?}");
        assert!(!names.iter().any(|name| name.ends_with(".tmp")), "call {call}: {names:?}");
        refused += 1;
        // Nor does what a crash left of a file stay.
        let left = Path::new("/data").join(DIR).join("00000000000000000096.index.tmp");
        fs.create(&left).unwrap();
        drop((volume, partition));
        let (_volume, partition) = start(&fs);
        assert!(Fs::open(&fs, &left).is_err());
        let retry = batch_of((7, 0, sequence - 5), 1, 0, &[1; 100]);
        assert_eq!(partition.append(&retry, 0).unwrap().base_offset, i64::from(sequence) - 5);
    }
    assert!(refused >= 8, "{refused}");
}

#[test]
fn what_compaction_takes_from_segments_sealed_without_room_for_a_snapshot_is_still_known() {
    let (mut refused, mut compacted) = (0, 0);
    for call in 0..20 {
        let fs = Faulty::new(call);
        let (volume, partition) = start_that_may_fail(&fs);
        let append = |partition: &Partition, sent: &Batch| partition.append(sent, 0).unwrap();
        append(&partition, &keyed(Some(0), "replaced", 10));
        append(&partition, &keyed(None, "replaced", 3700));
        append(&partition, &keyed(None, "other", 3900));
        fs.fault_after(call, Fault::Fails(ErrorKind::StorageFull));
        if volume.sync().is_err() {
            continue;
        }
        let names = fs.list(&Path::new("/data").join(DIR)).unwrap();
        refused += u64::from(!names.iter().any(|it| it.name.ends_with(".snapshot")));
        compacted += partition.compact(0, ALL, &mut |_| ()).unwrap().segments;
        volume.sync().unwrap();
        drop((volume, partition));
        let (_volume, partition) = start(&fs);
        let retry = append(&partition, &keyed(Some(0), "replaced", 10));
        assert_eq!(retry.base_offset, 0, "call {call}");
    }
    assert!(refused > 0 && compacted > 0, "{refused}, {compacted}");
}
