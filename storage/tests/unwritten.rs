//! Batches that are left to the commit round.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidelog_storage::{Error, PartitionOptions, Volume, VolumeOptions};

use crate::faulty::{Fault, Faulty};
use crate::support::{
    MANUAL, Random, SMALL, batch, on_disk, open, open_volume, payloads, read_all,
};

#[test]
fn batches_between_two_syncs_are_written_together_and_in_order() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let (partition, _) = open(&volume, PartitionOptions::DEFAULT);
    let mut random = Random::new(7);
    let mut sent = Vec::new();
    for round in 0..4 {
        let first = batch(1, 0, b"makes space");
        partition.append(&first, 0).unwrap();
        sent.push(first.payload());
        let calls = fs.calls();
        // Some are copied, and some are kept as they are.
        for len in [10, 1000, 9_000, 70_000, 10, 30_000, 60_000, 100_000, 200, 20_000, 0] {
            let next = batch(2, 0, &random.bytes(len));
            partition.append(&next, 0).unwrap();
            sent.push(next.payload());
        }
        let spaces = fs.calls() - calls;
        assert!(spaces < 11, "no batch is written by itself: {spaces} calls in round {round}");
        volume.sync().unwrap();
        assert_eq!(payloads(&read_all(&partition, 0)), sent);
    }
}

/// More than are copied for one round, so that one write has more parts than the system takes.
#[test]
fn tiny_batches_beyond_what_is_copied_are_written_in_order() {
    const COUNT: usize = 40_000;
    let root = tempfile::tempdir().unwrap();
    let (volume, partition, _) = on_disk(root.path(), PartitionOptions::DEFAULT);
    partition.append(&batch(1, 0, b"makes space"), 0).unwrap();
    volume.sync().unwrap();
    let payload = |n: usize| n.to_string().into_bytes();
    for n in 0..COUNT {
        partition.append(&batch(1, 0, &payload(n)), 0).unwrap();
    }
    volume.sync().unwrap();
    let read = payloads(&read_all(&partition, 1));
    assert!(read.iter().map(|it| it.to_vec()).eq((0..COUNT).map(payload)));
}

#[test]
fn a_batch_that_waits_is_neither_seen_nor_counted_nor_left_by_a_crash() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let (partition, _) = open(&volume, SMALL);
    partition.append(&batch(1, 10, b"first"), 0).unwrap();
    volume.sync().unwrap();
    let size = partition.size_bytes();
    // Enough to roll: what waits may belong to several segments.
    for n in 0..30 {
        partition.append(&batch(1, 20 + n, &[1; 500]), 0).unwrap();
    }
    assert_eq!((partition.log_end_offset(), partition.size_bytes()), (31, size));
    assert_eq!(partition.max_timestamp().unwrap(), Some((0, 10)));
    drop((partition, volume));
    let volume = open_volume(Arc::new(fs), Path::new("/data"), MANUAL);
    let (partition, recovered) = open(&volume, SMALL);
    assert_eq!((partition.log_end_offset(), recovered.repairs), (1, Vec::new()));
}

#[test]
fn a_round_that_cannot_write_is_the_last_one() {
    let fs = Faulty::new(1);
    let failures = Arc::new(AtomicU64::new(0));
    let count = failures.clone();
    let on_failure = Box::new(move |error: &Error| {
        assert!(error.to_string().contains("cannot write"), "{error}");
        count.fetch_add(1, Ordering::SeqCst);
    });
    let options = VolumeOptions { flush: MANUAL };
    let volume =
        Volume::open(Arc::new(fs.clone()), Path::new("/data"), options, on_failure).unwrap();
    let (partition, _) = open(&volume, SMALL);
    partition.append(&batch(1, 0, b"kept"), 0).unwrap();
    volume.sync().unwrap();
    partition.append(&batch(1, 0, b"lost"), 0).unwrap();
    fs.fault_after(0, Fault::Fails(std::io::ErrorKind::StorageFull));
    assert!(volume.sync().is_err());
    assert_eq!((failures.load(Ordering::SeqCst), partition.high_watermark()), (1, 1));
    let refused = partition.append(&batch(1, 0, b"late"), 0);
    assert!(matches!(refused, Err(Error::Poisoned)), "{refused:?}");
    drop((partition, volume));
    fs.revive();
    let volume = open_volume(Arc::new(fs), Path::new("/data"), MANUAL);
    assert_eq!(read_all(&open(&volume, SMALL).0, 0).len(), 1);
}

#[test]
fn a_log_that_need_not_wait_any_longer_shows_nothing_that_is_not_written() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs), Path::new("/data"), MANUAL);
    let (partition, _) = open(&volume, SMALL);
    partition.append(&batch(1, 0, b"waits"), 0).unwrap();
    let options = PartitionOptions { flush_messages: Some(100), ..SMALL };
    partition.configure(options);
    partition.append(&batch(1, 0, b"waits behind it"), 0).unwrap();
    assert_eq!(partition.high_watermark(), 0);
    volume.sync().unwrap();
    assert_eq!(partition.high_watermark(), 2);
    partition.append(&batch(1, 0, b"is there at once"), 0).unwrap();
    assert_eq!(partition.high_watermark(), 3);
    assert_eq!(read_all(&partition, 0).len(), 3);
    // A segment was closed meanwhile.
    for _ in 0..10 {
        partition.append(&batch(1, 0, &[1; 900]), 0).unwrap();
        assert_eq!(partition.high_watermark(), partition.log_end_offset());
    }
    assert_eq!(read_all(&partition, 0).len(), 13);
}

#[test]
fn a_deleted_log_takes_what_waits_with_it() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs), Path::new("/data"), MANUAL);
    let (partition, _) = open(&volume, SMALL);
    partition.append(&batch(1, 0, b"deleted"), 0).unwrap();
    partition.delete().unwrap();
    let (partition, _) = open(&volume, SMALL);
    volume.sync().unwrap();
    assert_eq!(partition.log_end_offset(), 0);
}
