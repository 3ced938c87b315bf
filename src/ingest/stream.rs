//! One collection, live: mutations in, events appended, the state kept.
//!
//! A partition's mutations run one after the other under its lock. What has been appended but is
//! not durable yet is kept in memory (`tail`), so that the next mutation of a record is compared
//! with the truth, and moves to the store once it is durable: **the store is never ahead of the
//! log, and an answer waits for every event it rests on**, also for another client's.

use super::diff::{Change, diff};
use super::event::{Kind, NewEvent};
use super::json::{self, Object};
use super::mapping;
use super::name::RecordId;

use super::patch;
use super::state::{self, Rows};
use super::sync::{Defined, Sync};
use crate::clock;
use crate::state::State;
use crate::topic::{Partition, Topic, partition_for};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tidelog_protocol::Str;
use tidelog_protocol::records::{BatchBuilder, Compression, RecordHeader};
use tidelog_storage as storage;

/// A collection's topic, and what of it is not in the store yet.
pub(super) struct Stream {
    /// The collection's topic.
    pub topic: Arc<Topic>,
    rows: Rows,
    tails: Vec<Mutex<Tail>>,
    /// Partitions whose records' state is not known, since the log is damaged.
    stale: BTreeSet<i32>,
}

/// What a mutation does to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Operation {
    /// The whole record.
    Upsert,
    /// Some columns of it (RFC 7396).
    Patch,
    /// It is gone.
    Delete,
}

/// A mutation of one record.
pub(super) struct Mutation<'a> {
    /// The record.
    pub id: RecordId,
    /// What is done to it.
    pub operation: Operation,
    /// The record, or the columns that change; nothing when it is deleted.
    pub data: Option<Object<'a>>,
    /// Names the mutation in its event, so that consumers know a redelivered one.
    pub idempotency_key: Option<String>,
}

/// What a mutation published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    /// What happened to the record.
    pub kind: Kind,
    /// Where its event is.
    pub offset: i64,
}

/// What became of a mutation.
pub(super) struct Done {
    /// Nothing, if nothing changed.
    pub published: Option<Published>,
    /// The partition of the record.
    pub partition: i32,
    /// The last offset the answer rests on, below which everything must be durable.
    pub rests_on: Option<i64>,
}

