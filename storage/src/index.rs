//! The sparse indexes of a segment, in the layout of Kafka's files.
//!
//! ```text
//! .index      8 bytes an entry: last offset of a batch - base offset i32 | batch position i32
//! .timeindex 12 bytes an entry: largest timestamp so far i64 | last offset of its batch - base i32
//! ```
//!
//! An entry is added with the first batch that starts more than `interval` bytes after the last
//! entry's. **Indexes are caches**: an entry only says where to start looking, and the batch found
//! there is checked to be the one the entry means.

use tidelog_protocol::records::Header;

pub(crate) const OFFSET_ENTRY_BYTES: usize = 8;
pub(crate) const TIME_ENTRY_BYTES: usize = 12;

/// The indexes of one segment, encoded as they will be written.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    base_offset: i64,
    interval: u32,
    offsets: Vec<u8>,
    times: Vec<u8>,
    bytes_since_entry: u64,
    latest: Option<TimeEntry>,
}

/// A batch that may be found by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub last_offset: i64,
    pub position: u64,
}

/// A batch that has the largest timestamp up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub timestamp: i64,
    pub last_offset: i64,
}

impl Index {
    pub(crate) fn new(base_offset: i64, interval: u32) -> Self {
        Self {
            base_offset,
            interval,
            offsets: Vec::new(),
            times: Vec::new(),
            bytes_since_entry: 0,
            latest: None,
        }
    }

    /// The segment's.
    pub(crate) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Takes up the index files of a segment of `size` bytes; they were checked by [`plausible`].
    pub(crate) fn from_files(
        base_offset: i64,
        interval: u32,
        (offsets, times): (Vec<u8>, Vec<u8>),
        size: u64,
    ) -> Self {
        let indexed = last_offset_entry(&offsets, base_offset).map_or(0, |entry| entry.position);
        let latest = last_time_entry(&times, base_offset);
        let bytes_since_entry = size.saturating_sub(indexed);
        Self { base_offset, interval, offsets, times, bytes_since_entry, latest }
    }

    /// Notes the next batch, which starts at `position` and has its offsets assigned.
    pub(crate) fn observe(&mut self, batch: &Header, position: u64) {
        let last_offset = batch.last_offset();
        if self.latest.is_none_or(|latest| batch.max_timestamp > latest.timestamp) {
            self.latest = Some(TimeEntry { timestamp: batch.max_timestamp, last_offset });
        }
        if self.bytes_since_entry > u64::from(self.interval) {
            if let (Ok(relative), Ok(position)) =
                (i32::try_from(last_offset - self.base_offset), i32::try_from(position))
            {
                self.offsets.extend_from_slice(&relative.to_be_bytes());
                self.offsets.extend_from_slice(&position.to_be_bytes());
                self.note_latest();
            }
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += batch.total_bytes() as u64;
    }

    /// The contents of both files. The largest timestamp gets the last time entry, as in Kafka.
    pub(crate) fn complete(&mut self) -> (&[u8], &[u8]) {
        self.note_latest();
        (&self.offsets, &self.times)
    }

    pub(crate) fn view(&self) -> (&[u8], &[u8]) {
        (&self.offsets, &self.times)
    }

    /// The batch with the largest timestamp.
    pub(crate) fn latest(&self) -> Option<TimeEntry> {
        self.latest
    }

    fn note_latest(&mut self) {
        let Some(latest) = self.latest else { return };
        let noted = last_time_entry(&self.times, self.base_offset);
        if noted.is_none_or(|noted| latest.timestamp > noted.timestamp)
            && let Ok(relative) = i32::try_from(latest.last_offset - self.base_offset)
        {
            self.times.extend_from_slice(&latest.timestamp.to_be_bytes());
            self.times.extend_from_slice(&relative.to_be_bytes());
        }
    }
}

/// Whether index files can be those of a segment of `size` bytes: whole entries in order, inside of
/// the segment.
pub(crate) fn plausible(offsets: &[u8], times: &[u8], base: i64, size: u64) -> bool {
    let whole = offsets.len().is_multiple_of(OFFSET_ENTRY_BYTES)
        && times.len().is_multiple_of(TIME_ENTRY_BYTES);
    let covers = times.is_empty() == (size == 0);
    let entries =
        || offsets.chunks_exact(OFFSET_ENTRY_BYTES).map(|entry| offset_entry(entry, base));
    let in_order =
        entries().is_sorted_by(|a, b| a.last_offset < b.last_offset && a.position < b.position);
    let inside = entries().all(|entry| entry.last_offset >= base && entry.position < size);
    let times = times.chunks_exact(TIME_ENTRY_BYTES).map(|entry| time_entry(entry, base));
    let times_in_order =
        times.is_sorted_by(|a, b| a.timestamp < b.timestamp && a.last_offset < b.last_offset);
    whole && covers && in_order && inside && times_in_order
}

/// The last entry whose offset is at or below `offset`.
pub(crate) fn floor_of_offset(offsets: &[u8], base: i64, offset: i64) -> Option<OffsetEntry> {
    floor(offsets, OFFSET_ENTRY_BYTES, |entry| i64::from(int(entry, 0)) + base <= offset)
        .map(|entry| offset_entry(entry, base))
}

/// The last entry whose position is at or below `position`.
pub(crate) fn floor_of_position(offsets: &[u8], base: i64, position: u64) -> Option<OffsetEntry> {
    let below = |entry: &[u8]| u64::try_from(int(entry, 4)).is_ok_and(|at| at <= position);
    floor(offsets, OFFSET_ENTRY_BYTES, below).map(|entry| offset_entry(entry, base))
}

/// The last entry whose timestamp is below `timestamp`: the batch sought comes after it.
pub(crate) fn below_timestamp(times: &[u8], base: i64, timestamp: i64) -> Option<TimeEntry> {
    floor(times, TIME_ENTRY_BYTES, |entry| time_entry(entry, base).timestamp < timestamp)
        .map(|entry| time_entry(entry, base))
}

pub(crate) fn last_time_entry(times: &[u8], base: i64) -> Option<TimeEntry> {
    times.rchunks_exact(TIME_ENTRY_BYTES).next().map(|entry| time_entry(entry, base))
}

pub(crate) fn last_offset_entry(offsets: &[u8], base: i64) -> Option<OffsetEntry> {
    offsets.rchunks_exact(OFFSET_ENTRY_BYTES).next().map(|entry| offset_entry(entry, base))
}

/// The last of the sorted entries for which `below` holds.
fn floor(entries: &[u8], width: usize, below: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let at = |n: usize| &entries[n * width..(n + 1) * width];
    let (mut low, mut high) = (0, entries.len() / width);
    while low < high {
        let middle = low + (high - low) / 2;
        match below(at(middle)) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low.checked_sub(1).map(at)
}

pub(crate) fn offset_entry(entry: &[u8], base: i64) -> OffsetEntry {
    let position = u64::try_from(int(entry, 4)).unwrap_or(u64::MAX);
    OffsetEntry { last_offset: base + i64::from(int(entry, 0)), position }
}

pub(crate) fn time_entry(entry: &[u8], base: i64) -> TimeEntry {
    let timestamp = entry[..8].try_into().map_or(0, i64::from_be_bytes);
    TimeEntry { timestamp, last_offset: base + i64::from(int(entry, 8)) }
}

fn int(entry: &[u8], at: usize) -> i32 {
    entry[at..at + 4].try_into().map_or(0, i32::from_be_bytes)
}
