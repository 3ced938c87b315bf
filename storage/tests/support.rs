//! Batches, volumes and a generator of random numbers for the tests.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_protocol::records::{Batch, HEADER_BYTES};
use tidelog_storage::fs::{Disk, Fs};
use tidelog_storage::{Flush, Partition, PartitionOptions, Recovered, Volume, VolumeOptions};

pub(crate) use crate::random::Random;

/// A batch of `count` records at `timestamp` whose payload is `payload`: as storage sees it, which
/// does not look into payloads.
pub(crate) fn batch(count: i32, timestamp: i64, payload: &[u8]) -> Batch {
    batch_of((-1, -1, -1), count, timestamp, payload)
}

/// The same, from an idempotent producer: its id, its epoch and the first sequence number.
pub(crate) fn batch_of(
    (producer_id, epoch, sequence): (i64, i16, i32),
    count: i32,
    timestamp: i64,
    payload: &[u8],
) -> Batch {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&0_i64.to_be_bytes());
    let length = i32::try_from(HEADER_BYTES - 12 + payload.len()).unwrap();
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    bytes.push(2);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&0_i16.to_be_bytes());
    bytes.extend_from_slice(&(count - 1).to_be_bytes());
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&timestamp.to_be_bytes());
    bytes.extend_from_slice(&producer_id.to_be_bytes());
    bytes.extend_from_slice(&epoch.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(payload);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch::split_from(&mut Bytes::from(bytes)).unwrap()
}

/// The batches in what was read, each checked.
pub(crate) fn batches(mut bytes: Bytes) -> Vec<Batch> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let batch = Batch::split_from(&mut bytes).unwrap();
        batch.header().verify(batch.bytes()).unwrap();
        batches.push(batch);
    }
    batches
}

/// All batches from `from` to the high watermark.
pub(crate) fn read_all(partition: &Partition, from: i64) -> Vec<Batch> {
    let until = partition.high_watermark();
    let (mut next, mut all) = (from, Vec::new());
    while next < until {
        let read = batches(partition.read(next, 4096, until).unwrap());
        next = read.last().expect("a batch below the high watermark").header().last_offset() + 1;
        all.extend(read);
    }
    all
}

/// The payloads of `batches`.
pub(crate) fn payloads(batches: &[Batch]) -> Vec<Bytes> {
    batches.iter().map(Batch::payload).collect()
}

pub(crate) const MANUAL: Flush = Flush::Manual;
pub(crate) const TOPIC: [u8; 16] = [9; 16];
pub(crate) const DIR: &str = "accounts/dev/topic-0";

/// Small segments and a dense index, so that few batches meet many of both.
pub(crate) const SMALL: PartitionOptions = PartitionOptions {
    segment_bytes: 4000,
    index_interval_bytes: 300,
    ..PartitionOptions::DEFAULT
};

pub(crate) fn open_volume(fs: Arc<dyn Fs>, root: &Path, flush: Flush) -> Volume {
    let unexpected = Box::new(|error: &tidelog_storage::Error| panic!("failed sync: {error}"));
    Volume::open(fs, root, VolumeOptions { flush }, unexpected).unwrap()
}

pub(crate) fn open(volume: &Volume, options: PartitionOptions) -> (Partition, Recovered) {
    volume.open_partition(Path::new(DIR), TOPIC, options, Box::new(|_| {})).unwrap()
}

/// A volume on the real file system, with one partition, that commits when told.
pub(crate) fn on_disk(root: &Path, options: PartitionOptions) -> (Volume, Partition, Recovered) {
    let volume = open_volume(Arc::new(Disk), root, Flush::Manual);
    let (partition, recovered) = open(&volume, options);
    (volume, partition, recovered)
}

/// `count` runs, times what `TIDELOG_TEST_ITERATIONS` says; without end if it says `forever`.
pub(crate) fn iterations(count: u64) -> u64 {
    match std::env::var("TIDELOG_TEST_ITERATIONS").as_deref() {
        Ok("forever") => u64::MAX,
        Ok(factor) => count * factor.parse::<u64>().expect("a number, or forever"),
        Err(_) => count,
    }
}
