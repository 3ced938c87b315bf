//! Power cuts and refusals at every step, on a file system that keeps as little as it may.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use tidelog_protocol::records::Batch;
use tidelog_storage::fs::Fs;
use tidelog_storage::{
    Action, Error, Event, Flush, Mistake, Partition, PartitionOptions, Result, Volume,
    VolumeOptions,
};

use crate::faulty::{Bug, Fault, Faulty};
use crate::support::{DIR, Random, SMALL, TOPIC, batch, batch_of, iterations, payloads, read_all};

/// What was appended, and how much of it was acknowledged.
#[derive(Default)]
struct History {
    written: Vec<Bytes>,
    acknowledged: usize,
    mistake: Option<Seeded>,
}

/// A mistake that the checker has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seeded {
    /// The engine's own.
    Engine(Mistake),
    /// One of programs with their files, put between the engine and the disk.
    Files(Bug),
}

impl History {
    /// Whether a failed sync is to pass for one that worked, so that one has to fail.
    fn ignores_sync_errors(&self) -> bool {
        matches!(
            self.mistake,
            Some(Seeded::Engine(Mistake::IgnoresASyncError) | Seeded::Files(Bug::FailureIgnored))
        )
    }

    /// Checks a log that was recovered: all that was acknowledged, then a part of the rest.
    fn check(&mut self, partition: &Partition, seed: u64) {
        let found = payloads(&read_all(partition, 0));
        assert!(
            found.len() >= self.acknowledged,
            "seed {seed}: {} of {} acknowledged batches are left",
            found.len(),
            self.acknowledged
        );
        assert!(found.len() <= self.written.len(), "seed {seed}: batches from nowhere");
        let differs = found.iter().zip(&self.written).position(|(found, sent)| found != sent);
        assert_eq!(differs, None, "seed {seed}: first of {} batches that differs", found.len());
        assert_eq!(partition.log_end_offset(), found.len() as i64, "seed {seed}");
        self.acknowledged = found.len();
        self.written = found;
    }
}

fn open(fs: &Faulty, failures: Arc<AtomicU64>) -> Result<Volume> {
    let options = VolumeOptions { flush: Flush::Manual };
    let on_failure = Box::new(move |_: &Error| _ = failures.fetch_add(1, Ordering::SeqCst));
    Volume::open(Arc::new(fs.clone()), Path::new("/data"), options, on_failure)
}

/// The batch that the only producer sends as its `n`th.
fn sent_as(n: usize, payload: &[u8]) -> Batch {
    batch_of((7, 0, n as i32), 1, 0, payload)
}

/// One life of a process: opens, appends, syncs, until an error or the end. **What the high
/// watermark was said to be counts as acknowledged**, however the life ends.
fn live(fs: &Faulty, history: &mut History, seed: u64) -> Result<()> {
    let told = Arc::new(AtomicI64::new(0));
    let lived = live_until(fs, history, seed, &told);
    let told = usize::try_from(told.load(Ordering::SeqCst)).unwrap();
    history.acknowledged = history.acknowledged.max(told);
    lived
}

