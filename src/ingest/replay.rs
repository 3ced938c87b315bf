//! At start: brings the state of records up to the log, which is its write-ahead log.

use super::answers::{Answers, Note};
use super::backfill::{self, Backfill};
use super::event::{self, Event, Kind};
use super::mutation::Published;
use super::snapshot::Snapshots;
use super::state::{Row, Rows};
use super::version::Version;
use crate::broker::Broker;
use crate::consumer;
use crate::state::{Changes, State};
use crate::topic::{Partition, Topic};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tidelog_protocol::Uuid;
use tidelog_protocol::records::Record;

/// Bytes and records of one step.
const BYTES_MAX: usize = 8 << 20;
const RECORDS_MAX: usize = 10_000;

/// Partitions, by topic id and index.
pub(super) type Partitions = BTreeSet<(Uuid, i32)>;

/// What there was when the replay had ended.
#[derive(Default)]
pub(super) struct Replayed {
    /// Where the log is damaged, so that the records' state is not known. These partitions do not
    /// keep the others from starting.
    pub damaged: Partitions,
    /// The collections' snapshots, by topic id.
    pub snapshots: HashMap<Uuid, Arc<Snapshots>>,
    /// The last backfill each had, likewise.
    pub backfills: HashMap<Uuid, Backfill>,
}

/// Applies every event that is in the log and not in the store yet.
///
/// # Errors
/// When the state store fails.
pub(super) fn replay(broker: &Broker) -> anyhow::Result<Replayed> {
    let mut replayed = Replayed::default();
    for cluster in broker.clusters() {
        for topic in cluster.topics.all() {
            if topic.sync.is_none() {
                continue;
            }
            let state = &broker.shared.state;
            let (damaged, snapshots) = replay_topic(&cluster.account.id, &topic, state)?;
            replayed.damaged.extend(damaged.into_iter().map(|index| (topic.id, index)));
            replayed.snapshots.insert(topic.id, Arc::new(snapshots));
            match backfill::stored(&Rows::new(state.clone(), topic.id)) {
                Ok(stored) => replayed.backfills.extend(stored.map(|it| (topic.id, it))),
                Err(error) => {
                    tracing::error!("a backfill of {} is not readable: {error}", topic.name);
                }
            }
        }
    }
    Ok(replayed)
}

/// The same for one topic: where it is damaged, and its snapshots.
pub(super) fn replay_topic(
    account: &str,
    topic: &Topic,
    state: &State,
) -> anyhow::Result<(BTreeSet<i32>, Snapshots)> {
    let rows = Rows::new(state.clone(), topic.id);
    let snapshots = Snapshots::load(state.clone(), topic.id)?;
    let mut damaged = BTreeSet::new();
    for index in topic.offline() {
        tracing::error!("{}-{index} takes no mutations: it is offline", topic.name);
        damaged.insert(index);
    }
    for (index, partition) in topic.online() {
        let log = Log { account, topic, index, partition };
        if let Err(reason) = replay_partition(log, &rows, &snapshots)? {
            tracing::error!("{}-{index} takes no mutations: {reason}", topic.name);
            // What was not read yet is still needed, once the log is repaired.
            let applied = rows.applied(index)?;
            partition.release(applied.unwrap_or(partition.log().log_start_offset()));
            damaged.insert(index);
        }
    }
    Ok((damaged, snapshots))
}

/// The log of a partition of a sync's topic.
#[derive(Clone, Copy)]
struct Log<'a> {
    account: &'a str,
    topic: &'a Topic,
    index: i32,
    partition: &'a Partition,
}

impl Log<'_> {
    /// Notes where an event is whose sender may not have had an answer.
    fn note(&self, record: &Record, id: &str, row: &Row, changes: &mut Changes) {
        let (Some(key), Some(kind)) = (header(record, event::IDEMPOTENCY_KEY), kind(record)) else {
            return;
        };
        if key == event::own_key(&self.topic.name, self.index, record.offset) {
            return;
        }
        let note = Note {
            at_ms: record.timestamp,
            topic: self.topic.id,
            partition: self.index,
            published: Published { kind, offset: record.offset },
            version: row.version,
            id,
        };
        Answers::note(self.account, key, &note, changes);
    }
}

/// The inner result says why the rest of the log cannot be read.
fn replay_partition(
    log: Log<'_>,
    rows: &Rows,
    snapshots: &Snapshots,
) -> anyhow::Result<Result<(), String>> {
    let Log { topic, index, partition, .. } = log;
    let start = partition.log().log_start_offset();
    let mut next = rows.applied(index)?.unwrap_or(start).max(start);
    while next < partition.high_watermark() {
        let read = match consumer::read(partition, next, BYTES_MAX, RECORDS_MAX) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Some(batch) = read.undecoded {
            return Ok(Err(batch.to_string()));
        }
        let mut changes = Vec::with_capacity(read.records.len());
        let mut notes = Changes::new();
        // A null value is for compaction; it follows a deleted event.
        for record in read.records.iter().filter(|record| record.value.is_some()) {
            let Some((id, row)) = after(record) else {
                let (name, offset) = (&topic.name, record.offset);
                tracing::warn!("{name}-{index} has no event at offset {offset}; passed over");
                continue;
            };
            // A backfill says nothing new, so it is no sign of life.
            if header(record, event::BACKFILL).is_none() {
                snapshots.mark_replayed(index, record.offset, &id)?;
            }
            log.note(record, &id, &row, &mut notes);
            // A version that came after the event and published nothing is in the row only.
            if rows.get(&id)?.offset < record.offset {
                changes.push((id, row));
            }
        }
        rows.apply(index, read.next, changes.iter().map(|(id, row)| (&**id, row)), notes)?;
        if read.next == next {
            return Ok(Err(format!("what is at offset {next} is no batch")));
        }
        next = read.next;
    }
    Ok(Ok(()))
}

/// What an event makes of its record; nothing if it is no event.
pub(super) fn after(record: &Record) -> Option<(Cow<'_, str>, Row)> {
    let event = Event::parse(record.value.as_deref()?).ok()?;
    let data = (event.kind != Kind::Deleted).then(|| event.data.get().as_bytes().into());
    let version = header(record, event::VERSION).and_then(|text| Version::parse(text).ok());
    let mapping = header(record, event::MAPPING).and_then(|text| text.parse().ok()).unwrap_or(1);
    let (offset, deleted_ms) = (record.offset, record.timestamp);
    let row = Row { offset, version, mapping, data, deleted_ms };
    Some((event.id, row))
}

/// What an event's header says happened.
fn kind(record: &Record) -> Option<Kind> {
    let text = header(record, event::EVENT)?;
    [Kind::Inserted, Kind::Updated, Kind::Deleted].into_iter().find(|kind| kind.as_str() == text)
}

/// A header's text.
pub(super) fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let header = record.headers.iter().find(|header| &*header.key == name)?;
    std::str::from_utf8(header.value.as_deref()?).ok()
}
