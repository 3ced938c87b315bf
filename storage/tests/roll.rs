//! From one segment to the next: when, and what a crash in between leaves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_storage::{Action, Flush, Partition, PartitionOptions, Volume, VolumeOptions};

use crate::faulty::{Fault, Faulty};
use crate::support::{
    DIR, MANUAL, SMALL, batch, batch_of, on_disk, open, open_volume, payloads, read_all,
};

fn start(fs: &Faulty, options: PartitionOptions) -> (Volume, Partition) {
    let flush = VolumeOptions { flush: MANUAL };
    let disk = Arc::new(fs.clone());
    let volume = Volume::open(disk, Path::new("/data"), flush, Box::new(|_| {})).unwrap();
    let partition = open(&volume, options).0;
    (volume, partition)
}

fn file(name: &str) -> PathBuf {
    Path::new("/data").join(DIR).join(name)
}

#[test]
fn the_first_append_to_a_partition_syncs_nothing() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs, SMALL);
    let before = fs.syncs();
    partition.append(&batch(2, 0, &[7; 100]), 0).unwrap();
    assert_eq!(fs.syncs(), before);
    volume.sync().unwrap();
    assert_eq!(fs.contents(&file("leader-epoch-checkpoint")), b"0\n1\n0 0\n");
}

#[test]
fn an_append_that_starts_a_segment_syncs_nothing() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs, PartitionOptions { preallocate: false, ..SMALL });
    for n in 0..24 {
        partition.append(&batch(2, n, &[7; 100]), 0).unwrap();
    }
    let before = fs.syncs();
    partition.append(&batch(2, 24, &[7; 100]), 0).unwrap();
    assert_eq!(fs.syncs(), before);
    assert_eq!(partition.high_watermark(), 0);
    // The segment has its name once the one before it is durable.
    assert_eq!(fs.contents(&file("00000000000000000048.log.next")).len(), 161);
    volume.sync().unwrap();
    assert_eq!(partition.high_watermark(), 50);
    assert_eq!(fs.contents(&file("00000000000000000048.log")).len(), 161);
    assert_eq!(read_all(&partition, 0).len(), 25);
}

#[test]
fn neither_a_kill_nor_a_power_cut_between_two_segments_loses_what_was_acknowledged() {
    let log = |fs: &Faulty| {
        let (_volume, partition) = start(fs, SMALL);
        payloads(&read_all(&partition, 0))
    };
    for call in 0..120 {
        let fs = Faulty::new(call);
        let (volume, partition) = start(&fs, SMALL);
        let mut sent = Vec::new();
        for n in 0..75_i32 {
            let it = batch_of((7, 0, n), 1, i64::from(n), &[n as u8; 100]);
            partition.append(&it, 0).unwrap();
            sent.push(it.payload());
            if n == 9 {
                volume.sync().unwrap();
            }
        }
        // Three segments were closed and none of them sealed, or only some.
        fs.fault_after(call, Fault::Dies);
        let synced = volume.sync();
        drop((volume, partition));
        fs.revive();
        let crashed = (0..4).map(|seed| fs.crash(seed)).collect::<Vec<_>>();
        for left in crashed.iter().chain([&fs]).map(log) {
            assert!(left.len() >= if synced.is_ok() { 75 } else { 10 }, "call {call}");
            assert_eq!(left, sent[..left.len()], "call {call}");
        }
        if synced.is_ok() {
            return assert!(call > 20, "the fault was met at only {call} calls");
        }
    }
    panic!("the fault was always met");
}

#[test]
fn a_power_cut_after_a_start_that_took_up_a_segment_leaves_no_zeros_before_it() {
    // With space ahead, which the end of the first segment still has when the next is begun.
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs, SMALL);
    let sent: Vec<_> = (0..30).map(|n| batch(1, n, &[n as u8 + 1; 100])).collect();
    for it in &sent[..24] {
        partition.append(it, 0).unwrap();
    }
    volume.sync().unwrap();
    sent[24..].iter().for_each(|it| _ = partition.append(it, 0).unwrap());
    // Killed in the middle of the round that would have cut the space off.
    fs.fault_after(0, Fault::Dies);
    assert!(volume.sync().is_err());
    drop((volume, partition));
    fs.revive();
    assert!(fs.contents(&file("00000000000000000000.log")).len() > 24 * 161);
    let (volume, partition) = start(&fs, SMALL);
    let left = payloads(&read_all(&partition, 0));
    assert!(left.len() >= 24);
    drop((volume, partition));
    for seed in 0..50 {
        let (volume, partition) = start(&fs.crash(seed), SMALL);
        assert_eq!(payloads(&read_all(&partition, 0)), left, "seed {seed}");
        let scrubbed = volume.scrub(1000, 1000, 1 << 20).unwrap().unwrap();
        assert_eq!(scrubbed.damage, [], "seed {seed}");
    }
}

