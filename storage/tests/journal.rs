//! Commits of many logs, which are synced in the journal.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_storage::fs::Fs;
use tidelog_storage::{
    Compaction, Error, Flush, Found, Mistake, Partition, PartitionOptions, Result, Volume,
    VolumeOptions, inspect, repair,
};

use crate::faulty::{Fault, Faulty};
use crate::support::{MANUAL, Random, SMALL, batch, iterations, open_volume, payloads, read_all};

const LOGS: usize = 8;
/// More than are synced one by one.
const MANY: usize = 20;
const JOURNALS: [&str; 2] = ["/data/commit-journal-0", "/data/commit-journal-1"];

/// What was appended to a log, and how much of it was acknowledged.
#[derive(Clone, Default)]
struct History {
    topic: u8,
    written: Vec<Bytes>,
    acknowledged: usize,
    /// Whether it is to be deleted.
    going: bool,
}

impl History {
    fn check(&mut self, partition: &Partition, case: &str) {
        let found = payloads(&read_all(partition, 0));
        let (had, has) = (self.acknowledged, found.len());
        assert!(has >= had, "{case}: {has} of {had} acknowledged batches are left");
        assert!(has <= self.written.len(), "{case}: batches from nowhere");
        assert_eq!(found, self.written[..has], "{case}");
        (self.written, self.acknowledged) = (found, has);
    }
}

fn dir(n: usize) -> PathBuf {
    format!("accounts/dev/topic-{n}").into()
}

fn open(fs: &Faulty) -> Result<Volume> {
    let options = VolumeOptions { flush: Flush::Manual };
    Volume::open(Arc::new(fs.clone()), Path::new("/data"), options, Box::new(|_| {}))
}

fn open_log(volume: &Volume, n: usize, topic: u8) -> Result<(Partition, Arc<AtomicI64>)> {
    let options = PartitionOptions { segment_bytes: 12_000, ..SMALL };
    let told = Arc::new(AtomicI64::new(0));
    let tells = told.clone();
    let on_advance = Box::new(move |offset| tells.store(offset, Ordering::SeqCst));
    let (partition, recovered) =
        volume.open_partition(&dir(n), [topic; 16], options, on_advance)?;
    let missing = recovered.repairs.iter().find(|it| it.action != tidelog_storage::Action::Cut);
    assert_eq!(missing, None, "log {n}");
    Ok((partition, told))
}

/// One life of a process; what its high watermarks were said to be counts as acknowledged.
fn live(
    mistake: Option<Mistake>,
    fs: &Faulty,
    logs: &mut [History],
    seed: u64,
    journaled: &AtomicU64,
) -> Result<()> {
    let volume = open(fs)?;
    if let Some(mistake) = mistake {
        volume.seed(mistake);
    }
    let mut open = Vec::new();
    for (n, log) in logs.iter_mut().enumerate() {
        if log.going {
            volume.delete_unopened(&dir(n), [log.topic; 16])?;
            *log = History { topic: log.topic + 1, ..History::default() };
        }
        let opened = open_log(&volume, n, log.topic)?;
        log.check(&opened.0, &format!("seed {seed}, log {n}"));
        open.push(opened);
    }
    let lived = act(&volume, &mut open, logs, seed);
    for ((_, told), log) in open.iter().zip(logs.iter_mut()) {
        let told = usize::try_from(told.load(Ordering::SeqCst)).unwrap();
        log.acknowledged = log.acknowledged.max(told);
    }
    journaled.fetch_add(volume.statistics().journaled_bytes, Ordering::SeqCst);
    lived
}

