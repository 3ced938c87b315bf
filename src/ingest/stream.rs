//! One collection, live: mutations in, events appended, the state kept.
//!
//! A partition's mutations run one after the other under its lock. What has been appended but is
//! not durable yet is kept in memory (`tail`), so that the next mutation of a record is compared
//! with the truth, and moves to the store once it is durable: **the store is never ahead of the
//! log, and an answer waits for every event it rests on**, also for another client's. While it
//! moves, mutations go on; no answer waits for that, unless so much is to move that memory must be
//! bounded: the store has moments, when it begins another journal, in which nobody can write to it.

mod settling;
mod telling;

use super::backfill::Backfill;
use super::mutation::{Done, Error, Mutation};
use super::name::RecordId;
use super::run::{Destination, Place, Run};
use super::snapshot::Snapshots;
use super::state::{Frozen, Rows};
use super::tail::{Known, Tail};
use crate::state::State;
use crate::topic::{Partition, Topic, partition_for};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Notify;

/// A collection's topic, and what of it is not in the store yet.
pub(super) struct Stream {
    /// As it was configured last.
    topic: RwLock<Arc<Topic>>,
    /// As it was at first, for its partitions: a sync's topic does not grow.
    partitions: Arc<Topic>,
    rows: Rows,
    tails: Vec<Mutex<Tail>>,
    /// Held, before the tail's lock, by who writes rows of a partition to the store.
    rows_of: Vec<Mutex<()>>,
    /// The collection's snapshot.
    pub snapshots: Arc<Snapshots>,
    /// Its backfill, the last there was.
    pub backfill: Mutex<Option<Backfill>>,
    /// Whether some partition has much that is not in the store.
    has_much: AtomicBool,
    /// Told so.
    unsettled: Arc<Notify>,
    /// Told when something has moved to the store.
    moved: Notify,
    raised: telling::Raises,
}

/// What is known of records, by id.
pub(super) type KnownById = BTreeMap<String, Known>;

/// Bytes of events from which on what is planned is appended, before more is: a patch of a few
/// bytes publishes its whole record.
const RUN_BYTES_MAX: usize = 8 << 20;

impl Stream {
    /// A stream of a topic, of which some partitions' state is not known, with the snapshot and
    /// backfill it had.
    pub(super) fn new(
        topic: Arc<Topic>,
        state: State,
        damaged: &BTreeSet<i32>,
        (snapshots, backfill): (Arc<Snapshots>, Option<Backfill>),
        unsettled: Arc<Notify>,
    ) -> Self {
        let rows = Rows::new(state, topic.id);
        let tail = |index| {
            let damaged = damaged.contains(&index) || topic.is_offline(index);
            Mutex::new(Tail::new(damaged))
        };
        // What is in the log was replayed at the start; where that failed, the replay said so.
        for (_, partition) in topic.online().filter(|(_, it)| it.released() == i64::MAX) {
            partition.release(partition.log().log_end_offset());
        }
        let tails = (0..topic.count()).map(tail).collect();
        let rows_of = (0..topic.count()).map(|_| Mutex::default()).collect();
        let partitions = topic.clone();
        let backfill = Mutex::new(backfill);
        Self {
            topic: RwLock::new(topic),
            partitions,
            rows,
            tails,
            rows_of,
            snapshots,
            backfill,
            has_much: AtomicBool::new(false),
            unsettled,
            moved: Notify::new(),
            raised: telling::Raises::default(),
        }
    }

    /// The topic as it is now.
    pub(super) fn topic(&self) -> Arc<Topic> {
        self.topic.read().clone()
    }

    /// Takes over how the topic is configured now.
    pub(super) fn set_topic(&self, topic: Arc<Topic>) {
        *self.topic.write() = topic;
    }

    /// The partition of a record.
    pub(super) fn partition_of(&self, id: &RecordId) -> i32 {
        self.partition_of_id(id.as_str())
    }

    /// The same of an id's text.
    pub(super) fn partition_of_id(&self, id: &str) -> i32 {
        partition_for(id.as_bytes(), self.partitions.count())
    }

    /// The record as it is now.
    pub(super) fn get(&self, id: &RecordId) -> Result<Known, Error> {
        let index = self.partition_of(id);
        let tail = self.tails[position(index)].lock();
        if tail.damaged {
            return Err(Error::Damaged(index));
        }
        match tail.known(id.as_str()) {
            Some(known) => Ok(known.clone()),
            None => Ok(Known::stored(self.rows.get(id.as_str())?)),
        }
    }

    /// A partition of the topic. One that is offline is damaged, too.
    pub(super) fn partition(&self, index: i32) -> Result<&Partition, Error> {
        self.partitions.partition(index).map_err(|_| Error::Damaged(index))
    }

