//! One partition's share of a request: mutations compared with their records under the
//! partition's lock, and what changed appended as few batches as may be.
//!
//! **All is planned before anything is appended.** Events get their offsets while they are
//! planned, since nobody else writes to the partition; a record that is mutated twice is compared
//! with what the first mutation makes of it.

use super::diff::{Change, changes, changes_since, diff};
use super::event::{self, Kind, NewEvent};
use super::json::Object;
use super::mapping::{self, COLUMNS_MAX};
use super::mutation::{Condition, Done, Error, Key, Mutation, Operation, Published, Raised};
use super::name::RecordId;
use super::order::{self, Compared};
use super::patch;
use super::snapshot::{Snapshots, Touched};
use super::state::{Row, Rows};
use super::sync::{Defined, Sync};
use super::tail::{Entry, Known, Tail};
use super::version::Version;
use crate::clock;
use crate::consumer::DECOMPRESSED_BYTES_MAX;
use crate::topic::{Partition, Topic};
use bytes::Bytes;
use parking_lot::MutexGuard;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use tidelog_protocol::records::{Batch, BatchBuilder, RecordHeader};
use tidelog_protocol::{Str, Uuid};

/// What events of a collection are made with.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// The sync it belongs to.
    pub sync: &'a Sync,
    /// The collection it is of.
    pub defined: &'a Defined,
}

/// A partition, locked, and what is to be appended to it.
pub(super) struct Run<'a> {
    destination: Destination<'a>,
    topic: Arc<Topic>,
    rows: &'a Rows,
    snapshots: &'a Snapshots,
    /// What leaves a mark for the snapshot that is open.
    touched: Option<Touched>,
    partition: &'a Partition,
    index: i32,
    tail: MutexGuard<'a, Tail>,
    /// The offset of the next event.
    next: i64,
    batch: BatchBuilder,
    /// An event's value while it is put into the batch: one buffer for all of them.
    value: String,
    /// Bytes of the values so far.
    bytes: usize,
    /// Full batches, each with the offset it will have.
    batches: Vec<(i64, Batch)>,
    /// What becomes of records.
    planned: HashMap<Box<str>, Known>,
    /// The same in order, as it goes into the tail.
    entries: Vec<Entry>,
}

/// What an event says in its headers beside what happened.
struct Marks<'a> {
    key: Option<&'a str>,
    version: Option<Version>,
    backfill: Option<&'a str>,
}

