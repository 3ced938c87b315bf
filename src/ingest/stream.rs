//! One collection, live: mutations in, events appended, the state kept.
//!
//! A partition's mutations run one after the other under its lock. What has been appended but is
//! not durable yet is kept in memory (`tail`), so that the next mutation of a record is compared
//! with the truth, and moves to the store once it is durable: **the store is never ahead of the
//! log, and an answer waits for every event it rests on**, also for another client's. While it
//! moves, mutations go on; no answer waits for that, unless so much is to move that memory must be
//! bounded: the store has moments, when it begins another journal, in which nobody can write to it.

use super::backfill::Backfill;
use super::mutation::{Done, Error, Mutation, Raised};
use super::name::RecordId;
use super::run::{Destination, Place, Run};
use super::snapshot::Snapshots;
use super::state::{self, Frozen, Rows, TOMBSTONE_RETENTION};
use super::tail::{Durable, Known, Tail};
use crate::state::{Changes, State};
use crate::task::blocking;
use crate::topic::{Partition, Topic, partition_for};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::runtime::Handle;
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
    raised: Raises,
}

/// What is known of records, by id.
pub(super) type KnownById = BTreeMap<String, Known>;

/// Whether versions that came without an event, and that the settler moved to the store, are synced
/// there: it writes without a sync, and nothing but the store has them.
struct Raises {
    /// How often any were moved. What an earlier process did counts as once.
    moved: AtomicU64,
    /// How many of these times the store was synced since.
    synced: AtomicU64,
}