    /// The partitions of the topic that are not offline, with their indexes.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (i32, &Partition)> {
        self.partitions.online()
    }

    /// The state store's rows.
    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The state store's rows as they are now.
    pub(super) fn frozen(&self) -> Frozen {
        self.rows.frozen()
    }

    /// What is known of the records after an id, deleted ones too, by id: up to `limit` of those in
    /// the store, and all that is not there yet up to the last of them. Whether that is all there
    /// is.
    pub(super) fn known_after(
        &self,
        after: &str,
        limit: usize,
    ) -> Result<(KnownById, bool), Error> {
        let mut unsettled = BTreeMap::new();
        for (index, tail) in (0..).zip(&self.tails) {
            let tail = tail.lock();
            if tail.damaged {
                return Err(Error::Damaged(index));
            }
            let rest = tail.all().filter(|(id, _)| *id > after);
            unsettled.extend(rest.map(|(id, known)| (id.to_owned(), known.clone())));
        }
        // What moves to the store meanwhile is in both, and newer there or the same.
        let (stored, is_all) = self.rows.after(after, limit)?;
        let last = stored.last().map(|(id, _)| id.clone()).filter(|_| !is_all);
        let mut known: BTreeMap<_, _> =
            stored.into_iter().map(|(id, row)| (id, Known::stored(row))).collect();
        if let Some(last) = &last {
            unsettled.retain(|id, _| id <= last);
        }
        known.extend(unsettled);
        Ok((known, last.is_none()))
    }

    /// Carries out mutations in their order; each has its own outcome. Whoever calls this lets
    /// [`Stream::settle_after`] follow. Reads the store and writes the log: not for an async
    /// worker.
    pub(super) fn mutate(
        &self,
        destination: Destination<'_>,
        mutations: Vec<Mutation<'_>>,
    ) -> Vec<Result<Done, Error>> {
        let mut outcomes: Vec<Option<Result<Done, Error>>> = Vec::new();
        let mut by_partition: BTreeMap<i32, Vec<(usize, Mutation<'_>)>> = BTreeMap::new();
        for (at, mutation) in mutations.into_iter().enumerate() {
            outcomes.push(None);
            let partition = self.partition_of(&mutation.id);
            by_partition.entry(partition).or_default().push((at, mutation));
        }
        for (index, mutations) in by_partition {
            let mut mutations = mutations.into_iter();
            while mutations.len() > 0 {
                self.mutate_some(destination, index, &mut mutations, &mut outcomes);
                if mutations.len() > 0 {
                    self.make_room(index);
                }
            }
        }
        // Every mutation was in one partition's run, which gave it an outcome.
        outcomes.into_iter().flatten().collect()
    }

    /// Carries out the first mutations of a partition's share: one at least, and no more than
    /// [`RUN_BYTES_MAX`] lets.
    fn mutate_some<'m>(
        &self,
        destination: Destination<'_>,
        index: i32,
        mutations: &mut impl ExactSizeIterator<Item = (usize, Mutation<'m>)>,
        outcomes: &mut [Option<Result<Done, Error>>],
    ) {
        let mut run = match self.run(destination, index) {
            Ok(run) => run,
            Err(error) => {
                return mutations.for_each(|(at, _)| outcomes[at] = Some(Err(error.clone())));
            }
        };
        let mut places = Vec::with_capacity(mutations.len());
        while run.bytes() < RUN_BYTES_MAX
            && let Some((at, mutation)) = mutations.next()
        {
            places.push(at);
            outcomes[at] = Some(run.plan(mutation));
        }
        if let Err((end, error)) = run.append() {
            for at in places {
                // What is refused may tell of what was to be appended, too.
                let outcome = outcomes[at].as_ref();
                let told = outcome.and_then(|it| it.as_ref().map_or_else(Error::tells, Some));
                if told.is_some_and(|it| it.rests_on.is_some_and(|offset| offset >= end)) {
                    outcomes[at] = Some(Err(error.clone()));
                }
            }
        }
    }

    /// A partition's share of a request.
    pub(super) fn run<'a>(
        &'a self,
        destination: Destination<'a>,
        index: i32,
    ) -> Result<Run<'a>, Error> {
        let partition = self.partition(index)?;
        // What is compared, and what senders ask to be remembered, is in a store beside the log.
        partition.log().check_spare().map_err(|error| Error::Log(Arc::new(error)))?;
        let tail = self.tails[position(index)].lock();
        let (rows, snapshots) = (&self.rows, &*self.snapshots);
        let place = Place { index, partition, tail, rows, snapshots };
        Ok(Run::new(destination, self.topic(), place))
    }

    /// Runs `work` while no mutation is under way, with the ends of the partitions; 0 for one that
    /// is offline, as if all of its events came after.
    pub(super) fn between_mutations<T>(&self, work: impl FnOnce(Vec<i64>) -> T) -> T {
        let tails: Vec<_> = self.tails.iter().map(Mutex::lock).collect();
        let end = |index| self.partition(index).map_or(0, |it| it.log().log_end_offset());
        let ends = (0..self.partitions.count()).map(end);
        let done = work(ends.collect());
        drop(tails);
        done
    }

    /// A partition whose records' state is not known.
    pub(super) fn first_damaged(&self) -> Option<i32> {
        let damaged = |(_, tail): &(i32, &Mutex<Tail>)| tail.lock().damaged;
        (0..).zip(&self.tails).find(damaged).map(|(index, _)| index)
    }

    /// Takes mutations or refuses them, as if the sync was deleted. None is under way afterwards
    /// that came before.
    pub(super) fn take_mutations(&self, takes: bool) {
        self.tails.iter().for_each(|tail| tail.lock().retired = !takes);
    }

    /// Takes no more mutations, and forgets what is not in the store: the sync was deleted.
    pub(super) fn retire(&self) {
        for (index, tail) in (0..).zip(&self.tails) {
            let _writing = self.rows_of[position(index)].lock();
            let mut tail = tail.lock();
            *tail = Tail::retired();
            if let Ok(partition) = self.partition(index) {
                partition.release(i64::MAX);
            }
        }
        self.moved.notify_waiters();
    }
}

/// Partitions are counted from 0.
fn position(index: i32) -> usize {
    usize::try_from(index).unwrap_or(0)
}
