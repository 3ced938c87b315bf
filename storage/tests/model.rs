//! Random appends, rolls, reads and reopenings, against a list of batches.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_protocol::records::Batch;
use tidelog_storage::{Error, Partition, PartitionOptions, Volume};

use crate::faulty::Faulty;
use crate::support::{MANUAL, Random, batch, batches, iterations, open, open_volume};

/// What was appended: base offset, last offset, timestamp and payload of each batch.
#[derive(Default)]
struct Model {
    batches: Vec<(i64, i64, i64, Bytes)>,
    synced: usize,
    /// Whether batches are written when they are synced rather than when they are appended.
    deferred: bool,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |(_, last, ..)| last + 1)
    }

    fn high_watermark(&self) -> i64 {
        self.batches[..self.synced].last().map_or(0, |(_, last, ..)| last + 1)
    }

    fn written(&self) -> &[(i64, i64, i64, Bytes)] {
        if self.deferred { &self.batches[..self.synced] } else { &self.batches }
    }

    fn append(&mut self, partition: &Partition, random: &mut Random) {
        let count = 1 + random.below(5) as i32;
        let timestamp = random.below(200) as i64 + self.batches.len() as i64;
        let len = random.below(300) as usize;
        let sent = batch(count, timestamp, &random.bytes(len));
        let appended = partition.append(&sent, 0).unwrap();
        assert_eq!(appended.base_offset, self.end());
        let last = self.end() + i64::from(count) - 1;
        assert_eq!(appended.last_offset, last);
        self.batches.push((self.end(), last, timestamp, sent.payload()));
    }

    /// Reads from a random offset with random bounds, and compares with a scan of the list.
    fn read(&self, partition: &Partition, random: &mut Random) {
        let from = random.below(self.end() as u64 + 2) as i64;
        let max_bytes = random.below(2000) as usize;
        let until = self.high_watermark() - random.below(4) as i64;
        let read = match partition.read(from, max_bytes, until) {
            Ok(read) => read,
            Err(Error::OffsetOutOfRange { .. }) => return assert_eq!(from, self.end() + 1),
            Err(error) => panic!("{error}"),
        };
        let first = self.batches.partition_point(|(_, last, ..)| *last < from);
        let visible = self.batches.iter().skip(first).take_while(|(_, last, ..)| *last < until);
        let expected: Vec<_> =
            visible.map(|(base, .., payload)| (*base, payload.clone())).collect();
        let bytes = read.len();
        let found: Vec<_> = batches(read).iter().map(base_and_payload).collect();
        assert_eq!(found[..], expected[..found.len()]);
        assert_eq!(found.is_empty(), expected.is_empty(), "at least one from {from} to {until}");
        assert!(bytes <= max_bytes || found.len() == 1);
        if let Some((base, payload)) = expected.get(found.len()) {
            let room = bytes + 61 + payload.len() <= max_bytes;
            assert!(!room || self.starts_segment(partition, *base), "one more has room");
        }
    }

    /// Whether a read that goes on at `base` gives what one from there on gives: a batch that could
    /// have been read together with those before it is the first of a segment.
    fn starts_segment(&self, partition: &Partition, base: i64) -> bool {
        let before = self.batches.iter().find(|(_, last, ..)| last + 1 == base).unwrap().0;
        let both = partition.read(before, usize::MAX, self.high_watermark()).unwrap();
        batches(both).len() == 1
    }

    fn find_time(&self, partition: &Partition, random: &mut Random) {
        let sought = random.below(400) as i64;
        let found = partition.offset_for_time(sought).unwrap();
        let first = self.batches.iter().find(|(_, _, timestamp, _)| *timestamp >= sought);
        let visible = first.filter(|(base, ..)| *base < self.high_watermark());
        assert_eq!(found, visible.map(|(base, _, timestamp, _)| (*base, *timestamp)));
        let by_time = |a: &&(i64, i64, i64, Bytes), b: &&(i64, i64, i64, Bytes)| {
            a.2.cmp(&b.2).then(b.0.cmp(&a.0))
        };
        let latest = self.batches[..self.synced].iter().max_by(by_time);
        let expected = latest.map(|(_, last, timestamp, _)| (*last, *timestamp));
        assert_eq!(partition.max_timestamp().unwrap(), expected);
    }
}

fn base_and_payload(batch: &Batch) -> (i64, Bytes) {
    (batch.header().base_offset, batch.payload())
}

fn start(fs: &Faulty, options: PartitionOptions) -> (Volume, Partition) {
    let volume = open_volume(Arc::new(fs.clone()), Path::new("/data"), MANUAL);
    let (partition, recovered) = open(&volume, options);
    assert_eq!(recovered.repairs, []);
    (volume, partition)
}

#[test]
fn a_log_answers_as_a_list_of_batches_does() {
    for seed in 0..iterations(100) {
        let mut random = Random::new(seed);
        let options = PartitionOptions {
            segment_bytes: 500 + random.below(5000),
            index_interval_bytes: random.below(800) as u32,
            preallocate: random.below(2) == 0,
            ..PartitionOptions::DEFAULT
        };
        let fs = Faulty::new(seed);
        let (mut volume, mut partition) = start(&fs, options);
        let mut model = Model { deferred: options.preallocate, ..Model::default() };
        for _ in 0..200 {
            match random.below(20) {
                0..7 => model.append(&partition, &mut random),
                7..16 => model.read(&partition, &mut random),
                16..18 => model.find_time(&partition, &mut random),
                18 => {
                    volume.sync().unwrap();
                    model.synced = model.batches.len();
                }
                _ => {
                    // Whether closed or just left, nothing that was written is lost while the
                    // machine runs.
                    if random.below(2) == 0 {
                        volume.close().unwrap();
                    } else {
                        let written = model.written().len();
                        model.batches.truncate(written);
                    }
                    drop((volume, partition));
                    (volume, partition) = start(&fs, options);
                    model.synced = model.batches.len();
                }
            }
            assert_eq!(partition.log_end_offset(), model.end(), "seed {seed}");
            assert_eq!(partition.high_watermark(), model.high_watermark(), "seed {seed}");
            let written = model.written().iter();
            let bytes = written.map(|(.., payload)| 61 + payload.len() as u64).sum();
            assert_eq!(partition.size_bytes(), bytes, "seed {seed}");
        }
    }
}