fn act(
    volume: &Volume,
    open: &mut [(Partition, Arc<AtomicI64>)],
    logs: &mut [History],
    seed: u64,
) -> Result<()> {
    let mut random = Random::new(seed);
    for _ in 0..random.below(25) {
        match random.below(14) {
            0..7 => {
                for (n, log) in logs.iter_mut().enumerate() {
                    let longest = [0, 30, 300, 3000][random.below(4) as usize];
                    let len = random.below(longest + 1) as usize;
                    if len == 0 {
                        continue;
                    }
                    let sent = batch(1, 0, &random.bytes(len));
                    match open[n].0.append(&sent, 0) {
                        Ok(_) => log.written.push(sent.payload()),
                        Err(error) if error.is_disk_full() => {}
                        Err(error) => {
                            log.written.push(sent.payload());
                            return Err(error);
                        }
                    }
                }
            }
            7..10 => volume.sync()?,
            10 => volume.checkpoint()?,
            // Whatever was acknowledged is there to be read, in its file or not.
            11..13 => {
                let n = random.below(logs.len() as u64) as usize;
                let (log, until) = (&open[n].0, open[n].0.high_watermark());
                for (offset, written) in (0..until).zip(&logs[n].written) {
                    let mut read = log.read(offset, 1, until)?;
                    assert_eq!(Batch::split_from(&mut read).unwrap().payload(), written);
                }
            }
            // Another topic takes the place of one.
            _ => {
                let n = random.below(logs.len() as u64) as usize;
                let topic = logs[n].topic;
                logs[n].going = true;
                open[n].0.clone().delete()?;
                open[n].1.store(0, Ordering::SeqCst);
                logs[n] = History { topic: topic + 1, ..History::default() };
                open[n] = open_log(volume, n, topic + 1)?;
            }
        }
    }
    if random.below(4) == 0 {
        volume.close()?;
        logs.iter_mut().for_each(|log| log.acknowledged = log.written.len());
    }
    Ok(())
}

/// Lives and power cuts, checked after each, with `meddle` before each start.
fn survive(fs: Faulty, seed: u64, meddle: fn(&Faulty), journaled: &AtomicU64) {
    survive_with(None, fs, seed, meddle, journaled);
}

/// The same of an engine that makes a mistake.
fn survive_with(
    mistake: Option<Mistake>,
    mut fs: Faulty,
    seed: u64,
    meddle: fn(&Faulty),
    journaled: &AtomicU64,
) {
    let mut random = Random::new(seed);
    // Few logs are synced one by one once the journal has them, many at once.
    let count = if seed.is_multiple_of(5) { MANY } else { LOGS };
    let mut logs = vec![History::default(); count];
    for life in 0..2 + random.below(4) {
        if random.below(2) == 0 {
            fs.fault_after(random.below(250), Fault::Dies);
        }
        let lived = live(mistake, &fs, &mut logs, seed * 8 + life, journaled);
        assert!(lived.is_ok() || fs.faulted(), "seed {seed}: {lived:?}");
        match random.below(3) {
            0 => fs.revive(),
            _ => fs = fs.crash(random.next()),
        }
        meddle(&fs);
    }
    live(mistake, &fs, &mut logs, seed * 8 + 7, journaled).unwrap();
}

#[test]
fn every_mistake_an_engine_may_make_with_many_logs_is_found() {
    for mistake in [
        Mistake::AcknowledgesBeforeSync,
        Mistake::SkipsDirectorySync,
        Mistake::DropsTheLastBatch,
        Mistake::PublishesBeforeSync,
        Mistake::FollowsAStaleIndex,
    ] {
        let is_found = |seed: &u64| {
            let (fs, journaled) = (Faulty::without_syncfs(*seed), AtomicU64::new(0));
            let survive = || survive_with(Some(mistake), fs, *seed, |_| {}, &journaled);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(survive)).is_err()
        };
        assert!((0..40).any(|seed| is_found(&seed)), "{mistake:?} is not found in 40 histories");
    }
}

#[test]
fn what_was_acknowledged_of_many_logs_survives_every_power_cut() {
    let journaled = AtomicU64::new(0);
    for seed in 0..iterations(400) {
        survive(Faulty::new(seed), seed, |_| {}, &journaled);
    }
    assert!(journaled.into_inner() > 1 << 20, "the journal was used");
}

#[test]
fn so_it_does_where_files_can_only_be_synced_one_by_one() {
    let journaled = AtomicU64::new(0);
    for seed in (0..iterations(400)).step_by(5) {
        survive(Faulty::without_syncfs(seed), seed, |_| {}, &journaled);
    }
    assert!(journaled.into_inner() > 1 << 20, "the journal was used");
}

