//! The old end of a log: what goes, what stays, and what a crash may leave of it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use tidelog_storage::{
    Error, Partition, PartitionOptions, Removed, Retention, Volume, VolumeOptions, repair,
};

use crate::faulty::{Call, Fault, Faulty};
use crate::support::{DIR, MANUAL, SMALL, TOPIC, batch, batches, iterations, open, read_all};

fn start(fs: &Faulty) -> (Volume, Partition) {
    let options = VolumeOptions { flush: MANUAL };
    let fs = Arc::new(fs.clone());
    let volume = Volume::open(fs, Path::new("/data"), options, Box::new(|_| {})).unwrap();
    let options = PartitionOptions { segment_bytes: 10 * 161, ..SMALL };
    let (partition, recovered) = open(&volume, options);
    assert_eq!(recovered.repairs, []);
    (volume, partition)
}

/// 100 batches of 161 bytes and one record, in segments of 10, with timestamps 1000 to 1099.
fn hundred(fs: &Faulty) -> (Volume, Partition) {
    let (volume, partition) = start(fs);
    for n in 0..100 {
        partition.append(&batch(1, 1000 + n, &[n as u8; 100]), 0).unwrap();
    }
    volume.sync().unwrap();
    (volume, partition)
}

#[test]
fn retention_drops_whole_segments_by_age_and_by_size() {
    let (volume, partition) = hundred(&Faulty::new(1));
    let enforce_until = |until, now, age_ms, bytes| {
        partition.enforce_retention(now, Retention { age_ms, bytes, until }).unwrap()
    };
    let enforce = |now, age_ms, bytes| enforce_until(i64::MAX, now, age_ms, bytes);
    assert_eq!(enforce(9999, None, None), Removed::default());
    let slice = partition.read(0, 9999, 100).unwrap();
    // The segment whose youngest record is exactly as old as allowed stays.
    assert_eq!(enforce(1059, Some(50), None), Removed::default());
    assert_eq!(enforce(1060, Some(50), None), Removed { segments: 1, bytes: 1610 });
    assert_eq!(partition.log_start_offset(), 10);
    // Dropping one more would leave less than asked for.
    assert_eq!(enforce(0, None, Some(1610 * 5 + 1)), Removed { segments: 3, bytes: 3 * 1610 });
    assert_eq!((partition.log_start_offset(), partition.size_bytes()), (40, 6 * 1610));
    assert!(matches!(partition.read(39, 1, 100), Err(Error::OffsetOutOfRange { .. })));
    assert_eq!(partition.offset_for_time(0).unwrap(), Some((40, 1040)));
    assert_eq!(read_all(&partition, 40).len(), 60);
    assert_eq!(batches(slice).len(), 10, "a reader keeps what it holds");
    // What somebody needs stays, with all of its segment.
    assert_eq!(enforce_until(59, 9999, Some(1), Some(0)).segments, 1);
    assert_eq!(partition.log_start_offset(), 50);
    // All of it, the active segment too; offsets go on.
    assert_eq!(enforce(9999, Some(1), None).segments, 5);
    assert_eq!((partition.log_start_offset(), partition.size_bytes()), (100, 0));
    assert_eq!(partition.append(&batch(1, 5000, b"next"), 0).unwrap().base_offset, 100);
    // No bytes at all are nothing to keep, however young.
    volume.sync().unwrap();
    assert_eq!(enforce(0, None, Some(1)), Removed::default());
    assert_eq!(enforce(0, None, Some(0)).segments, 1);
    assert_eq!((partition.log_start_offset(), partition.size_bytes()), (101, 0));
    assert_eq!(enforce(0, None, Some(0)), Removed::default());
}

#[test]
fn only_what_is_acknowledged_is_dropped() {
    let (volume, partition) = start(&Faulty::new(1));
    for n in 0..30 {
        partition.append(&batch(1, n, &[0; 100]), 0).unwrap();
    }
    let all = Retention { age_ms: Some(1), bytes: Some(0), until: i64::MAX };
    assert_eq!(partition.enforce_retention(9999, all).unwrap(), Removed::default());
    assert!(matches!(partition.delete_records(1), Err(Error::OffsetOutOfRange { .. })));
    volume.sync().unwrap();
    assert_eq!(partition.enforce_retention(9999, all).unwrap().segments, 3);
}

#[test]
fn deleted_records_stay_deleted() {
    let fs = Faulty::new(1);
    let (_volume, partition) = hundred(&fs);
    assert_eq!(partition.delete_records(55).unwrap(), 55);
    assert_eq!(partition.delete_records(20).unwrap(), 55);
    assert_eq!(partition.size_bytes(), 5 * 1610);
    assert_eq!(partition.offset_for_time(0).unwrap(), Some((55, 1055)));
    for seed in 0..50 {
        let (_volume, partition) = start(&fs.crash(seed));
        assert_eq!((partition.log_start_offset(), partition.high_watermark()), (55, 100));
        assert!(matches!(partition.read(54, 1, 100), Err(Error::OffsetOutOfRange { .. })));
        assert_eq!(read_all(&partition, 55).len(), 45);
    }
}

