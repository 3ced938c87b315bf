//! Taking damage out of a log that nobody has open.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_protocol::records::Batch;
use tidelog_storage::fs::{Disk, Fs};
use tidelog_storage::{Action, Error, Excised, Flush, PartitionOptions, partitions_in, repair};

use crate::faulty::{Fault, Faulty};
use crate::support::{DIR, MANUAL, SMALL, batch, on_disk, open, open_volume, payloads, read_all};

const ROOT: &str = "/data";
/// Bytes of a batch in these logs, and batches in a segment.
const BATCH: usize = 161;
const BATCHES: usize = 24;

fn segment(base_offset: usize) -> PathBuf {
    Path::new(ROOT).join(DIR).join(format!("{base_offset:020}.log"))
}

fn run(fs: &dyn Fs, dry_run: bool) -> tidelog_storage::Result<Vec<Excised>> {
    let (root, partitions) = partitions_in(fs, &Path::new(ROOT).join("accounts"))?;
    assert_eq!((&*root, partitions.len()), (Path::new(ROOT), 1));
    repair(fs, &root, &partitions, dry_run, &mut |_| {})
}

/// A log of 60 batches in three segments, closed in order, with batches 5, 6, 30 and 59 damaged.
fn damaged() -> Faulty {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new(ROOT), MANUAL);
    let (partition, _) = open(&volume, SMALL);
    for n in 0..60 {
        partition.append(&batch(1, n, &[n as u8 + 1; 100]), 0).unwrap();
    }
    volume.close().unwrap();
    for bad in [5, 6, 30, 59] {
        let file = segment(bad / BATCHES * BATCHES);
        let mut contents = fs.contents(&file);
        let at = bad % BATCHES * BATCH + 70;
        contents[at] ^= 1;
        fs.overwrite(&file, contents);
    }
    fs
}

/// All that is left, in order, and offsets that go on where they ended.
fn check(fs: &Faulty) {
    let volume = open_volume(Arc::new(fs.clone()), Path::new(ROOT), Flush::Manual);
    let (partition, recovered) = open(&volume, SMALL);
    let actions: Vec<_> = recovered.repairs.iter().map(|it| it.action).collect();
    assert_eq!(actions, [Action::Missing], "the last offset is known to be gone");
    let sent = batch(1, 60, b"next");
    assert_eq!(partition.append(&sent, 0).unwrap().base_offset, 60);
    volume.sync().unwrap();
    let kept = (0..59).filter(|n| ![5, 6, 30].contains(n)).map(|n| (n, vec![n as u8 + 1; 100]));
    let mut expected: Vec<_> = kept.collect();
    expected.push((60, sent.payload().to_vec()));
    let (records, lost): (Vec<_>, Vec<_>) =
        read_all(&partition, 0).into_iter().partition(|it| it.header().record_count > 0);
    let found = records.iter().map(|it| (it.header().base_offset, it.payload().to_vec()));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let offsets = |it: &Batch| (it.header().base_offset, it.header().last_offset());
    assert_eq!(lost.iter().map(offsets).collect::<Vec<_>>(), [(5, 6), (30, 30)]);
    for offset in 0..60 {
        partition.read(offset, 1, 61).unwrap();
    }
}

#[test]
fn damage_is_saved_and_taken_out_and_all_else_stays() {
    let fs = damaged();
    let before: Vec<_> = [0, 24, 48].map(|base| fs.contents(&segment(base))).to_vec();
    let planned = run(&fs, true).unwrap();
    let after: Vec<_> = [0, 24, 48].map(|base| fs.contents(&segment(base))).to_vec();
    assert_eq!(before, after, "a dry run changes nothing");
    let done = run(&fs, false).unwrap();
    assert_eq!(planned, done, "a dry run says what is done");
    let found: Vec<_> = done
        .iter()
        .map(|it| (it.file.clone(), it.position, it.bytes, it.first_offset, it.next_offset))
        .collect();
    let expected = [
        (segment(0), 5 * BATCH as u64, 2 * BATCH as u64, 5, Some(7)),
        (segment(24), 6 * BATCH as u64, BATCH as u64, 30, Some(31)),
        (segment(48), 11 * BATCH as u64, BATCH as u64, 59, None),
    ];
    assert_eq!(found, expected);
    for (damage, before) in done.iter().zip(&before) {
        let range = damage.position as usize..(damage.position + damage.bytes) as usize;
        assert_eq!(fs.contents(&damage.saved), before[range]);
    }
    assert_eq!(run(&fs, false).unwrap(), [], "nothing is left to do");
    check(&fs);
}

#[test]
fn a_batch_after_damage_stays_though_it_is_the_last_one() {
    for (closed, bad) in [(true, 8), (true, 0), (false, 8), (false, 1)] {
        let fs = Faulty::new(1);
        let volume = open_volume(Arc::new(fs.clone()), Path::new(ROOT), MANUAL);
        let options = PartitionOptions { segment_ms: 5, preallocate: false, ..SMALL };
        let (partition, _) = open(&volume, options);
        volume.checkpoint().unwrap();
        let mut sent = Vec::new();
        for n in 0..=bad as u8 + 1 {
            sent.push(batch(1, 100, &[n + 1; 100]));
            partition.append(sent.last().unwrap(), 0).unwrap();
        }
        match closed {
            true => volume.close().unwrap(),
            // The checkpoint knows of none of it.
            false => volume.sync().unwrap(),
        }
        drop((volume, partition));
        let mut contents = fs.contents(&segment(0));
        contents[bad * BATCH + 70] ^= 1;
        fs.overwrite(&segment(0), contents);
        assert_eq!(run(&fs, false).unwrap().len(), 1);
        let volume = open_volume(Arc::new(fs.clone()), Path::new(ROOT), MANUAL);
        let (partition, recovered) = open(&volume, options);
        assert_eq!(recovered.repairs, [], "batch {bad}");
        let mut expected: Vec<_> = sent.iter().map(Batch::payload).collect();
        expected[bad] = bytes::Bytes::new();
        assert_eq!(payloads(&read_all(&partition, 0)), expected);
        // The segment is as old as its records, of which the first may be lost.
        partition.append(&batch(1, 106, b"new"), 0).unwrap();
        volume.sync().unwrap();
        assert_ne!(fs.contents(&segment(bad + 2)), []);
    }
}

#[test]
fn a_repair_that_is_interrupted_anywhere_is_done_by_the_next_one() {
    for call in 0.. {
        let fs = damaged();
        fs.fault_after(call, Fault::Dies);
        let done = run(&fs, false).is_ok();
        let fs = fs.crash(call);
        run(&fs, false).unwrap();
        check(&fs);
        if done {
            return assert!(call > 20, "only {call} calls");
        }
    }
}

#[test]
fn a_data_directory_in_use_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let (volume, ..) = on_disk(root.path(), SMALL);
    let (found, partitions) = partitions_in(&Disk, &root.path().join(DIR)).unwrap();
    assert_eq!((&*found, &partitions), (root.path(), &vec![root.path().join(DIR)]));
    for dry_run in [true, false] {
        let refused = repair(&Disk, &found, &partitions, dry_run, &mut |_| {});
        assert!(matches!(refused, Err(Error::Locked { .. })));
    }
    volume.close().unwrap();
    assert_eq!(repair(&Disk, &found, &partitions, false, &mut |_| {}).unwrap(), []);
    let elsewhere = tempfile::tempdir().unwrap();
    let error = partitions_in(&Disk, elsewhere.path()).unwrap_err();
    assert!(matches!(error, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound));
}
