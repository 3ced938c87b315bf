//! Time travel: a record as it was at a time, as far back as the log reaches.
//!
//! The log of the record's partition is read backwards from that time to the record's last event
//! before it. **Cost**: nothing if the record has not changed since; otherwise what the partition
//! wrote between that event and that time, at most [`READ_BYTES_MAX`]. Times are those of the
//! events' `created_at`; where the clock was set back, the order of the log is what counts. A time
//! that has not come yet is now.

use super::event::{Event, Kind};
use super::name::RecordId;
use super::stream::Stream;
use crate::clock;
use crate::consumer::{self, offset_for_time};
use crate::http::ApiError;
use crate::topic::Partition;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use tidelog_protocol::records::Record;

/// Bytes of keys and values that one request reads.
pub(super) const READ_BYTES_MAX: usize = 256 << 20;
/// Bytes and records of one step.
const STEP_BYTES_MAX: usize = 4 << 20;
const STEP_RECORDS_MAX: usize = 10_000;
/// Offsets of the first step back, and of the longest.
const SPAN_MIN: i64 = 1 << 10;
const SPAN_MAX: i64 = 1 << 16;

/// The record as it was at a time. Reads the log: not for an async worker.
///
/// # Errors
/// 404 if it did not exist then, 410 if the log no longer reaches so far back, 422 if there is too
/// much to read.
pub(super) fn record_at(
    stream: &Stream,
    id: &RecordId,
    at: Timestamp,
) -> Result<Vec<u8>, ApiError> {
    let known = stream.get(id)?;
    let partition = stream.partition(stream.partition_of(id))?;
    let at_ms = at.as_millisecond();
    let high_watermark = partition.high_watermark();
    let from =
        |ms: i64| Ok::<_, ApiError>(offset_for_time(partition, ms)?.unwrap_or(high_watermark));
    let start = partition.log().log_start_offset();
    let first_since = from(at_ms)?.min(high_watermark);
    let is_compacted = stream.topic().config.is_compacted();
    // Of an event that is gone the log tells only that it was before the first that is left.
    let is_before = known.row.offset < first_since
        && (known.row.offset >= start || first_since > start)
        && (known.row.data.is_some() || !is_compacted);
    let is_durable = known.rests_on.is_none_or(|offset| offset < high_watermark);
    if known.row.offset >= 0 && is_before || is_durable && at_ms >= clock::unix_ms() {
        return known.row.data.map(|data| data.to_vec()).ok_or_else(|| no_record(id, at));
    }
    let mut search = Search { partition, id, at, bytes: 0 };
    let mut high = from(at_ms.saturating_add(1))?;
    let mut span = SPAN_MIN;
    while high > start {
        let low = start.max(high.saturating_sub(span));
        if let Some((kind, data)) = search.last_in(low, high)? {
            let lives = kind != Kind::Deleted;
            return lives.then_some(data).ok_or_else(|| no_record(id, at));
        }
        (high, span) = (low, SPAN_MAX.min(span * 2));
    }
    match start == 0 && !is_compacted {
        true => Err(no_record(id, at)),
        false => Err(gone(id, at)),
    }
}

/// A search for a record's last event before a time.
struct Search<'a> {
    partition: &'a Partition,
    id: &'a RecordId,
    at: Timestamp,
    bytes: usize,
}

impl Search<'_> {
    /// The last event of the record in `low..high`, and its data.
    fn last_in(&mut self, low: i64, high: i64) -> Result<Option<(Kind, Vec<u8>)>, ApiError> {
        let mut found = None;
        let mut next = low;
        while next < high {
            let read = consumer::read(self.partition, next, STEP_BYTES_MAX, STEP_RECORDS_MAX)?;
            for record in read.records.iter().take_while(|record| record.offset < high) {
                let length = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, |it| it.len());
                self.bytes += length(&record.key) + length(&record.value);
                if record.key.as_deref() == Some(self.id.as_str().as_bytes()) {
                    found = self.read(record)?.or(found);
                }
            }
            if self.bytes > READ_BYTES_MAX {
                return Err(too_far(self.id, self.at));
            }
            if read.next == next {
                break;
            }
            next = read.next;
        }
        Ok(found)
    }

    /// An event, unless it is of a later time or no event.
    fn read(&self, record: &Record) -> Result<Option<(Kind, Vec<u8>)>, ApiError> {
        #[derive(Deserialize)]
        struct Created {
            created_at: String,
        }
        let Some(value) = record.value.as_deref() else { return Ok(None) };
        let (event, created) = (Event::parse(value), serde_json::from_slice::<Created>(value));
        let created = created.ok().and_then(|it| it.created_at.parse::<Timestamp>().ok());
        let (Ok(event), Some(created_at)) = (event, created) else {
            let text = format!("the event at offset {} is not readable", record.offset);
            return Err(ApiError::internal(text));
        };
        let data = event.data.get().as_bytes().to_vec();
        Ok((created_at <= self.at).then_some((event.kind, data)))
    }
}

fn no_record(id: &RecordId, at: Timestamp) -> ApiError {
    ApiError::not_found(format!("record '{}' did not exist at {at}", id.as_str()))
}

fn gone(id: &RecordId, at: Timestamp) -> ApiError {
    let text = format!(
        "the log no longer has what record '{}' was at {at}: older events were removed by retention or compaction",
        id.as_str()
    );
    ApiError::new(StatusCode::GONE, "log_gone", text)
}

fn too_far(id: &RecordId, at: Timestamp) -> ApiError {
    let text = format!(
        "the last event of record '{}' before {at} is more than {READ_BYTES_MAX} bytes of log before that time; ask for a time nearer to it",
        id.as_str()
    );
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too_far", text)
}
