//! One partition's share of a request: mutations compared with their records under the
//! partition's lock, and what changed appended as few batches as may be.
//!
//! **All is planned before anything is appended.** Events get their offsets while they are
//! planned, since nobody else writes to the partition; a record that is mutated twice is compared
//! with what the first mutation makes of it.

use super::batches::{Batches, Headers};
use super::compare::{Compare, Incoming, Made, carry_over};
use super::diff::{Change, changes};
use super::event::{Kind, NewEvent};
use super::json::Object;
use super::mutation::{Condition, Done, Error, Key, Mutation, Operation, Published, Watch};
use super::name::RecordId;
use super::snapshot::{Snapshots, Touched};
use super::state::{Row, Rows};
use super::sync::{Defined, Sync};
use super::tail::{Entry, Known, Tail};
use super::version::Version;
use crate::clock;
use crate::topic::{Partition, Topic};
use parking_lot::MutexGuard;
use std::collections::HashMap;
use std::sync::Arc;
use tidelog_protocol::Uuid;
use tidelog_protocol::records::Batch;

/// What events of a collection are made with.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// The sync it belongs to.
    pub sync: &'a Sync,
    /// The collection it is of.
    pub defined: &'a Defined,
}

/// A partition, locked, and what is kept of its records.
pub(super) struct Place<'a> {
    pub index: i32,
    pub partition: &'a Partition,
    pub tail: MutexGuard<'a, Tail>,
    pub rows: &'a Rows,
    pub snapshots: &'a Snapshots,
}

/// A partition, locked, and what is to be appended to it.
pub(super) struct Run<'a> {
    destination: Destination<'a>,
    place: Place<'a>,
    /// What leaves a mark for the snapshot that is open.
    touched: Option<Touched>,
    batches: Batches,
    /// What becomes of records.
    planned: HashMap<Box<str>, Known>,
    /// The same in order, as it goes into the tail.
    entries: Vec<Entry>,
    /// Bytes of records that get another version and no event.
    raised_bytes: usize,
}

impl<'a> Run<'a> {
    /// A run with nothing planned yet.
    pub(super) fn new(destination: Destination<'a>, topic: Arc<Topic>, place: Place<'a>) -> Self {
        let next = place.partition.log().log_end_offset();
        Self {
            destination,
            touched: place.snapshots.touched(),
            batches: Batches::new(topic, place.index, next),
            place,
            planned: HashMap::new(),
            entries: Vec::new(),
            raised_bytes: 0,
        }
    }

    /// Compares a mutation with its record, and plans its event if there is to be one. The answer
    /// is true once [`Run::append`] has said so.
    pub(super) fn plan(&mut self, mutation: Mutation<'_>) -> Result<Done, Error> {
        self.touch(&mutation);
        let known = self.admit(&mutation)?;
        let Some(version) = mutation.newest(self.place.index, &known)? else {
            return Ok(self.stale(&known));
        };
        let Mutation { id, operation, data, follows, keeps, key, is_over, .. } = mutation;
        let data = match operation {
            Operation::Delete => None,
            _ => Some(data.ok_or(Error::NoData)?),
        };
        if is_over {
            return Ok(self.raise(&id, known, version, key.as_ref()));
        }
        let (row, mut merged) = (known.row.clone(), String::new());
        let compare = Compare {
            defined: self.destination.defined,
            partition: self.place.partition,
            row: &row,
            bytes_max: self.batches.bytes_max(),
        };
        let name = key.as_ref().map(|key| (&id, &*key.text));
        let incoming = Incoming { operation, data, follows, keeps, name, version };
        match compare.made(incoming, &mut merged)? {
            Made::Same => Ok(self.raise(&id, known, version, key.as_ref())),
            Made::Past => Ok(self.stale(&known)),
            Made::Changed(change, text) => self.change(&id, &change, &text, version, key.as_ref()),
        }
    }

    /// Has a mutation count as a sign of life of its record, whatever becomes of it.
    pub(super) fn touch(&mut self, mutation: &Mutation<'_>) {
        self.touched.iter_mut().for_each(|touched| touched.add(mutation));
    }

    /// Whether anything of a record is planned.
    pub(super) fn has_planned(&self, id: &RecordId) -> bool {
        self.planned.contains_key(id.as_str())
    }

    /// Plans the event of a change; `data` is the record, or what it last was.
    fn change(
        &mut self,
        id: &RecordId,
        change: &Change<'_>,
        data: &str,
        version: Option<Version>,
        key: Option<&Key>,
    ) -> Result<Done, Error> {
        let text = key.map(|key| key.text.as_str());
        let headers = Headers { key: text, version, backfill: None };
        let created_at = clock::timestamp();
        let event = self.event(id, change, data, created_at);
        let offset = self.batches.publish(self.destination, &event, headers)?;
        let exists = change.kind() != Kind::Deleted;
        let row = Row {
            offset,
            version,
            mapping: self.destination.defined.version(),
            data: exists.then(|| data.as_bytes().into()),
            deleted_ms: created_at.as_millisecond(),
        };
        let known = self.published(id, row, key.map(|key| key.hold.add(data.len())));
        let published = Some(Published { kind: change.kind(), offset });
        Ok(Done { published, ..self.unchanged(&known) })
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
        let record = carry_over(defined, &row, prior.clone(), None)?;
        let change = Change::Updated { changes: changes(&prior, &record) };
        let text = record.text();
        let headers = Headers { key: None, version: row.version, backfill: Some(backfill) };
        let event = self.event(id, &change, &text, clock::timestamp());
        let offset = self.batches.publish(self.destination, &event, headers)?;
        let data = Some(text.as_bytes().into());
        self.published(id, Row { offset, mapping: defined.version(), data, ..row }, None);
        Ok(Some(offset))
    }

