//! The groups of an account, live: feeds the state machines, persists what they append, and
//! releases their replies.
//!
//! An input runs at once, under its group's lock, so requests are ordered as they arrive; what it
//! appends goes to the store's writer in the same order. **A reply is sent only when everything
//! its group appended before it is durable.** No group has a task: their deadlines share one.

use super::{
    Commit, Committed, Deadlines, Description, Effect, Error, Group, Heartbeat, Join,
    LeavingMember, Listing, Now, Options, Record, Reply, Sync, TEXT_BYTES_MAX, TopicPartition,
};
use crate::clock;
use crate::state::State;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
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
    slots: Mutex<HashMap<Str, Arc<Slot>>>,
}

/// A group and what the driver keeps beside it.
pub(super) struct Slot {
    name: Str,
    account: String,
    state: State,
    deadlines: Deadlines,
    live: Mutex<Live>,
    /// Commits handed to the store's writer and not durable yet.
    undurable: Arc<AtomicUsize>,
}

struct Live {
    group: Group<Ticket>,
    /// The earliest deadline is scheduled.
    scheduled: Option<Duration>,
}

fn now() -> Now {
    Now { since_start: clock::now(), unix_ms: clock::unix_ms() }
}

impl Groups {
    /// No groups yet.
    pub fn new(account: &str, options: Options, state: State, deadlines: Deadlines) -> Self {
        Self { account: account.to_owned(), state, deadlines, options, slots: Mutex::default() }
    }

    /// Rebuilds the groups from their records; called at start.
    pub fn load(&self) -> anyhow::Result<()> {
        let mut records: BTreeMap<Str, Vec<Record>> = BTreeMap::new();
        let prefix = store_key(&self.account, &[]);
        for entry in self.state.groups.prefix(&prefix) {
            let (key, value) = entry.into_inner()?;
            let key = bytes::Bytes::copy_from_slice(&key[prefix.len()..]);
            let value = bytes::Bytes::copy_from_slice(&value);
            let (group, record) = Record::decode(key, Some(value))?;
            records.entry(group).or_default().push(record);
        }
        for (name, records) in records {
            let group = Group::load(self.options, now(), &records);
            let slot = self.slot(name.clone(), group);
            slot.schedule(&mut slot.live.lock());
            self.slots.lock().insert(name, slot);
        }
        Ok(())
    }

