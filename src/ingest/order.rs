//! Which of two mutations of one version came first, where their source says what was before.
//!
//! Stripe's clock ticks in seconds, and an object often changes twice in one. A delivery has the
//! whole object, and the prior values of what changed. One whose prior values are those of the
//! record as it is came after it. Otherwise it is looked what the record was **before its last
//! event**: a delivery came earlier than that event, and says what has been replaced since, if
//! - that is what its prior values say: it belongs between the two, and arrives late; or
//! - that is what it says itself: it was carried out, and arrives again.
//!
//! Where none of this is so, an event was lost, and the one that arrives last stands.

use super::diff::changes;
use super::event;
use super::json::{Column, Object, Raw};
use super::replay::header;
use super::state::Row;
use super::value::covers;
use crate::consumer;
use crate::topic::Partition;
use serde::Deserialize;

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
