//! Whether the record state is what a replay of the log makes of it.
//!
//! Two looks, each in order and in bounded memory, at a frozen view of the state ([`Frozen`]):
//! 1. **The log, partition by partition.** An event is in the state, or a later event of its record
//!    is: a row's offset says which. A record without a row must have been deleted; the ones that
//!    wait for that are [`Orphans`].
//! 2. **The rows.** Each was met in the log at its offset. There are as many as were met, or those
//!    that were not are looked for one by one.
//!
//! Mutations go on meanwhile and are not looked at. Rows whose event retention has removed, and
//! those of the first builds, cannot be compared; they are counted as `unverified`.

mod orphans;
pub(super) mod routes;
mod rows;

use super::mutation::Error;
use super::replay::after;
use super::state::{Frozen, Row};
use super::stream::Stream;
use crate::consumer;
use crate::topic::Partition;
use orphans::Orphans;
use serde::Serialize;
use std::cmp::Ordering;
use tidelog_protocol::records::Record;

/// Bytes and records of one step.
const BYTES_MAX: usize = 8 << 20;
const RECORDS_MAX: usize = 10_000;

/// What is wrong with a record's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Its last event is in the log, and it is not in the state.
    Missing,
    /// The state has an earlier event's.
    Stale,
    /// The state has something else than the event it says it is of.
    Differs,
    /// The state says it is of an event that is not in the log.
    Phantom,
}

/// A record whose state is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub partition: i32,
    /// The record.
    pub id: String,
    /// The event in question.
    pub offset: i64,
    pub kind: Kind,
}

/// What is told while it goes on.
pub(super) enum Told {
    /// How far the log of a partition was read.
    Progress { partition: i32, offset: i64, start: i64, end: i64 },
    /// A difference; see [`Report::differences`] for how many there are.
    Difference(Difference),
}

/// Differences that are told; the others are counted.
pub(super) const TOLD_MAX: u64 = 1000;

/// Whoever is told, and says whether to go on.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Told) -> bool;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// Events in the log.
    pub events: u64,
    /// Records in the state.
    pub records: u64,
    /// Of these, records whose event is no longer in the log.
    pub unverified: u64,
    /// Records whose state is not what the log says.
    pub differences: u64,
}

/// Why it could not be said.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The state, or a log that is damaged.
    #[error(transparent)]
    Mutation(#[from] Error),
    /// The log.
    #[error("the log of partition {0} cannot be read at offset {1}: {2}")]
    Log(i32, i64, String),
    /// Nobody wants to know any more.
    #[error("nobody waits for the answer")]
    Unwanted,
}

impl From<super::state::Error> for Failed {
    fn from(error: super::state::Error) -> Self {
        Self::Mutation(error.into())
    }
}

/// Compares a collection's state with its log. Reads both: not for an async worker.
///
/// # Errors
/// When one of them cannot be read.
pub(super) fn verify(stream: &Stream, tell: Tell<'_>) -> Result<Report, Failed> {
    if let Some(partition) = stream.first_damaged() {
        return Err(Error::Damaged(partition).into());
    }
    stream.settle()?;
    let mut check = Check { stream, view: stream.frozen(), tell, report: Report::default() };
    let mut met = Vec::new();
    for (index, partition) in stream.partitions() {
        met.push(check.log(index, partition)?);
    }
    check.rows(&met)?;
    Ok(check.report)
}

/// What was met in a partition's log.
#[derive(Clone, Copy, Default)]
struct Met {
    start: i64,
    end: i64,
    /// Rows of records that exist.
    rows: u64,
}

struct Check<'a> {
    stream: &'a Stream,
    view: Frozen,
    tell: Tell<'a>,
    report: Report,
}