    /// A member joins.
    pub fn join(&self, group: &str, join: Join) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, |machine, ticket, out| machine.join(now(), join, ticket, out)))
    }

    /// A member asks for its assignment.
    pub fn sync(&self, group: &str, sync: Sync) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, |machine, ticket, out| machine.sync(now(), sync, ticket, out)))
    }

    /// A member is alive.
    pub fn heartbeat(&self, group: &str, beat: Heartbeat) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, |machine, ticket, out| machine.heartbeat(now(), beat, ticket, out)))
    }

    /// Members leave.
    pub fn leave(
        &self,
        group: &str,
        members: Vec<LeavingMember>,
    ) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, |machine, ticket, out| machine.leave(now(), members, ticket, out)))
    }

    /// Offsets are committed.
    pub fn commit(&self, group: &str, commit: Commit) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, |machine, ticket, out| {
            machine.commit_offsets(now(), commit, ticket, out);
        }))
    }

    /// Deletes a group without members, and its offsets.
    pub fn delete(&self, group: &str) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, |machine, ticket, out| machine.delete(ticket, out)))
    }

    /// Forgets what a group committed for these partitions.
    pub fn delete_offsets(
        &self,
        group: &str,
        partitions: Vec<TopicPartition>,
    ) -> impl Future<Output = Reply> + use<> {
        wait(self.submit(group, |machine, ticket, out| {
            machine.delete_offsets(now(), &partitions, ticket, out);
        }))
    }

    /// Whether there is such a group.
    pub fn exists(&self, group: &str) -> bool {
        self.slots.lock().contains_key(group)
    }

    /// Every group's name, with what a list shows of it.
    pub fn list(&self) -> Vec<(Str, Listing)> {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        slots.iter().map(|slot| (slot.name.clone(), slot.live.lock().group.list())).collect()
    }

    /// A group in detail, if there is one.
    pub fn describe(&self, group: &str) -> Option<Description> {
        let slot = self.slots.lock().get(group).cloned()?;
        let description = slot.live.lock().group.describe();
        Some(description)
    }

    /// What a group has committed, by topic and partition, once that is durable.
    pub async fn offsets(&self, group: &str) -> Vec<(Str, i32, Committed)> {
        let Some(slot) = self.slots.lock().get(group).cloned() else { return Vec::new() };
        let (offsets, durable) = {
            let live = slot.live.lock();
            let offsets = live.group.durable().offsets();
            let offsets =
                offsets.map(|(topic, partition, it)| (topic.clone(), partition, it.clone()));
            (offsets.collect(), slot.barrier())
        };
        wait(durable).await;
        offsets
    }

    /// Forgets what groups committed for a topic that is gone.
    pub async fn forget_topic(&self, topic: &str) {
        let topics = [Str::from(topic)];
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        for slot in slots {
            let durable = {
                let mut live = slot.live.lock();
                let mut out = Vec::new();
                live.group.remove_topic_offsets(now(), &topics, &mut out);
                slot.carry_out(&mut live, out);
                slot.barrier()
            };
            wait(durable).await;
        }
    }

    fn submit(
        &self,
        group: &str,
        input: impl FnOnce(&mut Group<Ticket>, Ticket, &mut Vec<Effect<Ticket>>),
    ) -> oneshot::Receiver<Reply> {
        let (ticket, reply) = oneshot::channel();
        match self.slot_or_new(group) {
            Err(error) => drop(ticket.send(Reply::Failed(error))),
            Ok(slot) => {
                let mut out = Vec::new();
                let mut live = slot.live.lock();
                input(&mut live.group, ticket, &mut out);
                slot.carry_out(&mut live, out);
                let vacant = live.group.is_vacant();
                drop(live);
                if vacant {
                    self.forget(slot);
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
        if name.len() > TEXT_BYTES_MAX || slots.len() >= GROUPS_MAX {
            return Err(Error::InvalidRequest);
        }
        // A copy: the name may be a slice of a frame, which the map must not keep alive.
        let name = Str::from(name.to_owned());
        let slot = self.slot(name.clone(), Group::new(self.options));
        slots.insert(name, slot.clone());
        Ok(slot)
    }

    fn slot(&self, name: Str, group: Group<Ticket>) -> Arc<Slot> {
        Arc::new(Slot {
            name,
            account: self.account.clone(),
            state: self.state.clone(),
            deadlines: self.deadlines.clone(),
            live: Mutex::new(Live { group, scheduled: None }),
            undurable: Arc::default(),
        })
    }

    /// Drops a vacant group, unless someone else has just got hold of it: only the map's handle
    /// and ours may be left, and others come only through the map, which is locked.
    fn forget(&self, slot: Arc<Slot>) {
        let mut slots = self.slots.lock();
        if Arc::strong_count(&slot) == 2 && slot.live.lock().group.is_vacant() {
            slots.remove(&slot.name);
        }
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

fn store_key(account: &str, key: &[u8]) -> Vec<u8> {
    [account.as_bytes(), &[0], key].concat()
}

impl Slot {
    /// Fires what is due.
    pub(super) fn expire(self: &Arc<Self>) {
        let mut live = self.live.lock();
        live.scheduled = None;
        let mut out = Vec::new();
        live.group.expire(now(), &mut out);
        self.carry_out(&mut live, out);
    }

    fn carry_out(self: &Arc<Self>, live: &mut Live, effects: Vec<Effect<Ticket>>) {
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
            false => self.commit(changes, release),
        }
        self.schedule(live);
    }

    /// Hands changes to the store's writer; called under the group's lock, which keeps the order.
    fn commit(&self, changes: crate::state::Changes, then: impl FnOnce() + Send + 'static) {
        let undurable = self.undurable.clone();
        undurable.fetch_add(1, Ordering::AcqRel);
        let done = Box::new(move || {
            undurable.fetch_sub(1, Ordering::AcqRel);
            then();
        });
        self.state.commit(&self.state.groups, changes, done);
    }

    /// Resolves once everything appended so far is durable.
    fn barrier(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        match self.undurable.load(Ordering::Acquire) {
            0 => {
                let _ = sender.send(());
            }
            _ => self.commit(Vec::new(), || {
                // Whoever waited may have gone.
                let _ = sender.send(());
            }),
        }
        receiver
    }

    fn schedule(self: &Arc<Self>, live: &mut Live) {
        let Some(deadline) = live.group.deadline() else { return };
        if live.scheduled.is_none_or(|scheduled| deadline < scheduled) {
            live.scheduled = Some(deadline);
            self.deadlines.schedule(deadline, Arc::downgrade(self));
        }
    }
}
