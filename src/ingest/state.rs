//! The last state of every record, in the state store, and what else is there beside it: all keys
//! of the keyspace `records`.
//!
//! ```text
//! topic id | 'a' | partition u32      2 | next offset to apply, i64
//! topic id | 'b'                      2 | a backfill, JSON
//! topic id | 'o'                      1 | the snapshot, JSON
//! topic id | 'r' | record id          2 | Row
//! topic id | 's' | snapshot u64 | id  1: the snapshot's mark
//! topic id | 't' | ms u64 | id        3 | the row's value: it was deleted then
//!                                     (2 | its version, in earlier builds)
//! 16 zeros | account 0 | 'a' ..       an answer; likewise 'n' a note, 't' their times: `answers`
//! 15 zeros, 1 | 16 random bytes       what an atomic batch promised: `intents`
//!
//! Row    offset of the record's last event, i64 | version of the mapping, u32
//!        | bytes of the version, u8 | version | the record, JSON; nothing when it is deleted
//! ```
//!
//! Keys begin with the topic's id, which is never reused: a collection whose topic was deleted
//! starts from nothing. **A row is written only once its event is durable**, so the state is never
//! ahead of the log; what it is behind is replayed.

use super::version::Version;
use crate::state::{Changes, State};
use fjall::{Readable, Snapshot};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidelog_protocol::Uuid;

/// The layout of values.
const LAYOUT: u8 = 2;
/// That of the first builds, which is still read: a row was the record's JSON alone.
const LAYOUT_BARE: u8 = 1;
/// That of tombstones. In [`LAYOUT`], which is still read, one had the version alone, by which a
/// record that came back and was deleted with the same version was taken for the first.
const LAYOUT_TOMBSTONE: u8 = 3;

/// How long the version of a deleted record is held. An older upsert that arrives later than that
/// brings the record back.
pub(super) const TOMBSTONE_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Versions of deleted records that are held of one collection, the newest. They are rows on the
/// disk, two of some 150 bytes together with an id of 20, and nothing in memory.
pub(super) const TOMBSTONES_MAX: u64 = 1_000_000;
/// Bytes of records that are read at a time; one may be more.
const AFTER_BYTES_MAX: usize = 8 << 20;
/// Tombstones looked at in one go.
const FORGET_ROWS_MAX: usize = 10_000;
/// How many there are before they were counted: more than may be.
const UNCOUNTED: u64 = u64::MAX >> 1;

/// What is known of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The offset of its last event; -1 if it never had one.
    pub offset: i64,
    /// The highest version seen of it.
    pub version: Option<Version>,
    /// The version of the mapping that `data` was written under.
    pub mapping: u32,
    /// Its JSON under its database names; nothing when it is deleted.
    pub data: Option<Arc<[u8]>>,
    /// When it was deleted, in ms since 1970.
    pub deleted_ms: i64,
}

impl Row {
    /// Of a record that nobody mentioned yet.
    pub(super) const NONE: Self =
        Self { offset: -1, version: None, mapping: 1, data: None, deleted_ms: 0 };

    /// Whether nothing came of the record after `other` that is not in this row.
    pub(super) fn is_as_new_as(&self, other: &Self) -> bool {
        let order = match (&self.version, &other.version) {
            (Some(its), Some(others)) => its.compare(others),
            (its, others) => Some(its.is_some().cmp(&others.is_some())),
        };
        let is_older = order == Some(std::cmp::Ordering::Less);
        self.offset > other.offset || self.offset == other.offset && !is_older
    }
}

/// A version of a deleted record.
pub(super) struct Deleted {
    /// The record.
    pub id: String,
    value: Vec<u8>,
    key: Vec<u8>,
}

/// The rows of one topic.
#[derive(Clone)]
pub(super) struct Rows {
    state: State,
    topic_id: Uuid,
    /// How many tombstones there are; more than that after one was written twice.
    tombstones: Arc<AtomicU64>,
}

/// The rows of one topic as they were at a moment.
pub(super) struct Frozen {
    rows: Rows,
    view: Snapshot,
}

/// A failure of the state store.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The store itself.
    #[error("the state store failed: {0}")]
    Store(#[from] fjall::Error),
    /// A value of a layout we do not know.
    #[error("the state store has a value of layout {0}, expected {LAYOUT}")]
    Layout(u8),
    /// A value that is not what its layout says.
    #[error("the state store has a row that is cut off")]
    Cut,
}

impl Rows {
    /// The rows of a topic.
    pub(super) fn new(state: State, topic_id: Uuid) -> Self {
        Self { state, topic_id, tombstones: Arc::new(AtomicU64::new(UNCOUNTED)) }
    }

    /// What is known of a record.
    pub(super) fn get(&self, id: &str) -> Result<Row, Error> {
        match self.state.records.get(self.key(b'r', id.as_bytes()))? {
            Some(value) => decode(&value),
            None => Ok(Row::NONE),
        }
    }

