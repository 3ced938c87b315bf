//! What is sent: batches of records of one size.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tidelog_protocol::Request;
use tidelog_protocol::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};

/// When a broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Acks {
    /// Never
    #[value(name = "0")]
    None,
    /// When the leader has the records
    #[value(name = "1")]
    Leader,
    /// When all in-sync replicas have them
    All,
}

impl Acks {
    fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// The records.
#[derive(Debug, Args)]
pub(super) struct Load {
    /// Bytes of a record's value
    #[arg(
        long,
        default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(8..=16 << 20)
    )]
    pub record_size: u32,
    /// When the broker answers
    #[arg(long, value_enum, default_value = "all")]
    pub acks: Acks,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, default_value = "none", value_parser = compression)]
    pub compression: Compression,
}

/// A frame has to hold a batch.
pub(super) const BATCH_BYTES_MAX: usize = 64 << 20;
const TIMEOUT_MS: i32 = 30_000;

fn compression(name: &str) -> Result<Compression, String> {
    Compression::from_name(name)
        .ok_or_else(|| format!("'{name}' is no codec; none, gzip, snappy, lz4 and zstd are"))
}

impl Load {
    /// A batch of `records` records, or as many as fit `bytes_max`, the first eight bytes of each
    /// value being `mark`.
    pub(super) fn batch(
        &self,
        timestamp: i64,
        mark: u64,
        records: usize,
        bytes_max: usize,
    ) -> Result<Batch> {
        let mut builder = BatchBuilder::new(self.compression, bytes_max);
        let mut value = vec![0; self.record_size as usize];
        value[..8].copy_from_slice(&mark.to_be_bytes());
        let mut letters = Letters::default();
        while builder.len() < records {
            value[8..].fill_with(|| letters.next());
            if builder.append(timestamp, None, Some(&value), &[]).is_err() {
                break;
            }
        }
        match builder.finish() {
            Some(batch) => Ok(batch),
            None => bail!("a record of {} bytes does not fit {bytes_max}", self.record_size),
        }
    }

    /// Asks to append a batch to a partition.
    pub(super) fn request(&self, topic: &str, partition: i32, batch: &Batch) -> Request {
        let data = PartitionProduceData { index: partition, records: Some(batch.bytes().clone()) };
        let topic = TopicProduceData {
            name: topic.into(),
            partition_data: vec![data],
            ..Default::default()
        };
        let (acks, timeout_ms) = (self.acks.code(), TIMEOUT_MS);
        ProduceRequest { acks, timeout_ms, topic_data: vec![topic], ..Default::default() }.into()
    }
}

/// Letters that compress about as well as JSON does: 16 of them, in no order.
struct Letters(u64);

impl Default for Letters {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Letters {
    fn next(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        b'a' + (self.0 >> 60) as u8
    }
}