#[test]
fn deleted_records_stay_deleted_though_a_start_cannot_read_the_checkpoint() {
    let fs = Faulty::new(1);
    let (volume, partition) = hundred(&fs);
    partition.delete_records(55).unwrap();
    volume.close().unwrap();
    drop((volume, partition));
    fs.unreadable(Path::new("/data/recovery-checkpoint"));
    let options = VolumeOptions { flush: MANUAL };
    let disk = Arc::new(fs.clone());
    let refused = Volume::open(disk, Path::new("/data"), options, Box::new(|_| {})).err();
    let refused = refused.expect("nothing says where the logs start").to_string();
    assert_eq!(refused, "cannot read /data/recovery-checkpoint: a bad sector");
    fs.revive();
    let (_volume, partition) = start(&fs);
    assert_eq!(partition.log_start_offset(), 55);
}

#[test]
fn a_crash_while_segments_are_dropped_leaves_no_hole() {
    for seed in 0..iterations(10) {
        for call in 0..40 {
            let fs = Faulty::new(seed);
            let (_volume, partition) = hundred(&fs);
            fs.fault_after(
                call,
                [Fault::Dies, Fault::Fails(ErrorKind::Interrupted)][call as usize % 2],
            );
            let retention = Retention { age_ms: Some(10), bytes: None, until: i64::MAX };
            let enforced = partition.enforce_retention(1075, retention);
            assert!(enforced.is_ok() || fs.faulted());
            let (_volume, partition) = start(&fs.crash(seed * 64 + call));
            let first = partition.log_start_offset();
            assert!(first <= 60 && first % 10 == 0, "{first}");
            let left = read_all(&partition, first);
            assert_eq!(left.len() as i64, 100 - first);
        }
    }
}

#[test]
fn a_reader_that_makes_the_index_does_not_make_a_fresh_record_look_old() {
    let log = Path::new("/data").join(DIR).join("00000000000000000000.log");
    let retention = Retention { age_ms: Some(2000), bytes: None, until: i64::MAX };
    for sealed in [false, true] {
        let fs = Faulty::new(1);
        let (volume, partition) = start(&fs);
        partition.append(&batch(1, 1000, &[1; 100]), 0).unwrap();
        volume.close().unwrap();
        drop((volume, partition));
        // As where many logs were closed at once.
        for extension in ["index", "timeindex"] {
            fs.remove(&log.with_extension(extension));
        }
        let (volume, partition) = start(&fs);
        let (appender, all) = (partition.clone(), volume.clone());
        let count = if sealed { 15 } else { 1 };
        fs.before(Call::Read, &log, move || {
            for n in 0..count {
                appender.append(&batch(1, 5000 + n, &[1; 100]), 0).unwrap();
            }
            all.sync().unwrap();
        });
        partition.read(0, 100, 1).unwrap();
        assert_eq!(partition.high_watermark(), 1 + count, "the index was there already");
        assert_eq!(partition.offset_for_time(5000).unwrap(), Some((1, 5000)), "sealed: {sealed}");
        assert_eq!(partition.enforce_retention(6000, retention).unwrap(), Removed::default());
    }
}

#[test]
fn a_reader_whose_segment_is_removed_meanwhile_is_told_that_its_offset_is_gone() {
    let fs = Faulty::new(1);
    let (volume, partition) = hundred(&fs);
    volume.close().unwrap();
    drop((volume, partition));
    let log = Path::new("/data").join(DIR).join("00000000000000000020.log");
    let (_volume, partition) = start(&fs);
    let other = partition.clone();
    fs.before(Call::Open, &log, move || _ = other.delete_records(55).unwrap());
    let read = partition.read(25, 100, 100);
    assert!(
        matches!(read, Err(Error::OffsetOutOfRange { offset: 25, log_start_offset: 55, .. })),
        "{read:?}"
    );
    let log = log.with_file_name("00000000000000000060.log");
    let other = partition.clone();
    fs.before(Call::Open, &log, move || _ = other.delete_records(75).unwrap());
    assert_eq!(partition.offset_for_time(1066).unwrap(), Some((75, 1075)));
}