fn live_until(fs: &Faulty, history: &mut History, seed: u64, told: &Arc<AtomicI64>) -> Result<()> {
    let mut random = Random::new(seed);
    // Batches are left to the commit round, or are written at once.
    let preallocate = random.below(2) == 0;
    let options = PartitionOptions { segment_bytes: 12_000, preallocate, ..SMALL };
    let failures = Arc::new(AtomicU64::new(0));
    let volume = open(fs, failures.clone())?;
    if let Some(Seeded::Engine(mistake)) = history.mistake {
        volume.seed(mistake);
    }
    let told = told.clone();
    let on_advance = Box::new(move |offset| told.store(offset, Ordering::SeqCst));
    let opened = volume.open_partition(Path::new(DIR), TOPIC, options, on_advance);
    let (partition, recovered) = opened?;
    let cut = |action| matches!(action, Action::Cut);
    assert!(recovered.repairs.iter().all(|repair| cut(repair.action)), "{seed}: {recovered:?}");
    history.check(&partition, seed);
    for _ in 0..random.below(40) {
        match random.below(11) {
            0..6 => {
                let longest = [40, 400, 9000][random.below(3) as usize];
                let len = 1 + random.below(longest) as usize;
                let sent = sent_as(history.written.len(), &random.bytes(len));
                match partition.append(&sent, (seed % 3) as i32) {
                    Ok(appended) => {
                        assert_eq!(appended.base_offset, history.written.len() as i64);
                        history.written.push(sent.payload());
                    }
                    // A log that had no room is as it was before.
                    Err(error) if error.is_disk_full() && failures.load(Ordering::SeqCst) == 0 => {}
                    Err(error) => {
                        // When even taking it back failed, it may be there or not.
                        if matches!(error, Error::Io { operation: "cut" | "sync", .. }) {
                            history.written.push(sent.payload());
                        }
                        return Err(error);
                    }
                }
            }
            // The last one again, which may have been answered in an earlier life.
            6 => {
                let Some(last) = history.written.len().checked_sub(1) else { continue };
                let again = sent_as(last, &history.written[last]);
                assert_eq!(partition.append(&again, 0)?.base_offset, last as i64, "seed {seed}");
                assert_eq!(partition.log_end_offset(), last as i64 + 1, "seed {seed}");
            }
            7..10 => {
                if history.ignores_sync_errors() {
                    fs.fail_next_sync();
                }
                volume.sync()?;
                history.acknowledged = partition.high_watermark() as usize;
                assert_eq!(history.acknowledged, history.written.len(), "seed {seed}");
            }
            _ => volume.checkpoint()?,
        }
        assert_eq!(partition.high_watermark() as usize, history.acknowledged, "seed {seed}");
        assert_eq!(failures.load(Ordering::SeqCst), 0);
    }
    if random.below(3) == 0 {
        volume.close()?;
        history.acknowledged = history.written.len();
    }
    Ok(())
}

/// Lives and power cuts, checked after each.
fn survive(seed: u64, mistake: Option<Seeded>) {
    let mut random = Random::new(seed);
    let mut history = History { mistake, ..History::default() };
    let new = if random.below(2) == 0 { Faulty::new } else { Faulty::without_syncfs };
    let mut fs = new(seed);
    if let Some(Seeded::Files(bug)) = mistake {
        fs.seed(bug);
    }
    for life in 0..1 + random.below(5) {
        if random.below(2) == 0 {
            fs.fault_after(random.below(120), Fault::Dies);
        }
        let lived = live(&fs, &mut history, seed * 8 + life);
        assert!(lived.is_ok() || fs.faulted(), "seed {seed}: {lived:?}");
        // Either the power is cut, or only the process is killed.
        match random.below(3) {
            0 => fs.revive(),
            _ => fs = fs.crash(random.next()),
        }
    }
    live(&fs, &mut history, seed * 8 + 7).unwrap();
}

#[test]
fn what_was_acknowledged_survives_every_power_cut() {
    for seed in 0..iterations(2000) {
        survive(seed, None);
    }
}

#[test]
fn every_mistake_an_engine_may_make_is_found() {
    let engines = [
        Mistake::AcknowledgesBeforeSync,
        Mistake::SkipsDirectorySync,
        Mistake::DropsTheLastBatch,
        Mistake::AppendsARetry,
        Mistake::IgnoresASyncError,
        Mistake::PublishesBeforeSync,
        Mistake::FollowsAStaleIndex,
    ]
    .map(Seeded::Engine);
    let files = [Bug::FileNotSynced, Bug::FailureIgnored, Bug::NamedTooEarly].map(Seeded::Files);
    for mistake in engines.into_iter().chain(files) {
        let found = (0..20)
            .find(|seed| std::panic::catch_unwind(|| survive(*seed, Some(mistake))).is_err());
        assert!(found.is_some(), "{mistake:?} is not found in 20 histories");
    }
}

#[test]
fn what_is_written_during_a_sync_waits_for_the_next() {
    let fs = Faulty::new(1);
    let volume = open(&fs, Arc::default()).unwrap();
    let opened = volume.open_partition(Path::new(DIR), TOPIC, SMALL, Box::new(|_| {}));
    let (partition, _) = opened.unwrap();
    partition.append(&batch(1, 0, b"before"), 0).unwrap();
    let late = partition.clone();
    fs.during_sync(move || _ = late.append(&batch(1, 0, b"during"), 0).unwrap());
    volume.sync().unwrap();
    assert_eq!((partition.high_watermark(), partition.log_end_offset()), (1, 2));
    assert_eq!(payloads(&read_all(&partition, 0)), ["before"]);
    volume.sync().unwrap();
    assert_eq!(payloads(&read_all(&partition, 0)), ["before", "during"]);
}

