//! Lookups by timestamp, record by record, against a list of records.

use std::path::Path;
use std::sync::Arc;

use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_storage::{Flush, Partition, Stamp};

use crate::faulty::Faulty;
use crate::support::{Random, SMALL, batch_of, iterations, open, open_volume, read_all};

/// A batch with a record for each timestamp.
fn batch_at(timestamps: &[i64], compression: Compression) -> Batch {
    let mut builder = BatchBuilder::new(compression, 1 << 20);
    for timestamp in timestamps {
        builder.append(*timestamp, Some(b"key"), Some(&[b'x'; 40]), &[]).unwrap();
    }
    builder.finish().unwrap()
}

/// The first of the records from `start` on, each an offset and a timestamp, that is the latest.
fn latest(records: &[(i64, i64)], start: i64) -> Option<(i64, i64)> {
    let after = records.iter().filter(|(offset, _)| *offset >= start);
    after.copied().max_by_key(|(offset, timestamp)| (*timestamp, -offset))
}

fn check(partition: &Partition, records: &[(i64, i64)], case: &str) {
    let start = partition.log_start_offset();
    for sought in 0..=records.len() as i64 + 60 {
        let expected =
            records.iter().find(|(offset, timestamp)| *offset >= start && *timestamp >= sought);
        let found = partition.offset_for_time(sought).unwrap();
        assert_eq!(found, expected.copied(), "{case}: {sought} from {start}");
    }
}

#[test]
fn a_time_leads_to_the_first_record_at_or_after_it() {
    for seed in 0..iterations(30) {
        let mut random = Random::new(seed);
        let fs = Faulty::new(seed);
        let volume = open_volume(Arc::new(fs), Path::new("/data"), Flush::Manual);
        let (partition, _) = open(&volume, SMALL);
        let (mut records, mut synced) = (Vec::new(), 0);
        for _ in 0..60 {
            let near = records.len() as u64;
            let count = 1 + random.below(5);
            let timestamps: Vec<_> = (0..count).map(|_| (near + random.below(50)) as i64).collect();
            let compression = Compression::ALL[random.below(5) as usize % Compression::ALL.len()];
            let appended = partition.append(&batch_at(&timestamps, compression), 0).unwrap();
            records.extend((appended.base_offset..).zip(timestamps));
            // What no sync covers is not there yet.
            let visible = &records[..synced];
            let found = partition.offset_for_time(0).unwrap();
            assert_eq!(found, visible.first().copied(), "seed {seed}");
            assert_eq!(partition.max_timestamp().unwrap(), latest(visible, 0), "seed {seed}");
            if random.below(5) == 0 {
                volume.sync().unwrap();
                synced = records.len();
            }
        }
        volume.sync().unwrap();
        check(&partition, &records, &format!("seed {seed}"));
        assert_eq!(partition.max_timestamp().unwrap(), latest(&records, 0), "seed {seed}");
        let start = random.below(records.len() as u64) as i64;
        partition.delete_records(start).unwrap();
        check(&partition, &records, &format!("seed {seed}"));
        let first = read_all(&partition, start)[0].header().base_offset;
        let expected = latest(&records, first);
        assert_eq!(partition.max_timestamp().unwrap(), expected, "seed {seed}");
    }
}

#[test]
fn log_append_time_is_stamped_on_every_record() {
    let fs = Faulty::new(1);
    let volume = open_volume(Arc::new(fs), Path::new("/data"), Flush::Manual);
    let (partition, _) = open(&volume, SMALL);
    for now in 1000..1060 {
        let stamp = Stamp { leader_epoch: 3, append_time_ms: Some(now) };
        let compression = Compression::ALL[now as usize % Compression::ALL.len()];
        partition.append_stamped(&batch_at(&[7, 9999, 8], compression), stamp).unwrap();
    }
    volume.sync().unwrap();
    let batches = read_all(&partition, 0);
    for (now, batch) in (1000..).zip(&batches) {
        batch.check().unwrap();
        assert!(batch.header().attributes.is_log_append_time());
        assert_eq!(batch.header().leader_epoch, 3);
        assert!(batch.records(1 << 20).unwrap().all(|record| record.unwrap().timestamp == now));
    }
    assert_eq!(batches.len(), 60);
    assert_eq!(partition.offset_for_time(1030).unwrap(), Some((90, 1030)));
    assert_eq!(partition.max_timestamp().unwrap(), Some((177, 1059)));
}

#[test]
fn a_batch_that_is_sent_again_has_the_append_time_it_got_at_first() {
    let fs = Faulty::new(1);
    let start = |fs: &Faulty| {
        let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), Flush::Manual);
        let (partition, _) = open(&volume, SMALL);
        (volume, partition)
    };
    let append = |partition: &Partition, sequence, now| {
        let stamp = Stamp { leader_epoch: 0, append_time_ms: Some(now) };
        let sent = batch_of((5, 0, sequence), 1, 7, b"sent");
        let appended = partition.append_stamped(&sent, stamp).unwrap();
        (appended.base_offset, appended.max_timestamp)
    };
    let (volume, partition) = start(&fs);
    for n in 0..4 {
        assert_eq!(append(&partition, n, 1000 + i64::from(n)), (n.into(), 1000 + i64::from(n)));
    }
    let retries = |partition: &Partition| {
        for n in 0..4 {
            assert_eq!(append(partition, n, 2000), (n.into(), 1000 + i64::from(n)));
        }
    };
    retries(&partition);
    volume.close().unwrap();
    let (_volume, partition) = start(&fs);
    retries(&partition);
}