#[test]
fn age_goes_past_segments_that_hold_nothing() {
    let fs = Faulty::new(1);
    let (volume, partition) = hundred(&fs);
    volume.close().unwrap();
    drop((volume, partition));
    let dir = Path::new("/data").join(DIR);
    let log = |base: i64| dir.join(format!("{base:020}.log"));
    // All of one is damaged, and taken out; the last one is gone, and one without records has its
    // offsets.
    fs.overwrite(&log(20), vec![7; 1610]);
    repair(&fs, Path::new("/data"), std::slice::from_ref(&dir), false, &mut |_| ()).unwrap();
    assert_eq!(fs.contents(&log(20)), []);
    fs.overwrite(&log(90), Vec::new());
    let options = VolumeOptions { flush: MANUAL };
    let disk = Arc::new(fs.clone());
    let volume = Volume::open(disk, Path::new("/data"), options, Box::new(|_| {})).unwrap();
    let (partition, recovered) = open(&volume, SMALL);
    assert_eq!(recovered.repairs.len(), 1, "{recovered:?}");
    partition.append(&batch(1, 5000, b"young"), 0).unwrap();
    volume.sync().unwrap();
    let retention = Retention { age_ms: Some(1000), bytes: None, until: i64::MAX };
    partition.enforce_retention(5500, retention).unwrap();
    assert_eq!(partition.log_start_offset(), 100);
    assert_eq!(read_all(&partition, 100).len(), 1);
    // Nor is what holds nothing older than what comes after it.
    assert_eq!(partition.enforce_retention(5500, retention).unwrap(), Removed::default());
}

#[test]
fn nothing_stays_open_of_a_segment_that_is_removed_while_a_reader_opens_it() {
    let fs = Faulty::new(1);
    let (volume, partition) = hundred(&fs);
    volume.close().unwrap();
    drop((volume, partition));
    let (volume, partition) = start(&fs);
    let held = |volume: &Volume| {
        let statistics = volume.statistics();
        (statistics.open_files, statistics.maps)
    };
    assert_eq!(held(&volume), (0, 0));
    let dir = Path::new("/data").join(DIR);
    // The log's file is open and is about to be mapped, or an index is; each is the reader's own.
    for (base, extension) in [(20, "log"), (40, "index"), (60, "timeindex")] {
        let file = dir.join(format!("{base:020}.{extension}"));
        let other = partition.clone();
        fs.before(Call::Map, &file, move || _ = other.delete_records(base + 15).unwrap());
        let read = partition.read(base + 5, 100, 100);
        assert!(matches!(read, Err(Error::OffsetOutOfRange { .. })), "{extension}: {read:?}");
        assert_eq!(held(&volume), (0, 0), "{extension}");
    }
}

#[test]
fn what_the_disk_does_not_give_of_a_log_is_an_error_to_who_needs_it_and_nothing_more() {
    let fs = Faulty::new(1);
    let (volume, partition) = hundred(&fs);
    fs.unreadable(&Path::new("/data").join(DIR).join("00000000000000000040.log"));
    let retention = Retention { age_ms: Some(10), bytes: None, until: i64::MAX };
    let unreadable = |error: Error| match error {
        Error::Io { path, source, .. } => {
            assert!(path.ends_with("00000000000000000040.log"), "{path:?}");
            assert_eq!(source.to_string(), "a bad sector");
        }
        error => panic!("{error}"),
    };
    // Without its index nothing says how old it is.
    fs.remove(&Path::new("/data").join(DIR).join("00000000000000000040.timeindex"));
    unreadable(partition.enforce_retention(1085, retention).unwrap_err());
    assert_eq!(read_all(&partition, 50).len(), 50);
    partition.append(&batch(1, 1100, b"x"), 0).unwrap();
    volume.close().unwrap();
    drop((volume, partition));
    // The last batches of idempotent producers may be there, so it takes no more of them.
    let (volume, partition) = start(&fs);
    unreadable(partition.append(&batch(1, 1101, b"x"), 0).unwrap_err());
    unreadable(partition.last_stable_offset().unwrap_err());
    assert_eq!(read_all(&partition, 50).len(), 51);
    let other = volume.open_partition(Path::new("other"), TOPIC, SMALL, Box::new(|_| {}));
    other.unwrap().0.append(&batch(1, 1102, b"x"), 0).unwrap();
    fs.readable();
    assert_eq!(partition.append(&batch(1, 1101, b"x"), 0).unwrap().base_offset, 101);
    assert_eq!(partition.enforce_retention(1085, retention).unwrap().segments, 7);
}

#[test]
fn age_goes_past_a_segment_that_cannot_be_read_if_its_index_says_how_old_it_is() {
    let fs = Faulty::new(1);
    let (_volume, partition) = hundred(&fs);
    fs.unreadable(&Path::new("/data").join(DIR).join("00000000000000000040.log"));
    let enforce = |now| {
        let retention = Retention { age_ms: Some(10), bytes: None, until: i64::MAX };
        partition.enforce_retention(now, retention).unwrap().segments
    };
    // Not before its own youngest record, of 1049, is old enough.
    assert_eq!((enforce(1059), partition.log_start_offset()), (4, 40));
    assert_eq!((enforce(1060), partition.log_start_offset()), (1, 50));
    assert_eq!((enforce(1085), partition.log_start_offset()), (2, 70));
}