    fn event<'e>(
        &self,
        id: &'e RecordId,
        change: &'e Change<'e>,
        data: &'e str,
        created_at: jiff::Timestamp,
    ) -> NewEvent<'e>
    where
        'a: 'e,
    {
        let Defined { collection, table, .. } = self.destination.defined;
        NewEvent { collection, created_at, change, data, id, table }
    }

    /// Bytes of what is planned: of events, without what their batches save by compression, and of
    /// records that get another version only.
    pub(super) fn bytes(&self) -> usize {
        self.batches.bytes() + self.raised_bytes
    }

    /// Where the partition is, and what is to be appended to it, each batch with its offset.
    pub(super) fn batches(&mut self) -> (Uuid, i32, &[(i64, Batch)]) {
        (self.batches.topic.id, self.place.index, self.batches.all())
    }

    /// The partition, which stays locked.
    pub(super) fn partition(&self) -> &Partition {
        self.place.partition
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
        self.place.tail.damaged |= appended.is_err();
        appended.map_err(|(_, error)| error)
    }

    /// Lets go of the partition with nothing appended.
    pub(super) fn refuse(self) {
        self.mark();
    }

    fn append_batches(&mut self) -> Result<(), (i64, Error)> {
        let mut refused = None;
        for (offset, batch) in self.batches.take() {
            if let Err(error) = self.place.partition.append(&batch) {
                refused = Some((offset, Error::Log(Arc::new(error))));
                break;
            }
        }
        let end = refused.as_ref().map_or(i64::MAX, |(offset, _)| *offset);
        for entry in self.entries.drain(..).take_while(|entry| entry.offset < end) {
            self.place.tail.push(entry);
        }
        // Before anybody can move the events into the store, which is under the same lock.
        self.mark();
        refused.map_or(Ok(()), Err)
    }

    fn mark(&self) {
        if let Some(touched) = &self.touched {
            self.place.snapshots.mark(touched);
        }
    }

    /// The last state of a record.
    fn known(&self, id: &RecordId) -> Result<Known, Error> {
        match self.planned.get(id.as_str()).or_else(|| self.place.tail.known(id.as_str())) {
            Some(known) => Ok(known.clone()),
            None => Ok(Known::stored(self.place.rows.get(id.as_str())?)),
        }
    }

    /// What is known of the record of a mutation that may be carried out.
    fn admit(&self, mutation: &Mutation<'_>) -> Result<Known, Error> {
        self.must_take()?;
        if let Some(reason) = &mutation.refused {
            return Err(Error::Refused(reason.clone()));
        }
        if mutation.key.as_ref().is_some_and(|key| key.hold.is_full()) {
            return Err(Error::TooMuch);
        }
        let known = self.known(&mutation.id)?;
        let is_sweep = mutation.condition == Condition::Untouched;
        let is_touched = is_sweep && self.place.snapshots.is_touched(mutation.id.as_str())?;
        match !is_touched && mutation.condition.holds(&known.row) {
            true => Ok(known),
            false => {
                let (topic, index) = (&self.batches.topic.id, self.place.index);
                Err(Error::unmet(topic, index, &mutation.id, &known))
            }
        }
    }

    /// Whether the partition takes anything.
    fn must_take(&self) -> Result<(), Error> {
        match (self.place.tail.damaged, self.place.tail.retired) {
            (true, _) => Err(Error::Damaged(self.place.index)),
            (_, true) => Err(Error::Retired),
            _ => Ok(()),
        }
    }

    /// Takes in what a record is after its event.
    fn published(&mut self, id: &RecordId, row: Row, hold: Option<Watch>) -> Known {
        let offset = row.offset;
        let id = Box::<str>::from(id.as_str());
        self.entries.push(Entry { offset, id: id.clone(), row: row.clone(), raised: false, hold });
        self.remember(id, Known { row, rests_on: Some(offset), raised: None })
    }

    fn remember(&mut self, id: Box<str>, known: Known) -> Known {
        self.planned.insert(id, known.clone());
        known
    }

    /// Of a mutation that leaves a record as it is; it waits for what others made of that.
    fn unchanged(&self, known: &Known) -> Done {
        Done::unchanged(self.place.index, known)
    }

    /// Of one that came too late.
    fn stale(&self, known: &Known) -> Done {
        Done { stale: true, ..self.unchanged(known) }
    }

    /// Holds a version of a mutation that changed nothing, with the record.
    fn raise(
        &mut self,
        id: &RecordId,
        known: Known,
        version: Option<Version>,
        key: Option<&Key>,
    ) -> Done {
        if version == known.row.version {
            return self.unchanged(&known);
        }
        let bytes = known.row.data.as_ref().map_or(0, |data| data.len());
        self.raised_bytes += bytes;
        if let Some(key) = key {
            key.hold.add(bytes);
        }
        let row = Row { version, deleted_ms: clock::unix_ms(), ..known.row };
        // In the tail it stands behind the partition's last event, so that is what it rests on.
        let offset = self.batches.next - 1;
        let rests_on = (offset >= 0).then_some(offset);
        let raised = Some(self.place.tail.next_number() + self.entries.len() as u64);
        let id = Box::<str>::from(id.as_str());
        let entry = Entry { offset, id: id.clone(), row: row.clone(), raised: true, hold: None };
        self.entries.push(entry);
        let known = self.remember(id, Known { row, rests_on, raised });
        self.unchanged(&known)
    }
}