#[test]
fn any_call_may_fail_once_and_nothing_acknowledged_is_lost() {
    for seed in 0..iterations(8) {
        let fs = Faulty::new(seed);
        live(&fs, &mut History::default(), seed).unwrap();
        for call in 0..fs.calls() {
            for kind in [ErrorKind::StorageFull, ErrorKind::Interrupted, ErrorKind::Other] {
                let mut history = History::default();
                let fs = Faulty::new(seed);
                fs.fault_after(call, Fault::Fails(kind));
                let lived = live(&fs, &mut history, seed);
                assert!(lived.is_ok() || fs.faulted(), "seed {seed}, call {call}: {lived:?}");
                let fs = fs.crash(seed ^ call);
                live(&fs, &mut history, seed + 1).unwrap();
            }
        }
    }
}

#[test]
fn a_failed_sync_is_told_once_and_nothing_is_acknowledged_after_it() {
    let fs = Faulty::new(1);
    let failures = Arc::new(AtomicU64::new(0));
    let volume = open(&fs, failures.clone()).unwrap();
    let opened = volume.open_partition(Path::new(DIR), TOPIC, SMALL, Box::new(|_| {}));
    let (partition, _) = opened.unwrap();
    partition.append(&batch(1, 0, b"safe"), 0).unwrap();
    volume.sync().unwrap();
    partition.append(&batch(1, 0, b"in danger"), 0).unwrap();
    fs.fault_after(0, Fault::Fails(ErrorKind::Other));
    // Of the batch or of the file: the one ends as the other does.
    assert!(matches!(volume.sync(), Err(Error::Io { operation: "write" | "sync", .. })));
    for _ in 0..2 {
        assert!(matches!(partition.append(&batch(1, 0, b"x"), 0), Err(Error::Poisoned)));
        assert!(matches!(volume.sync(), Err(Error::Poisoned)));
        assert!(matches!(volume.checkpoint(), Err(Error::Poisoned)));
        assert!(matches!(volume.close(), Err(Error::Poisoned)));
    }
    assert_eq!(partition.high_watermark(), 1);
    assert_eq!(failures.load(Ordering::SeqCst), 1);
    assert_eq!(payloads(&read_all(&partition, 0)), ["safe"]);
}

#[test]
fn a_failed_sync_is_final_whoever_meets_it() {
    type Deed = fn(&Volume) -> Result<()>;
    let log = |volume: &Volume, name: &str| {
        let opened = volume.open_partition(Path::new(name), TOPIC, SMALL, Box::new(|_| {}));
        opened.map(|(partition, _)| partition)
    };
    let make: Deed = |volume| {
        let name = Path::new("accounts/new/topic-0");
        volume.open_partition(name, TOPIC, SMALL, Box::new(|_| {})).map(drop)
    };
    let prepare: Deed = |volume| {
        let opened = volume.open_partition(Path::new(DIR), TOPIC, SMALL, Box::new(|_| {}));
        opened?.0.prepare()
    };
    let append: Deed = |volume| {
        let opened = volume.open_partition(Path::new(DIR), TOPIC, SMALL, Box::new(|_| {}));
        opened?.0.append(&batch(1, 0, b"of a new epoch"), 1).map(drop)
    };
    for (deed, least) in [(make, 3), (prepare, 2), (append, 3)] {
        let mut met = 0;
        for call in 0.. {
            let fs = Faulty::new(1);
            let volume = open(&fs, Arc::default()).unwrap();
            let partition = log(&volume, DIR).unwrap();
            (0..30).for_each(|n| _ = partition.append(&sent_as(n, &[7; 300]), 0).unwrap());
            volume.close().unwrap();
            drop((volume, partition));
            // So that they are made again.
            let dir = Path::new("/data").join(DIR);
            for entry in fs.list(&dir).unwrap() {
                if entry.name.ends_with(".index") || entry.name.ends_with(".snapshot") {
                    fs.remove(&dir.join(&entry.name));
                }
            }
            let failures = Arc::new(AtomicU64::new(0));
            let volume = open(&fs, failures.clone()).unwrap();
            fs.fault_after(call, Fault::Fails(ErrorKind::Other));
            let done = deed(&volume);
            if !fs.faulted() {
                break;
            }
            if let Err(Error::Io { operation: "sync", .. }) = done {
                met += 1;
                assert_eq!(failures.load(Ordering::SeqCst), 1, "call {call}");
                assert!(matches!(log(&volume, "another"), Err(Error::Poisoned)), "call {call}");
            }
        }
        assert!(met >= least, "{met} syncs failed");
    }
}