    /// What is known of the records after an id, deleted ones too, by id: `limit` of them, or fewer
    /// if those have [`AFTER_BYTES_MAX`]. Whether that is all there is.
    pub(super) fn after(
        &self,
        id: &str,
        limit: usize,
    ) -> Result<(Vec<(String, Row)>, bool), Error> {
        let (first, end) = (self.key(b'r', id.as_bytes()), self.key(b'r' + 1, &[]));
        let id_at = self.key(b'r', &[]).len();
        let range = (Bound::Excluded(first), Bound::Excluded(end));
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in self.state.records.range(range) {
            let (key, value) = row.into_inner()?;
            let id = String::from_utf8(key[id_at..].to_vec()).map_err(|_| Error::Cut)?;
            bytes += id.len() + value.len();
            rows.push((id, decode(&value)?));
            if rows.len() >= limit || bytes >= AFTER_BYTES_MAX {
                return Ok((rows, false));
            }
        }
        Ok((rows, true))
    }

    /// The next offset of a partition to apply, if any was.
    pub(super) fn applied(&self, partition: i32) -> Result<Option<i64>, Error> {
        applied(self.state.records.get(self.key(b'a', &partition.to_be_bytes()))?)
    }

    /// What is stored of the collection's backfill.
    pub(super) fn backfill(&self) -> Result<Option<Vec<u8>>, Error> {
        let value = self.state.records.get(self.key(b'b', &[]))?;
        value.map(|value| unwrap_layout(&value).map(<[u8]>::to_vec)).transpose()
    }

    /// Stores it.
    pub(super) fn write_backfill(&self, backfill: &[u8]) -> Result<(), Error> {
        let row = (self.key(b'b', &[]), Some([&[LAYOUT], backfill].concat()));
        Ok(self.state.apply(&self.state.records, vec![row])?)
    }

    /// The rows as they are now.
    pub(super) fn frozen(&self) -> Frozen {
        Frozen { rows: self.clone(), view: self.state.view() }
    }

    /// Writes rows, and the next offset of their partition to apply, at once with other changes.
    pub(super) fn apply<'a>(
        &self,
        partition: i32,
        next: i64,
        rows: impl IntoIterator<Item = (&'a str, &'a Row)>,
        mut changes: Changes,
    ) -> Result<(), Error> {
        for (id, row) in rows {
            self.put(id, row, &mut changes);
        }
        let next = [&[LAYOUT], &next.to_be_bytes()[..]].concat();
        changes.push((self.key(b'a', &partition.to_be_bytes()), Some(next)));
        Ok(self.state.apply(&self.state.records, changes)?)
    }

    /// Writes one row by itself.
    pub(super) fn write(&self, id: &str, row: &Row) -> Result<(), Error> {
        let mut changes = Changes::new();
        self.put(id, row, &mut changes);
        Ok(self.state.apply(&self.state.records, changes)?)
    }

    /// The versions of records that were deleted before a time, in ms since 1970: the oldest
    /// `limit`, and no more than are looked at in one go.
    pub(super) fn deleted_before(&self, before_ms: i64, limit: u64) -> Result<Vec<Deleted>, Error> {
        let (first, end) = (self.key(b't', &[]), self.key(b't', &before_ms.max(0).to_be_bytes()));
        let id_at = first.len() + before_ms.to_be_bytes().len();
        let limit = usize::try_from(limit).unwrap_or(FORGET_ROWS_MAX).min(FORGET_ROWS_MAX);
        let entries = self.state.records.range(first..end).take(limit);
        let deleted = entries.map(|entry| {
            let (key, value) = entry.into_inner()?;
            let id = key.get(id_at..).ok_or(Error::Cut)?;
            let id = String::from_utf8(id.to_vec()).map_err(|_| Error::Cut)?;
            Ok(Deleted { id, value: value.to_vec(), key: key.to_vec() })
        });
        deleted.collect()
    }

    /// How many versions of deleted records there are beyond `max`. Reads all their keys when it
    /// may be any, and nothing otherwise.
    pub(super) fn deleted_beyond(&self, max: u64) -> Result<u64, Error> {
        if self.tombstones.load(Ordering::Relaxed) <= max {
            return Ok(0);
        }
        let mut count = 0;
        for row in self.state.records.prefix(self.key(b't', &[])) {
            row.key()?;
            count += 1;
        }
        self.tombstones.store(count, Ordering::Relaxed);
        Ok(count.saturating_sub(max))
    }

    /// Forgets the version of a deleted record, unless it came back or was deleted again.
    pub(super) fn forget(&self, deleted: Deleted) -> Result<(), Error> {
        let key = self.key(b'r', deleted.id.as_bytes());
        let row = self.state.records.get(&key)?;
        let mut changes = vec![(deleted.key, None)];
        if row.map_or(Ok(false), |row| is_of(&deleted.value, &row))? {
            changes.push((key, None));
        }
        self.state.apply(&self.state.records, changes)?;
        self.tombstones.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    fn put(&self, id: &str, row: &Row, changes: &mut Changes) {
        let (key, value) = (self.key(b'r', id.as_bytes()), encode(row));
        if let (None, Some(value)) = (&row.data, &value) {
            let at = self.key(b't', &[&row.deleted_ms.to_be_bytes(), id.as_bytes()].concat());
            changes.push((at, Some([&[LAYOUT_TOMBSTONE], &value[..]].concat())));
            self.tombstones.fetch_add(1, Ordering::Relaxed);
        }
        changes.push((key, value));
    }

    fn key(&self, kind: u8, rest: &[u8]) -> Vec<u8> {
        [&self.topic_id, &[kind][..], rest].concat()
    }
}

