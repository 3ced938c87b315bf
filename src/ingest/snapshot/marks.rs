//! The marks that mutations leave on their records while a snapshot is open; [`state`] has the
//! table of keys. Ids of snapshots are random, so one's marks are never taken for another's.

use super::super::mutation::{Condition, Mutation};
use super::super::name::RecordId;
use super::super::state;
use super::{Error, Id, Snapshots};
use crate::state::{Changes, State};
use std::ops::Bound;
use std::sync::atomic::Ordering;
use tidelog_protocol::Uuid;

/// The layout of values; others are refused.
pub(super) const LAYOUT: u8 = 1;

pub(super) struct Marks {
    state: State,
    topic_id: Uuid,
}

/// The records of a partition's mutations, to be marked once those are in the log.
pub(in super::super) struct Touched {
    snapshot: Id,
    records: Vec<RecordId>,
}

impl Touched {
    /// A mutation touches its record, except for a closing's own.
    pub(in super::super) fn add(&mut self, mutation: &Mutation<'_>) {
        if mutation.condition != Condition::Untouched {
            self.records.push(mutation.id.clone());
        }
    }
}

impl Snapshots {
    /// Whether mutations leave marks.
    pub(in super::super) fn is_marking(&self) -> bool {
        self.marking.load(Ordering::Acquire) != 0
    }

    /// Where to note what mutations touch, if a snapshot is open. Under the partition's lock.
    pub(in super::super) fn touched(&self) -> Option<Touched> {
        let snapshot = Id::marking(self.marking.load(Ordering::Acquire))?;
        Some(Touched { snapshot, records: Vec::new() })
    }

    /// Marks what was touched. Under the same lock. [`Snapshots::synced`] waits for ever after a
    /// failure, so that nothing is acknowledged which a closing might delete.
    pub(in super::super) fn mark(&self, touched: &Touched) {
        let count = touched.records.len() as u64;
        if count == 0 {
            return;
        }
        match self.marks.add(touched.snapshot, touched.records.iter().map(RecordId::as_str)) {
            Ok(()) => drop(self.touched.fetch_add(count, Ordering::Relaxed)),
            Err(error) => {
                tracing::error!(
                    "a mark for snapshot '{}' cannot be stored: {error}",
                    touched.snapshot
                );
                self.failed.store(true, Ordering::Release);
            }
        }
    }

    /// Waits until the marks made so far are on disk.
    pub(in super::super) async fn synced(&self) {
        if self.failed.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
        self.state.committed(&self.state.records, Changes::new()).await;
    }

    /// Marks the record of an event that was replayed, if that came after the opening.
    pub(in super::super) fn mark_replayed(
        &self,
        partition: i32,
        offset: i64,
        record: &str,
    ) -> Result<(), Error> {
        let current = self.current.lock();
        match current.snapshot.as_ref().filter(|it| it.is_marking()) {
            Some(snapshot) if snapshot.is_later(partition, offset) => {
                Ok(self.marks.add(snapshot.id, std::iter::once(record))?)
            }
            _ => Ok(()),
        }
    }

    /// Whether a record was touched since the snapshot that is open was opened; true when none is,
    /// so that nothing is deleted then. Under the partition's lock the answer stays true.
    pub(in super::super) fn is_touched(&self, record: &str) -> Result<bool, state::Error> {
        match Id::marking(self.marking.load(Ordering::Acquire)) {
            Some(id) => Ok(self.marks.contains(id, record)?),
            None => Ok(true),
        }
    }

    /// The records after `after`, by id, that have no mark; and the last record looked at, if there
    /// may be more.
    pub(super) fn untouched(
        &self,
        id: Id,
        after: Option<&str>,
    ) -> Result<(Vec<RecordId>, Option<String>), Error> {
        self.marks.untouched(id, after)
    }
}

/// Records looked at in one step of a closing.
const STEP_RECORDS: usize = 1000;

impl Marks {
    pub(super) fn new(state: State, topic_id: Uuid) -> Self {
        Self { state, topic_id }
    }

    pub(super) fn snapshot_key(&self) -> Vec<u8> {
        [&self.topic_id, &b"o"[..]].concat()
    }

    fn prefix(&self, id: Id) -> Vec<u8> {
        [&self.topic_id, &b"s"[..], &id.0.to_be_bytes()].concat()
    }

    fn key(&self, id: Id, record: &str) -> Vec<u8> {
        [&self.prefix(id), record.as_bytes()].concat()
    }

    fn add<'a>(&self, id: Id, records: impl Iterator<Item = &'a str>) -> fjall::Result<()> {
        let marks: Changes =
            records.map(|record| (self.key(id, record), Some(vec![LAYOUT]))).collect();
        self.state.apply(&self.state.records, marks)
    }

    fn contains(&self, id: Id, record: &str) -> fjall::Result<bool> {
        self.state.records.contains_key(self.key(id, record))
    }

    pub(super) fn remove(&self, id: Id) -> fjall::Result<()> {
        self.state.remove_prefix(&self.state.records, &self.prefix(id))
    }

    fn untouched(
        &self,
        id: Id,
        after: Option<&str>,
    ) -> Result<(Vec<RecordId>, Option<String>), Error> {
        let prefix = [&self.topic_id, &b"r"[..]].concat();
        let start = [&prefix, after.unwrap_or_default().as_bytes()].concat();
        let end = [&self.topic_id, &b"s"[..]].concat();
        let start = match after {
            Some(_) => Bound::Excluded(start),
            None => Bound::Included(start),
        };
        let rows = self.state.records.range((start, Bound::Excluded(end))).take(STEP_RECORDS);
        let (mut untouched, mut looked_at, mut last) = (Vec::new(), 0, None);
        for row in rows {
            let key = row.key()?;
            let record = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
            if !self.contains(id, &record)? {
                untouched.extend(RecordId::parse(&record));
            }
            looked_at += 1;
            last = Some(record);
        }
        Ok((untouched, last.filter(|_| looked_at == STEP_RECORDS)))
    }
}