#[test]
fn the_commit_thread_tells_of_a_failed_sync() {
    let fs = Faulty::new(1);
    let (told, failures) = std::sync::mpsc::channel();
    let on_failure = Box::new(move |error: &Error| told.send(error.to_string()).unwrap());
    let (advanced, advances) = std::sync::mpsc::channel();
    let on_advance = Box::new(move |high_watermark| advanced.send(high_watermark).unwrap());
    let options = VolumeOptions { flush: Flush::Commit };
    let volume = Volume::open(Arc::new(fs.clone()), Path::new("/data"), options, on_failure);
    let volume = volume.unwrap();
    let opened = volume.open_partition(Path::new(DIR), TOPIC, SMALL, on_advance);
    let (partition, _) = opened.unwrap();
    partition.append(&batch(1, 0, b"safe"), 0).unwrap();
    assert_eq!(advances.recv().unwrap(), 1);
    fs.fail_next_sync();
    // Refused if the thread happens to write its checkpoint, and fails, before.
    let _either = partition.append(&batch(1, 0, b"lost"), 0);
    assert!(failures.recv().unwrap().starts_with("cannot "));
    assert!(matches!(partition.append(&batch(1, 0, b"late"), 0), Err(Error::Poisoned)));
    assert_eq!(partition.high_watermark(), 1);
}

/// The system's cache still has what a sync has failed to write, and says that it is clean.
#[test]
fn a_start_after_a_failed_sync_believes_the_disk_however_long_the_segment() {
    let options = PartitionOptions { segment_bytes: 64 << 20, ..SMALL };
    let open_log = |fs: &Faulty| {
        let volume = open(fs, Arc::default()).unwrap();
        let opened = volume.open_partition(Path::new(DIR), TOPIC, options, Box::new(|_| {}));
        (volume, opened.unwrap().0)
    };
    for seed in 0..6 {
        let fs = Faulty::new(seed);
        let (volume, partition) = open_log(&fs);
        for _ in 0..8 {
            partition.append(&batch(1, 0, &[b'x'; 1 << 20]), 0).unwrap();
        }
        volume.close().unwrap();
        drop((volume, partition));
        let (volume, partition) = open_log(&fs);
        partition.append(&batch(1, 0, b"perhaps lost"), 0).unwrap();
        fs.fail_next_sync();
        volume.sync().unwrap_err();
        drop((volume, partition));

        let shown = open_log(&fs).1.high_watermark();
        let after_power_cut = open_log(&fs.crash(seed)).1.high_watermark();
        assert_eq!(shown, after_power_cut, "seed {seed}");
    }
}

#[test]
fn a_full_disk_refuses_the_batch_and_takes_the_next_one() {
    let fs = Faulty::new(1);
    let volume = open(&fs, Arc::default()).unwrap();
    let options = PartitionOptions { preallocate: false, ..SMALL };
    let opened = volume.open_partition(Path::new(DIR), TOPIC, options, Box::new(|_| {}));
    let (partition, _) = opened.unwrap();
    partition.append(&batch(1, 0, b"first"), 0).unwrap();
    fs.fault_after(0, Fault::Fails(ErrorKind::StorageFull));
    let refused = partition.append(&batch(1, 0, &[7; 100]), 0).unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    assert_eq!(partition.log_end_offset(), 1);
    assert_eq!(partition.append(&batch(1, 0, b"second"), 0).unwrap().base_offset, 1);
    volume.sync().unwrap();
    assert_eq!(payloads(&read_all(&partition, 0)), ["first", "second"]);
}

#[test]
fn a_disk_that_has_no_room_for_space_ahead_has_it_for_the_batch() {
    let fs = Faulty::new(1);
    let volume = open(&fs, Arc::default()).unwrap();
    let opened = volume.open_partition(Path::new(DIR), TOPIC, SMALL, Box::new(|_| {}));
    let (partition, _) = opened.unwrap();
    fs.fault_after(0, Fault::Fails(ErrorKind::StorageFull));
    partition.append(&batch(1, 0, b"first"), 0).unwrap();
    assert!(fs.faulted());
    partition.append(&batch(1, 0, b"second"), 0).unwrap();
    volume.sync().unwrap();
    assert_eq!(payloads(&read_all(&partition, 0)), ["first", "second"]);
}