impl Frozen {
    /// What is known of a record, if anything.
    pub(super) fn get(&self, id: &str) -> Result<Option<Row>, Error> {
        let row = self.view.get(&self.rows.state.records, self.rows.key(b'r', id.as_bytes()))?;
        row.as_deref().map(decode).transpose()
    }

    /// See [`Rows::applied`].
    pub(super) fn applied(&self, partition: i32) -> Result<Option<i64>, Error> {
        let key = self.rows.key(b'a', &partition.to_be_bytes());
        applied(self.view.get(&self.rows.state.records, key)?)
    }

    /// What is known of every record, deleted ones too, by id.
    pub(super) fn rows(&self) -> impl Iterator<Item = Result<(String, Row), Error>> + use<> {
        let prefix = self.rows.key(b'r', &[]);
        let id_at = prefix.len();
        self.view.prefix(&self.rows.state.records, prefix).map(move |row| {
            let (key, value) = row.into_inner()?;
            let id = String::from_utf8(key[id_at..].to_vec()).map_err(|_| Error::Cut)?;
            Ok((id, decode(&value)?))
        })
    }
}

fn applied(value: Option<fjall::UserValue>) -> Result<Option<i64>, Error> {
    let Some(value) = value else { return Ok(None) };
    let next = unwrap_layout(&value)?.try_into().map_err(|_| Error::Cut)?;
    Ok(Some(i64::from_be_bytes(next)))
}

/// A row's value; none when there is nothing to know.
fn encode(row: &Row) -> Option<Vec<u8>> {
    let data = row.data.as_deref().unwrap_or_default();
    if data.is_empty() && row.version.is_none() {
        return None;
    }
    let version = row.version.map(|it| it.to_string()).unwrap_or_default();
    let mut value = Vec::with_capacity(data.len() + version.len() + 14);
    value.push(LAYOUT);
    value.extend_from_slice(&row.offset.to_be_bytes());
    value.extend_from_slice(&row.mapping.to_be_bytes());
    // The text of a number or time is a few dozen bytes.
    value.push(u8::try_from(version.len()).unwrap_or_default());
    value.extend_from_slice(version.as_bytes());
    value.extend_from_slice(data);
    Some(value)
}

/// A row from its value.
pub(super) fn decode(value: &[u8]) -> Result<Row, Error> {
    let rest = unwrap_layout(value)?;
    if value.first() == Some(&LAYOUT_BARE) {
        return Ok(Row { data: Some(Arc::from(rest)), ..Row::NONE });
    }
    let (offset, rest) = rest.split_first_chunk().ok_or(Error::Cut)?;
    let (mapping, rest) = rest.split_first_chunk().ok_or(Error::Cut)?;
    let (version_bytes, rest) = rest.split_first().ok_or(Error::Cut)?;
    let (version, data) = rest.split_at_checked(usize::from(*version_bytes)).ok_or(Error::Cut)?;
    let version = match version {
        [] => None,
        text => {
            let text = std::str::from_utf8(text).map_err(|_| Error::Cut)?;
            Some(Version::parse(text).map_err(|_| Error::Cut)?)
        }
    };
    let data = (!data.is_empty()).then(|| Arc::from(data));
    let (offset, mapping) = (i64::from_be_bytes(*offset), u32::from_be_bytes(*mapping));
    Ok(Row { offset, version, mapping, data, deleted_ms: 0 })
}

/// Whether a tombstone is of the deletion that a row is of.
fn is_of(tombstone: &[u8], row: &[u8]) -> Result<bool, Error> {
    if let Some(of) = tombstone.strip_prefix(&[LAYOUT_TOMBSTONE]) {
        return Ok(of == row);
    }
    let (version, row) = (unwrap_layout(tombstone)?, decode(row)?);
    Ok(row.data.is_none() && row.version.is_some_and(|it| it.to_string().as_bytes() == version))
}

fn unwrap_layout(value: &[u8]) -> Result<&[u8], Error> {
    match value.split_first() {
        Some((&(LAYOUT_BARE | LAYOUT), rest)) => Ok(rest),
        other => Err(Error::Layout(other.map_or(0, |(layout, _)| *layout))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_first_builds_is_its_record() {
        let row = decode(b"\x01{\"a\":1}").unwrap();
        assert_eq!(row, Row { data: Some(Arc::from(&b"{\"a\":1}"[..])), ..Row::NONE });
        assert_eq!(decode(&encode(&row).unwrap()).unwrap(), row, "as it is written from now on");
        assert!(matches!(decode(b"\x03"), Err(Error::Layout(3))));
    }
}
