//! The bytes of the files, against Kafka's layouts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::faulty::Faulty;
use crate::support::{DIR, SMALL, batch, open, open_volume, read_all};

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