#[test]
fn a_segment_that_was_begun_is_taken_up_though_a_run_without_the_log_ended_in_order() {
    let fs = Faulty::new(1);
    let options = PartitionOptions { preallocate: false, ..SMALL };
    let (volume, partition) = start(&fs, options);
    let sent: Vec<_> = (0..30).map(|n| batch(1, n, &[n as u8 + 1; 100])).collect();
    for it in &sent[..24] {
        partition.append(it, 0).unwrap();
    }
    volume.sync().unwrap();
    volume.checkpoint().unwrap();
    sent[24..].iter().for_each(|it| _ = partition.append(it, 0).unwrap());
    drop((volume, partition));
    assert_eq!(fs.contents(&file("00000000000000000024.log.next")).len(), 6 * 161);
    open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL).close().unwrap();

    let (volume, partition) = start(&fs, options);
    let mut expected = payloads(&sent);
    assert_eq!(payloads(&read_all(&partition, 0)), expected);
    for n in 30..50 {
        let next = batch(1, n, b"next");
        assert_eq!(partition.append(&next, 0).unwrap().base_offset, n);
        expected.push(next.payload());
    }
    volume.sync().unwrap();
    drop((volume, partition));
    let (_volume, partition) = start(&fs, options);
    assert_eq!(payloads(&read_all(&partition, 0)), expected);
}

#[test]
fn a_segment_that_does_not_follow_on_a_torn_one_is_set_aside() {
    let fs = Faulty::new(1);
    let (volume, partition) = start(&fs, PartitionOptions { preallocate: false, ..SMALL });
    for n in 0..30 {
        partition.append(&batch(1, n, &[n as u8; 100]), 0).unwrap();
    }
    drop((volume, partition));
    let first = fs.contents(&file("00000000000000000000.log"));
    let second = fs.contents(&file("00000000000000000024.log.next"));
    fs.overwrite(&file("00000000000000000000.log"), first[..20 * 161 + 50].to_vec());
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let (partition, recovered) = open(&volume, SMALL);
    let repairs: Vec<_> =
        recovered.repairs.iter().map(|it| (it.action, it.position, it.bytes)).collect();
    let expected = [(Action::Cut, 20 * 161, 50), (Action::Cut, 0, second.len() as u64)];
    assert_eq!(repairs, expected);
    assert_eq!(fs.contents(&file("00000000000000000024.log.torn-0")), second);
    assert_eq!(partition.append(&batch(1, 0, b"next"), 0).unwrap().base_offset, 20);
    volume.close().unwrap();
}

#[test]
fn a_segment_is_as_old_as_its_first_batch_by_the_next_ones_timestamp() {
    let begun = |options: PartitionOptions, times: &[i64]| -> Vec<i64> {
        let root = tempfile::tempdir().unwrap();
        let (volume, partition, _) = on_disk(root.path(), options);
        times.iter().for_each(|time| _ = partition.append(&batch(1, *time, b"x"), 0).unwrap());
        volume.close().unwrap();
        let entries = std::fs::read_dir(root.path().join(DIR)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut bases: Vec<i64> =
            names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
        bases.sort_unstable();
        bases
    };
    let options = PartitionOptions { segment_ms: 100, ..SMALL };
    assert_eq!(begun(options, &[1000, 1100, 1050, 1101, 1201, 1202]), [0, 3, 5]);
    assert_eq!(begun(options, &[-1, 5000, 9000]), [0], "no timestamp, no age");
    assert_eq!(begun(options, &[1000, -1, 1200, 0]), [0, 2], "one that is late does not count");
    // With jitter each segment is up to so much shorter, and most are.
    let times: Vec<_> = (0..1000).collect();
    let jittered = PartitionOptions { segment_jitter_ms: 50, ..options };
    let bases = begun(jittered, &times);
    let lengths: Vec<_> = bases.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(lengths.iter().all(|length| (51..=101).contains(length)), "{lengths:?}");
    assert!(lengths.iter().any(|length| length != &lengths[0]), "{lengths:?}");
}

#[test]
fn a_new_segment_size_is_in_force_at_the_next_append() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Never);
    let partition = open(&volume, PartitionOptions { segment_bytes: 1 << 20, ..SMALL }).0;
    for n in 0..10 {
        partition.append(&batch(1, n, &[0; 100]), 0).unwrap();
    }
    partition.configure(PartitionOptions { segment_bytes: 1000, ..SMALL });
    partition.append(&batch(1, 10, &[0; 100]), 0).unwrap();
    volume.close().unwrap();
    assert_eq!(fs.contents(&file("00000000000000000000.log")).len(), 1610);
    assert_eq!(fs.contents(&file("00000000000000000010.log")).len(), 161);
}