#[test]
fn a_log_that_a_killed_process_made_is_there_for_good_once_another_acknowledges() {
    for without_syncfs in [false, true] {
        for calls in 0..200 {
            let fs = if without_syncfs { Faulty::without_syncfs } else { Faulty::new }(calls);
            fs.fault_after(calls, Fault::Dies);
            let made = || open(&fs).and_then(|volume| open_log(&volume, 1, 0).map(drop));
            let is_dead = made().is_err();
            // What it wrote reads well, and not all of it is on the disk.
            fs.revive();
            let volume = open(&fs).unwrap();
            let logs: Vec<_> = (0..LOGS).map(|n| open_log(&volume, n, 0).unwrap().0).collect();
            logs.iter().for_each(|log| _ = log.append(&batch(1, 0, b"a"), 0).unwrap());
            volume.sync().unwrap();
            for seed in 0..8 {
                let volume = open(&fs.crash(seed)).unwrap();
                let (partition, _) = open_log(&volume, 1, 0).unwrap();
                let case = format!("{calls} calls, without syncfs: {without_syncfs}");
                assert_eq!(payloads(&read_all(&partition, 0)), [&b"a"[..]], "{case}");
            }
            if !is_dead {
                break;
            }
            assert!(calls < 199, "it never lived long enough");
        }
    }
}

#[test]
fn without_the_journal_what_was_acknowledged_is_lost() {
    let forget = |fs: &Faulty| {
        let there = JOURNALS.iter().filter(|path| fs.open(Path::new(path)).is_ok());
        there.for_each(|path| fs.remove(Path::new(path)));
    };
    let survives = |seed| {
        let fs = Faulty::new(seed);
        std::panic::catch_unwind(|| survive(fs, seed, forget, &AtomicU64::new(0))).is_ok()
    };
    assert!(!(0..20).all(survives), "the power cuts do not reach what only the journal has");
}

/// Gives each log a batch, in one round, which leaves them in the journal alone.
fn commit_one_to_each(fs: &Faulty) -> (Volume, Vec<Partition>) {
    let volume = open(fs).unwrap();
    let logs: Vec<_> = (0..LOGS).map(|n| open_log(&volume, n, 0).unwrap().0).collect();
    for (n, log) in logs.iter().enumerate() {
        log.append(&batch(1, 0, &[n as u8 + 1; 500]), 0).unwrap();
    }
    volume.sync().unwrap();
    (volume, logs)
}

/// The same in a process that ends there; gives how many bytes that takes in the journal.
fn journaled(fs: &Faulty) -> u64 {
    commit_one_to_each(fs).0.statistics().journaled_bytes
}

