//! The groups of an account, live: feeds the state machines, persists what they append, and
//! releases their replies.
//!
//! An input runs at once, under its group's lock, so requests are ordered as they arrive; what it
//! appends goes to the store's writer in the same order. **A reply is sent only when everything
//! its group appended before it is durable.** No group has a task: their deadlines share one.

use super::deadlines::Entry;
use super::unreadable::Unreadable;
use super::{
    Commit, Committed, ConfigSet, ConsumerDescription, ConsumerHeartbeat, Deadlines, Description,
    Effect, Error, Group, Heartbeat, Join, LeavingMember, Listing, Now, Options, Reply, StateName,
    Sync, TEXT_BYTES_MAX, TopicPartition, Topics,
};
use crate::clock;
use crate::state::{Changes, Place, State};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use tidelog_protocol::Str;
use tokio::sync::oneshot;

/// Groups of one account.
const GROUPS_MAX: usize = 100_000;

type Ticket = oneshot::Sender<Reply>;

/// Every group of an account.
pub struct Groups {
    account: String,
    state: State,
    deadlines: Deadlines,
    options: Options,
    configs: Mutex<BTreeMap<Str, ConfigSet>>,
    topics: TopicsNow,
    /// None of them has a slot.
    unreadable: Unreadable,
    slots: Arc<Slots>,
}

/// Gives the account's topics as they are.
pub type TopicsNow = Arc<dyn Fn() -> Arc<Topics> + Send + std::marker::Sync>;

type Slots = Mutex<HashMap<Str, Arc<Slot>>>;

/// A group and what the driver keeps beside it.
pub(super) struct Slot {
    name: Str,
    account: String,
    state: State,
    deadlines: Deadlines,
    topics: TopicsNow,
    live: Mutex<Live>,
    /// Where it is, until nothing is left of it.
    slots: Weak<Slots>,
    /// Commits handed to the store's writer and not durable yet.
    undurable: Arc<AtomicUsize>,
}

struct Live {
    group: Group<Ticket>,
    /// Where its next deadline is scheduled.
    scheduled: Option<Entry>,
}

fn now(topics: &Topics) -> Now<'_> {
    Now { since_start: clock::now(), unix_ms: clock::unix_ms(), topics }
}

impl Groups {
    /// No groups yet.
    pub fn new(
        account: &str,
        options: Options,
        state: State,
        deadlines: Deadlines,
        topics: TopicsNow,
    ) -> Self {
        let state = state.of_account();
        let unreadable = Unreadable::new(account, state.clone());
        let account = account.to_owned();
        let (configs, slots) = (Mutex::default(), Arc::default());
        Self { account, state, deadlines, options, configs, topics, unreadable, slots }
    }

    /// Rebuilds the groups from their records; called at start. Those that cannot be read are told
    /// to the log, and refused from then on.
    pub fn load(&self) {
        let topics = (self.topics)();
        for (name, records) in self.unreadable.read_all() {
            let group = Group::load(self.options_of(&name), now(&topics), &records);
            let slot = self.slot(name.clone(), group);
            slot.schedule(&mut slot.live.lock());
            self.slots.lock().insert(name, slot);
        }
    }

    /// Whether what is stored of a group, if there is one, can be read.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if not.
    pub fn check(&self, group: &str) -> Result<(), Error> {
        self.unreadable.check(group)
    }

    /// How many groups cannot be read.
    pub fn unreadable(&self) -> usize {
        self.unreadable.names().len()
    }

