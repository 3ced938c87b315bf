//! The bytes of the files, against Kafka's layouts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::faulty::Faulty;
use crate::support::{DIR, SMALL, batch, batch_of, on_disk, open, open_volume, read_all};

fn path(name: &str) -> PathBuf {
    Path::new("/data").join(DIR).join(name)
}

#[test]
fn segments_and_indexes_are_laid_out_as_kafka_does() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), crate::support::MANUAL);
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

/// What version 1 of the formats is: every later version must open it.
#[test]
fn a_data_directory_of_version_1_is_written_and_opened_alike() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1");
    let written = tempfile::tempdir().unwrap();
    let (volume, partition, _) = on_disk(written.path(), SMALL);
    for n in 0..30 {
        let sent = batch_of((7, 1, 2 * n), 2, 1000 + i64::from(n), &[n as u8; 100]);
        partition.append(&sent, i32::from(n >= 12)).unwrap();
    }
    volume.sync().unwrap();
    partition.delete_records(5).unwrap();
    volume.close().unwrap();
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
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1"), copied.path());
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
