//! Records from a partition, decoded, from an offset on.

use crate::task::blocking;
use crate::topic::Partition;
use bytes::Bytes;
use std::ops::Range;
use std::time::Duration;
use tidelog_protocol::records::{Header, Record, batches};
use tidelog_storage as storage;

/// Records in order, and where to go on.
#[derive(Debug, Default)]
pub struct Read {
    /// The records, none below the offset asked for.
    pub records: Vec<Record>,
    /// The next offset to read. Past the last record, and past what is no record (markers, aborted
    /// records, gaps left by compaction, a batch that cannot be decoded).
    pub next: i64,
}

/// Bytes a batch may take once it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Reads records that are durable, of aborted transactions too: about `bytes_max` bytes and at most
/// `records_max` of them, always one if there is one. Decompresses, and may read the disk: not for
/// an async worker.
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
    if from == high_watermark {
        return Ok(Read { records: Vec::new(), next: from });
    }
    let bytes = partition.log().read(from, bytes_max, high_watermark)?;
    Ok(decode(bytes, from..high_watermark, records_max, |_| false))
}

/// Reads records that count, as consumers with `isolation.level=read_committed` do: only up to the
/// last stable offset, and none of aborted transactions. Otherwise like [`read`].
pub fn read_committed(
    partition: &Partition,
    from: i64,
    bytes_max: usize,
    records_max: usize,
) -> storage::Result<Read> {
    let log = partition.log();
    let (stable, high_watermark) = (log.last_stable_offset()?, partition.high_watermark());
    if (stable..=high_watermark).contains(&from) {
        return Ok(Read { records: Vec::new(), next: from });
    }
    let bytes = log.read(from, bytes_max, stable)?;
    let mut aborted = log.aborted_in(from, &bytes)?;
    let key = |it: &storage::AbortedTxn| (it.producer_id, it.last_offset);
    aborted.sort_unstable_by_key(key);
    let is_void = |batch: &Header| {
        let place = (batch.producer_id, batch.last_offset());
        let next = aborted.get(aborted.partition_point(|it| key(it) < place));
        let around = next.filter(|it| it.producer_id == batch.producer_id);
        batch.attributes.is_transactional()
            && around.is_some_and(|it| it.first_offset <= batch.last_offset())
    };
    Ok(decode(bytes, from..stable, records_max, is_void))
}

/// The records of a range, but for those of batches that are void; `bytes` is what the log has of
/// it. Where that is nothing, it is a gap up to the end: damage that was taken out of a log, whose
/// offsets are not given out again.
fn decode(
    bytes: Bytes,
    range: Range<i64>,
    records_max: usize,
    is_void: impl Fn(&Header) -> bool,
) -> Read {
    let next = if bytes.is_empty() { range.end } else { range.start };
    let mut read = Read { records: Vec::new(), next };
    for batch in batches(bytes) {
        // The log's own bytes are sound or it would have said so; a cut batch ends the read.
        let Ok(batch) = batch else { break };
        let end = batch.header().last_offset() + 1;
        if batch.header().attributes.is_control() || is_void(batch.header()) {
            read.next = end;
            continue;
        }
        match batch.records(DECOMPRESSED_BYTES_MAX) {
            Ok(records) => {
                let wanted = records.map_while(Result::ok).filter(|it| it.offset >= read.next);
                for record in wanted.collect::<Vec<_>>() {
                    if read.records.len() == records_max {
                        return read;
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
    read
}

/// The offset of the first durable record with a timestamp at or after `timestamp_ms`. Reads the
/// disk: not for an async worker.
pub fn offset_for_time(partition: &Partition, timestamp_ms: i64) -> storage::Result<Option<i64>> {
    Ok(partition.log().offset_for_time(timestamp_ms)?.map(|(offset, _)| offset))
}

/// Like [`read_committed`], off the async workers; when there is nothing yet, waits for records up
/// to `patience`.
pub async fn read_or_wait(
    partition: &Partition,
    from: i64,
    bytes_max: usize,
    records_max: usize,
    patience: Duration,
) -> storage::Result<Read> {
    // Time being up is not an error: nothing is the answer then.
    let _ = tokio::time::timeout(patience, partition.stable_past(from.saturating_add(1))).await;
    let partition = partition.clone();
    let work = move || read_committed(&partition, from, bytes_max, records_max);
    blocking(work).await
}
