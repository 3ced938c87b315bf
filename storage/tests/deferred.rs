//! Batches that a commit leaves in the journal, and their logs write later.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidelog_storage::fs::Disk;
use tidelog_storage::{Flush, Partition, PartitionOptions, Removed, Retention, Volume};

use crate::faulty::Faulty;
use crate::support::{MANUAL, Random, SMALL, batch, batches, open_volume, payloads, read_all};

const LOGS: usize = 8;
/// Of the payloads in these tests,
const LEN: usize = 500;
/// and of their batches; eight are more than a page.
const BATCH_BYTES: usize = 61 + LEN;

fn open_logs(volume: &Volume, options: PartitionOptions) -> Vec<Partition> {
    let open = |n| {
        let dir = PathBuf::from(format!("red-{n}"));
        volume.open_partition(&dir, [n; 16], options, Box::new(|_| {})).unwrap().0
    };
    (0..u8::try_from(LOGS).unwrap()).map(open).collect()
}

/// A volume whose logs and journal are there, with space ahead in each.
fn started(options: PartitionOptions) -> (Faulty, Volume, Vec<Partition>) {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let logs = open_logs(&volume, options);
    commit(&volume, &logs, 0);
    logs.iter().for_each(|log| assert_eq!(read_all(log, 0).len(), 1));
    (fs, volume, logs)
}

/// Gives each log a batch, in one round.
fn commit(volume: &Volume, logs: &[Partition], n: u8) {
    logs.iter().for_each(|log| _ = log.append(&batch(1, n.into(), &[n; LEN]), 0).unwrap());
    volume.sync().unwrap();
}

/// How many batches the file of a log has.
fn written(fs: &Faulty, log: usize) -> usize {
    let path = format!("/data/red-{log}/00000000000000000000.log");
    let contents = fs.contents(Path::new(&path));
    contents.chunks(BATCH_BYTES).take_while(|batch| batch.iter().any(|byte| *byte > 0)).count()
}

#[test]
fn a_round_of_little_is_one_sync_and_a_log_is_written_when_it_is_read() {
    let (fs, volume, logs) = started(PartitionOptions::DEFAULT);
    let all_written = || (0..LOGS).map(|log| written(&fs, log)).collect::<Vec<_>>();
    let syncs = fs.syncs();
    (1..=5).for_each(|n| commit(&volume, &logs, n));
    assert_eq!(fs.syncs() - syncs, 5);
    assert_eq!(all_written(), [1; LOGS]);
    logs.iter().for_each(|log| assert_eq!(log.high_watermark(), 6));
    // What is asked for is there, by whatever is asked first.
    assert_eq!(logs[0].size_bytes(), 6 * BATCH_BYTES as u64);
    assert_eq!(read_all(&logs[1], 5).len(), 1);
    assert_eq!(logs[2].max_timestamp().unwrap(), Some((5, 5)));
    assert_eq!(logs[3].offset_for_time(4).unwrap(), Some((4, 4)));
    assert!(!logs[4].is_resident(5, 1), "the file is not mapped");
    assert_eq!(all_written(), [1, 6, 6, 6, 6, 1, 1, 1]);
    // A page is full: those of which nobody has read anything are written.
    commit(&volume, &logs, 6);
    commit(&volume, &logs, 7);
    assert_eq!(all_written(), [1, 6, 6, 6, 6, 1, 1, 1]);
    commit(&volume, &logs, 8);
    assert_eq!(all_written(), [9, 6, 6, 6, 6, 9, 9, 9]);
    // What is left is written when the journal's turn ends.
    volume.checkpoint().unwrap();
    assert_eq!(all_written(), [9; LOGS]);
    logs.iter().for_each(|log| assert_eq!(read_all(log, 0).len(), 9));
}

#[test]
fn a_fresh_record_that_waits_is_not_taken_for_an_old_one() {
    let (_fs, volume, logs) = started(PartitionOptions::DEFAULT);
    logs.iter().for_each(|log| _ = log.append(&batch(1, 9_000, &[1; LEN]), 0).unwrap());
    volume.sync().unwrap();
    let retention = Retention { age_ms: Some(1_000), bytes: None, until: i64::MAX };
    assert_eq!(logs[0].enforce_retention(9_500, retention).unwrap(), Removed::default());
    assert_eq!(logs[0].log_start_offset(), 0);
}