/// Why a mutation was not carried out; it published nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two columns would get the same name.
    #[error(transparent)]
    Mapping(#[from] mapping::Error),
    /// A patch that cannot be merged.
    #[error("the patch cannot be merged: {0}")]
    Patch(json::Error),
    /// An upsert or patch without a record.
    #[error("'data' is missing: an upsert or patch needs a JSON object")]
    NoData,
    /// The log is damaged where the record's events are, so there is nothing to compare with.
    #[error("the log of the record's partition {0} is damaged, and its last state not known")]
    Stale(i32),
    /// What the state store has is not a record; the log has the truth.
    #[error("the stored state of the record is not readable: {0}")]
    Unreadable(json::Error),
    /// The event is larger than the topic takes.
    #[error("the event of {needed} bytes is over the topic's max.message.bytes, {max}")]
    TooLarge {
        /// Bytes the event takes.
        needed: usize,
        /// Bytes there may be.
        max: usize,
    },
    /// The log refused.
    #[error(transparent)]
    Log(Arc<storage::Error>),
    /// The state store refused.
    #[error(transparent)]
    State(#[from] state::Error),
}

/// A record's JSON, or that it is deleted.
type Current = Option<Arc<[u8]>>;

/// The end of a partition that is not in the store yet.
#[derive(Default)]
struct Tail {
    /// The last state of the records in it, and the offset of that.
    records: HashMap<Box<str>, (Current, i64)>,
    /// The events in order, each with what its record became.
    events: VecDeque<Event>,
}

struct Event {
    offset: i64,
    id: Box<str>,
    current: Current,
}

impl Stream {
    /// A stream of a topic; nothing is in its tails.
    pub(super) fn new(topic: Arc<Topic>, state: State, stale: BTreeSet<i32>) -> Self {
        let rows = Rows::new(state, topic.id);
        let tails = topic.partitions.iter().map(|_| Mutex::default()).collect();
        Self { topic, rows, tails, stale }
    }

    /// The partition of a record.
    pub(super) fn partition_of(&self, id: &RecordId) -> i32 {
        let count = i32::try_from(self.topic.partitions.len()).unwrap_or(i32::MAX);
        partition_for(id.as_str().as_bytes(), count)
    }

    /// The record as it is now, and the last offset that rests on.
    pub(super) fn get(&self, id: &RecordId) -> Result<(Option<Vec<u8>>, Option<i64>), Error> {
        let partition = self.partition_of(id);
        if self.stale.contains(&partition) {
            return Err(Error::Stale(partition));
        }
        let index = usize::try_from(partition).unwrap_or(0);
        let tail = self.tails[index].lock();
        match tail.records.get(id.as_str()) {
            Some((current, offset)) => Ok((current.as_deref().map(<[u8]>::to_vec), Some(*offset))),
            None => Ok((self.rows.get(id.as_str())?, None)),
        }
    }

    /// Carries out mutations in their order; each has its own outcome. Reads the store and writes
    /// the log: not for an async worker.
    pub(super) fn mutate(
        &self,
        sync: &Sync,
        defined: &Defined,
        mutations: Vec<Mutation<'_>>,
    ) -> Vec<Result<Done, Error>> {
        let mut outcomes: Vec<Option<Result<Done, Error>>> = Vec::new();
        let mut by_partition: BTreeMap<i32, Vec<(usize, Mutation<'_>)>> = BTreeMap::new();
        for (index, mutation) in mutations.into_iter().enumerate() {
            outcomes.push(None);
            let partition = self.partition_of(&mutation.id);
            by_partition.entry(partition).or_default().push((index, mutation));
        }
        for (index, mutations) in by_partition {
            let position = usize::try_from(index).unwrap_or(0);
            let partition = &self.topic.partitions[position];
            let mut tail = self.tails[position].lock();
            let mut run = Run {
                stream: self,
                sync,
                defined,
                partition,
                index,
                tail: &mut tail,
                batch: self.batch(),
                waiting: Vec::new(),
                waiting_ids: HashSet::new(),
                outcomes: &mut outcomes,
            };
            for (index, mutation) in mutations {
                run.mutate(index, mutation);
            }
            run.flush();
            if let Err(error) = self.settle_tail(index, partition, &mut tail) {
                tracing::error!("record state stays in memory: {error}");
            }
        }
        // Every mutation was in one partition's run, which gave it an outcome.
        outcomes.into_iter().flatten().collect()
    }

    /// Waits until a partition is durable up to what an answer rests on.
    pub(super) async fn durable(&self, partition: i32, rests_on: Option<i64>) {
        if let (Some(partition), Some(offset)) = (self.topic.partition(partition), rests_on) {
            partition.durable(offset).await;
        }
    }

    fn batch(&self) -> BatchBuilder {
        BatchBuilder::new(Compression::None, self.topic.config.max_message_bytes())
    }

    /// Whether anything is in memory only.
    pub(super) fn is_unsettled(&self) -> bool {
        self.tails.iter().any(|tail| !tail.lock().events.is_empty())
    }

    /// Moves what has become durable into the store.
    pub(super) fn settle(&self) -> Result<(), state::Error> {
        for ((index, partition), tail) in (0..).zip(&self.topic.partitions).zip(&self.tails) {
            self.settle_tail(index, partition, &mut tail.lock())?;
        }
        Ok(())
    }

    fn settle_tail(
        &self,
        index: i32,
        partition: &Partition,
        tail: &mut Tail,
    ) -> Result<(), state::Error> {
        let high_watermark = partition.high_watermark();
        let durable = tail.events.partition_point(|event| event.offset < high_watermark);
        let Some(last) = durable.checked_sub(1).and_then(|last| tail.events.get(last)) else {
            return Ok(());
        };
        let next = last.offset + 1;
        let events = tail.events.range(..durable);
        let current = events.map(|event| (&*event.id, event.current.as_deref()));
        self.rows.apply(index, next, current)?;
        for event in tail.events.drain(..durable) {
            if tail.records.get(&event.id).is_some_and(|(_, of)| *of == event.offset) {
                tail.records.remove(&event.id);
            }
        }
        Ok(())
    }
}

/// One partition's share of a request, carried out under the partition's lock.
struct Run<'a, 'o> {
    stream: &'a Stream,
    sync: &'a Sync,
    defined: &'a Defined,
    partition: &'a Partition,
    index: i32,
    tail: &'a mut Tail,
    batch: BatchBuilder,
    /// The events in `batch`, in order.
    waiting: Vec<Waiting>,
    /// Their records.
    waiting_ids: HashSet<Box<str>>,
    outcomes: &'o mut Vec<Option<Result<Done, Error>>>,
}

/// An event that is in the batch and not in the log yet.
struct Waiting {
    /// Which mutation of the request it answers.
    position: usize,
    kind: Kind,
    id: Box<str>,
    current: Current,
}

impl Run<'_, '_> {
    fn mutate(&mut self, position: usize, mutation: Mutation<'_>) {
        // A record is compared with its last event, so that has to be in the log first.
        if self.waiting_ids.contains(mutation.id.as_str()) {
            self.flush();
        }
        match self.try_mutate(position, mutation) {
            Ok(None) => {}
            Ok(Some(done)) => self.outcomes[position] = Some(Ok(done)),
            Err(error) => self.outcomes[position] = Some(Err(error)),
        }
    }

    /// Compares, and puts what changed into the batch; its outcome comes when that is appended.
    fn try_mutate(
        &mut self,
        position: usize,
        mutation: Mutation<'_>,
    ) -> Result<Option<Done>, Error> {
        if self.stream.stale.contains(&self.index) {
            return Err(Error::Stale(self.index));
        }
        let (prior, rests_on) = self.prior(&mutation.id)?;
        let prior = prior.as_deref().map(Object::parse).transpose().map_err(Error::Unreadable)?;
        let data = match mutation.operation {
            Operation::Delete => None,
            _ => Some(self.defined.mapping.apply(mutation.data.ok_or(Error::NoData)?)?),
        };
        let merged;
        let next = match data {
            Some(patch) if mutation.operation == Operation::Patch => {
                let onto = prior.clone().unwrap_or_default();
                merged = patch::merge(&onto, &patch).map_err(Error::Patch)?;
                Some(Object::parse(merged.as_bytes()).map_err(Error::Patch)?)
            }
            data => data,
        };
        let Some(change) = diff(prior.as_ref(), next.as_ref()) else {
            return Ok(Some(Done { published: None, partition: self.index, rests_on }));
        };
        let current: Current = next.as_ref().map(|record| record.to_string().into_bytes().into());
        // `diff` finds no change where there is neither a record before nor after.
        let Some(record) = next.as_ref().or(prior.as_ref()) else { return Ok(None) };
        self.publish(&mutation.id, &change, record, mutation.idempotency_key.as_deref())?;
        let id: Box<str> = mutation.id.as_str().into();
        self.waiting_ids.insert(id.clone());
        self.waiting.push(Waiting { position, kind: change.kind(), id, current });
        Ok(None)
    }

    /// The last state of a record, and the last offset that rests on.
    fn prior(&self, id: &RecordId) -> Result<(Current, Option<i64>), Error> {
        match self.tail.records.get(id.as_str()) {
            Some((current, offset)) => Ok((current.clone(), Some(*offset))),
            None => Ok((self.stream.rows.get(id.as_str())?.map(Arc::from), None)),
        }
    }

    /// Puts an event into the batch, appending what is there when it does not fit.
    fn publish(
        &mut self,
        id: &RecordId,
        change: &Change<'_>,
        data: &Object<'_>,
        key: Option<&str>,
    ) -> Result<(), Error> {
        let created_at = clock::timestamp();
        let collection = &self.defined.collection;
        let table = self.defined.table();
        let event = NewEvent { collection, created_at, change, data, id, table };
        let value = event.value();
        let own = match key {
            Some(key) => key.to_owned(),
            None => self.own_key(),
        };
        let headers = event.headers(&self.sync.id, &own).map(|(name, text)| RecordHeader {
            key: Str::from_static(name),
            value: Some(Bytes::copy_from_slice(text.as_bytes())),
        });
        let (at, id) = (created_at.as_millisecond(), id.as_str().as_bytes());
        if self.batch.append(at, Some(id), Some(&value), &headers).is_ok() {
            return Ok(());
        }
        self.flush();
        let appended = self.batch.append(at, Some(id), Some(&value), &headers);
        appended.map_err(|full| Error::TooLarge { needed: full.needed, max: full.bytes_max })
    }

    /// Names a mutation whose sender did not. Sent again, it changes nothing and publishes
    /// nothing, so the event's place in the log is name enough.
    fn own_key(&self) -> String {
        let offset = self.partition.log().log_end_offset() + self.batch.len() as i64;
        format!("{}-{}-{offset}", self.stream.topic.name, self.index)
    }

    /// Appends the batch, and gives its mutations their outcomes.
    fn flush(&mut self) {
        let batch = std::mem::replace(&mut self.batch, self.stream.batch());
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_ids.clear();
        let Some(batch) = batch.finish() else { return };
        match self.partition.append(&batch) {
            Ok(appended) => {
                for (offset, event) in (appended.base_offset..).zip(waiting) {
                    let Waiting { position, kind, id, current } = event;
                    self.tail.records.insert(id.clone(), (current.clone(), offset));
                    self.tail.events.push_back(Event { offset, id, current });
                    self.outcomes[position] = Some(Ok(Done {
                        published: Some(Published { kind, offset }),
                        partition: self.index,
                        rests_on: Some(offset),
                    }));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for event in waiting {
                    self.outcomes[event.position] = Some(Err(Error::Log(error.clone())));
                }
            }
        }
    }
}
