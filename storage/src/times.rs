//! Finding records by their timestamp.
//!
//! The index leads to the batch, whose largest timestamp is in its header; which of its records it
//! is takes a look inside. **A batch whose records cannot be read answers as a whole**: a consumer
//! that starts at its first record misses nothing.

use std::ops::Range;
use std::sync::Arc;

use tidelog_protocol::records::{Batch, Record};

use crate::error::Result;
use crate::index::TimeEntry;
use crate::partition::Partition;
use crate::segment::Segment;

/// Bytes a batch may decompress to when its records are looked at.
const RECORDS_BYTES_MAX: usize = 64 << 20;

impl Partition {
    /// The first record below the high watermark with a timestamp at or after `timestamp_ms`, as
    /// its offset and timestamp.
    pub fn offset_for_time(&self, timestamp_ms: i64) -> Result<Option<(i64, i64)>> {
        self.look(|segments, offsets| self.find_time(segments, offsets, timestamp_ms))
    }

    /// The record below the high watermark with the largest timestamp, the first of several, as its
    /// offset and timestamp (KIP-734). The batch in which the log starts counts in whole.
    pub fn max_timestamp(&self) -> Result<Option<(i64, i64)>> {
        self.look(|segments, offsets| self.find_latest(segments, offsets))
    }

    /// What `look` finds in the segments, between the log's start and the high watermark: again
    /// where a segment or the start went meanwhile.
    fn look<T>(&self, look: impl Fn(&[Arc<Segment>], Range<i64>) -> Result<T>) -> Result<T> {
        loop {
            let offsets = self.log_start_offset()..self.high_watermark();
            self.0.make_readable()?;
            let segments = self.0.segments();
            let start = offsets.start;
            let found = look(&segments, offsets);
            let gone = segments.iter().any(|segment| segment.is_gone());
            if !gone && self.log_start_offset() == start {
                return found;
            }
        }
    }

    fn find_time(
        &self,
        segments: &[Arc<Segment>],
        Range { start: mut from, end: until }: Range<i64>,
        timestamp_ms: i64,
    ) -> Result<Option<(i64, i64)>> {
        for segment in segments {
            let files = &self.0.shared.files;
            while let Some(header) = segment.find_time(files, timestamp_ms, from)? {
                if header.base_offset >= until {
                    return Ok(None);
                }
                let wanted =
                    |record: &Record| record.offset >= from && record.timestamp >= timestamp_ms;
                match self.find_record(header.base_offset.max(from), wanted)? {
                    Found::Record(found) => return Ok(Some(found)),
                    Found::Unreadable => {
                        return Ok(Some((header.base_offset.max(from), header.max_timestamp)));
                    }
                    // Those it has are before the log's start.
                    Found::Nothing => from = header.last_offset() + 1,
                }
            }
        }
        Ok(None)
    }

    fn find_latest(
        &self,
        segments: &[Arc<Segment>],
        offsets: Range<i64>,
    ) -> Result<Option<(i64, i64)>> {
        let mut max: Option<TimeEntry> = None;
        for segment in segments {
            let latest = segment.latest(&self.0.shared.files)?;
            let latest = match latest {
                Some(entry) if !offsets.contains(&entry.last_offset) => {
                    self.latest_within(segment, offsets.start, offsets.end)?
                }
                latest => latest,
            };
            if latest.is_some_and(|new| max.is_none_or(|max| new.timestamp > max.timestamp)) {
                max = latest;
            }
        }
        let Some(TimeEntry { timestamp, last_offset }) = max else { return Ok(None) };
        Ok(Some(match self.find_record(last_offset, |record| record.timestamp >= timestamp)? {
            Found::Record(found) => found,
            Found::Nothing | Found::Unreadable => (last_offset, timestamp),
        }))
    }

    /// What [`Segment::latest`] would say without the batches before `start` and those that end at
    /// `until` or later.
    fn latest_within(
        &self,
        segment: &Segment,
        start: i64,
        until: i64,
    ) -> Result<Option<TimeEntry>> {
        let files = &self.0.shared.files;
        // It is the latest of all up to it.
        let mut max = segment.noted_before(files, until)?.filter(|it| it.last_offset >= start);
        let from = max.map_or(start, |noted| noted.last_offset + 1);
        segment.each_from(files, from, |batch, _| {
            let (timestamp, last_offset) = (batch.max_timestamp, batch.last_offset());
            if last_offset < until && max.is_none_or(|max| timestamp > max.timestamp) {
                max = Some(TimeEntry { timestamp, last_offset });
            }
        })?;
        Ok(max)
    }

    /// The first record that is `wanted` of the batch that holds `offset`.
    fn find_record(&self, offset: i64, wanted: impl Fn(&Record) -> bool) -> Result<Found> {
        let mut bytes = self.read(offset, 1, i64::MAX)?;
        let Ok(batch) = Batch::split_from(&mut bytes) else { return Ok(Found::Unreadable) };
        let Ok(records) = batch.records(RECORDS_BYTES_MAX) else { return Ok(Found::Unreadable) };
        for record in records {
            match record {
                Ok(record) if wanted(&record) => {
                    return Ok(Found::Record((record.offset, record.timestamp)));
                }
                Ok(_) => {}
                Err(_) => return Ok(Found::Unreadable),
            }
        }
        Ok(Found::Nothing)
    }
}

/// What a look into a batch found.
enum Found {
    Record((i64, i64)),
    Nothing,
    Unreadable,
}
