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

/// The last entry of a batch that ends before `until`.
pub(crate) fn time_before(times: &[u8], base: i64, until: i64) -> Option<TimeEntry> {
    floor(times, TIME_ENTRY_BYTES, |entry| time_entry(entry, base).last_offset < until)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use tidelog_protocol::records::HEADER_BYTES;

    /// A header of any batch: its length and magic are all that is looked at.
    fn header() -> Header {
        let mut bytes = [0; HEADER_BYTES];
        bytes[8..12].copy_from_slice(&100_i32.to_be_bytes());
        bytes[16] = 2;
        Header::parse(&bytes).unwrap()
    }

    /// Every batch of a random segment, with its position, and the indexes that came of it.
    fn segment(seed: u64) -> (i64, Vec<(Header, u64)>, Index) {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let base = below(1 << 40) as i64;
        let mut index = Index::new(base, below(3000) as u32);
        let (mut next, mut position, mut batches) = (base, 0, Vec::new());
        for _ in 0..below(80) {
            let batch = Header {
                base_offset: next + below(3) as i64,
                last_offset_delta: below(20) as i32,
                batch_length: 49 + below(900) as i32,
                max_timestamp: below(60) as i64 - 1,
                ..header()
            };
            index.observe(&batch, position);
            batches.push((batch, position));
            position += batch.total_bytes() as u64;
            next = batch.last_offset() + 1;
        }
        index.complete();
        (base, batches, index)
    }

    #[test]
    fn lookups_find_what_a_scan_of_all_batches_does() {
        for seed in 0..2000 {
            let (base, batches, index) = segment(seed);
            let (offsets, times) = index.view();
            let size = batches.last().map_or(0, |(batch, at)| at + batch.total_bytes() as u64);
            assert!(plausible(offsets, times, base, size), "seed {seed}");
            let indexed: Vec<_> = offsets.chunks(8).map(|it| offset_entry(it, base)).collect();
            let end = batches.last().map_or(base, |(batch, _)| batch.last_offset()) + 2;
            for offset in base - 1..=end {
                let found = floor_of_offset(offsets, base, offset);
                let scanned = indexed.iter().rfind(|it| it.last_offset <= offset);
                assert_eq!(found.as_ref(), scanned, "seed {seed}, offset {offset}");
                // From there on lies the batch that a scan from the start finds.
                let holds = |(batch, _): &&(Header, u64)| batch.last_offset() >= offset;
                let from = found.map_or(0, |entry| entry.position);
                let near = batches.iter().filter(|(_, at)| *at >= from).find(holds);
                assert_eq!(near.map(|it| it.1), batches.iter().find(holds).map(|it| it.1));
            }
            for position in (0..=size).step_by(97) {
                let scanned = indexed.iter().rfind(|it| it.position <= position);
                assert_eq!(floor_of_position(offsets, base, position).as_ref(), scanned);
            }
            for timestamp in -2..=61 {
                let before = below_timestamp(times, base, timestamp);
                let young = |(batch, _): &&(Header, u64)| batch.max_timestamp >= timestamp;
                let first = batches.iter().find(young).map(|(batch, _)| batch.last_offset());
                let skipped = before.map_or(i64::MIN, |entry| entry.last_offset);
                assert!(first.is_none_or(|first| first > skipped), "seed {seed}: {timestamp}");
                assert!(before.is_none_or(|entry| entry.timestamp < timestamp), "seed {seed}");
            }
            let latest = batches.iter().map(|(batch, _)| batch.max_timestamp).max();
            assert_eq!(last_time_entry(times, base).map(|it| it.timestamp), latest, "seed {seed}");
        }
    }
}