    /// A member joins.
    pub fn join(&self, group: &str, join: Join) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, true, |machine, now, ticket, out| {
            machine.join(now, join, ticket, out);
        }))
    }

    /// A member asks for its assignment.
    pub fn sync(&self, group: &str, sync: Sync) -> impl Future<Output = Reply> + use<> {
        let assigns = !sync.assignments.is_empty();
        wait(self.submit(group, assigns, |machine, now, ticket, out| {
            machine.sync(now, sync, ticket, out);
        }))
    }

    /// A member is alive.
    pub fn heartbeat(&self, group: &str, beat: Heartbeat) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, false, |machine, now, ticket, out| {
            machine.heartbeat(now, beat, ticket, out)
        }))
    }

    /// Members leave.
    pub fn leave(
        &self,
        group: &str,
        members: Vec<LeavingMember>,
    ) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, false, |machine, now, ticket, out| {
            machine.leave(now, members, ticket, out)
        }))
    }

    /// A member of the consumer protocol joins, stays or leaves.
    pub fn consumer_heartbeat(
        &self,
        group: &str,
        beat: &ConsumerHeartbeat,
    ) -> impl Future<Output = Reply> + use<> {
        let joins = beat.member_epoch == 0;
        wait(self.submit(group, joins, |machine, now, ticket, out| {
            machine.consumer_heartbeat(now, beat, ticket, out);
        }))
    }

    /// Offsets are committed.
    pub fn commit(&self, group: &str, commit: Commit) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, true, |machine, now, ticket, out| {
            machine.commit_offsets(now, commit, ticket, out);
        }))
    }

    /// Deletes a group without members, or one that cannot be read, and its offsets.
    pub async fn delete(&self, group: &str) -> Reply {
        match self.unreadable.delete(group).await {
            Some(Ok(())) => Reply::Done,
            Some(Err(error)) => Reply::Failed(error),
            None => {
                let place = self.state.place().await;
                let delete = |machine: &mut Group<_>, _: Now<'_>, ticket, out: &mut _| {
                    machine.delete(ticket, out);
                };
                wait(self.submit_at(place, group, delete)).await
            }
        }
    }

    /// Forgets what a group committed for these partitions.
    pub fn delete_offsets(
        &self,
        group: &str,
        partitions: Vec<TopicPartition>,
    ) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, false, |machine, now, ticket, out| {
            machine.delete_offsets(now, &partitions, ticket, out);
        }))
    }

    /// Every group on which something is set, and what.
    pub fn configs(&self) -> BTreeMap<Str, ConfigSet> {
        self.configs.lock().clone()
    }

    /// What is set on a group.
    pub fn config(&self, group: &str) -> ConfigSet {
        self.configs.lock().get(group).cloned().unwrap_or_default()
    }

    /// Sets this on a group, in place of what was set; the caller has stored it.
    pub fn configure(&self, group: &str, set: ConfigSet) {
        let mut configs = self.configs.lock();
        let options = self.options.with(&set);
        match set.is_empty() {
            true => drop(configs.remove(group)),
            false => drop(configs.insert(Str::from(group.to_owned()), set)),
        }
        drop(configs);
        if let Some(slot) = self.slots.lock().get(group).cloned() {
            slot.live.lock().group.configure(options);
        }
    }

    fn options_of(&self, group: &str) -> Options {
        let configs = self.configs.lock();
        configs.get(group).map_or(self.options, |set| self.options.with(set))
    }

    /// Whether there is such a group.
    pub fn exists(&self, group: &str) -> bool {
        self.slots.lock().contains_key(group) || self.check(group).is_err()
    }

    /// Every group's name, with what a list shows of it.
    pub fn list(&self) -> Vec<(Str, Listing)> {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let live = slots.iter().map(|slot| (slot.name.clone(), slot.live.lock().group.list()));
        live.chain(self.unreadable.list()).collect()
    }

    /// A group of the classic protocol in detail, if this is one.
    pub fn describe(&self, group: &str) -> Option<Description> {
        let slot = self.slots.lock().get(group).cloned()?;
        slot.live.lock().group.describe()
    }

    /// A group of the consumer protocol in detail, if this is one.
    pub fn describe_consumer(&self, group: &str) -> Option<ConsumerDescription> {
        let slot = self.slots.lock().get(group).cloned()?;
        slot.live.lock().group.describe_consumer()
    }

    /// Whether who asks for a group's offsets as a member of it is one, at this epoch.
    pub fn check_fetch(
        &self,
        group: &str,
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), Error> {
        let Some(slot) = self.slots.lock().get(group).cloned() else { return self.check(group) };
        slot.live.lock().group.check_fetch(member_id, member_epoch)
    }

    /// What a group has committed, by topic and partition, once that is durable.
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub async fn offsets(&self, group: &str) -> Result<Vec<(Str, i32, Committed)>, Error> {
        let Some(slot) = self.slots.lock().get(group).cloned() else {
            return self.check(group).map(|()| Vec::new());
        };
        let offsets = {
            let live = slot.live.lock();
            let offsets = live.group.durable().offsets();
            offsets.map(|(topic, partition, it)| (topic.clone(), partition, it.clone())).collect()
        };
        slot.durable().await;
        Ok(offsets)
    }

    /// Forgets what groups committed for a topic that is gone.
    pub async fn forget_topic(&self, topic: &str) {
        self.unreadable.forget_topic(topic).await;
        let (topics, gone) = ((self.topics)(), [Str::from(topic)]);
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        for slot in slots {
            let place = self.state.place().await;
            {
                let (mut live, mut out) = (slot.live.lock(), Vec::new());
                live.group.remove_topic_offsets(now(&topics), &gone, &mut out);
                slot.carry_out(&mut live, out, place);
            }
            slot.durable().await;
        }
    }

    /// Has a group take an input. **A store that is far behind refuses it**, before anything is
    /// locked or changed: a disk that stalls holds up nobody but who has to wait for it. What
    /// `grows` the group's records is refused where there is no room for them, since a write that
    /// meets the end of the disk ends the process.
    fn submit(
        &self,
        group: &str,
        grows: bool,
        input: impl FnOnce(&mut Group<Ticket>, Now<'_>, Ticket, &mut Vec<Effect<Ticket>>),
    ) -> oneshot::Receiver<Reply> {
        let refused = |error| {
            let (ticket, reply) = oneshot::channel();
            drop(ticket.send(Reply::Failed(error)));
            reply
        };
        if grows && !self.state.has_room() {
            return refused(Error::NoRoom);
        }
        match self.state.try_place() {
            Some(place) => self.submit_at(place, group, input),
            None => refused(Error::Behind),
        }
    }

    fn submit_at(
        &self,
        place: Place,
        group: &str,
        input: impl FnOnce(&mut Group<Ticket>, Now<'_>, Ticket, &mut Vec<Effect<Ticket>>),
    ) -> oneshot::Receiver<Reply> {
        let (ticket, reply) = oneshot::channel();
        match self.slot_or_new(group) {
            Err(error) => drop(ticket.send(Reply::Failed(error))),
            Ok(slot) => {
                let mut out = Vec::new();
                let mut live = slot.live.lock();
                let topics = (self.topics)();
                input(&mut live.group, now(&topics), ticket, &mut out);
                slot.carry_out(&mut live, out, place);
                let vacant = live.group.is_vacant();
                drop(live);
                if vacant {
                    slot.forget();
                }
            }
        }
        reply
    }

    fn slot_or_new(&self, name: &str) -> Result<Arc<Slot>, Error> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(name) {
            return Ok(slot.clone());
        }
        self.check(name)?;
        if name.len() > TEXT_BYTES_MAX || slots.len() >= GROUPS_MAX {
            return Err(Error::InvalidRequest);
        }
        // A copy: the name may be a slice of a frame, which the map must not keep alive.
        let name = Str::from(name.to_owned());
        let slot = self.slot(name.clone(), Group::new(self.options_of(&name)));
        slots.insert(name, slot.clone());
        Ok(slot)
    }

    fn slot(&self, name: Str, group: Group<Ticket>) -> Arc<Slot> {
        Arc::new(Slot {
            name,
            account: self.account.clone(),
            state: self.state.clone(),
            deadlines: self.deadlines.clone(),
            topics: self.topics.clone(),
            live: Mutex::new(Live { group, scheduled: None }),
            slots: Arc::downgrade(&self.slots),
            undurable: Arc::default(),
        })
    }
}