impl<'a> Run<'a> {
    /// A run with nothing planned yet.
    pub(super) fn new(
        destination: Destination<'a>,
        topic: Arc<Topic>,
        (rows, snapshots): (&'a Rows, &'a Snapshots),
        (index, partition): (i32, &'a Partition),
        tail: MutexGuard<'a, Tail>,
    ) -> Self {
        Self {
            destination,
            rows,
            snapshots,
            touched: snapshots.touched(),
            partition,
            index,
            next: partition.log().log_end_offset(),
            tail,
            batch: builder(&topic),
            topic,
            value: String::new(),
            bytes: 0,
            batches: Vec::new(),
            planned: HashMap::new(),
            entries: Vec::new(),
        }
    }

    /// Compares a mutation with its record, and plans its event if there is to be one. The answer
    /// is true once [`Run::append`] has said so.
    pub(super) fn plan(&mut self, mutation: Mutation<'_>) -> Result<Done, Error> {
        self.touched.iter_mut().for_each(|touched| touched.add(&mutation));
        let defined = self.destination.defined;
        let known = self.admit(&mutation)?;
        let Some(version) = mutation.newest(&known)? else {
            return Ok(Done { stale: true, ..self.unchanged(&mutation.id, &known) });
        };
        let incoming = match mutation.operation {
            Operation::Delete => None,
            _ => Some(mutation.data.ok_or(Error::NoData)?),
        };
        if mutation.is_over {
            return Ok(self.raise(mutation.id, known, version));
        }
        let data = known.row.data.clone();
        // Columns of a record under an earlier mapping are known by what the API calls them.
        let named = (known.row.mapping != defined.version()).then(|| incoming.clone()).flatten();
        let incoming = incoming.map(|data| defined.mapping.apply(data)).transpose()?;
        let is_whole = mutation.operation == Operation::Upsert && mutation.keeps.is_empty();
        let whole = incoming.as_ref().filter(|_| is_whole).map(Object::text);
        // What is the same letter by letter need not be read again.
        let is_same = whole.is_some() && whole.as_deref().map(str::as_bytes) == data.as_deref();
        if named.is_none() && is_same {
            return Ok(self.raise(mutation.id, known, version));
        }
        // Comparing takes many times the memory of the text.
        let (needed, max) = (whole.as_ref().map_or(0, |it| it.len()), bytes_max(&self.topic));
        if needed > max {
            return Err(Error::TooLarge { needed, max });
        }
        if named.is_none()
            && mutation.follows.is_none()
            && let (Some(text), Some(data), Some(record)) = (&whole, &data, &incoming)
            && let Some(changes) =
                std::str::from_utf8(data).ok().and_then(|it| changes_since(it, record))
        {
            if changes.is_empty() {
                return Ok(self.raise(mutation.id, known, version));
            }
            let change = Change::Updated { changes };
            return self.change(&mutation.id, &change, text, (version, mutation.key));
        }
        let is_patch = mutation.operation == Operation::Patch;
        let prior = self.prior((&known.row, data.as_deref()), named.as_ref(), is_patch)?;
        if version.is_some()
            && version == known.row.version
            && let Some(follows) = mutation.follows
        {
            let name = mutation.key.as_ref().map(|key| (&mutation.id, &*key.text));
            let states = prior.as_ref().zip(incoming.as_ref()).filter(|_| named.is_none());
            if self.is_past(&known.row, name, states, follows) {
                return Ok(Done { stale: true, ..self.unchanged(&mutation.id, &known) });
            }
        }
        let merged;
        let next = match incoming {
            Some(patch) if is_patch => {
                let onto = prior.clone().unwrap_or_default();
                merged = patch::merge(&onto, &patch).map_err(Error::Patch)?;
                Some(Object::parse(merged.as_bytes()).map_err(Error::Patch)?)
            }
            Some(record) if !is_whole => Some(self.keep(record, prior.as_ref(), mutation.keeps)),
            data => data,
        };
        if let Some(record) = next.as_ref().filter(|it| it.columns().len() > COLUMNS_MAX) {
            return Err(mapping::Error::Columns(record.columns().len()).into());
        }
        // `diff` finds no change where there is neither a record before nor after.
        let change = diff(prior.as_ref(), next.as_ref());
        let (Some(change), Some(record)) = (change, next.as_ref().or(prior.as_ref())) else {
            return Ok(self.raise(mutation.id, known, version));
        };
        let text = whole.unwrap_or_else(|| record.text());
        self.change(&mutation.id, &change, &text, (version, mutation.key))
    }

    /// Whether a mutation of the version that its record has came before the record's last event;
    /// `states` are what the record is and is to be, if both have the present names.
    fn is_past(
        &self,
        row: &Row,
        name: Option<(&RecordId, &str)>,
        states: Option<(&Object<'_>, &Object<'_>)>,
        follows: Object<'_>,
    ) -> bool {
        if name.is_some_and(|(id, key)| order::has_come(self.partition, row, id, key)) {
            return true;
        }
        match (states, self.destination.defined.mapping.apply(follows)) {
            (Some((record, next)), Ok(follows)) => order::is_earlier(
                self.partition,
                row,
                &Compared { record, next, follows: &follows },
            ),
            _ => false,
        }
    }

    /// A record with those columns from its last state that are not known of it.
    fn keep<'d>(
        &self,
        record: Object<'d>,
        prior: Option<&Object<'d>>,
        columns: &[String],
    ) -> Object<'d> {
        let columns = columns.iter().map(|name| Cow::Borrowed(&**name));
        let mapping = &self.destination.defined.mapping;
        patch::keep(record, prior, &columns.filter_map(|name| mapping.name(name)).collect())
    }

    /// Plans the event of a change; `data` is the record, or what it last was.
    fn change(
        &mut self,
        id: &RecordId,
        change: &Change<'_>,
        data: &str,
        (version, key): (Option<Version>, Option<Key>),
    ) -> Result<Done, Error> {
        let defined = self.destination.defined;
        let (collection, table, created_at) =
            (&defined.collection, &defined.table, clock::timestamp());
        let event = NewEvent { collection, created_at, change, data, id, table };
        let text = key.as_ref().map(|key| key.text.as_str());
        let offset = self.publish(&event, Marks { key: text, version, backfill: None })?;
        let exists = change.kind() != Kind::Deleted;
        let row = Row {
            offset,
            version,
            mapping: defined.version(),
            data: exists.then(|| data.as_bytes().into()),
            deleted_ms: created_at.as_millisecond(),
        };
        let known = self.published(id, row, key.map(|key| key.hold.watch()));
        let published = Some(Published { kind: change.kind(), offset });
        Ok(Done { published, ..self.unchanged(id, &known) })
    }

    /// Plans an event that says again what a record is, unless it has had one from `end` on, and
    /// gives its offset.
    pub(super) fn republish(
        &mut self,
        id: &RecordId,
        end: i64,
        backfill: &str,
    ) -> Result<Option<i64>, Error> {
        self.must_take()?;
        let Known { row, .. } = self.known(id)?;
        let defined = self.destination.defined;
        let has_had_one = row.offset >= end && row.mapping == defined.version();
        let Some(data) = row.data.clone().filter(|_| !has_had_one) else { return Ok(None) };
        if row.mapping > defined.version() {
            // A mutation since, under a mapping that came since.
            return Ok(None);
        }
        let prior = Object::parse(&data).map_err(Error::Unreadable)?;
        let record = self.carry_over(prior.clone(), &row, None)?;
        let change = Change::Updated { changes: changes(&prior, &record) };
        let text = record.text();
        let event = NewEvent {
            collection: &defined.collection,
            created_at: clock::timestamp(),
            change: &change,
            data: &text,
            id,
            table: &defined.table,
        };
        let marks = Marks { key: None, version: row.version, backfill: Some(backfill) };
        let offset = self.publish(&event, marks)?;
        let data = Some(text.as_bytes().into());
        self.published(id, Row { offset, mapping: defined.version(), data, ..row }, None);
        Ok(Some(offset))
    }

    /// Bytes of the events that are planned, without what their batches save by compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the partition is, and what is to be appended to it, each batch with its offset.
    pub(super) fn batches(&mut self) -> (Uuid, i32, &[(i64, Batch)]) {
        self.close_batch();
        (self.topic.id, self.index, &self.batches)
    }

    /// The partition, which stays locked.
    pub(super) fn partition(&self) -> &Partition {
        self.partition
    }

    /// Appends what is planned, and lets go of the partition. When the log refuses, nothing from
    /// the offset it gives on is in the log.
    pub(super) fn append(mut self) -> Result<(), (i64, Error)> {
        self.append_batches()
    }

    /// The same, where it has been promised that all is appended: if the log refuses, the
    /// partition takes no mutations until a restart has kept the promise.
    pub(super) fn append_promised(mut self) -> Result<(), Error> {
        let appended = self.append_batches();
        self.tail.damaged |= appended.is_err();
        appended.map_err(|(_, error)| error)
    }

    fn append_batches(&mut self) -> Result<(), (i64, Error)> {
        self.close_batch();
        let mut refused = None;
        for (offset, batch) in std::mem::take(&mut self.batches) {
            if let Err(error) = self.partition.append(&batch) {
                refused = Some((offset, Error::Log(Arc::new(error))));
                break;
            }
        }
        let end = refused.as_ref().map_or(i64::MAX, |(offset, _)| *offset);
        for entry in self.entries.drain(..).take_while(|entry| entry.offset < end) {
            self.tail.push(entry);
        }
        // Before anybody can move the events into the store, which is under the same lock.
        if let Some(touched) = &self.touched {
            self.snapshots.mark(touched);
        }
        refused.map_or(Ok(()), Err)
    }

    /// The last state of a record.
    fn known(&self, id: &RecordId) -> Result<Known, Error> {
        match self.planned.get(id.as_str()).or_else(|| self.tail.known(id.as_str())) {
            Some(known) => Ok(known.clone()),
            None => Ok(Known::stored(self.rows.get(id.as_str())?)),
        }
    }

    /// What is known of the record of a mutation that may be carried out.
    fn admit(&self, mutation: &Mutation<'_>) -> Result<Known, Error> {
        self.must_take()?;
        let known = self.known(&mutation.id)?;
        let is_sweep = mutation.condition == Condition::Untouched;
        let is_touched = is_sweep && self.snapshots.is_touched(mutation.id.as_str())?;
        match !is_touched && mutation.condition.holds(&known.row) {
            true => Ok(known),
            false => Err(Error::unmet(&self.topic.id, &mutation.id, &known)),
        }
    }

    /// Whether the partition takes anything.
    fn must_take(&self) -> Result<(), Error> {
        match (self.tail.damaged, self.tail.retired) {
            (true, _) => Err(Error::Damaged(self.index)),
            (_, true) => Err(Error::Retired),
            _ => Ok(()),
        }
    }

    /// What a record was, under the names of the present mapping if those fit; a patch needs them.
    fn prior<'d>(
        &self,
        (row, data): (&Row, Option<&'d [u8]>),
        incoming: Option<&Object<'_>>,
        is_patch: bool,
    ) -> Result<Option<Object<'d>>, Error> {
        let Some(data) = data else { return Ok(None) };
        let state = Object::parse(data).map_err(Error::Unreadable)?;
        if row.mapping == self.destination.defined.version() {
            return Ok(Some(state));
        }
        match self.carry_over(state.clone(), row, incoming) {
            // Nothing of it stays: its columns have the names they had.
            Err(Error::Mapping(_)) if !is_patch => Ok(Some(state)),
            carried => carried.map(Some),
        }
    }

    /// A record's last state under the names of the present mapping.
    fn carry_over<'d>(
        &self,
        state: Object<'d>,
        row: &Row,
        incoming: Option<&Object<'_>>,
    ) -> Result<Object<'d>, Error> {
        let defined = self.destination.defined;
        match row.mapping.cmp(&defined.version()) {
            Ordering::Equal => Ok(state),
            Ordering::Less => {
                let from = defined.mapping_of(row.mapping);
                Ok(defined.mapping.carry_over(state, from, incoming)?)
            }
            Ordering::Greater => Err(Error::Remapped),
        }
    }

    /// Takes in what a record is after its event.
    fn published(&mut self, id: &RecordId, row: Row, hold: Option<Weak<()>>) -> Known {
        let offset = row.offset;
        let (id, raised) = (Box::<str>::from(id.as_str()), false);
        self.entries.push(Entry { offset, id: id.clone(), row: row.clone(), raised, hold });
        self.remember(id, Known { row, rests_on: Some(offset), raised })
    }

    fn remember(&mut self, id: Box<str>, known: Known) -> Known {
        self.planned.insert(id, known.clone());
        known
    }

    /// Of a mutation that leaves a record as it is; it waits for what others made of that.
    fn unchanged(&self, id: &RecordId, known: &Known) -> Done {
        let row = || Raised { id: id.as_str().into(), row: known.row.clone() };
        let raised = known.raised.then(row);
        Done { raised, ..Done::unchanged(self.index, &known.row, known.rests_on) }
    }

    /// Holds a version of a mutation that changed nothing.
    fn raise(&mut self, id: RecordId, known: Known, version: Option<Version>) -> Done {
        if version == known.row.version {
            return self.unchanged(&id, &known);
        }
        let row = Row { version, deleted_ms: clock::unix_ms(), ..known.row };
        // In the tail it stands behind the partition's last event, so that is what it rests on.
        let offset = self.next - 1;
        let rests_on = (offset >= 0).then_some(offset);
        let raised = true;
        let entry = Entry { offset, id: id.as_str().into(), row: row.clone(), raised, hold: None };
        self.entries.push(entry);
        let known = self.remember(id.as_str().into(), Known { row, rests_on, raised });
        self.unchanged(&id, &known)
    }

    /// Puts an event into the batch, or a new one where it does not fit, and gives its offset.
    fn publish(
        &mut self,
        event: &NewEvent<'_>,
        Marks { key, version, backfill }: Marks<'_>,
    ) -> Result<i64, Error> {
        let offset = self.next;
        // A mutation that its sender did not name publishes nothing when it is sent again, so the
        // event's place in the log is name enough.
        let own = || event::own_key(&self.topic.name, self.index, offset);
        let key = key.map_or_else(own, str::to_owned);
        let version = version.map(|it| it.to_string());
        let headers = event.headers(&self.destination.sync.id, &key, version.as_deref());
        let mapping = self.destination.defined.version();
        let mapping = (mapping > 1).then(|| mapping.to_string());
        let headers = headers.chain(mapping.as_deref().map(|it| (event::MAPPING, it)));
        let headers = headers.chain(backfill.map(|it| (event::BACKFILL, it)));
        let headers: Vec<_> = headers
            .map(|(name, text)| RecordHeader {
                key: Str::from_static(name),
                value: Some(Bytes::copy_from_slice(text.as_bytes())),
            })
            .collect();
        let (at, id) = (event.created_at.as_millisecond(), event.id.as_str().as_bytes());
        event.write(&mut self.value);
        self.bytes += self.value.len();
        if self.batch.append(at, Some(id), Some(self.value.as_bytes()), &headers).is_err() {
            self.close_batch();
            let value = self.value.as_bytes();
            let appended = self.batch.append(at, Some(id), Some(value), &headers);
            appended.map_err(|it| Error::TooLarge { needed: it.needed, max: it.bytes_max })?;
        }
        self.next += 1;
        if event.change.kind() == Kind::Deleted
            && self.destination.defined.definition.has_tombstones()
        {
            self.publish_tombstone(at, id);
        }
        Ok(offset)
    }

    /// Puts a null value after a deleted event, for compaction.
    fn publish_tombstone(&mut self, at_ms: i64, id: &[u8]) {
        let mut appended = self.batch.append(at_ms, Some(id), None, &[]).is_ok();
        if !appended {
            self.close_batch();
            // A key and nothing else fits where the event with the same key did.
            appended = self.batch.append(at_ms, Some(id), None, &[]).is_ok();
        }
        self.next += i64::from(appended);
    }

    fn close_batch(&mut self) {
        let batch = std::mem::replace(&mut self.batch, builder(&self.topic));
        let base = self.next - i64::try_from(batch.len()).unwrap_or(0);
        self.batches.extend(batch.finish().map(|batch| (base, batch)));
    }
}

fn builder(topic: &Topic) -> BatchBuilder {
    let compression = topic.config.compression().unwrap_or_default();
    let level = topic.config.compression_level();
    BatchBuilder::new(compression, bytes_max(topic)).level(level)
}

/// Bytes of a batch, before it is compressed: no more than the next start reads.
fn bytes_max(topic: &Topic) -> usize {
    topic.config.max_message_bytes().min(DECOMPRESSED_BYTES_MAX)
}