/// From how many bytes of a partition on they move to the store before the second is over.
const SETTLE_BYTES: usize = 256 << 10;
/// Bytes of events from which on what is planned is appended, before more is: a patch of a few
/// bytes publishes its whole record.
const RUN_BYTES_MAX: usize = 8 << 20;
/// How many may wait for the store; a mutation beyond it waits for those before it to move.
const UNSETTLED_BYTES_MAX: usize = 4 << 20;

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
            raised: Raises::default(),
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
                self.mutate_some((destination, index), &mut mutations, &mut outcomes);
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
        (destination, index): (Destination<'_>, i32),
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

    /// Waits until what was appended is durable, and moves it to the store, but for what keyed
    /// writes hold: there is much of it, and more is to come.
    fn make_room(&self, index: i32) {
        let Ok(partition) = self.partition(index) else { return };
        Handle::current().block_on(partition.past(partition.log().log_end_offset()));
        if let Err(error) = self.settle_partition(index) {
            tracing::error!("record state stays in memory: {error}");
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

    /// Waits until a partition is durable up to what an answer rests on.
    pub(super) async fn durable(&self, partition: i32, rests_on: Option<i64>) {
        if let (Ok(partition), Some(offset)) = (self.partition(partition), rests_on) {
            partition.durable(offset).await;
        }
    }

    /// Has what becomes durable move to the store, if the partitions that these mutations were in
    /// have much that is not there; where they have too much, waits for it. Not for an async
    /// worker.
    pub(super) fn settle_after<'a>(&self, done: impl Iterator<Item = &'a Done>) {
        let partitions: BTreeSet<_> = done.map(|done| done.partition).collect();
        for index in partitions.into_iter().filter(|index| *index >= 0) {
            let bytes = self.tails[position(index)].lock().bytes();
            if bytes >= UNSETTLED_BYTES_MAX {
                if let Err(error) = self.settle_partition(index) {
                    tracing::error!("record state stays in memory: {error}");
                }
            } else if bytes >= SETTLE_BYTES && !self.has_much.swap(true, Ordering::Relaxed) {
                self.unsettled.notify_one();
            }
        }
    }

    /// Whether there was much to settle since this was asked last.
    pub(super) fn had_much(&self) -> bool {
        self.has_much.swap(false, Ordering::Relaxed)
    }

    /// Waits until writes may be answered: what is told of records may be, and the marks that keep
    /// them from being deleted, which are nowhere but in the state store, are synced there.
    pub(super) async fn confirm(self: &Arc<Self>, done: impl Iterator<Item = &Done> + Send) {
        let is_synced = self.tell(done).await;
        if !is_synced && self.snapshots.is_marking() {
            self.sync_store().await;
        }
    }

    /// Waits until it may be told what became of records, or what they are: the events that rests
    /// on are durable, and versions that came without one are synced in the state store. Gives
    /// whether that was synced for it.
    pub(super) async fn tell(self: &Arc<Self>, done: impl Iterator<Item = &Done> + Send) -> bool {
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        let (mut raised, mut tells_stored) = (Vec::new(), false);
        for done in done {
            // An event has its version in the log.
            tells_stored |= done.published.is_none() && done.version.is_some();
            if let Some(offset) = done.rests_on {
                let highest = last.entry(done.partition).or_insert(offset);
                *highest = offset.max(*highest);
            }
            raised.extend(done.raised.clone().map(|it| (done.partition, it)));
        }
        for (partition, offset) in last {
            self.durable(partition, Some(offset)).await;
        }
        if raised.is_empty() && !(tells_stored && self.raised.are_unsynced()) {
            return false;
        }
        if !raised.is_empty() {
            self.write_all_raised(raised).await;
        }
        self.sync_store().await;
        true
    }

    /// Waits until all that is in the store is synced there.
    async fn sync_store(&self) {
        let moved = self.raised.moved.load(Ordering::Acquire);
        self.snapshots.synced().await;
        self.raised.synced.fetch_max(moved, Ordering::AcqRel);
    }

    async fn write_all_raised(self: &Arc<Self>, raised: Vec<(i32, Raised)>) {
        let stream = self.clone();
        let written = blocking(move || {
            raised
                .iter()
                .try_for_each(|(partition, raised)| stream.write_raised(*partition, raised))
        });
        // As when the log fails: nothing is acknowledged any more.
        if let Err(error) = written.await {
            tracing::error!("a version cannot be stored: {error}");
            std::future::pending::<()>().await;
        }
    }

    /// Writes a version to the store ahead of what else is in the tail. What it rests on is
    /// durable, and replaying that does not undo it, since the row has the same offset.
    fn write_raised(&self, partition: i32, raised: &Raised) -> Result<(), state::Error> {
        let _writing = self.rows_of[position(partition)].lock();
        let mut tail = self.tails[position(partition)].lock();
        // It may have moved to the store meanwhile, or what came after it.
        if tail.known(&raised.id).is_some() && !self.rows.get(&raised.id)?.is_as_new_as(&raised.row)
        {
            self.rows.write(&raised.id, &raised.row)?;
            tail.went_ahead(&raised.id, raised.row.clone());
        }
        Ok(())
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

    /// Moves what has become durable into the store, unless there is no room for it.
    pub(super) fn settle(&self) -> Result<(), state::Error> {
        (0..).zip(&self.tails).try_for_each(|(index, _)| self.settle_partition(index))
    }

    fn settle_partition(&self, index: i32) -> Result<(), state::Error> {
        // Nothing is under way in one that is offline.
        let Ok(partition) = self.partition(index) else { return Ok(()) };
        let at = position(index);
        let _writing = self.rows_of[at].lock();
        let high_watermark = partition.high_watermark();
        let Durable { count, next, rows, raised } = self.tails[at].lock().durable(high_watermark);
        // A store that meets the end of the disk takes nothing any more until the next start. What
        // stays in memory is bounded there: mutations are refused too.
        if count > 0 && partition.log().check_spare().is_err() {
            return Ok(());
        }
        if count > 0 {
            let rows = rows.iter().map(|(id, row)| (&**id, row));
            self.rows.apply(index, next, rows, Changes::new())?;
        }
        if raised {
            // Before anybody finds them in the store only.
            self.raised.moved.fetch_add(1, Ordering::AcqRel);
        }
        let mut tail = self.tails[at].lock();
        tail.drop_front(count);
        release(partition, &tail, high_watermark);
        if count > 0 {
            self.moved.notify_waiters();
        }
        Ok(())
    }

    /// Waits until all that is durable before these offsets, one a partition, is in the store, what
    /// keyed writes keep from it until they are answered too. The settler has it move.
    pub(super) async fn settled(self: &Arc<Self>, ends: &Arc<[i64]>) -> Result<(), state::Error> {
        loop {
            let moved = self.moved.notified();
            let (stream, ends) = (self.clone(), ends.clone());
            let is_done = move || -> Result<bool, state::Error> {
                stream.settle()?;
                let mut firsts = stream.tails.iter().map(|tail| tail.lock().first_offset());
                Ok(ends.iter().all(|end| firsts.next().flatten().is_none_or(|it| it >= *end)))
            };
            if blocking(is_done).await? {
                return Ok(());
            }
            moved.await;
        }
    }

    /// Forgets the versions of records that were deleted too long before `now_ms`, and of the
    /// others the oldest beyond `max`.
    pub(super) fn forget_deleted(&self, now_ms: i64, max: u64) -> Result<(), state::Error> {
        let retention_ms = i64::try_from(TOMBSTONE_RETENTION.as_millis()).unwrap_or(i64::MAX);
        while self.forget_oldest(now_ms.saturating_sub(retention_ms), u64::MAX)? > 0 {}
        let mut beyond = self.rows.deleted_beyond(max)?;
        while beyond > 0 {
            match self.forget_oldest(i64::MAX, beyond)? {
                0 => break,
                forgotten => beyond = beyond.saturating_sub(forgotten),
            }
        }
        Ok(())
    }

    /// Forgets a share of those that were deleted before a time, and gives how many.
    fn forget_oldest(&self, before_ms: i64, limit: u64) -> Result<u64, state::Error> {
        let oldest = self.rows.deleted_before(before_ms, limit)?;
        let count = oldest.len() as u64;
        for deleted in oldest {
            let index = self.partition_of_id(&deleted.id);
            // So that the record does not come back between the look and the removal.
            let _writing = self.rows_of[position(index)].lock();
            let _tail = self.tails[position(index)].lock();
            self.rows.forget(deleted)?;
        }
        Ok(count)
    }
}

impl Raises {
    fn are_unsynced(&self) -> bool {
        self.synced.load(Ordering::Acquire) < self.moved.load(Ordering::Acquire)
    }
}

impl Default for Raises {
    fn default() -> Self {
        Self { moved: AtomicU64::new(1), synced: AtomicU64::new(0) }
    }
}

/// Lets the log have what is in the store: all but the events that are in memory only.
fn release(partition: &Partition, tail: &Tail, high_watermark: i64) {
    if !tail.damaged && !tail.retired {
        let first = tail.first_offset().unwrap_or(high_watermark);
        partition.release(first.max(partition.released()));
    }
}

/// Partitions are counted from 0.
fn position(index: i32) -> usize {
    usize::try_from(index).unwrap_or(0)
}