/// Pends for ever if the sender is gone: the store has failed, and the process is ending without
/// acknowledging anything more.
async fn wait<T>(receiver: oneshot::Receiver<T>) -> T {
    match receiver.await {
        Ok(value) => value,
        Err(_) => std::future::pending().await,
    }
}

/// Where the store has a record of one of the account's groups.
pub(super) fn store_key(account: &str, key: &[u8]) -> Vec<u8> {
    [account.as_bytes(), &[0], key].concat()
}

impl Slot {
    /// Fires what is due at an entry, which is no longer scheduled.
    pub(super) fn expire(self: Arc<Self>, entry: Entry, place: Place) {
        let mut live = self.live.lock();
        live.scheduled.take_if(|scheduled| *scheduled == entry);
        let (topics, mut out) = ((self.topics)(), Vec::new());
        live.group.expire(now(&topics), &mut out);
        self.carry_out(&mut live, out, place);
        let vacant = live.group.is_vacant();
        drop(live);
        if vacant {
            self.forget();
        }
    }

    /// Waits until the store takes what an input appends.
    pub(super) async fn place(&self) -> Place {
        self.state.place().await
    }

    /// Drops a vacant group. One that was deleted goes at once, since it refuses whoever still has
    /// hold of it, and appends nothing more. One that is only unused stays if someone else has
    /// just got hold of it: only the map's handle and ours may be left. Others come through the
    /// map, which is locked, or for a deadline, which finds nothing to do.
    fn forget(self: Arc<Self>) {
        let Some(slots) = self.slots.upgrade() else { return };
        let mut slots = slots.lock();
        // It may have gone already, and another be there under its name.
        if !slots.get(&self.name).is_some_and(|slot| Arc::ptr_eq(slot, &self)) {
            return;
        }
        let (state, is_vacant) = {
            let live = self.live.lock();
            (live.group.state(), live.group.is_vacant())
        };
        if state == StateName::Dead || is_vacant && Arc::strong_count(&self) == 2 {
            slots.remove(&self.name);
        }
    }

