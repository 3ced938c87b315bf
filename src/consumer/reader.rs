//! Records from a partition, decoded, from an offset on.

use crate::task::blocking;
use crate::topic::Partition;
use bytes::Bytes;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidelog_protocol::records::{Header, Record, RecordError, RecordHeader, Records, batches};
use tidelog_storage as storage;

/// Records in order, and where to go on.
#[derive(Debug, Default)]
pub struct Read {
    /// The records, none below the offset asked for.
    pub records: Vec<Record>,
    /// The next offset to read. Past the last record, and past what is no record (markers, aborted
    /// records, gaps left by compaction).
    pub next: i64,
    /// About how many bytes the records take in memory: the whole of a batch that was compressed.
    pub bytes: usize,
    /// The first batch that cannot be decoded, if the read came to one.
    pub undecoded: Option<Undecoded>,
}

/// A batch whose records cannot be read, or take more than [`DECOMPRESSED_BYTES_MAX`] once they are
/// decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch of {bytes} bytes at offset {offset} cannot be decoded: {why}")]
pub struct Undecoded {
    /// The first offset of it that was not read.
    pub offset: i64,
    /// The offset after it: who gives it up goes on here.
    pub next: i64,
    /// What it has in the log.
    pub bytes: usize,
    /// Why.
    pub why: RecordError,
}

/// Reads that came to a batch which cannot be decoded, since the process started.
static UNDECODED: AtomicU64 = AtomicU64::new(0);

/// How many reads came to a batch that cannot be decoded, since the process started.
pub fn undecoded_reads() -> u64 {
    UNDECODED.load(Ordering::Relaxed)
}

/// How much is read: about so many bytes in memory, and records.
#[derive(Clone, Copy)]
struct Limit {
    bytes: usize,
    records: usize,
}

/// Bytes a batch may take once it is decompressed.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Reads records that are durable, of aborted transactions too: about `bytes_max` bytes, compressed
/// or not, and at most `records_max` of them, always one if the next batch has one. Passes over a
/// batch that cannot be decoded, and says so in [`Read::undecoded`]. Decompresses, and may read the
/// disk: not for an async worker.
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
        return Ok(Read { next: from, ..Read::default() });
    }
    let bytes = partition.log().read(from, bytes_max, high_watermark)?;
    let limit = Limit { bytes: bytes_max, records: records_max };
    let mut read = decode(bytes, from..high_watermark, limit, |_| false);
    if let Some(batch) = &read.undecoded {
        tracing::warn!("passed over: {batch}");
        read.next = batch.next;
    }
    Ok(read)
}

