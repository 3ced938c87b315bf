//! Damage of every kind to the files of a log, and what is made of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_protocol::records::Batch;
use tidelog_storage::{
    Action, Error, Flush, Partition, PartitionOptions, Recovered, Repair, Volume, inspect,
};

use crate::faulty::Faulty;
use crate::support::{
    DIR, Random, SMALL, batch, batch_of, batches, iterations, open, open_volume, payloads, read_all,
};

const ONE_SEGMENT: PartitionOptions = PartitionOptions { segment_bytes: 1 << 20, ..SMALL };

fn log_file(base_offset: i64) -> PathBuf {
    Path::new("/data").join(DIR).join(format!("{base_offset:020}.log"))
}

fn start(fs: &Faulty, options: PartitionOptions) -> (Volume, Partition, Recovered) {
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Manual);
    let (partition, recovered) = open(&volume, options);
    (volume, partition, recovered)
}

/// A log of `count` batches of one record each, synced but not closed, and what is in its file.
fn written(count: u64, checkpointed: u64, len: usize) -> (Faulty, Vec<Batch>, Vec<u8>) {
    let fs = Faulty::new(1);
    let (volume, partition, _) = start(&fs, ONE_SEGMENT);
    let mut random = Random::new(1);
    for n in 0..count {
        partition.append(&batch(1, n as i64, &random.bytes(len)), 0).unwrap();
        if n + 1 == checkpointed {
            volume.sync().unwrap();
            volume.checkpoint().unwrap();
        }
    }
    volume.sync().unwrap();
    let batches = read_all(&partition, 0);
    let mut contents = fs.contents(&log_file(0));
    contents.truncate(partition.size_bytes() as usize);
    (fs, batches, contents)
}