    fn carry_out(self: &Arc<Self>, live: &mut Live, effects: Vec<Effect<Ticket>>, place: Place) {
        let (mut changes, mut replies) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Reply(ticket, reply) => replies.push((ticket, reply)),
                Effect::Append(record) => {
                    let (key, value) = record.encode(&self.name);
                    let value = value.map(|value| value.to_vec());
                    changes.push((store_key(&self.account, &key), value));
                }
            }
        }
        let release = move || {
            for (ticket, reply) in replies {
                // The client may have gone; its answer goes with it.
                let _ = ticket.send(reply);
            }
        };
        match changes.is_empty() && self.undurable.load(Ordering::Acquire) == 0 {
            true => release(),
            false => self.commit(place, changes, release),
        }
        self.schedule(live);
    }

    /// Hands changes to the store's writer; called under the group's lock, which keeps the order.
    fn commit(&self, place: Place, changes: Changes, then: impl FnOnce() + Send + 'static) {
        let undurable = self.undurable.clone();
        undurable.fetch_add(1, Ordering::AcqRel);
        let done = Box::new(move || {
            undurable.fetch_sub(1, Ordering::AcqRel);
            then();
        });
        self.state.commit(place, &self.state.groups, changes, done);
    }

    /// Waits until everything appended so far is durable.
    async fn durable(&self) {
        if self.undurable.load(Ordering::Acquire) == 0 {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        self.commit(self.state.place().await, Vec::new(), || {
            // Whoever waited may have gone.
            let _ = sender.send(());
        });
        wait(receiver).await;
    }

    fn schedule(self: &Arc<Self>, live: &mut Live) {
        let Some(deadline) = live.group.deadline() else { return };
        if live.scheduled.is_none_or(|(scheduled, _)| deadline < scheduled) {
            let entry = self.deadlines.schedule(live.scheduled, deadline, Arc::downgrade(self));
            live.scheduled = Some(entry);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(entry) = self.live.get_mut().scheduled {
            self.deadlines.cancel(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::CommitPartition;
    use std::sync::atomic::AtomicBool;

    fn join(member_id: Str) -> Join {
        Join {
            member_id,
            new_member_id: "member".into(),
            requires_known_member_id: true,
            session_timeout_ms: 6_000,
            protocol_type: "consumer".into(),
            protocols: vec![super::super::Protocol {
                name: "range".into(),
                metadata: bytes::Bytes::new(),
            }],
            ..Default::default()
        }
    }

    fn no_topics() -> TopicsNow {
        Arc::new(Arc::default)
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_group_that_nobody_joined() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), Arc::new(|_| {})).unwrap();
        let deadlines = Deadlines::default();
        let groups = Groups::new("acme", Options::default(), state, deadlines.clone(), no_topics());
        let reply = groups.join("left", join(Str::new())).await;
        assert!(matches!(reply, Reply::MemberIdRequired(_)), "{reply:?}");
        let member = LeavingMember { member_id: "member".into(), group_instance_id: None };
        groups.leave("left", vec![member]).await;
        assert_eq!((groups.exists("left"), deadlines.len()), (false, 0));
        groups.join("silent", join(Str::new())).await;
        assert_eq!((groups.exists("silent"), deadlines.len()), (true, 1));
        let slot = groups.slots.lock().get("silent").cloned().unwrap();
        let entry = slot.live.lock().scheduled.unwrap();
        let now = Now { since_start: entry.0, ..Now::default() };
        slot.live.lock().group.expire(now, &mut Vec::new());
        deadlines.cancel(entry);
        let place = slot.place().await;
        slot.expire(entry, place);
        assert_eq!((groups.exists("silent"), deadlines.len()), (false, 0));
    }

    #[tokio::test]
    async fn a_deleted_group_is_gone_also_while_someone_looks_at_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), Arc::new(|_| {})).unwrap();
        let deadlines = Deadlines::default();
        let groups = Groups::new("acme", Options::default(), state, deadlines, no_topics());
        let commit = || {
            let partitions = vec![CommitPartition { topic: "red".into(), ..Default::default() }];
            Commit { generation: -1, partitions, ..Default::default() }
        };
        groups.commit("crew", commit()).await;
        // As a list does.
        let held = groups.slots.lock().get("crew").cloned().unwrap();
        assert!(matches!(groups.delete("crew").await, Reply::Done));
        assert!(!groups.exists("crew"));
        groups.commit("crew", commit()).await;
        held.forget();
        assert!(groups.exists("crew"), "another group of this name");
    }

    #[tokio::test]
    async fn a_commit_without_room_for_it_is_refused_and_the_next_one_taken() {
        let dir = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicBool::new(true));
        let is_full = full.clone();
        let has_room = Arc::new(move || !is_full.load(Ordering::SeqCst));
        let state = State::open(dir.path(), Arc::new(|_| {})).unwrap().with_room(has_room);
        let deadlines = Deadlines::default();
        let groups = Groups::new("acme", Options::default(), state, deadlines, no_topics());
        let commit = || {
            let at = CommitPartition { topic: "red".into(), offset: 7, ..Default::default() };
            Commit { generation: -1, partitions: vec![at], ..Default::default() }
        };
        let refused = groups.commit("crew", commit()).await;
        assert!(matches!(refused, Reply::Failed(Error::NoRoom)), "{refused:?}");
        assert_eq!(groups.offsets("crew").await.unwrap().len(), 0);
        full.store(false, Ordering::SeqCst);
        let taken = groups.commit("crew", commit()).await;
        assert!(matches!(&taken, Reply::Each(each) if each[..] == [Ok(())]), "{taken:?}");
        assert_eq!(groups.offsets("crew").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn while_the_store_is_far_behind_groups_refuse_and_take_the_next_request() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), Arc::new(|_| {})).unwrap();
        let deadlines = Deadlines::default();
        let groups = Groups::new("acme", Options::default(), state.clone(), deadlines, no_topics());
        // Its share is used up, and that of others is not.
        let taken: Vec<_> = std::iter::from_fn(|| groups.state.try_place()).collect();
        assert!(state.try_place().is_some());
        let refused = groups.join("crew", join(Str::new())).await;
        assert_eq!((refused, groups.exists("crew")), (Reply::Failed(Error::Behind), false));
        drop(taken);
        let joined = groups.join("crew", join(Str::new())).await;
        assert!(matches!(joined, Reply::MemberIdRequired(_)), "{joined:?}");
    }

    #[tokio::test]
    async fn a_group_has_one_entry_however_often_its_deadline_moves() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path(), Arc::new(|_| {})).unwrap();
        let deadlines = Deadlines::default();
        let groups = Groups::new("acme", Options::default(), state, deadlines.clone(), no_topics());
        for retention_ms in (1..50).rev() {
            let commit = Commit {
                generation: -1,
                retention_ms: Some(retention_ms * 1_000_000),
                partitions: vec![super::super::CommitPartition::default()],
                ..Default::default()
            };
            groups.commit("simple", commit).await;
        }
        assert_eq!(deadlines.len(), 1);
    }
}
