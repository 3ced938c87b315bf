//! The last state of every record, in the state store.
//!
//! ```text
//! key    topic id, 16 bytes | 'r' | record id      value  1 | the record, JSON
//!        topic id, 16 bytes | 'a' | partition u32   value  1 | next offset to apply, i64
//! ```
//!
//! Keys begin with the topic's id, which is never reused: a collection whose topic was deleted
//! starts from nothing. **A row is written together with the offset it is of, and only once its
//! event is durable**, so the state is never ahead of the log; what it is behind is replayed.

use crate::state::{Changes, State};
use tidelog_protocol::Uuid;

/// The layout of values; others are refused.
const LAYOUT: u8 = 1;

/// The rows of one topic.
#[derive(Clone)]
pub(super) struct Rows {
    state: State,
    topic_id: Uuid,
}

/// A failure of the state store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store itself.
    #[error("the state store failed: {0}")]
    Store(#[from] fjall::Error),
    /// A value of a layout we do not know.
    #[error("the state store has a value of layout {0}, expected {LAYOUT}")]
    Layout(u8),
}

impl Rows {
    /// The rows of a topic.
    pub(super) fn new(state: State, topic_id: Uuid) -> Self {
        Self { state, topic_id }
    }

    /// A record's JSON, if there is such a record.
    pub(super) fn get(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        self.read(self.record_key(id))
    }

    /// The next offset of a partition to apply, if any was.
    pub(super) fn applied(&self, partition: i32) -> Result<Option<i64>, Error> {
        let value = self.read(self.applied_key(partition))?;
        Ok(value.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes))
    }

    /// Writes records (none: deleted) and the next offset of their partition to apply, at once.
    pub(super) fn apply<'a>(
        &self,
        partition: i32,
        next: i64,
        records: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<(), Error> {
        let value = |bytes: &[u8]| [&[LAYOUT], bytes].concat();
        let rows = records.into_iter().map(|(id, data)| (self.record_key(id), data.map(value)));
        let mut changes: Changes = rows.collect();
        changes.push((self.applied_key(partition), Some(value(&next.to_be_bytes()))));
        self.state.apply(&self.state.records, changes)?;
        Ok(())
    }

    fn read(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
        let Some(value) = self.state.records.get(key)? else { return Ok(None) };
        match value.split_first() {
            Some((&LAYOUT, rest)) => Ok(Some(rest.to_vec())),
            other => Err(Error::Layout(other.map_or(0, |(layout, _)| *layout))),
        }
    }

    fn record_key(&self, id: &str) -> Vec<u8> {
        [&self.topic_id, &b"r"[..], id.as_bytes()].concat()
    }

    fn applied_key(&self, partition: i32) -> Vec<u8> {
        [&self.topic_id, &b"a"[..], &partition.to_be_bytes()].concat()
    }
}
