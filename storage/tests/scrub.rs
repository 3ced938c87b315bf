//! Reading again what is stored: damage is found, told once and served around, and nothing is done
//! that need not be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_storage::{Action, Error, Flush, Partition, PartitionOptions, Repair, Volume};

use crate::faulty::Faulty;
use crate::support::{DIR, SMALL, TOPIC, batch, open, open_volume, read_all};

const NOW: i64 = 5000;
const PERIOD_MS: i64 = 1000;
const STEP_BYTES: u64 = 1500;

fn start(fs: &Faulty) -> Volume {
    open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Manual)
}

/// A log of 100 batches of 261 bytes, 15 a segment, of which the last one is not sealed.
fn written(fs: &Faulty) -> (Volume, Partition) {
    let volume = start(fs);
    let (partition, _) = open(&volume, SMALL);
    for n in 0..100 {
        partition.append(&batch(1, n, &[n as u8; 200]), 0).unwrap();
    }
    volume.sync().unwrap();
    (volume, partition)
}

fn file(base_offset: i64) -> PathBuf {
    Path::new("/data").join(DIR).join(format!("{base_offset:020}.log"))
}

fn flip(fs: &Faulty, base_offset: i64, position: usize) {
    let mut contents = fs.contents(&file(base_offset));
    contents[position] ^= 0x10;
    fs.overwrite(&file(base_offset), contents);
}

/// The rest of a round: its damage, its bytes and its steps.
fn round(volume: &Volume, now_ms: i64) -> (Vec<Repair>, u64, usize) {
    let (mut damage, mut bytes, mut steps) = (Vec::new(), 0, 0);
    while let Some(step) = volume.scrub(now_ms, PERIOD_MS, STEP_BYTES).unwrap() {
        assert!(step.bytes <= STEP_BYTES + 261, "{step:?}");
        damage.extend(step.damage);
        bytes += step.bytes;
        steps += 1;
        assert!(steps < 1000, "a round ends");
    }
    (damage, bytes, steps)
}