#[test]
fn the_journal_has_the_layout_that_its_module_draws() {
    let fs = Faulty::new(1);
    let (volume, logs) = commit_one_to_each(&fs);
    let bytes = volume.statistics().journaled_bytes as usize;
    let contents = fs.contents(Path::new(JOURNALS[1]));
    assert_eq!((contents.len(), bytes % 4096), (bytes, 0));
    let mut shares = Vec::new();
    for (n, partition) in logs.iter().enumerate() {
        // What is read is in the file, too.
        assert_eq!(read_all(partition, 0).len(), 1);
        let log = fs.contents(&Path::new("/data").join(dir(n)).join("00000000000000000000.log"));
        shares.extend_from_slice(&20_u16.to_be_bytes());
        shares.extend_from_slice(dir(n).to_str().unwrap().as_bytes());
        shares.extend_from_slice(&[0; 16]);
        shares.extend_from_slice(&0_i64.to_be_bytes());
        shares.extend_from_slice(&0_u64.to_be_bytes());
        shares.extend_from_slice(&561_u32.to_be_bytes());
        shares.extend_from_slice(&log[..561]);
    }
    let mut header = b"tidelog\x01".to_vec();
    header.extend_from_slice(&1_u64.to_be_bytes());
    header.extend_from_slice(&0_u32.to_be_bytes());
    header.extend_from_slice(&(shares.len() as u32).to_be_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header), &shares);
    header.extend_from_slice(&checksum.to_be_bytes());
    assert_eq!(contents[..28], header);
    assert_eq!(contents[28..][..shares.len()], shares);
    assert!(contents[28 + shares.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_journal_with_any_byte_wrong_or_missing_gives_no_batch_that_was_not_written() {
    let fs = Faulty::new(1);
    let bytes = journaled(&fs) as usize;
    let journal = Path::new(JOURNALS[1]);
    for at in (0..bytes).step_by(7) {
        let image = fs.crash(at as u64);
        let mut contents = image.contents(journal);
        match at % 2 {
            0 => contents[at] ^= 0x10,
            _ => contents.truncate(at),
        }
        image.overwrite(journal, contents);
        let volume = open(&image).unwrap();
        for n in 0..LOGS {
            let (partition, _) = open_log(&volume, n, 0).unwrap();
            let found = payloads(&read_all(&partition, 0));
            assert!(found.is_empty() || found == [&[n as u8 + 1; 500][..]], "byte {at}");
        }
    }
}

#[test]
fn a_log_that_the_journal_cannot_be_written_into_is_offline_alone_and_whole_later() {
    let fs = Faulty::new(1);
    journaled(&fs);
    let fs = fs.crash(3);
    let partitions: Vec<_> = (0..LOGS).map(|n| Path::new("/data").join(dir(n))).collect();
    // The first of the logs that are written.
    fs.fault_after(0, Fault::Fails(ErrorKind::Other));
    let refused = repair(&fs, Path::new("/data"), &partitions, false, &mut |_| {}).unwrap_err();
    assert!(refused.to_string().starts_with("cannot write the last commits again of "));
    fs.fault_after(0, Fault::Fails(ErrorKind::Other));
    let volume = open(&fs).unwrap();
    let refused = open_log(&volume, 0, 0).err().unwrap().to_string();
    assert!(refused.starts_with("cannot write the last commits again of "), "{refused}");
    for n in 1..LOGS {
        let (partition, _) = open_log(&volume, n, 0).unwrap();
        assert_eq!(payloads(&read_all(&partition, 0)), [&[n as u8 + 1; 500][..]]);
        partition.append(&batch(1, 0, b"later"), 0).unwrap();
    }
    volume.close().unwrap();
    let volume = open(&fs).unwrap();
    for n in 0..LOGS {
        let (partition, _) = open_log(&volume, n, 0).unwrap();
        let later: &[&[u8]] = &[&[n as u8 + 1; 500], b"later"];
        assert_eq!(payloads(&read_all(&partition, 0)), later[..if n == 0 { 1 } else { 2 }]);
    }
    drop(volume);
    assert!(JOURNALS.iter().all(|path| fs.open(Path::new(path)).is_err()), "and then removed");
}

#[test]
fn what_is_written_again_is_synced_though_the_journal_began_with_an_earlier_segment() {
    let fs = Faulty::without_syncfs(1);
    let (volume, logs) = commit_one_to_each(&fs);
    for len in [11_500, 30] {
        logs.iter().for_each(|log| _ = log.append(&batch(1, 0, &vec![9; len]), 0).unwrap());
        volume.sync().unwrap();
    }
    assert_eq!(volume.statistics().journaled_bytes, 12 << 10, "but for the roll");
    drop((volume, logs));
    let partitions: Vec<_> = (0..LOGS).map(|n| Path::new("/data").join(dir(n))).collect();
    let start = |fs: &Faulty| drop(open(fs).unwrap());
    let mend = |fs: &Faulty| _ = repair(fs, Path::new("/data"), &partitions, false, &mut |_| {});
    for seed in 0..20 {
        for writes_again in [&start as &dyn Fn(&Faulty), &mend] {
            let fs = fs.crash(seed);
            writes_again(&fs);
            assert!(JOURNALS.iter().all(|path| fs.open(Path::new(path)).is_err()));
            let volume = open(&fs.crash(seed)).unwrap();
            for n in 0..LOGS {
                let (partition, _) = open_log(&volume, n, 0).unwrap();
                assert_eq!(partition.high_watermark(), 3, "seed {seed}, log {n}");
            }
        }
    }
}

#[test]
fn what_cannot_be_read_beside_a_log_does_not_count_as_absent() {
    let fs = Faulty::new(1);
    journaled(&fs);
    let fs = fs.crash(3);
    let file = |name| Path::new("/data").join(dir(0)).join(name);
    // Whose the log is: it gets what the journal has when that is known again.
    let (metadata, log) = (file("partition.metadata"), file("00000000000000000000.log"));
    let before = (fs.contents(&metadata), fs.contents(&log));
    fs.unreadable(&metadata);
    let volume = open(&fs).unwrap();
    let refused = open_log(&volume, 0, 0).err().unwrap().to_string();
    assert!(refused.ends_with("partition.metadata: a bad sector"), "{refused}");
    let refused = volume.delete_unopened(&dir(0), [1; 16]).unwrap_err().to_string();
    assert!(refused.ends_with("partition.metadata: a bad sector"), "{refused}");
    open_log(&volume, 1, 0).unwrap();
    volume.close().unwrap();
    drop(volume);
    assert_eq!((fs.contents(&metadata), fs.contents(&log)), before);
    fs.revive();
    let volume = open(&fs).unwrap();
    let (partition, _) = open_log(&volume, 0, 0).unwrap();
    assert_eq!(payloads(&read_all(&partition, 0)), [&[1; 500][..]]);
    // Which epochs wrote it: they are not begun anew.
    partition.append(&batch(1, 0, b"next"), 3).unwrap();
    volume.close().unwrap();
    drop((volume, partition));
    let epochs = fs.contents(&file("leader-epoch-checkpoint"));
    fs.unreadable(&file("leader-epoch-checkpoint"));
    let (partition, _) = open_log(&open(&fs).unwrap(), 0, 0).unwrap();
    partition.append(&batch(1, 0, b"refused"), 4).unwrap_err();
    assert_eq!(fs.contents(&file("leader-epoch-checkpoint")), epochs);
}

#[test]
fn segments_that_were_compacted_since_stay_as_they_are() {
    let fs = Faulty::new(1);
    let volume = open(&fs).unwrap();
    let keyed = |value: &[u8]| {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
        builder.append(0, Some(b"key"), Some(value), &[]).unwrap();
        builder.finish().unwrap()
    };
    let logs: Vec<_> = (0..LOGS).map(|n| open_log(&volume, n, 0).unwrap().0).collect();
    for n in 0..40 {
        logs.iter().for_each(|log| _ = log.append(&keyed(&[n; 1000]), 0).unwrap());
        volume.sync().unwrap();
    }
    assert!(volume.statistics().journaled_bytes > 0);
    let all = Compaction {
        dirty_ratio_min: 0.0,
        lag_min_ms: 0,
        lag_max_ms: i64::MAX,
        delete_retention_ms: 0,
        keys_max: 1000,
        until: i64::MAX,
    };
    logs.iter().for_each(|log| _ = log.compact(1, all, &mut |_| {}).unwrap());
    let left: Vec<_> = logs.iter().map(|log| payloads(&read_all(log, 0))).collect();
    assert!(left.iter().all(|left| left.len() < 40));
    // Not closed: the journal still has all rounds, and the next start writes what is of use.
    drop((logs, volume));
    let fs = fs.crash(5);
    let volume = open(&fs).unwrap();
    assert!(volume.statistics().redone_bytes > 0);
    for (n, left) in left.iter().enumerate() {
        let (partition, _) = open_log(&volume, n, 0).unwrap();
        assert_eq!(payloads(&read_all(&partition, 0)), *left, "log {n}");
    }
}

#[test]
fn a_repair_begins_with_what_the_journal_has() {
    let fs = Faulty::new(1);
    journaled(&fs);
    for seed in 0..20 {
        let image = fs.crash(seed);
        let partitions: Vec<_> = (0..LOGS).map(|n| Path::new("/data").join(dir(n))).collect();
        let mut seen = 0;
        let planned = repair(&image, Path::new("/data"), &partitions, true, &mut |it| seen += it);
        assert_eq!((planned.unwrap(), seen), (vec![], LOGS as u64 * 561), "seed {seed}");
        assert_eq!(image.calls(), 0, "a dry run changes nothing");
        let excised = repair(&image, Path::new("/data"), &partitions, false, &mut |_| {});
        assert_eq!(excised.unwrap(), [], "seed {seed}");
        let volume = open(&image).unwrap();
        for n in 0..LOGS {
            let (partition, _) = open_log(&volume, n, 0).unwrap();
            assert_eq!(payloads(&read_all(&partition, 0)), [&[n as u8 + 1; 500][..]]);
        }
    }
}

#[test]
fn a_look_at_a_log_shows_what_only_the_journal_has_and_changes_nothing() {
    let fs = Faulty::new(1);
    let (volume, logs) = commit_one_to_each(&fs);
    // Each batch with its offset, and whether it is in the journal only.
    let look = |fs: &Faulty, n: usize| {
        let mut batches = Vec::new();
        inspect(fs, &Path::new("/data").join(dir(n)), &mut |_, found| match found {
            Found::Batch { batch, journaled, .. } => {
                batches.push((batch.header().base_offset, batch.payload(), journaled));
            }
            Found::Damage { reason, .. } => panic!("{reason}"),
            Found::Reserved { .. } | Found::Aborted { .. } => {}
        })
        .unwrap();
        batches
    };
    let first = |n: usize| Bytes::from(vec![n as u8 + 1; 500]);
    let calls = fs.calls();
    assert!((0..LOGS).all(|n| look(&fs, n) == [(0, first(n), true)]));
    assert_eq!(fs.calls(), calls);
    // The process goes on: what is read gets into the file, and what comes then is journaled.
    read_all(&logs[0], 0);
    logs.iter().for_each(|log| _ = log.append(&batch(1, 0, b"later"), 0).unwrap());
    volume.sync().unwrap();
    let later = || (1, Bytes::from("later"), true);
    assert_eq!(look(&fs, 0), [(0, first(0), false), later()]);
    assert_eq!(look(&fs, 1), [(0, first(1), true), later()]);
    // It is killed, or the power fails.
    drop((volume, logs));
    for seed in 0..20 {
        let image = fs.crash(seed);
        let seen: Vec<_> = (0..LOGS).map(|n| look(&image, n)).collect();
        assert_eq!(image.calls(), 0);
        let volume = open(&image).unwrap();
        for (n, seen) in seen.iter().enumerate() {
            let found = payloads(&read_all(&open_log(&volume, n, 0).unwrap().0, 0));
            assert!(seen.iter().map(|(_, payload, _)| payload).eq(&found), "seed {seed}, log {n}");
            assert_eq!(found.len(), 2);
            assert!(look(&image, n).iter().all(|(.., journaled)| !journaled));
        }
    }
    // Another topic's log has none of it.
    let made_anew = fs.crash(0);
    let metadata = Path::new("/data").join(dir(1)).join("partition.metadata");
    let other = b"version: 0\ntopic_id: CQkJCQkJCQkJCQkJCQkJCQ\n".to_vec();
    made_anew.overwrite(&metadata, other);
    assert!(look(&made_anew, 1).iter().all(|(.., journaled)| !journaled));
}

#[test]
fn a_failed_write_or_sync_beside_the_commits_is_final() {
    fails_beside_the_commits("write");
    fails_beside_the_commits("sync");
}

fn fails_beside_the_commits(operation: &str) {
    let fs = Faulty::new(1);
    let failures = Arc::new(AtomicU64::new(0));
    let counts = failures.clone();
    let on_failure = Box::new(move |_: &Error| _ = counts.fetch_add(1, Ordering::SeqCst));
    let options = VolumeOptions { flush: Flush::Manual };
    let volume = Volume::open(Arc::new(fs.clone()), Path::new("/data"), options, on_failure);
    let volume = volume.unwrap();
    let logs: Vec<_> = (0..LOGS).map(|n| open_log(&volume, n, 0).unwrap().0).collect();
    logs.iter().for_each(|log| _ = log.append(&batch(1, 0, b"kept"), 0).unwrap());
    volume.sync().unwrap();
    if operation == "sync" {
        logs.iter().for_each(|log| assert_eq!(read_all(log, 0).len(), 1, "and so written"));
    }
    fs.fault_after(0, Fault::Fails(ErrorKind::Other));
    let failed = volume.checkpoint();
    assert!(
        matches!(failed, Err(Error::Io { operation: found, .. }) if found == operation),
        "{failed:?}"
    );
    assert!(matches!(logs[0].append(&batch(1, 0, b"late"), 0), Err(Error::Poisoned)));
    assert_eq!(failures.load(Ordering::SeqCst), 1);
    // What the sync lost is in the journal.
    let volume = open(&fs.crash(1)).unwrap();
    for n in 0..LOGS {
        assert_eq!(payloads(&read_all(&open_log(&volume, n, 0).unwrap().0, 0)), ["kept"]);
    }
}

#[test]
fn many_logs_are_settled_one_by_one_where_the_system_cannot_sync_all_at_once() {
    let fs = Faulty::without_syncfs(1);
    let volume = open(&fs).unwrap();
    let logs: Vec<_> = (0..MANY).map(|n| open_log(&volume, n, 0).unwrap().0).collect();
    logs.iter().for_each(|log| _ = log.append(&batch(1, 0, b"kept"), 0).unwrap());
    volume.sync().unwrap();
    // The journal and its name are two, and what it has is durable in no log.
    let before = fs.syncs();
    logs.iter().for_each(|log| _ = log.append(&batch(1, 0, b"too"), 0).unwrap());
    volume.sync().unwrap();
    assert_eq!(fs.syncs() - before, 1);
    let has_all = |fs: &Faulty| {
        let volume = open(fs).unwrap();
        let logs = (0..MANY).map(|n| open_log(&volume, n, 0).unwrap().0);
        logs.map(|log| payloads(&read_all(&log, 0))).all(|found| found == ["kept", "too"])
    };
    let forget = |fs: Faulty| {
        fs.remove(Path::new(JOURNALS[1]));
        fs
    };
    assert!((0..20).all(|seed| has_all(&fs.crash(seed))));
    assert!(!(0..20).all(|seed| has_all(&forget(fs.crash(seed)))));
    // A start makes them durable before it removes the journal.
    let started = fs.crash(7);
    drop(open(&started).unwrap());
    assert!(JOURNALS.iter().all(|path| started.open(Path::new(path)).is_err()));
    assert!((0..20).all(|seed| has_all(&started.crash(seed))));
    volume.checkpoint().unwrap();
    assert!((0..20).all(|seed| has_all(&forget(fs.crash(seed)))), "the logs have it themselves");
}

/// Gives some logs a batch each, in one round: how much of the journal that takes, and how many
/// syncs.
fn round(fs: &Faulty, volume: &Volume, logs: &[Partition], len: usize) -> (u64, u64) {
    let (journaled, syncs) = (volume.statistics().journaled_bytes, fs.syncs());
    logs.iter().for_each(|log| _ = log.append(&batch(1, 0, &vec![7; len]), 0).unwrap());
    volume.sync().unwrap();
    (volume.statistics().journaled_bytes - journaled, fs.syncs() - syncs)
}

#[test]
fn rounds_that_find_the_journal_full_sync_the_logs_until_it_takes_turns() {
    let fs = Faulty::new(1);
    let volume = open(&fs).unwrap();
    let options = PartitionOptions { segment_bytes: 4 << 20, ..PartitionOptions::DEFAULT };
    let open_log = |volume: &Volume, n| {
        volume.open_partition(&dir(n), [0; 16], options, Box::new(|_| {})).unwrap().0
    };
    let logs: Vec<_> = (0..60).map(|n| open_log(&volume, n)).collect();
    let mut rounds = vec![0; logs.len()];
    let mut fill = |logs: &[Partition], len| {
        loop {
            rounds[..logs.len()].iter_mut().for_each(|rounds| *rounds += 1);
            if round(&fs, &volume, logs, len).0 == 0 {
                return;
            }
        }
    };
    // Large rounds, and then smaller ones into what those leave.
    fill(&logs, 120 << 10);
    fill(&logs[..4], 100 << 10);
    fill(&logs[..4], 10 << 10);
    fill(&logs[..4], 100);
    assert_eq!(fs.contents(Path::new(JOURNALS[1])).len(), 64 << 20);
    let reads = fs.reads();
    rounds[..4].iter_mut().for_each(|rounds| *rounds += 1);
    assert_eq!(round(&fs, &volume, &logs[..4], 10 << 10), (0, 4));
    assert_eq!(fs.reads(), reads, "such a round is not put together in vain");

    // The other one's turn.
    let check = |fs: &Faulty, rounds: &[usize]| {
        let volume = open(fs).unwrap();
        for (n, rounds) in rounds.iter().enumerate() {
            let log = open_log(&volume, n);
            assert_eq!(log.high_watermark(), *rounds as i64, "log {n}");
            assert_eq!(read_all(&log, 0).len(), *rounds, "log {n}");
        }
    };
    check(&fs.crash(1), &rounds);
    volume.checkpoint().unwrap();
    rounds[..4].iter_mut().for_each(|rounds| *rounds += 1);
    assert_eq!(round(&fs, &volume, &logs[..4], 100), (4096, 2), "the journal, and its name");
    check(&fs.crash(2), &rounds);
}

#[test]
fn a_volume_that_is_dropped_with_a_journal_holds_nothing_any_more() {
    let fs: Arc<dyn Fs> = Arc::new(Faulty::new(1));
    let volume = open_volume(fs.clone(), Path::new("/data"), MANUAL);
    let logs: Vec<_> = (0..LOGS).map(|n| open_log(&volume, n, 0).unwrap().0).collect();
    logs.iter().for_each(|log| _ = log.append(&batch(1, 0, b"kept"), 0).unwrap());
    volume.sync().unwrap();
    assert!(volume.statistics().journaled_bytes > 0);
    drop((logs, volume));
    assert_eq!(Arc::strong_count(&fs), 1);
}