#[test]
fn a_full_disk_is_told_of_when_it_has_no_room_for_a_new_log() {
    let fs = Faulty::new(1);
    let volume = open(&fs, Arc::default()).unwrap();
    let (told, events) = std::sync::mpsc::channel();
    volume.on_event(Box::new(move |event| told.send(event.clone()).unwrap()));
    let create = || volume.open_partition(Path::new(DIR), TOPIC, SMALL, Box::new(|_| {}));
    fs.fault_after(4, Fault::Fails(ErrorKind::StorageFull));
    let refused = create().err().expect("there is no room");
    assert!(refused.is_disk_full(), "{refused}");
    assert!(matches!(events.try_recv(), Ok(Event::Full(_))));
    let (partition, _) = create().unwrap();
    partition.append(&batch(1, 0, b"first"), 0).unwrap();
    assert!(matches!(events.try_recv(), Ok(Event::Room(_))));
    assert!(events.try_recv().is_err(), "each is told once");
}

#[test]
fn a_power_cut_while_many_logs_are_closed_loses_nothing() {
    let dir = |n: u64| PathBuf::from(format!("accounts/dev/topic-{n}"));
    let mut call = 0;
    loop {
        let fs = Faulty::new(call);
        let volume = open(&fs, Arc::default()).unwrap();
        for n in 0..20 {
            let opened = volume.open_partition(&dir(n), TOPIC, SMALL, Box::new(|_| {}));
            opened.unwrap().0.append(&batch(1, 0, b"kept"), 0).unwrap();
        }
        volume.sync().unwrap();
        fs.fault_after(call, Fault::Dies);
        let closed = volume.close();
        let fs = fs.crash(call);
        let volume = open(&fs, Arc::default()).unwrap();
        for n in 0..20 {
            let opened = volume.open_partition(&dir(n), TOPIC, SMALL, Box::new(|_| {}));
            let (partition, recovered) = opened.unwrap();
            assert_eq!(recovered.repairs, [], "call {call}");
            // The checkpoint that says so may be there although its sync failed.
            assert!(recovered.clean || closed.is_err(), "call {call}");
            assert_eq!(payloads(&read_all(&partition, 0)), ["kept"], "call {call}");
        }
        if closed.is_ok() {
            break;
        }
        call += 1;
    }
    assert!(call > 40, "the fault was met at only {call} calls");
}

#[test]
fn many_small_logs_are_closed_without_files_that_say_what_their_batches_do() {
    let fs = Faulty::new(1);
    let dir = |n: u64| PathBuf::from(format!("accounts/dev/topic-{n}"));
    let open_all = |volume: &Volume| -> Vec<Partition> {
        let open = |n| volume.open_partition(&dir(n), TOPIC, SMALL, Box::new(|_| {}));
        (0..30).map(|n| open(n).unwrap().0).collect()
    };
    let sent = |n: i32| batch_of((7, 1, n), 1, i64::from(n), &[n as u8 + 1; 100]);
    let append = |partition: &Partition, n| partition.append(&sent(n), 0).unwrap().base_offset;
    let names = |n| {
        let entries = fs.list(&Path::new("/data").join(dir(n))).unwrap();
        entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    };
    let without = ["00000000000000000000.log", "leader-epoch-checkpoint", "partition.metadata"];

    let volume = open(&fs, Arc::default()).unwrap();
    let partitions = open_all(&volume);
    partitions.iter().for_each(|it| assert_eq!(append(it, 0), 0));
    volume.sync().unwrap();
    let calls = fs.calls();
    volume.close().unwrap();
    // A write and a trim each, and two files that may be there of another time.
    assert!(fs.calls() - calls < 30 * 4 + 20, "{} calls", fs.calls() - calls);
    (0..30).for_each(|n| assert_eq!(names(n), without));

    // A few are closed with theirs, which are older than the log when many are again.
    let volume = open(&fs, Arc::default()).unwrap();
    let partitions = open_all(&volume);
    partitions[..5].iter().for_each(|it| assert_eq!(append(it, 1), 1));
    volume.close().unwrap();
    assert!(names(4).iter().any(|name| name.ends_with(".index")));
    let volume = open(&fs, Arc::default()).unwrap();
    for (n, partition) in open_all(&volume).iter().enumerate() {
        (if n < 5 { 2 } else { 1 }..20).for_each(|n| assert_eq!(append(partition, n), n.into()));
    }
    volume.close().unwrap();

    let volume = open(&fs, Arc::default()).unwrap();
    for partition in open_all(&volume) {
        let read = read_all(&partition, 0);
        let wanted: Vec<_> = (0..20).map(|n| sent(n).payload()).collect();
        assert_eq!(payloads(&read), wanted);
        assert_eq!(partition.offset_for_time(11).unwrap(), Some((11, 11)));
        assert_eq!(append(&partition, 18), 18, "a retry is known");
    }
}

