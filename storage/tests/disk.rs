//! On the real file system: commit, reopen, readers beside an appender, locks, deletion.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use tidelog_storage::fs::Disk;
use tidelog_storage::{Error, Flush, PartitionOptions, Volume, VolumeOptions};

use crate::support::{
    DIR, SMALL, TOPIC, batch, batches, on_disk, open, open_volume, payloads, read_all,
};

#[test]
fn what_was_appended_is_read_again_after_close_and_after_a_crash() {
    let root = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..6 {
        let (volume, partition, recovered) = on_disk(root.path(), SMALL);
        assert_eq!(recovered.repairs, []);
        assert_eq!(recovered.clean, round % 2 == 1, "round {round}");
        assert_eq!(partition.log_end_offset(), expected.len() as i64 * 3);
        assert_eq!(partition.high_watermark(), partition.log_end_offset());
        assert_eq!(payloads(&read_all(&partition, 0)), expected);
        for n in 0..40 {
            let sent = batch(3, 1000 + n, format!("{round} {n} {}", "x".repeat(90)).as_bytes());
            let appended = partition.append(&sent, 5).unwrap();
            assert_eq!(appended.base_offset, expected.len() as i64 * 3);
            assert_eq!(appended.last_offset, appended.base_offset + 2);
            expected.push(sent.payload());
        }
        volume.sync().unwrap();
        assert_eq!(payloads(&read_all(&partition, 0)), expected);
        if round % 2 == 0 {
            volume.close().unwrap();
            volume.close().unwrap();
        }
    }
}

#[test]
fn the_commit_thread_acknowledges_and_readers_see_only_what_it_did() {
    let root = tempfile::tempdir().unwrap();
    let volume = open_volume(Arc::new(Disk), root.path(), Flush::Commit);
    let (advanced, advances) = mpsc::channel();
    let on_advance = Box::new(move |high_watermark| advanced.send(high_watermark).unwrap());
    let (partition, _) = volume.open_partition(Path::new(DIR), TOPIC, SMALL, on_advance).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut next = 0;
                while !done.load(Ordering::Acquire) || next < partition.high_watermark() {
                    let until = partition.high_watermark();
                    for read in batches(partition.read(next, 1000, until).unwrap()) {
                        assert_eq!(read.header().base_offset, next);
                        assert_eq!(read.payload(), next.to_string().repeat(30));
                        next += 1;
                        assert!(next <= until);
                    }
                }
                assert_eq!(next, 2000);
            });
        }
        for n in 0..2000 {
            partition.append(&batch(1, n, n.to_string().repeat(30).as_bytes()), 0).unwrap();
        }
        let mut last = 0;
        while last < 2000 {
            let next = advances.recv().unwrap();
            assert!(next > last, "the high watermark went from {last} to {next}");
            last = next;
        }
        done.store(true, Ordering::Release);
    });
    volume.close().unwrap();
    assert!(matches!(partition.append(&batch(1, 0, b"late"), 0), Err(Error::Closed)));
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let root = tempfile::tempdir().unwrap();
    let (volume, ..) = on_disk(root.path(), SMALL);
    let second = || {
        let options = VolumeOptions { flush: Flush::Manual };
        Volume::open(Arc::new(Disk), root.path(), options, Box::new(|_| {}))
    };
    let text = second().err().expect("the directory is locked").to_string();
    assert!(text.contains(&format!("in use by another process (process {})", std::process::id())));
    volume.close().unwrap();
    second().unwrap();
}

#[test]
fn what_cannot_be_deleted_keeps_nothing_from_being_opened() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    // A crash interrupted two deletions, and of one something is left that is none of ours.
    let [stuck, other] = ["0", "1"].map(|name| root.path().join("deleted").join(name));
    std::fs::create_dir_all(&stuck).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    let foreign = stuck.join(std::ffi::OsStr::from_bytes(b"\xff"));
    std::fs::write(&foreign, "x").unwrap();
    let (volume, partition, _) = on_disk(root.path(), SMALL);
    assert!(!other.exists());
    partition.delete().unwrap();
    assert!(foreign.exists());
    volume.close().unwrap();
    std::fs::remove_file(&foreign).unwrap();
    let (_volume, _partition, _) = on_disk(root.path(), SMALL);
    assert!(!stuck.exists(), "the next start tries again");
}

#[test]
fn a_deleted_partition_is_gone_but_what_was_read_stays() {
    let root = tempfile::tempdir().unwrap();
    let (volume, partition, _) = on_disk(root.path(), SMALL);
    for n in 0..100 {
        partition.append(&batch(1, n, &[7; 200]), 0).unwrap();
    }
    volume.sync().unwrap();
    let read = partition.read(0, 2000, 100).unwrap();
    let handle = partition.clone();
    partition.delete().unwrap();
    assert!(!root.path().join(DIR).exists());
    assert_eq!(std::fs::read_dir(root.path().join("deleted")).unwrap().count(), 0);
    assert!(matches!(handle.append(&batch(1, 0, b"late"), 0), Err(Error::Closed)));
    assert!(batches(read).iter().all(|batch| batch.payload() == [7; 200][..]));
    let (again, recovered) = open(&volume, SMALL);
    assert_eq!((again.log_end_offset(), recovered.repairs), (0, vec![]));
}

