//! Space ahead of a log's end: zeros or reserved blocks.

use std::path::Path;
use std::sync::Arc;

use tidelog_storage::PartitionOptions;

use crate::faulty::Faulty;
use crate::support::{DIR, MANUAL, batch, open, open_volume};

#[test]
fn a_log_whose_syncs_are_small_has_zeros_ahead_and_a_busier_one_reserved_blocks() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let (partition, _) = open(&volume, PartitionOptions::DEFAULT);
    let append_and_sync = |bytes: usize, times: i64| {
        for n in 0..times {
            partition.append(&batch(1, n, &vec![7; bytes]), 0).unwrap();
            volume.sync().unwrap();
        }
    };
    append_and_sync(1000, 1);
    assert_eq!(fs.reservations(), 1, "nothing is known of the first sync");
    append_and_sync(1000, 300);
    assert_eq!(fs.reservations(), 1);
    let path = Path::new("/data").join(DIR).join("00000000000000000000.log");
    let log = fs.contents(&path);
    let end = partition.size_bytes() as usize;
    assert!(log.len() > end && log[end..].iter().all(|byte| *byte == 0));

    append_and_sync(300_000, 3);
    let before = fs.reservations();
    append_and_sync(300_000, 10);
    assert!(fs.reservations() > before);
    volume.close().unwrap();
    assert_eq!(fs.contents(&path).len() as u64, partition.size_bytes());
}
