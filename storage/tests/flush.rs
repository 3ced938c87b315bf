//! When a sync is due, by the volume's rule and by a partition's own.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tidelog_storage::{Flush, Partition, PartitionOptions, Volume};

use crate::faulty::Faulty;
use crate::support::{DIR, MANUAL, SMALL, TOPIC, batch, open, open_volume, payloads, read_all};

const NO_TIME: Duration = Duration::ZERO;

struct Started {
    fs: Faulty,
    volume: Volume,
    partition: Partition,
    advances: Receiver<i64>,
}

fn start(flush: Flush, options: PartitionOptions) -> Started {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), flush);
    let (advanced, advances) = channel();
    let on_advance = Box::new(move |offset| _ = advanced.send(offset));
    let opened = volume.open_partition(Path::new(DIR), TOPIC, options, on_advance);
    Started { fs, volume, partition: opened.unwrap().0, advances }
}

impl Started {
    /// Tells of the next sync, before it is done.
    fn next_sync(&self) -> Receiver<()> {
        let (began, begins) = channel();
        self.fs.during_sync(move || _ = began.send(()));
        begins
    }

    fn append(&self, records: i32) {
        self.partition.append(&batch(records, 0, b"sent"), 0).unwrap();
    }

    /// Batches that a power cut now leaves at least.
    fn durable(&self) -> usize {
        let left = |seed| {
            let fs = Arc::new(self.fs.crash(seed));
            let volume = open_volume(fs, Path::new("/data"), MANUAL);
            payloads(&read_all(&open(&volume, SMALL).0, 0)).len()
        };
        (0..30).map(left).min().unwrap()
    }
}

#[test]
fn a_log_that_may_wait_is_read_at_once_and_synced_after_so_many_records() {
    let options = PartitionOptions { flush_messages: Some(5), ..SMALL };
    let started = start(Flush::Commit, options);
    started.append(2);
    started.append(2);
    assert_eq!(started.partition.high_watermark(), 4);
    assert_eq!(started.durable(), 0, "nothing is synced before its time");
    let synced = started.next_sync();
    started.append(1);
    synced.recv().unwrap();
    assert_eq!(started.partition.high_watermark(), 5);
    // The count starts anew, and what waits is taken along by whoever syncs.
    started.append(4);
    started.volume.sync().unwrap();
    assert_eq!(started.durable(), 4);
}

#[test]
fn a_log_that_may_wait_is_synced_when_the_time_comes() {
    let own =
        PartitionOptions { flush_messages: Some(u64::MAX), flush_interval: Some(NO_TIME), ..SMALL };
    for (flush, options) in [(Flush::Commit, own), (Flush::Interval(NO_TIME), SMALL)] {
        let started = start(flush, options);
        for _ in 0..3 {
            let synced = started.next_sync();
            started.append(1);
            synced.recv().unwrap();
        }
        assert_eq!(started.partition.high_watermark(), 3);
    }
}

#[test]
fn a_log_that_may_not_wait_is_synced_first_whatever_the_volume_does() {
    let options = PartitionOptions { flush_messages: Some(1), ..SMALL };
    let started = start(Flush::Never, options);
    let synced = started.next_sync();
    started.append(3);
    synced.recv().unwrap();
    // The one that told of itself came too early for what is written during a sync.
    started.append(1);
    while started.advances.recv().unwrap() < 4 {}
    assert_eq!(started.durable(), 2);
}

#[test]
fn a_log_may_be_told_to_wait_no_longer() {
    let started = start(Flush::Never, SMALL);
    started.append(1);
    assert_eq!((started.partition.high_watermark(), started.durable()), (1, 0));
    started.partition.configure(PartitionOptions { flush_messages: Some(1), ..SMALL });
    while started.advances.recv().unwrap() < 1 {}
    started.append(1);
    while started.advances.recv().unwrap() < 2 {}
    assert_eq!(started.durable(), 2, "what waited is synced as well");
}

#[test]
fn an_append_to_a_disk_that_is_far_behind_says_so_and_does_not_wait_for_it() {
    let started = start(Flush::Commit, PartitionOptions::DEFAULT);
    let (began, begins) = channel();
    let (go_on, held) = channel::<()>();
    started.fs.during_sync(move || {
        began.send(()).unwrap();
        held.recv().unwrap();
    });
    started.append(1);
    begins.recv().unwrap();
    let (told, tells) = channel();
    let partition = started.partition.clone();
    thread::spawn(move || {
        let large = batch(1, 0, &vec![7; 60_000]);
        while !partition.append(&large, 0).unwrap().is_behind {}
        told.send(partition.log_end_offset()).unwrap();
    });
    let end = tells.recv_timeout(Duration::from_secs(60)).expect("an append waited for the sync");
    go_on.send(()).unwrap();
    started.partition.catch_up().unwrap();
    assert_eq!(started.partition.high_watermark(), end);
    assert!(!started.partition.append(&batch(1, 0, b"sent"), 0).unwrap().is_behind);
}