/// Opens the damaged log twice: once to see what is made of it, and once more to see that nothing
/// is left to do.
fn open_twice(fs: &Faulty) -> (Partition, Recovered) {
    let (_volume, first, recovered) = start(fs, ONE_SEGMENT);
    let (end, contents) = (first.log_end_offset(), fs.contents(&log_file(0)));
    drop((_volume, first));
    let (_volume, second, again) = start(fs, ONE_SEGMENT);
    assert_eq!((second.log_end_offset(), fs.contents(&log_file(0))), (end, contents));
    let lasting = |repair: &&tidelog_storage::Repair| repair.action == Action::Quarantined;
    let kept: Vec<_> = recovered.repairs.iter().filter(lasting).collect();
    assert_eq!(again.repairs.iter().collect::<Vec<_>>(), kept);
    (second, recovered)
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_batch_wherever_it_is_torn() {
    let (fs, all, contents) = written(6, 99, 40);
    let each = all.last().unwrap().bytes().len();
    for torn in 1..=3 * each {
        let (whole, left) = ((contents.len() - torn) / each, (contents.len() - torn) % each);
        let position = whole * each;
        for zeros in [0, 5000] {
            let mut damaged = contents[..contents.len() - torn].to_vec();
            damaged.resize(damaged.len() + zeros, 0);
            fs.overwrite(&log_file(0), damaged);
            let (partition, recovered) = open_twice(&fs);
            assert_eq!(payloads(&read_all(&partition, 0)), payloads(&all[..whole]), "torn {torn}");
            assert_eq!(partition.log_end_offset(), whole as i64);
            // The first bytes of a batch are zeros, as preallocated space is.
            assert_eq!(recovered.repairs.is_empty(), left <= 7, "torn {torn}");
            if let [repair] = &recovered.repairs[..] {
                let cut = (Action::Cut, position as u64);
                assert_eq!((repair.action, repair.position), cut, "torn {torn}");
                let saved = log_file(0).with_added_extension(format!("torn-{position}"));
                let bytes = &contents[position..position + repair.bytes as usize];
                assert_eq!(fs.contents(&saved), bytes);
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_the_last_batch_is_found() {
    let (fs, all, contents) = written(3, 99, 20);
    let last = contents.len() - all.last().unwrap().bytes().len();
    for (bit, zeros) in (0..(contents.len() - last) * 8).flat_map(|bit| [(bit, 0), (bit, 9000)]) {
        let mut damaged = contents.clone();
        damaged[last + bit / 8] ^= 1 << (bit % 8);
        damaged.resize(damaged.len() + zeros, 0);
        fs.overwrite(&log_file(0), damaged);
        let (partition, recovered) = open_twice(&fs);
        // The leader epoch is not under the checksum, and may be any.
        if (12..16).contains(&(bit / 8)) {
            assert_eq!(partition.log_end_offset(), 3, "bit {bit}");
            continue;
        }
        let case = format!("bit {bit}, {zeros} zeros behind: {recovered:?}");
        assert_eq!(payloads(&read_all(&partition, 0)), payloads(&all[..2]), "{case}");
        assert!(matches!(recovered.repairs[..], [_]), "{case}");
    }
}

/// Reads one batch at a time: its payload, or `None` inside of damage.
fn each_offset(partition: &Partition) -> Vec<Option<bytes::Bytes>> {
    let until = partition.high_watermark();
    let read = |offset| match partition.read(offset, 1, until) {
        Ok(bytes) => {
            let batch = batches(bytes).remove(0);
            assert_eq!(batch.header().base_offset, offset);
            Some(batch.payload())
        }
        Err(Error::Corrupt { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    (0..until).map(read).collect()
}

#[test]
fn damage_that_may_have_been_acknowledged_is_kept_and_served_around() {
    let len = 200;
    let whole = 61 + len;
    for checkpointed in [0, 20, 40] {
        let (fs, all, contents) = written(40, checkpointed, len);
        // Byte 26 is the last of the last offset delta: a few batches too many, or very many.
        let flips = [(0, 16, 6), (7, 100, 6), (7, 8, 6), (7, 3, 6), (7, 23, 6), (7, 26, 2)];
        for (bad, byte, bit) in flips.into_iter().chain([(7, 26, 6), (25, 70, 6), (38, 20, 6)]) {
            let mut damaged = contents.clone();
            damaged[bad * whole + byte] ^= 1 << bit;
            fs.overwrite(&log_file(0), damaged.clone());
            let (partition, recovered) = open_twice(&fs);
            let case = format!("checkpoint at {checkpointed}, bit {bit} of byte {byte} of {bad}");
            let found = each_offset(&partition);
            let mut expected: Vec<_> = all.iter().map(|batch| Some(batch.payload())).collect();
            expected[bad] = None;
            assert!(found == expected, "{case}: {recovered:?}");
            // Checksums are looked at after the checkpoint when opening, and before when reading.
            let header = byte < 17 || (23..27).contains(&byte);
            let reported = header || bad as u64 >= checkpointed;
            assert_eq!(recovered.repairs.len(), usize::from(reported), "{case}");
            for repair in &recovered.repairs {
                assert_eq!(repair.action, Action::Quarantined, "{case}");
                assert_eq!(repair.position as usize, bad * whole, "{case}");
                assert_eq!(repair.bytes as usize, whole, "{case}");
            }
            assert_eq!(fs.contents(&log_file(0)), damaged, "{case}");
            let next = partition.append(&batch(1, 0, b"goes on"), 0);
            assert!(matches!(next, Err(Error::Closed)), "the volume was dropped");
        }
    }
}

#[test]
fn a_flipped_bit_before_or_after_the_recovery_point_costs_its_batch_and_is_never_served() {
    let (fs, all, contents) = written(250, 125, 200);
    let mut random = Random::new(7);
    for _ in 0..iterations(60) {
        let (byte, bit) = (random.below(contents.len() as u64) as usize, random.below(8));
        let mut damaged = contents.clone();
        damaged[byte] ^= 1 << bit;
        damaged.resize(damaged.len() + 9000, 0);
        fs.overwrite(&log_file(0), damaged);
        let (_volume, partition, recovered) = start(&fs, ONE_SEGMENT);
        let case = format!("bit {bit} of byte {byte}: {recovered:?}");
        let mut expected: Vec<_> = all.iter().map(|batch| Some(batch.payload())).collect();
        // The leader epoch is not under the checksum, and may be any.
        if !(12..16).contains(&(byte % 261)) {
            expected[byte / 261] = None;
        }
        // The end of what no sync is known to have covered cannot be told from a torn tail.
        expected.truncate(partition.log_end_offset() as usize);
        assert!(expected.len() >= 249, "{case}");
        assert!(each_offset(&partition) == expected, "{case}");
    }
}

#[test]
fn a_start_after_a_kill_reads_only_what_lies_behind_the_recovery_point() {
    const LONG: PartitionOptions = PartitionOptions { segment_bytes: 16 << 20, ..SMALL };
    let fs = Faulty::new(1);
    let (volume, partition, _) = start(&fs, LONG);
    let payload = |n: i64| vec![n as u8 + 1; 50_000];
    let sent = |n: i64| batch_of((7, 0, n as i32), 1, n, &payload(n));
    let append = |n: i64| partition.append(&sent(n), 0).unwrap().base_offset;
    let appended: Vec<_> = (0..60).map(append).collect();
    assert_eq!(appended, Vec::from_iter(0..60));
    volume.sync().unwrap();
    volume.checkpoint().unwrap();
    let trusted = partition.size_bytes() as usize;
    let appended: Vec<_> = (60..64).map(append).collect();
    assert_eq!(appended, [60, 61, 62, 63]);
    volume.sync().unwrap();
    let contents = fs.contents(&log_file(0));
    let size = partition.size_bytes() as usize;
    drop((volume, partition));
    let batch_bytes = size / 64;
    let at = |n: usize| n * batch_bytes;
    // What is damaged, which offsets cannot be read then, and whether the whole segment is walked.
    let whole = |_: &mut Vec<u8>| {};
    let payload_of = |n: usize| move |it: &mut Vec<u8>| it[at(n) + 1000] ^= 1;
    let offset_of = |n: usize| move |it: &mut Vec<u8>| it[at(n) + 6] ^= 4;
    let cut = |it: &mut Vec<u8>| it.truncate(at(50));
    let blank = |it: &mut Vec<u8>| it[at(59) + 5000..].fill(0);
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(Damage<'_>, &[i64], bool); 7] = [
        (&whole, &[], false),
        (&payload_of(3), &[3], false),
        (&offset_of(3), &[3], false),
        (&payload_of(62), &[62], false),
        (&offset_of(59), &[59], true),
        (&cut, &[50, 51, 52, 53, 54, 55, 56, 57, 58, 59], true),
        (&blank, &[59], false),
    ];
    for (n, (damage, lost, is_walked)) in cases.into_iter().enumerate() {
        let mut damaged = contents.clone();
        damage(&mut damaged);
        fs.overwrite(&log_file(0), damaged.clone());
        let (_volume, partition, recovered) = start(&fs, LONG);
        let (scanned, len) = (recovered.scanned_bytes as usize, damaged.len());
        let most = if is_walked { len } else { len - trusted + (2 << 20) };
        assert!(scanned <= most, "case {n}: {scanned} of {len} bytes were read");
        let end = partition.log_end_offset();
        assert_eq!(end, if len < size || n == 6 { 60 } else { 64 }, "case {n}: {recovered:?}");
        for offset in 0..end {
            let read = partition.read(offset, 1, end);
            if lost.contains(&offset) {
                let none = read.as_ref().is_ok_and(|bytes| bytes.is_empty());
                let gone = len < size && none;
                let told = matches!(read, Err(Error::Corrupt { .. }));
                assert!(told || gone, "case {n}, offset {offset}: {read:?}");
                continue;
            }
            let found = batches(read.unwrap()).remove(0);
            assert_eq!(found.header().base_offset, offset, "case {n}");
            assert!(found.payload() == payload(offset), "case {n}, offset {offset}");
        }
        if n == 0 {
            let again = partition.append(&sent(61), 0).unwrap();
            assert_eq!((again.base_offset, partition.log_end_offset()), (61, 64));
        }
    }
}

#[test]
fn a_log_with_damage_inside_goes_on() {
    let (fs, _, contents) = written(10, 10, 100);
    let mut damaged = contents;
    let last = damaged.len() - 161;
    damaged[last + 16] = 7;
    fs.overwrite(&log_file(0), damaged);
    let (volume, partition, recovered) = start(&fs, ONE_SEGMENT);
    assert_eq!(recovered.repairs[0].action, Action::Quarantined);
    assert_eq!(partition.append(&batch(1, 0, b"goes on"), 0).unwrap().base_offset, 10);
    volume.sync().unwrap();
    let found = each_offset(&partition);
    assert_eq!(found[9], None);
    assert_eq!(found[10].as_ref().unwrap(), "goes on");
}

#[test]
fn offsets_of_lost_acknowledged_batches_are_not_given_out_again() {
    let (fs, all, contents) = written(10, 10, 100);
    fs.overwrite(&log_file(0), contents[..5 * 161].to_vec());
    let (volume, partition, recovered) = start(&fs, ONE_SEGMENT);
    assert_eq!(recovered.repairs[0].action, Action::Missing);
    assert_eq!((recovered.repairs[0].position, recovered.repairs[0].bytes), (805, 805));
    assert_eq!(partition.append(&batch(1, 0, b"next"), 0).unwrap().base_offset, 10);
    volume.sync().unwrap();
    drop((volume, partition));
    let (_volume, partition, recovered) = start(&fs, ONE_SEGMENT);
    assert_eq!(recovered.repairs, []);
    let found = payloads(&read_all(&partition, 0));
    assert_eq!(found[..5], payloads(&all[..5]));
    assert_eq!(found[5..], ["next"]);
}

#[test]
fn a_log_whose_files_are_gone_says_so_and_goes_on() {
    let (fs, ..) = written(10, 10, 100);
    fs.remove(&log_file(0));
    let (volume, partition, recovered) = start(&fs, ONE_SEGMENT);
    assert_eq!(recovered.repairs[0].action, Action::Missing);
    assert_eq!(recovered.repairs[0].reason, "offsets 0 to 9 are gone");
    assert_eq!(partition.append(&batch(1, 0, b"next"), 0).unwrap().base_offset, 10);
    volume.sync().unwrap();
    assert_eq!(payloads(&read_all(&partition, 0)), ["next"]);
}

/// A batch whose payload begins with whole batches of these offsets, of 12,000 bytes at least.
fn holding(offsets: impl IntoIterator<Item = i64>) -> Batch {
    let mut payload = Vec::new();
    for offset in offsets {
        let inner = batch(1, 0, b"planted");
        payload.extend_from_slice(&inner.assigned_prefix(offset, 0));
        payload.extend_from_slice(&inner.bytes()[16..]);
    }
    payload.resize(payload.len().max(12_000), 1);
    batch(1, 0, &payload)
}

#[test]
fn a_payload_full_of_batches_is_not_taken_for_the_log() {
    for damaged_in_a_row in [1, 2] {
        let fs = Faulty::new(1);
        let (volume, partition, _) = start(&fs, ONE_SEGMENT);
        partition.append(&batch(1, 0, b"before"), 0).unwrap();
        for _ in 0..damaged_in_a_row {
            partition.append(&holding(1..20), 0).unwrap();
        }
        partition.append(&batch(1, 0, b"after"), 0).unwrap();
        volume.sync().unwrap();
        let mut damaged = fs.contents(&log_file(0));
        for n in 0..damaged_in_a_row {
            damaged[67 + n * 12_061 + 40] ^= 1;
        }
        fs.overwrite(&log_file(0), damaged);
        let (partition, _) = open_twice(&fs);
        let found = each_offset(&partition);
        assert_eq!(found.len(), damaged_in_a_row + 2);
        assert_eq!(found[0].as_ref().unwrap(), "before");
        assert_eq!(found[1..=damaged_in_a_row], vec![None; damaged_in_a_row]);
        assert_eq!(found[damaged_in_a_row + 1].as_ref().unwrap(), "after");
    }
}

#[test]
fn a_batch_that_is_torn_is_cut_whatever_batches_its_payload_holds() {
    let offsets = [0, 1, 2, 3, 1 << 60, i64::MAX - 1, i64::MAX];
    let each = offsets.into_iter().map(|offset| vec![offset]);
    for planted in each.chain([(2..100).collect()]) {
        let (fs, _, before) = written(1, 1, 6);
        let (volume, partition, _) = start(&fs, ONE_SEGMENT);
        partition.append(&holding(planted.clone()), 0).unwrap();
        partition.append(&batch(1, 0, b"after"), 0).unwrap();
        volume.sync().unwrap();
        drop((volume, partition));
        let contents = fs.contents(&log_file(0));
        // Killed in the middle of the write, with space ahead and without, or the power cut before
        // all blocks were written.
        let mut torn = Vec::new();
        for block in (4096..12_000).step_by(4096) {
            torn.push(contents[..block].to_vec());
            torn.push([&contents[..block], &[0; 20_000]].concat());
            torn.push(contents.clone());
            torn.last_mut().unwrap()[block..block + 4096].fill(0);
        }
        for torn in torn {
            fs.overwrite(&log_file(0), torn);
            let (partition, recovered) = open_twice(&fs);
            assert_eq!(partition.log_end_offset(), 1, "{planted:?}: {recovered:?}");
            assert_eq!(recovered.repairs[0].action, Action::Cut, "{planted:?}");
            assert_eq!(fs.contents(&log_file(0)), before);
        }
    }
}

#[test]
fn a_search_for_the_next_batch_reads_what_it_looks_through_once() {
    let fs = Faulty::new(1);
    let (volume, partition, _) = start(&fs, ONE_SEGMENT);
    // At each byte there may be the magic number of a batch.
    partition.append(&batch(1, 0, &[2; 1 << 17]), 0).unwrap();
    volume.sync().unwrap();
    drop((volume, partition));
    for (damaged, byte) in [(16, 1), (100, 7)] {
        let mut contents = fs.contents(&log_file(0));
        contents[damaged] = byte;
        contents.resize(4 << 20, 0);
        let fs = fs.crash(1);
        fs.overwrite(&log_file(0), contents);
        let before = fs.reads();
        let (_volume, _, recovered) = start(&fs, ONE_SEGMENT);
        assert_eq!(recovered.repairs[0].action, Action::Cut);
        assert!(fs.reads() - before < 50, "{} reads of up to 1 MiB", fs.reads() - before);
    }
}

#[test]
fn a_batch_after_which_there_is_no_offset_is_damage() {
    let (fs, all, contents) = written(3, 3, 100);
    for magic in [2, 7] {
        let mut damaged = contents.clone();
        damaged[2 * 161 + 16] = magic;
        let last = batch(1, 0, b"last");
        damaged.extend_from_slice(&last.assigned_prefix(i64::MAX, 0));
        damaged.extend_from_slice(&last.bytes()[16..]);
        fs.overwrite(&log_file(0), damaged);
        inspect(&fs, log_file(0).parent().unwrap(), &mut |_, _| ()).unwrap();
        let (partition, _) = open_twice(&fs);
        assert_eq!(partition.log_end_offset(), 3);
        let found = each_offset(&partition);
        assert_eq!(found[1], Some(all[1].payload()));
        assert_eq!(found[2].is_some(), magic == 2);
    }
}

#[test]
fn a_flipped_bit_in_a_length_costs_that_batch_only() {
    let (fs, all, contents) = written(40, 0, 200);
    for bad in [0, 7, 38] {
        for bit in 0..32 {
            let mut damaged = contents.clone();
            damaged[bad * 261 + 8 + bit / 8] ^= 1 << (bit % 8);
            fs.overwrite(&log_file(0), damaged);
            let (partition, recovered) = open_twice(&fs);
            let mut left: Vec<_> = all.iter().map(|batch| Some(batch.payload())).collect();
            left[bad] = None;
            assert!(each_offset(&partition) == left, "bit {bit} of batch {bad}");
            let stretch = |it: &Repair| (it.action, it.position, it.bytes);
            let repairs: Vec<_> = recovered.repairs.iter().map(stretch).collect();
            assert_eq!(repairs, [(Action::Quarantined, bad as u64 * 261, 261)], "bit {bit}");
        }
    }
}

#[test]
fn indexes_that_are_missing_or_wrong_are_made_anew() {
    let fs = Faulty::new(1);
    let (volume, partition, _) = start(&fs, SMALL);
    for n in 0..100 {
        partition.append(&batch(1, n, &[n as u8; 100]), 0).unwrap();
    }
    volume.close().unwrap();
    let all = payloads(&read_all(&partition, 0));
    let segments = all.len() / 24;
    let mut random = Random::new(3);
    for round in 0..50 {
        for segment in 0..segments as i64 {
            for extension in ["index", "timeindex"] {
                let path = log_file(segment * 24).with_extension(extension);
                let mut contents = fs.contents(&path);
                match random.below(4) {
                    0 => contents.clear(),
                    1 => contents = random.bytes(contents.len()),
                    2 => contents.iter_mut().for_each(|byte| *byte = 0),
                    _ => contents.truncate(contents.len() / 2),
                }
                fs.overwrite(&path, contents);
            }
        }
        let (volume, partition, recovered) = start(&fs, SMALL);
        assert_eq!(recovered.repairs, []);
        assert_eq!(payloads(&read_all(&partition, 0)), all, "round {round}");
        for offset in 0..100 {
            let found = batches(partition.read(offset, 1, 100).unwrap()).remove(0);
            assert_eq!(found.header().base_offset, offset, "round {round}");
            assert_eq!(partition.offset_for_time(offset).unwrap(), Some((offset, offset)));
        }
        volume.close().unwrap();
    }
}
