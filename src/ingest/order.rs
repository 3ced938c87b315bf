//! Which of two mutations of one version came first, where their source says what was before.
//!
//! Stripe's clock ticks in seconds, and an object often changes twice in one. A delivery has the
//! whole object, and the prior values of what changed. One whose prior values are those of the
//! record as it is came after it. Otherwise it is looked what the record was **before its last
//! event**: a delivery came earlier than that event, and says what has been replaced since, if
//! - that is what its prior values say: it belongs between the two, and arrives late; or
//! - that is what it says itself: it was carried out, and arrives again.
//!
//! Before that, it is looked whether **an event of the record and of that version has the
//! delivery's name** ([`has_come`]): then it arrives again, whatever came since. One that changed
//! nothing left no event to be known by.
//!
//! Where none of this is so, an event was lost, and the one that arrives last stands.

use super::diff::changes;
use super::event;
use super::json::{Column, Object, Raw};
use super::name::RecordId;
use super::replay::header;
use super::state::Row;
use super::value::covers;
use crate::consumer;
use crate::topic::Partition;
use serde::Deserialize;
use tidelog_protocol::records::Record;

/// A record, and what a mutation makes of it; all under the names of one mapping.
pub(super) struct Compared<'a> {
    /// What it is.
    pub record: &'a Object<'a>,
    /// What it is to be.
    pub next: &'a Object<'a>,
    /// What some columns were before that, as the source has it.
    pub follows: &'a Object<'a>,
}

/// Whether a mutation came before the record's last event. Reads the log: not for an async worker.
pub(super) fn is_earlier(partition: &Partition, row: &Row, compared: &Compared<'_>) -> bool {
    let Compared { record, next, follows } = compared;
    if has(record, follows) {
        return false;
    }
    let Some(value) = last_event(partition, row) else { return false };
    let Some(before) = before(record, &value) else { return false };
    has(&before, follows) || changes(&before, next).is_empty()
}

/// Offsets looked at for an event that came before, from the record's last event back. What has
/// one version mostly comes together.
const LOOKED_BACK_MAX: i64 = 256;
/// How many of them at a time.
const LOOKED_BACK_STEP: i64 = 32;
/// Bytes read of the log at a time, about.
const LOOKED_BACK_BYTES: usize = 128 << 10;

/// Whether one of the record's last events, of the version it has, is of a mutation with this name.
/// Reads the log: not for an async worker.
pub(super) fn has_come(partition: &Partition, row: &Row, id: &RecordId, key: &str) -> bool {
    let version = row.version.map(|it| it.to_string());
    let first = (row.offset - LOOKED_BACK_MAX).max(partition.log().log_start_offset());
    let mut end = row.offset + 1;
    while end > first {
        let start = (end - LOOKED_BACK_STEP).max(first);
        let mut is_older = false;
        for event in events(partition, start, end, id) {
            if header(&event, event::VERSION) != version.as_deref() {
                is_older = true;
            } else if header(&event, event::IDEMPOTENCY_KEY) == Some(key) {
                return true;
            }
        }
        if is_older {
            return false;
        }
        end = start;
    }
    false
}

/// The events of a record from an offset up to another, as far as they can be read.
fn events(partition: &Partition, start: i64, end: i64, id: &RecordId) -> Vec<Record> {
    let mut events = Vec::new();
    let mut next = start;
    while let Some(count) = usize::try_from(end - next).ok().filter(|count| *count > 0) {
        match consumer::read(partition, next, LOOKED_BACK_BYTES, count) {
            Ok(read) if read.next > next => {
                next = read.next;
                let its = |it: &Record| {
                    it.offset < end && it.key.as_deref() == Some(id.as_str().as_bytes())
                };
                events.extend(read.records.into_iter().filter(its));
            }
            _ => break,
        }
    }
    events
}

/// Whether a record has what is said of some of its columns.
fn has(record: &Object<'_>, columns: &Object<'_>) -> bool {
    let value = |name: &str| record.get(name).unwrap_or(Raw::NULL);
    columns.columns().iter().all(|(name, said)| covers(value(name), *said))
}

/// The value of the record's last event, unless a backfill said again what it was.
fn last_event(partition: &Partition, row: &Row) -> Option<bytes::Bytes> {
    let mut read = consumer::read(partition, row.offset, 1, 1).ok()?;
    let record = read.records.pop().filter(|record| record.offset == row.offset)?;
    if header(&record, event::BACKFILL).is_some() { None } else { record.value }
}

/// What a record was before an event; nothing if it was not there.
fn before<'a>(record: &Object<'a>, event: &'a [u8]) -> Option<Object<'a>> {
    #[derive(Deserialize)]
    struct Updated<'a> {
        #[serde(borrow)]
        changes: Raw<'a>,
    }
    let updated: Updated<'a> = serde_json::from_slice(event).ok()?;
    let changes = Object::parse(updated.changes.get().as_bytes()).ok()?;
    let now = record.columns().iter().map(|(name, value)| (name.clone(), *value));
    // Of a repeated name the last value counts.
    let columns: Vec<Column<'a>> = now.chain(changes.into_columns()).collect();
    Some(Object::from_columns(columns))
}
