//! Looking at a directory: what is there, and every kind of damage to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_protocol::records::{
    Batch, BatchBuilder, Compression, EndTxnMarker, TransactionResult,
};
use tidelog_storage::{Flush, Found, inspect};

use crate::faulty::Faulty;
use crate::support::{DIR, SMALL, batch_of, open, open_volume};

/// A log of 100 batches of one record, 10 or so a segment.
fn written(close: bool) -> Faulty {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Manual);
    let (partition, _) = open(&volume, SMALL);
    for n in 0..100 {
        let sent = batch_of((5, 0, n), 1, i64::from(n), &[n as u8; 300]);
        partition.append(&sent, 0).unwrap();
    }
    volume.sync().unwrap();
    if close {
        volume.close().unwrap();
    }
    fs
}

/// The batches, and each damage as its file, position and length.
fn look(fs: &Faulty) -> (Vec<Batch>, Vec<(String, u64, u64)>) {
    let (mut batches, mut damages) = (Vec::new(), Vec::new());
    inspect(fs, &Path::new("/data").join(DIR), &mut |file, found| match found {
        Found::Batch { batch, .. } => batches.push(batch),
        Found::Reserved { .. } | Found::Aborted { .. } => {}
        Found::Damage { position, bytes, .. } => {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            damages.push((name, position, bytes));
        }
    })
    .unwrap();
    (batches, damages)
}

fn file(name: &str) -> PathBuf {
    Path::new("/data").join(DIR).join(name)
}

#[test]
fn a_directory_that_holds_is_shown_in_whole_open_or_closed() {
    for close in [false, true] {
        let calls = written(close);
        let before = calls.calls();
        let (batches, damages) = look(&calls);
        assert_eq!(damages, []);
        let offsets: Vec<_> = batches.iter().map(|batch| batch.header().base_offset).collect();
        assert_eq!(offsets, (0..100).collect::<Vec<_>>());
        assert_eq!(calls.calls(), before, "looking changes nothing");
    }
}

#[test]
fn damage_of_every_kind_is_told_where_it_is() {
    let sound = written(true);
    let (log, index) = ("00000000000000000011.log", "00000000000000000011.index");
    let times = "00000000000000000011.timeindex";
    let snapshot = "00000000000000000100.snapshot";
    let whole = 361;
    for (name, byte, expected) in [
        (log, whole * 3 + 70, (log, whole * 3, whole)),
        (log, whole * 3 + 16, (log, whole * 3, whole)),
        (index, 8 + 7, (index, 8, 8)),
        (times, 12 + 5, (times, 12, 12)),
        (snapshot, 20, (snapshot, 0, 6 + 4 + 46)),
    ] {
        let fs = sound.crash(1);
        let mut contents = fs.contents(&file(name));
        contents[byte as usize] ^= 1;
        fs.overwrite(&file(name), contents);
        let (batches, damages) = look(&fs);
        let (at, position, bytes) = expected;
        assert!(damages.contains(&(at.to_owned(), position, bytes)), "{name}: {damages:?}");
        assert_eq!(batches.len(), if name == log { 99 } else { 100 });
    }
}

#[test]
fn half_a_batch_at_the_end_is_told() {
    let fs = written(true);
    let last = file("00000000000000000099.log");
    let mut contents = fs.contents(&last);
    contents.truncate(200);
    contents.resize(5000, 0);
    fs.overwrite(&last, contents);
    let (batches, damages) = look(&fs);
    assert_eq!(batches.len(), 99);
    assert_eq!(damages[0], ("00000000000000000099.log".to_owned(), 0, 200));
}

#[test]
fn aborted_transactions_are_shown_and_compared_with_the_markers() {
    let sound = Faulty::new(1);
    let volume = open_volume(Arc::new(sound.clone()), Path::new("/data"), Flush::Manual);
    let (partition, _) = open(&volume, SMALL);
    for n in 0..20 {
        let mut data = BatchBuilder::new(Compression::None, 1 << 16);
        data = data.producer(5, 0, n).transactional();
        data.append(0, None, Some(&[7; 500]), &[]).unwrap();
        let result = if n % 2 == 0 { TransactionResult::Abort } else { TransactionResult::Commit };
        let marker = EndTxnMarker { result, coordinator_epoch: 0 }.batch(0, 5, 0);
        for batch in [data.finish().unwrap(), marker] {
            partition.append(&batch, 0).unwrap();
        }
    }
    volume.close().unwrap();
    let aborted = |fs: &Faulty| {
        let mut all = Vec::new();
        inspect(fs, &Path::new("/data").join(DIR), &mut |_, found| {
            if let Found::Aborted { transaction, .. } = found {
                all.push(transaction.last_offset);
            }
        })
        .unwrap();
        all
    };
    assert_eq!(aborted(&sound), (0..10).map(|n| 4 * n + 1).collect::<Vec<_>>());
    assert_eq!(look(&sound).1, []);

    let name = "00000000000000000000.txnindex";
    let entries = sound.contents(&file(name)).len() as u64 / 34;
    assert!(entries > 2, "{entries}");
    let damages = |change: &dyn Fn(&mut Vec<u8>)| {
        let fs = sound.crash(1);
        let mut contents = fs.contents(&file(name));
        change(&mut contents);
        fs.overwrite(&file(name), contents);
        look(&fs).1
    };
    let at = |position, bytes| (name.to_owned(), position, bytes);
    // Another version, another producer, another marker; and what it then lacks.
    for byte in [1, 9, 25] {
        let found = damages(&|contents| contents[34 + byte] ^= 1);
        assert!(found.contains(&at(34, 34)), "{byte}: {found:?}");
        assert!(found.contains(&at(34 * entries, 0)), "{byte}: {found:?}");
    }
    assert_eq!(damages(&|contents| contents.truncate(50)).last(), Some(&at(34, 16)));
    assert_eq!(damages(&|contents| contents.clear()).len() as u64, entries);
}
