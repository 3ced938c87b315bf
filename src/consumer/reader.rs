//! Records from a partition, decoded, from an offset on.

use crate::task::blocking;
use crate::topic::Partition;
use std::time::Duration;
use tidelog_protocol::records::{Record, batches};
use tidelog_storage as storage;

/// Records in order, and where to go on.
#[derive(Debug, Default)]
pub struct Read {
    /// The records, none below the offset asked for.
    pub records: Vec<Record>,
    /// The next offset to read. Past the last record, and past what is no record (markers, gaps
    /// left by compaction, a batch that cannot be decoded).
    pub next: i64,
}

/// Bytes a batch may take once it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Reads records that are durable: about `bytes_max` bytes and at most `records_max` of them,
/// always one if there is one. Decompresses, and may read the disk: not for an async worker.
///
/// # Errors
/// [`storage::Error::OffsetOutOfRange`] below the log's start or above its end.
pub fn read(
    partition: &Partition,
    from: i64,
    bytes_max: usize,
    records_max: usize,
) -> storage::Result<Read> {
    let high_watermark = partition.high_watermark();
    let mut read = Read { records: Vec::new(), next: from };
    if from == high_watermark {
        return Ok(read);
    }
    let bytes = partition.log().read(from, bytes_max, high_watermark)?;
    for batch in batches(bytes) {
        // The log's own bytes are sound or it would have said so; a cut batch ends the read.
        let Ok(batch) = batch else { break };
        let end = batch.header().last_offset() + 1;
        if batch.header().attributes.is_control() {
            read.next = end;
            continue;
        }
        match batch.records(DECOMPRESSED_BYTES_MAX) {
            Ok(records) => {
                let wanted = records.map_while(Result::ok).filter(|it| it.offset >= read.next);
                for record in wanted.collect::<Vec<_>>() {
                    if read.records.len() == records_max {
                        return Ok(read);
                    }
                    read.next = record.offset + 1;
                    read.records.push(record);
                }
            }
            Err(error) => {
                let at = batch.header().base_offset;
                tracing::warn!("the batch at offset {at} is passed over: {error}");
            }
        }
        read.next = end;
    }
    Ok(read)
}

/// The offset of the first durable record with a timestamp at or after `timestamp_ms`. Reads the
/// disk: not for an async worker.
pub fn offset_for_time(partition: &Partition, timestamp_ms: i64) -> storage::Result<Option<i64>> {
    Ok(partition.log().offset_for_time(timestamp_ms)?.map(|(offset, _)| offset))
}

/// Like [`read`], off the async workers; when there is nothing yet, waits for records up to
/// `patience`.
pub async fn read_or_wait(
    partition: &Partition,
    from: i64,
    bytes_max: usize,
    records_max: usize,
    patience: Duration,
) -> storage::Result<Read> {
    // Time being up is not an error: nothing is the answer then.
    let _ = tokio::time::timeout(patience, partition.past(from.saturating_add(1))).await;
    let partition = partition.clone();
    let work = move || read(&partition, from, bytes_max, records_max);
    blocking(work).await
}