#[test]
fn a_directory_of_another_topic_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (volume, ..) = on_disk(root.path(), SMALL);
    volume.close().unwrap();
    let volume = open_volume(Arc::new(Disk), root.path(), Flush::Manual);
    let other = volume.open_partition(Path::new(DIR), [1; 16], SMALL, Box::new(|_| {}));
    assert!(matches!(other, Err(Error::WrongTopic { .. })));
    open(&volume, SMALL);
    let twice = volume.open_partition(Path::new(DIR), TOPIC, SMALL, Box::new(|_| {}));
    assert!(matches!(twice, Err(Error::AlreadyOpen { .. })));
}

#[test]
fn without_waiting_for_syncs_the_high_watermark_follows_appends() {
    let root = tempfile::tempdir().unwrap();
    let volume = open_volume(Arc::new(Disk), root.path(), Flush::Never);
    let (partition, _) = open(&volume, SMALL);
    partition.append(&batch(2, 0, b"seen at once"), 0).unwrap();
    assert_eq!(partition.high_watermark(), 2);
    volume.close().unwrap();
    let (_volume, partition, recovered) = on_disk(root.path(), SMALL);
    assert_eq!((partition.high_watermark(), recovered.clean), (2, true));
}

#[test]
fn nobody_waits_for_a_sync_of_a_log_that_is_deleted() {
    let root = tempfile::tempdir().unwrap();
    let (_volume, partition, _) = on_disk(root.path(), SMALL);
    partition.append(&batch(3, 0, b"never synced"), 0).unwrap();
    assert_eq!(partition.high_watermark(), 0);
    partition.clone().delete().unwrap();
    assert_eq!(partition.high_watermark(), 3);
    assert!(matches!(partition.read(0, 100, 3), Ok(_) | Err(Error::Closed)));
}

#[test]
fn only_what_was_read_or_appended_since_opening_may_be_read_without_waiting() {
    let root = tempfile::tempdir().unwrap();
    let (volume, partition, _) = on_disk(root.path(), SMALL);
    let append = |partition: &tidelog_storage::Partition| {
        partition.append(&batch(1, 0, &[7; 300]), 0).unwrap();
        volume.sync().unwrap();
    };
    (0..40).for_each(|_| append(&partition));
    let known = |partition: &tidelog_storage::Partition| {
        let offsets = 0..partition.high_watermark();
        offsets.map(|from| partition.is_resident(from, 1000)).collect::<Vec<_>>()
    };
    assert!(!known(&partition).contains(&true), "nothing is mapped yet");
    read_all(&partition, 0);
    assert!(!known(&partition).contains(&false));
    assert!(partition.is_resident(40, 1000), "the end is answered without the file");
    volume.close().unwrap();
    drop((volume, partition));

    let (_volume, partition, _) = on_disk(root.path(), SMALL);
    assert!(!known(&partition).contains(&true));
    read_all(&partition, 20);
    let known = known(&partition);
    assert!(!known[0] && known[20..].iter().all(|known| *known), "{known:?}");
}

/// A map gives no page past the end of its file, as it gives none of a bad sector.
#[test]
fn bytes_that_the_disk_cannot_give_are_an_error_of_their_reader_only() {
    let root = tempfile::tempdir().unwrap();
    let options = PartitionOptions { segment_bytes: 64 << 10, ..PartitionOptions::DEFAULT };
    let (volume, partition, _) = on_disk(root.path(), options);
    for n in 0..20 {
        partition.append(&batch(1, n, &[n as u8; 9000]), 0).unwrap();
    }
    volume.sync().unwrap();
    assert_eq!(read_all(&partition, 0).len(), 20);
    let first = root.path().join(DIR).join("00000000000000000000.log");
    let file = std::fs::File::options().write(true).open(first).unwrap();
    file.set_len(20_000).unwrap();

    assert_eq!(partition.read(0, 1, 20).unwrap().len(), 9000 + 61);
    for offset in [3, 5] {
        assert!(!partition.is_resident(offset, 1));
        let error = partition.read(offset, 1, 20).unwrap_err();
        assert!(error.to_string().contains("the disk cannot give it"), "{error}");
    }
    partition.offset_for_time(4).unwrap_err();
    assert_eq!(payloads(&read_all(&partition, 10))[0], vec![10; 9000]);
    partition.append(&batch(1, 20, b"goes on"), 0).unwrap();
    volume.sync().unwrap();
}

/// The index leads to the batch before the one that is asked for, if that has several records.
#[test]
fn bytes_far_behind_an_entry_of_the_index_are_brought_before_they_are_read() {
    let root = tempfile::tempdir().unwrap();
    let options = PartitionOptions { segment_bytes: 4 << 20, ..PartitionOptions::DEFAULT };
    let (volume, partition, _) = on_disk(root.path(), options);
    for n in 0..8 {
        partition.append(&batch(2, 8 - n, &[n as u8; 400_000]), 0).unwrap();
    }
    volume.close().unwrap();
    drop((volume, partition));
    let (_volume, partition, _) = on_disk(root.path(), options);
    assert_eq!(read_all(&partition, 0).len(), 8, "mapped whole");
    let file = root.path().join(DIR).join("00000000000000000000.log");
    std::fs::File::options().write(true).open(file).unwrap().set_len(1_200_000).unwrap();

    let read = |offset| {
        assert!(!partition.is_resident(offset, 1 << 20), "{offset}");
        partition.read(offset, 1 << 20, 16).map(|read| batches(read).len())
    };
    assert_eq!(read(3).unwrap(), 1, "the batch before, alone");
    for offset in [4, 8, 15] {
        let error = read(offset).unwrap_err();
        assert!(error.to_string().contains("the disk cannot give it"), "{offset}: {error}");
    }
}
