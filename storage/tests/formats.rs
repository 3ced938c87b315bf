//! The bytes of the files, against Kafka's layouts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_protocol::records::{
    Batch, BatchBuilder, Compression, EndTxnMarker, TransactionResult,
};
use tidelog_storage::fs::Disk;
use tidelog_storage::{Compaction, Partition, PartitionOptions, Volume};

use crate::faulty::Faulty;
use crate::support::{
    DIR, MANUAL, SMALL, batch, batch_of, on_disk, open, open_volume, payloads, read_all,
};

fn path(name: &str) -> PathBuf {
    Path::new("/data").join(DIR).join(name)
}

#[test]
fn segments_and_indexes_are_laid_out_as_kafka_does() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let (partition, _) = open(&volume, SMALL);
    // Two records a batch, 161 bytes; the largest timestamps are those of batches 0, 5, 10, ...
    for n in 0..30 {
        let timestamp = if n % 5 == 0 { 1000 + n } else { n };
        partition.append(&batch(2, timestamp, &[7; 100]), i32::from(n >= 12)).unwrap();
    }
    volume.close().unwrap();

    // 24 batches fill 4,000 bytes; the log file holds the batches and nothing else.
    let mut log = fs.contents(&path("00000000000000000000.log"));
    assert_eq!(log.len(), 24 * 161);
    log.extend(fs.contents(&path("00000000000000000048.log")));
    let stored: Vec<u8> =
        read_all(&partition, 0).iter().flat_map(|batch| batch.bytes().to_vec()).collect();
    assert!(log == stored);

    // More than 300 bytes after the last entry: every second batch, as (last offset, position).
    let offsets: Vec<(i32, i32)> = fs
        .contents(&path("00000000000000000000.index"))
        .chunks(8)
        .map(|entry| (int(&entry[..4]), int(&entry[4..])))
        .collect();
    let expected: Vec<_> = (2..24).step_by(2).map(|n| (2 * n + 1, 161 * n)).collect();
    assert_eq!(offsets, expected);

    // With each of them the largest timestamp so far, if it is a new one, and its last offset; and
    // the largest of all at the end.
    let times: Vec<(i64, i32)> = fs
        .contents(&path("00000000000000000000.timeindex"))
        .chunks(12)
        .map(|entry| (i64::from_be_bytes(entry[..8].try_into().unwrap()), int(&entry[8..])))
        .collect();
    assert_eq!(times, [(1000, 1), (1005, 11), (1010, 21), (1015, 31), (1020, 41)]);

    // The next segment counts from its own base offset.
    let times = fs.contents(&path("00000000000000000048.timeindex"));
    assert_eq!(times[..12], [&1025_i64.to_be_bytes()[..], &3_i32.to_be_bytes()].concat());

    assert_eq!(fs.contents(&path("leader-epoch-checkpoint")), b"0\n2\n0 0\n1 24\n");
    let metadata = fs.contents(&path("partition.metadata"));
    assert_eq!(metadata, b"version: 0\ntopic_id: CQkJCQkJCQkJCQkJCQkJCQ\n");
}

fn int(bytes: &[u8]) -> i32 {
    i32::from_be_bytes(bytes.try_into().unwrap())
}