#[test]
fn a_round_reads_what_is_synced_once_and_then_nothing_until_the_next_is_due() {
    let fs = Faulty::new(1);
    let (volume, partition) = written(&fs);
    let all = partition.size_bytes();
    // Of the last segment what was synced: that grows.
    partition.append(&batch(1, 100, &[100; 200]), 0).unwrap();
    let (damage, bytes, _) = round(&volume, NOW);
    assert_eq!((damage, bytes), (vec![], all));

    volume.checkpoint().unwrap();
    let (calls, reads) = (fs.calls(), fs.reads());
    assert_eq!(round(&volume, NOW + PERIOD_MS - 1), (vec![], 0, 0));
    assert_eq!((fs.calls(), fs.reads()), (calls, reads), "an idle volume costs nothing");
    assert_eq!(round(&volume, NOW + PERIOD_MS).1, bytes);
    assert_eq!(volume.statistics().scrub_rounds, 2);
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_found_told_once_and_served_around() {
    let (whole, size) = {
        let fs = Faulty::new(1);
        let (_volume, _) = written(&fs);
        (fs.contents(&file(15)), 261)
    };
    for (position, bad) in [(0, 0), (100, 0), (7 * size + 20, 7), (whole.len() - 1, 14)] {
        let fs = Faulty::new(1);
        let (volume, partition) = written(&fs);
        flip(&fs, 15, position);
        let found = round(&volume, NOW);
        let [repair] = &found.0[..] else { panic!("flipped {position}: {found:?}") };
        let stretch = (repair.position, repair.bytes, repair.action);
        let expected = ((bad * size) as u64, size as u64, Action::Quarantined);
        assert_eq!((&repair.file, stretch), (&file(15), expected), "flipped {position}");
        assert_eq!(volume.statistics().scrub_damage, 1);

        // The file is as it was, and everything else is served, though the batches had been known
        // to be good.
        assert_eq!(fs.contents(&file(15)).len(), whole.len());
        let damaged = 15 + bad as i64;
        let read = partition.read(damaged, 1, 100);
        assert!(matches!(read, Err(Error::Corrupt { .. })), "flipped {position}: {read:?}");
        assert_eq!(read_all(&partition, damaged + 1).len() as i64, 99 - damaged);

        assert_eq!(round(&volume, NOW + PERIOD_MS).0, [], "known already");
        assert_eq!(partition.append(&batch(1, 0, b"x"), 0).unwrap().base_offset, 100);
    }
}

#[test]
fn damage_long_before_the_end_of_the_last_segment_is_found_though_no_start_looks_there() {
    let fs = Faulty::new(1);
    let volume = start(&fs);
    let options = PartitionOptions { segment_bytes: 16 << 20, ..SMALL };
    let (partition, _) = open(&volume, options);
    for n in 0..30 {
        partition.append(&batch(1, n, &[n as u8; 100_000]), 0).unwrap();
    }
    volume.sync().unwrap();
    volume.checkpoint().unwrap();
    drop((volume, partition));
    // The magic byte of the second batch, more than 2 MiB before the recovery point.
    flip(&fs, 0, 100_061 + 16);
    let volume = start(&fs);
    let (partition, recovered) = open(&volume, options);
    assert_eq!(recovered.repairs, []);
    let found = volume.scrub(NOW, PERIOD_MS, 16 << 20).unwrap().unwrap();
    let [damage] = &found.damage[..] else { panic!("{found:?}") };
    assert_eq!((damage.position, damage.bytes), (100_061, 100_061));
    assert!(matches!(partition.read(1, 1, 30), Err(Error::Corrupt { .. })));
    assert_eq!(read_all(&partition, 2).len(), 28);
    assert_eq!(partition.append(&batch(1, 30, b"next"), 0).unwrap().base_offset, 30);
    volume.sync().unwrap();
    assert_eq!(read_all(&partition, 2).len(), 29);
}

#[test]
fn a_round_goes_on_after_a_restart_where_it_was() {
    let fs = Faulty::new(1);
    let (volume, partition) = written(&fs);
    let other = Path::new("accounts/dev/topic-1");
    let other = |volume: &Volume| {
        volume.open_partition(other, TOPIC, PartitionOptions::DEFAULT, Box::new(|_| {})).unwrap()
    };
    other(&volume);
    let (mut read, mut steps) = (0, 0);
    let sealed = round(&volume, NOW).1;
    flip(&fs, 75, 30);
    let mut damage = Vec::new();
    let mut volume = volume;
    drop(partition);
    // Ended in order or killed after each step; what was not in the checkpoint is read again.
    while let Some(step) = volume.scrub(NOW + PERIOD_MS, PERIOD_MS, STEP_BYTES).unwrap() {
        (read, steps) = (read + step.bytes, steps + 1);
        damage.extend(step.damage);
        volume.checkpoint().unwrap();
        if steps % 2 == 0 {
            volume.close().unwrap();
        }
        drop(volume);
        volume = start(&fs);
        open(&volume, SMALL);
        other(&volume);
        assert!(steps < 1000, "a round ends");
    }
    assert_eq!(read, sealed);
    assert_eq!(damage.len(), 1, "{damage:?}");
}

#[test]
fn what_the_disk_does_not_give_is_damage_and_the_round_goes_on() {
    let fs = Faulty::new(1);
    let (volume, _partition) = written(&fs);
    fs.unreadable(&file(30));
    flip(&fs, 60, 5 * 261 + 100);
    let (damage, ..) = round(&volume, NOW);
    let files: Vec<_> = damage.iter().map(|repair| &repair.file).collect();
    assert_eq!(files, [&file(30), &file(60)], "{damage:?}");
    assert!(damage[0].reason.starts_with("cannot be read: "), "{damage:?}");
}