#[test]
fn what_is_more_than_little_is_written_in_its_round() {
    let (fs, volume, logs) = started(PartitionOptions::DEFAULT);
    commit(&volume, &logs, 1);
    let journaled = volume.statistics().journaled_bytes;
    (0..9).for_each(|n| _ = logs[0].append(&batch(1, 0, &[n + 1; LEN]), 0).unwrap());
    logs[1].append(&batch(1, 0, &[1; 20_000]), 0).unwrap();
    commit(&volume, &logs, 2);
    assert!(volume.statistics().journaled_bytes > journaled, "all of it is journaled");
    assert_eq!([written(&fs, 0), written(&fs, 2)], [12, 1]);
    assert!(written(&fs, 1) > 35);
}

#[test]
fn what_waits_is_written_before_its_segment_ends_and_goes_with_a_log_that_is_deleted() {
    let (_fs, volume, logs) = started(SMALL);
    let sent: Vec<Bytes> = (0..30).map(|n| Bytes::from(vec![n; LEN])).collect();
    for n in 1..30 {
        commit(&volume, &logs, n);
    }
    logs.iter().for_each(|log| assert_eq!(payloads(&read_all(log, 0)), sent));
    commit(&volume, &logs, 30);
    logs.iter().for_each(|log| log.clone().delete().unwrap());
    let logs = open_logs(&volume, SMALL);
    commit(&volume, &logs, 1);
    logs.iter().for_each(|log| assert_eq!(payloads(&read_all(log, 0)), [&[1; LEN][..]]));
}

#[test]
fn a_volume_that_is_closed_has_all_in_its_files() {
    let (fs, volume, logs) = started(PartitionOptions::DEFAULT);
    (1..4).for_each(|n| commit(&volume, &logs, n));
    logs.iter().for_each(|log| _ = log.append(&batch(1, 4, &[4; LEN]), 0).unwrap());
    volume.close().unwrap();
    drop((logs, volume));
    let volume = open_volume(Arc::new(fs.crash(1)), Path::new("/data"), MANUAL);
    for log in open_logs(&volume, PartitionOptions::DEFAULT) {
        assert_eq!(read_all(&log, 0).len(), 5);
    }
    assert_eq!(volume.statistics().redone_bytes, 0);
}

/// Batches of all sizes that are treated differently, to logs whose segments end often.
#[test]
fn readers_beside_appends_and_rounds_find_all_below_the_high_watermark() {
    const BATCHES: usize = 1500;
    let root = tempfile::tempdir().unwrap();
    let volume = open_volume(Arc::new(Disk), root.path(), Flush::Commit);
    let logs = open_logs(&volume, PartitionOptions { segment_bytes: 200_000, ..SMALL });
    let sizes = [10, 100, 300, 1_000, 9_000, 70_000];
    let payload = |log: usize, n: usize| {
        let mut random = Random::new((log * BATCHES + n) as u64);
        let at = random.below(40).saturating_sub(34) as usize;
        let len = random.below(sizes[at]) as usize;
        random.bytes(len)
    };
    std::thread::scope(|scope| {
        let (logs, volume) = (&logs, &volume);
        let appends = move |of: usize| {
            for n in 0..BATCHES {
                for log in (of..LOGS).step_by(2) {
                    logs[log].append(&batch(1, 0, &payload(log, n)), 0).unwrap();
                }
                if n % 100 == of {
                    volume.checkpoint().unwrap();
                }
            }
        };
        (0..2).for_each(|of| drop(scope.spawn(move || appends(of))));
        let reads = move |of: usize| {
            let mut next = [0; LOGS];
            while (of..LOGS).step_by(2).any(|log| next[log] < BATCHES) {
                for log in (of..LOGS).step_by(2) {
                    let until = logs[log].high_watermark();
                    while (next[log] as i64) < until {
                        let read = logs[log].read(next[log] as i64, 1 << 20, until).unwrap();
                        assert!(!read.is_empty(), "log {log}: {} of {until}", next[log]);
                        for found in batches(read) {
                            assert_eq!(found.payload(), payload(log, next[log]), "log {log}");
                            next[log] += 1;
                        }
                    }
                }
            }
        };
        (0..2).for_each(|of| drop(scope.spawn(move || reads(of))));
    });
    assert!(volume.statistics().journaled_bytes > 0);
    volume.close().unwrap();
}