/// Compares the directory that `write` makes with the one of that name, which is what version 1 of
/// the formats is: every later version must open it. Gives a copy of it.
fn golden(name: &str, write: impl FnOnce(&Path)) -> tempfile::TempDir {
    let fixture = fixture(name);
    let written = tempfile::tempdir().unwrap();
    write(written.path());
    if std::env::var_os("UPDATE").is_some() {
        copy(written.path(), &fixture);
    }
    assert_eq!(names(written.path()), names(&fixture));
    for name in names(&fixture) {
        let read = |root: &Path| std::fs::read(root.join(&name)).unwrap();
        assert_eq!(read(written.path()), read(&fixture), "{}", name.display());
    }
    let copied = tempfile::tempdir().unwrap();
    copy(&fixture, copied.path());
    copied
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn a_data_directory_of_version_1_is_written_and_opened_alike() {
    let copied = golden("v1", |root| {
        let (volume, partition, _) = on_disk(root, SMALL);
        for n in 0..30 {
            let sent = batch_of((7, 1, 2 * n), 2, 1000 + i64::from(n), &[n as u8; 100]);
            partition.append(&sent, i32::from(n >= 12)).unwrap();
        }
        volume.sync().unwrap();
        partition.delete_records(5).unwrap();
        volume.close().unwrap();
    });
    let (_volume, partition, recovered) = on_disk(copied.path(), SMALL);
    assert!(recovered.clean && recovered.repairs.is_empty());
    assert_eq!((partition.log_start_offset(), partition.log_end_offset()), (5, 60));
    assert_eq!(read_all(&partition, 5).len(), 28);
    let retry = partition.append(&batch_of((7, 1, 50), 2, 1025, &[25; 100]), 1).unwrap();
    assert_eq!(retry.base_offset, 50);
}

#[test]
fn a_segment_of_version_1_that_had_no_name_yet_is_taken_up() {
    let copied = tempfile::tempdir().unwrap();
    copy(&fixture("v1"), copied.path());
    let file = |extension| copied.path().join(DIR).join(format!("{:020}.{extension}", 48));
    std::fs::rename(file("log"), file("log.next")).unwrap();
    for extension in ["index", "timeindex", "snapshot"] {
        std::fs::remove_file(file(extension)).unwrap();
    }
    std::fs::remove_file(copied.path().join("recovery-checkpoint")).unwrap();
    for _ in 0..2 {
        let (_volume, partition, recovered) = on_disk(copied.path(), SMALL);
        assert_eq!((recovered.repairs, partition.log_end_offset()), (vec![], 60));
        assert_eq!(read_all(&partition, 0).len(), 30);
        assert!(file("log").exists() && !file("log.next").exists());
    }
}

#[test]
fn aborted_transactions_of_version_1_are_written_and_left_out_alike() {
    let copied = golden("v1-transactions", |root| {
        let (volume, partition, _) = on_disk(root, SMALL);
        for n in 0..20 {
            let data = BatchBuilder::new(Compression::None, 1 << 16);
            let mut data = data.producer(5, 0, n).transactional();
            data.append(1000, None, Some(&[n as u8; 500]), &[]).unwrap();
            let aborts = n % 2 == 0;
            let result = if aborts { TransactionResult::Abort } else { TransactionResult::Commit };
            partition.append(&data.finish().unwrap(), 0).unwrap();
            let marker = EndTxnMarker { result, coordinator_epoch: 0 };
            partition.append(&marker.batch(1000, 5, 0), 0).unwrap();
        }
        volume.close().unwrap();
    });
    let (_volume, partition, recovered) = on_disk(copied.path(), SMALL);
    assert!(recovered.clean && recovered.repairs.is_empty());
    let aborted = partition.aborted_between(0, 40).unwrap();
    let found: Vec<_> = aborted.iter().map(|it| (it.first_offset, it.last_offset)).collect();
    assert_eq!(found, (0..10).map(|n| (4 * n, 4 * n + 1)).collect::<Vec<_>>());
    assert_eq!(partition.last_stable_offset().unwrap(), 40);
}

const NOW_MS: i64 = 1_700_000_000_000;
const COMPACTION: Compaction = Compaction {
    dirty_ratio_min: 0.0,
    lag_min_ms: 0,
    lag_max_ms: 0,
    delete_retention_ms: 1000,
    keys_max: 1000,
    until: i64::MAX,
};

/// Fills more than two segments with records of ten keys, the last of one of which deletes it.
fn write_keyed(root: &Path) -> (Volume, Partition) {
    let (volume, partition, _) = on_disk(root, SMALL);
    for n in 0..30 {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
        let value = (n != 23).then_some([n as u8; 300]);
        let value = value.as_ref().map(|it| &it[..]);
        builder.append(n, Some(&[b'0' + n as u8 % 10]), value, &[]).unwrap();
        partition.append(&builder.finish().unwrap(), 0).unwrap();
    }
    volume.sync().unwrap();
    (volume, partition)
}

fn check_compacted(root: &Path) {
    let (_volume, partition, recovered) = on_disk(root, SMALL);
    assert!(recovered.repairs.is_empty(), "{recovered:?}");
    let offsets = |it: &Batch| it.records(1 << 16).unwrap().map(|it| it.unwrap().offset).collect();
    let left: Vec<Vec<i64>> = read_all(&partition, 0).iter().map(offsets).collect();
    assert_eq!(left.concat(), (20..30).collect::<Vec<_>>());
    assert_eq!(partition.log_end_offset(), 30);
}

#[test]
fn a_merged_log_of_version_1_is_written_and_opened_alike() {
    let copied = golden("v1-compacted", |root| {
        let (volume, partition) = write_keyed(root);
        let compacted = partition.compact(NOW_MS, COMPACTION, &mut |_| {}).unwrap();
        assert!(compacted.segments > 1, "{compacted:?}");
        volume.close().unwrap();
    });
    check_compacted(copied.path());
    // How far it is compacted is known, and when the tombstone may go.
    let (_volume, partition, _) = on_disk(copied.path(), SMALL);
    let compact = |now_ms| partition.compact(now_ms, COMPACTION, &mut |_| {}).unwrap();
    assert_eq!((compact(NOW_MS + 999).segments, compact(NOW_MS + 1000).segments), (0, 1));
    assert_eq!(read_all(&partition, 0).iter().map(|it| it.header().record_count).sum::<i32>(), 9);
}

#[test]
fn a_merge_of_version_1_that_a_crash_interrupted_is_finished() {
    let merged = fixture("v1-compacted").join(DIR).join("00000000000000000000.log");
    let merged = std::fs::read(merged).unwrap();
    let line = format!("tidelog-merge 1 30 {}\n", merged.len());
    let mark = format!("{line}crc32c {:08x}\n", crc32c::crc32c(line.as_bytes()));
    let root = tempfile::tempdir().unwrap();
    write_keyed(root.path()).0.close().unwrap();
    let file = |name: &str| root.path().join(DIR).join(name);
    std::fs::write(file("00000000000000000000.log.cleaned"), &merged).unwrap();
    std::fs::write(file("00000000000000000000.merge"), mark).unwrap();
    check_compacted(root.path());
    let left = names(root.path());
    assert!(!left.iter().any(|it| it.extension().is_some_and(|it| it == "merge")), "{left:?}");
}

#[test]
fn a_commit_journal_of_version_1_is_written_and_taken_up_alike() {
    let dir = |n: usize| PathBuf::from(format!("accounts/dev/topic-{n}"));
    let options = PartitionOptions { preallocate: false, ..SMALL };
    let open = |volume: &Volume, n: usize| {
        volume.open_partition(&dir(n), [n as u8; 16], options, Box::new(|_| {})).unwrap().0
    };
    let copied = golden("v1-journal", |root| {
        let volume = open_volume(Arc::new(Disk), root, MANUAL);
        let logs: Vec<_> = (0..4).map(|n| open(&volume, n)).collect();
        for round in 0..2 {
            for (n, log) in logs.iter().enumerate() {
                log.append(&batch(1 + n as i32, 1000, &[round; 50]), 0).unwrap();
            }
            volume.sync().unwrap();
        }
        // Not closed, as by a kill.
    });
    // And as a power cut leaves the logs.
    for n in 0..4 {
        std::fs::write(copied.path().join(dir(n)).join("00000000000000000000.log"), b"").unwrap();
    }
    let volume = open_volume(Arc::new(Disk), copied.path(), MANUAL);
    for n in 0..4 {
        let found = payloads(&read_all(&open(&volume, n), 0));
        assert_eq!(found, [&[0; 50][..], &[1; 50]], "log {n}");
    }
}

/// The files below `root` but for the lock, which has the process id.
fn names(root: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(root.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let name = dir.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => dirs.push(name),
                false if name == Path::new("lock") => {}
                false => names.push(name),
            }
        }
    }
    names.sort();
    names
}

fn copy(from: &Path, to: &Path) {
    for name in names(from) {
        std::fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        std::fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}