impl Check<'_> {
    fn differs(&mut self, difference: Difference) -> Result<(), Failed> {
        self.report.differences += 1;
        match self.report.differences <= TOLD_MAX {
            true => self.say(Told::Difference(difference)),
            false => Ok(()),
        }
    }

    fn say(&mut self, told: Told) -> Result<(), Failed> {
        if (self.tell)(told) { Ok(()) } else { Err(Failed::Unwanted) }
    }

    /// Looks at a partition's log: once, or again for the orphans that there was no room for.
    fn log(&mut self, index: i32, partition: &Partition) -> Result<Met, Failed> {
        let end = partition.high_watermark();
        let mut met = Met { start: partition.log().log_start_offset(), end, rows: 0 };
        let applied = self.view.applied(index)?.unwrap_or(met.start);
        let mut orphans = Orphans::default();
        let mut again = false;
        loop {
            let mut next = met.start;
            while next < end {
                let read = match consumer::read(partition, next, BYTES_MAX, RECORDS_MAX) {
                    Ok(read) if read.next > next => read,
                    // Retention took what was not read yet.
                    Err(_) if next < partition.log().log_start_offset() => {
                        next = partition.log().log_start_offset();
                        continue;
                    }
                    Ok(_) => return Err(Failed::Log(index, next, "it has no batch".to_owned())),
                    Err(error) => return Err(Failed::Log(index, next, error.to_string())),
                };
                for record in read.records.iter().filter(|record| record.offset < end) {
                    self.report.events += u64::from(!again && record.value.is_some());
                    let is_settled = record.offset < applied;
                    let orphans = is_settled.then_some(&mut orphans);
                    met.rows += u64::from(self.event(index, record, orphans)? && !again);
                }
                next = read.next;
                let (start, offset) = (met.start, next.min(end));
                self.say(Told::Progress { partition: index, offset, start, end })?;
            }
            for offset in orphans.left() {
                self.lost(index, partition, offset)?;
            }
            if !orphans.next_share() {
                break;
            }
            again = true;
        }
        // Rows of what retention took meanwhile are not compared.
        met.start = met.start.max(partition.log().log_start_offset());
        Ok(met)
    }

    /// Compares an event with its record's row; whether that is of this event, and of a record that
    /// exists. An event that no row knows of is an orphan until its record is deleted.
    fn event(
        &mut self,
        partition: i32,
        record: &Record,
        orphans: Option<&mut Orphans>,
    ) -> Result<bool, Failed> {
        let key = record.key.as_deref().map(String::from_utf8_lossy);
        let (id, said) = match (after(record), key) {
            (Some(said), _) => said,
            // For compaction.
            (None, Some(key)) if record.value.is_none() => (key, Row::NONE),
            _ => return Ok(false),
        };
        let row = self.view.get(&id)?.unwrap_or(Row::NONE);
        let is_of_first_builds = row.offset < 0 && row.data.is_some();
        match (row.offset.cmp(&record.offset), orphans) {
            (Ordering::Less, Some(orphans)) if !is_of_first_builds => {
                match said.data.is_some() || row.data.is_some() {
                    true => orphans.add(&id, record.offset),
                    false => orphans.remove(&id),
                }
            }
            (Ordering::Equal, _) if !same(&row, &said) => {
                let (id, offset) = (id.into_owned(), record.offset);
                self.differs(Difference { partition, id, offset, kind: Kind::Differs })?;
            }
            _ => {}
        }
        Ok(row.offset == record.offset && row.data.is_some())
    }

    /// Says that the event at an offset is in no row.
    fn lost(&mut self, index: i32, partition: &Partition, offset: i64) -> Result<(), Failed> {
        let read = consumer::read(partition, offset, 1, 1);
        let records = read.map(|read| read.records).unwrap_or_default();
        let id = records.first().and_then(after).map(|(id, _)| id.into_owned());
        // Otherwise retention took it in the moment since.
        let Some(id) = id else { return Ok(()) };
        let kind = match self.view.get(&id)?.is_some_and(|row| row.data.is_some()) {
            true => Kind::Stale,
            false => Kind::Missing,
        };
        self.differs(Difference { partition: index, id, offset, kind })
    }

    fn partition_of(&self, id: &str) -> i32 {
        self.stream.partition_of_id(id)
    }
}

/// Whether a row is what its event says. A version may have been raised since, without an event.
fn same(row: &Row, said: &Row) -> bool {
    let version = match (&row.version, &said.version) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(row), Some(said)) => row.compare(said).is_some_and(|it| it != Ordering::Less),
    };
    version && row.data == said.data && (row.data.is_none() || row.mapping == said.mapping)
}