#[test]
fn a_start_after_a_kill_syncs_the_volume_once_and_no_log_by_itself() {
    let dir = |n: u64| PathBuf::from(format!("accounts/dev/topic-{n}"));
    let fs = Faulty::new(1);
    // Written at once, so that there is something to sync.
    let options = PartitionOptions { preallocate: false, ..SMALL };
    let open_all = |volume: &Volume| -> Vec<Partition> {
        let open = |n| volume.open_partition(&dir(n), TOPIC, options, Box::new(|_| {}));
        (0..30)
            .map(|n| open(n).unwrap())
            .map(|(it, found)| {
                assert_eq!(found.repairs, []);
                it
            })
            .collect()
    };
    let volume = open(&fs, Arc::default()).unwrap();
    for partition in open_all(&volume) {
        partition.append(&batch(1, 0, b"kept"), 0).unwrap();
    }
    drop(volume);
    let (syncs, calls) = (fs.syncs(), fs.calls());
    let volume = open(&fs, Arc::default()).unwrap();
    assert_eq!((fs.syncs() - syncs, fs.calls() - calls), (0, 1), "one sync of the file system");
    open_all(&volume);
    assert_eq!(fs.syncs(), syncs);
    // What was read is on the disk, whatever may still be lost.
    for seed in 0..20 {
        let image = fs.crash(seed);
        let volume = open(&image, Arc::default()).unwrap();
        for partition in open_all(&volume) {
            assert_eq!(payloads(&read_all(&partition, 0)), ["kept"], "seed {seed}");
        }
    }
}

/// Whether all that a start finds, which is below the high watermark at once, is still there after
/// a power cut; a process that was killed wrote it and synced none of it.
fn is_kept_once_found(mistake: Option<Mistake>) -> bool {
    let fs = Faulty::without_syncfs(1);
    // Written at once.
    let options = PartitionOptions { preallocate: false, ..SMALL };
    let start = |fs: &Faulty, mistake: Option<Mistake>| {
        let volume = open(fs, Arc::default()).unwrap();
        mistake.into_iter().for_each(|mistake| volume.seed(mistake));
        let opened = volume.open_partition(Path::new(DIR), TOPIC, options, Box::new(|_| {}));
        let partition = opened.unwrap().0;
        (volume, partition)
    };
    let (_killed, partition) = start(&fs, None);
    (0..3).for_each(|n| _ = partition.append(&sent_as(n, b"written"), 0).unwrap());
    let (_volume, partition) = start(&fs, mistake);
    assert_eq!(partition.high_watermark(), 3);
    (0..20).all(|seed| read_all(&start(&fs.crash(seed), None).1, 0).len() == 3)
}

#[test]
fn a_start_that_believes_what_it_reads_without_a_sync_is_found() {
    assert!(is_kept_once_found(None));
    assert!(!is_kept_once_found(Some(Mistake::SkipsRecoverySync)));
}

#[test]
fn a_new_volume_does_not_wait_for_what_else_the_disk_has_to_write() {
    let fs = Faulty::new(1);
    open(&fs, Arc::default()).unwrap();
    // Its directory is made, and that is synced, once more in case an ended process had made it.
    assert_eq!((fs.calls(), fs.syncs()), (3, 2));
}

#[test]
fn a_partition_is_durable_when_it_is_open() {
    let fs = Faulty::new(1);
    let volume = open(&fs, Arc::default()).unwrap();
    volume.open_partition(Path::new(DIR), TOPIC, SMALL, Box::new(|_| {})).unwrap();
    for seed in 0..50 {
        let image = fs.crash(seed);
        let log = PathBuf::from("/data").join(DIR).join("00000000000000000000.log");
        assert_eq!(image.contents(&log), []);
        let metadata = PathBuf::from("/data").join(DIR).join("partition.metadata");
        assert_eq!(image.contents(&metadata), b"version: 0\ntopic_id: CQkJCQkJCQkJCQkJCQkJCQ\n");
    }
}