/// Reads records that count, as consumers with `isolation.level=read_committed` do: only up to the
/// last stable offset, and none of aborted transactions. **Ends before a batch that cannot be
/// decoded**, so that whoever asks again is told of it. Otherwise like [`read`].
pub fn read_committed(
    partition: &Partition,
    from: i64,
    bytes_max: usize,
    records_max: usize,
) -> storage::Result<Read> {
    let log = partition.log();
    let (stable, high_watermark) = (log.last_stable_offset()?, partition.high_watermark());
    if (stable..=high_watermark).contains(&from) {
        return Ok(Read { next: from, ..Read::default() });
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
    let limit = Limit { bytes: bytes_max, records: records_max };
    Ok(decode(bytes, from..stable, limit, is_void))
}

/// The records of a range, but for those of batches that are void; `bytes` is what the log has of
/// it. Where that is nothing, it is a gap up to the end: damage that was taken out of a log, whose
/// offsets are not given out again.
///
/// A few bytes may decompress to many, so a batch is decompressed only while what was read before
/// is below the limit.
fn decode(
    bytes: Bytes,
    range: Range<i64>,
    limit: Limit,
    is_void: impl Fn(&Header) -> bool,
) -> Read {
    let next = if bytes.is_empty() { range.end } else { range.start };
    let mut read = Read { next, ..Read::default() };
    for batch in batches(bytes) {
        // The log's own bytes are sound or it would have said so; a cut batch ends the read.
        let Ok(batch) = batch else { break };
        let header = batch.header();
        let end = header.last_offset() + 1;
        if header.attributes.is_control() || is_void(header) {
            read.next = end;
            continue;
        }
        if read.bytes >= limit.bytes && read.next > range.start {
            break;
        }
        let is_compressed = header.attributes.codec() != 0;
        let records = batch.records(DECOMPRESSED_BYTES_MAX);
        match records.and_then(|records| read.take(records, is_compressed, limit)) {
            Ok(true) => read.next = end,
            Ok(false) => break,
            Err(why) => {
                UNDECODED.fetch_add(1, Ordering::Relaxed);
                read.next = read.next.max(header.base_offset);
                let (offset, bytes) = (read.next, batch.bytes().len());
                read.undecoded = Some(Undecoded { offset, next: end, bytes, why });
                // To decompress the next is another read's work.
                break;
            }
        }
    }
    read
}

impl Read {
    /// Takes the records of a batch from `next` on, up to the limit; whether that is all of them.
    fn take(
        &mut self,
        records: Records,
        is_compressed: bool,
        limit: Limit,
    ) -> Result<bool, RecordError> {
        // A record is at least a byte, so there are at most as many as there are bytes.
        let decompressed = records.size_hint().1.filter(|_| is_compressed).unwrap_or(0);
        let (before, mut taken) = (self.bytes, 0);
        self.bytes = before.saturating_add(decompressed);
        for record in records {
            let record = record?;
            if record.offset < self.next {
                continue;
            }
            let is_full = taken > 0 && before.saturating_add(taken) >= limit.bytes;
            if is_full || self.records.len() >= limit.records {
                return Ok(false);
            }
            taken = taken.saturating_add(size_bytes(&record));
            self.bytes = self.bytes.max(before.saturating_add(taken));
            self.next = record.offset + 1;
            self.records.push(record);
        }
        Ok(true)
    }
}

/// What a record takes in memory, or a little less.
fn size_bytes(record: &Record) -> usize {
    let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let header = |it: &RecordHeader| size_of::<RecordHeader>() + it.key.len() + length(&it.value);
    let headers: usize = record.headers.iter().map(header).sum();
    size_of::<Record>() + length(&record.key) + length(&record.value) + headers
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

/// A batch that takes more than [`DECOMPRESSED_BYTES_MAX`].
#[cfg(test)]
pub(crate) fn undecodable() -> tidelog_protocol::records::Batch {
    use tidelog_protocol::records::{BatchBuilder, Compression};
    let mut batch = BatchBuilder::new(Compression::Lz4, usize::MAX);
    batch.append(0, None, Some(&vec![0; DECOMPRESSED_BYTES_MAX + 1]), &[]).unwrap();
    batch.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_protocol::records::{BatchBuilder, Compression};

    /// Batches as a log has them, of records with these values and numbers of empty headers.
    fn log(compression: Compression, all: &[&[(usize, usize)]]) -> Vec<Vec<u8>> {
        let mut offset = 0;
        let batch = |records: &&[(usize, usize)]| {
            let mut batch = BatchBuilder::new(compression, 1 << 30);
            for (value, headers) in *records {
                let headers = vec![RecordHeader::default(); *headers];
                batch.append(0, None, Some(&vec![0; *value]), &headers).unwrap();
            }
            let batch = batch.finish().unwrap();
            let prefix = batch.assigned_prefix(offset, 0);
            offset += i64::try_from(records.len()).unwrap();
            [&prefix, &batch.bytes()[prefix.len()..]].concat()
        };
        all.iter().map(batch).collect()
    }

    /// Offsets read from one on, where the next read goes on, and bytes held.
    fn read(log: &[Vec<u8>], from: i64) -> (Vec<i64>, i64, usize) {
        let limit = Limit { bytes: 1 << 20, records: 500 };
        let read = decode(log.concat().into(), from..1000, limit, |_| false);
        (read.records.iter().map(|it| it.offset).collect(), read.next, read.bytes)
    }

    #[test]
    fn what_is_read_is_bounded_by_what_it_takes_once_it_is_decompressed() {
        const LARGE: usize = 4 << 20;
        let large = log(Compression::Zstd, &[&[(LARGE, 0)], &[(LARGE, 0)]]);
        let (offsets, next, bytes) = read(&large, 0);
        assert_eq!((offsets, next), (vec![0], 1), "the second batch is for another read");
        assert!((LARGE..LARGE + 1024).contains(&bytes), "{bytes}");

        let uneven = log(Compression::Zstd, &[&[(1, 0), (LARGE, 0), (1, 0)], &[(1, 0)]]);
        assert_eq!(read(&uneven, 0).0, [0, 1], "the batch is not read to its end");
        let (offsets, next, bytes) = read(&uneven, 2);
        assert_eq!((offsets, next), (vec![2], 3));
        assert!(bytes > LARGE, "a small record holds on to all of its batch: {bytes}");

        let headers = log(Compression::None, &[&[(1, 30_000), (1, 30_000)], &[(1, 0)]]);
        assert_eq!(read(&headers, 0).0, [0], "headers count for what they take");
        assert_eq!(read(&headers, 1).0, [1]);

        let small = log(Compression::Zstd, &[&[(9, 1), (9, 1)], &[(9, 0)]]);
        assert_eq!(read(&small, 1).0, [1, 2], "what fits is read, over batches");
    }

    #[test]
    fn a_batch_whose_rest_is_unreadable_is_read_to_there_and_told() {
        let mut log = log(Compression::None, &[&[(1, 0), (1, 0)], &[(1, 0)]]);
        // The second record's length, in the first batch's last eight bytes.
        let at = log[0].len() - 8;
        assert_eq!(log[0][at], 14, "7 bytes follow");
        log[0][at] = 127;
        let (offsets, next, _) = read(&log, 0);
        assert_eq!((offsets, next), (vec![0], 1));
        let limit = Limit { bytes: 1 << 20, records: 500 };
        let read = decode(log.concat().into(), 1..1000, limit, |_| false);
        assert!(read.records.is_empty());
        let why = RecordError::InvalidLength(-64);
        let batch = Undecoded { offset: 1, next: 2, bytes: log[0].len(), why };
        assert_eq!((read.next, read.undecoded), (1, Some(batch)));
    }
}
