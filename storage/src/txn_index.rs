//! The aborted transactions of a segment, in the layout of Kafka's `.txnindex`.
//!
//! ```text
//! 34 bytes an entry, in the order of the markers, from the segment that holds the marker:
//! version i16 = 0 | producer_id i64 | first_offset i64 | last_offset i64: the marker's
//! last_stable_offset i64: of the log, once the transaction had ended
//! ```
//!
//! A search begins at the first marker after the offset that is read from, and ends with the first
//! entry whose last stable offset is not below the end of what is read: whatever ends later began
//! there or later.
//!
//! There is no file while a segment has no entries. **What it says counts while the segment has an
//! `.index`**: that is written after it, and removed before it.

use tidelog_protocol::records::{Batch, EndTxnMarker, TransactionResult};

/// A transaction whose records are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    /// Whose it was.
    pub producer_id: i64,
    /// Where its records start.
    pub first_offset: i64,
    /// Its marker.
    pub last_offset: i64,
    /// The last stable offset of the log once it had ended.
    pub last_stable_offset: i64,
}

/// An entry as the file has it.
pub(crate) type Entry = [u8; ENTRY_BYTES];

pub(crate) const ENTRY_BYTES: usize = 34;
/// Entries of a segment; the marker of one more begins the next segment. Bounds the memory that a
/// segment takes while it is appended to or written anew: 34 bytes each.
pub(crate) const ENTRIES_MAX: usize = 1 << 16;
const VERSION: i16 = 0;
/// Bytes the records of a control batch may take; a marker takes 17.
const MARKER_BYTES_MAX: usize = 1 << 16;

impl AbortedTxn {
    pub(crate) fn encode(&self) -> Entry {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        let fields =
            [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        for (place, field) in bytes[2..].chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    /// `None` for a version that is not known.
    pub(crate) fn decode(bytes: &Entry) -> Option<Self> {
        let (version, fields) = bytes.split_first_chunk()?;
        let mut fields = fields.as_chunks().0.iter().map(|field| i64::from_be_bytes(*field));
        (i16::from_be_bytes(*version) == VERSION).then_some(())?;
        Some(Self {
            producer_id: fields.next()?,
            first_offset: fields.next()?,
            last_offset: fields.next()?,
            last_stable_offset: fields.next()?,
        })
    }
}

/// The last entry of a file, if that holds: whole entries of a known version, in order, of the
/// segment that starts at `base_offset`.
pub(crate) fn last_of(bytes: &[u8], base_offset: i64) -> Option<AbortedTxn> {
    let (entries, rest) = bytes.as_chunks();
    rest.is_empty().then_some(())?;
    let mut last: Option<AbortedTxn> = None;
    for entry in entries {
        let entry = AbortedTxn::decode(entry)?;
        let after = last.map_or(base_offset, |last| last.last_offset + 1);
        let holds = entry.last_offset >= after
            && (0..entry.last_offset).contains(&entry.first_offset)
            && entry.last_stable_offset <= entry.last_offset.checked_add(1)?;
        last = holds.then_some(Some(entry))?;
    }
    last
}

/// Adds the entries with records in `from..until` to `found`; true if none is missing, whatever
/// the segments after this one have.
pub(crate) fn search(
    entries: &[Entry],
    (from, until): (i64, i64),
    found: &mut Vec<AbortedTxn>,
) -> bool {
    let decode = AbortedTxn::decode;
    let start = entries
        .partition_point(|entry| decode(entry).is_some_and(|entry| entry.last_offset < from));
    for entry in entries[start..].iter().filter_map(decode) {
        if entry.first_offset < until {
            found.push(entry);
        }
        if entry.last_stable_offset >= until {
            return true;
        }
    }
    false
}

/// The end of a transaction, if that is what the batch is.
pub(crate) fn marker_of(batch: &Batch) -> Option<EndTxnMarker> {
    if !batch.header().attributes.is_control() {
        return None;
    }
    let record = batch.records(MARKER_BYTES_MAX).ok()?.next()?.ok()?;
    EndTxnMarker::read(&record).ok()?
}

/// Whether a marker makes void what it ends.
pub(crate) fn is_abort(marker: &EndTxnMarker) -> bool {
    marker.result == TransactionResult::Abort
}
