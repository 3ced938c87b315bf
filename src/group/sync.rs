//! SyncGroup: the leader hands in the assignment, everyone gets a part of it.

use super::member::{ASSIGNMENT_BYTES_MAX, detach};
use super::{Effect, Error, Group, Now, Record, Reply, State, Timer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use tidelog_protocol::Str;

/// A request for the member's assignment.
#[derive(Clone, Debug, Default)]
pub struct Sync {
    /// The member.
    pub member_id: Str,
    /// Set by static members.
    pub group_instance_id: Option<Str>,
    /// The generation that the join was answered with.
    pub generation: i32,
    /// Checked if sent (KIP-559, version 5).
    pub protocol_type: Option<Str>,
    /// Checked if sent (KIP-559, version 5).
    pub protocol: Option<Str>,
    /// From the leader: each member's part.
    pub assignments: Vec<(Str, Bytes)>,
}

/// A member's part of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// What the members share.
    pub protocol_type: Str,
    /// The protocol voted for.
    pub protocol: Str,
    /// As the leader wrote it; empty if it gave the member nothing.
    pub assignment: Bytes,
}

impl<T> Group<T> {
    /// A member asks for its assignment.
    pub fn sync(&mut self, now: Now, sync: Sync, ticket: T, out: &mut Vec<Effect<T>>) {
        if let State::Consumer(_) = self.state {
            let reply = self.sync_consumer(now, &sync);
            return out.push(Effect::Reply(ticket, reply));
        }
        if let Err(error) = self.check_sync(&sync) {
            return out.push(Effect::Reply(ticket, Reply::Failed(error)));
        }
        let id = detach(&sync.member_id);
        match &mut self.state {
            State::CompletingRebalance { syncing } => {
                if let Some(abandoned) = syncing.insert(id.clone(), ticket) {
                    out.push(Effect::Reply(abandoned, Reply::Failed(Error::RebalanceInProgress)));
                }
                self.timers.cancel(&Timer::Session(id.clone()));
                if self.durable.leader() == Some(&id) {
                    self.assign(now, sync.assignments, out);
                }
            }
            State::Stable { unsynced } => {
                unsynced.remove(&id);
                if unsynced.is_empty() {
                    self.timers.cancel(&Timer::Sync);
                }
                self.touch(now, &id);
                out.push(Effect::Reply(ticket, Reply::Synced(self.synced(&id))));
            }
            _ => out.push(Effect::Reply(ticket, Reply::Failed(Error::RebalanceInProgress))),
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), Error> {
        self.check_member(&sync.member_id, sync.group_instance_id.as_ref(), sync.generation)?;
        let protocol_type = self.members.protocol_type();
        let differs =
            |sent: &Option<Str>, ours: Option<&Str>| sent.is_some() && sent.as_ref() != ours;
        if differs(&sync.protocol_type, protocol_type)
            || differs(&sync.protocol, self.durable.protocol())
        {
            return Err(Error::InconsistentGroupProtocol);
        }
        let bytes: usize = sync.assignments.iter().map(|(_, assignment)| assignment.len()).sum();
        if bytes > ASSIGNMENT_BYTES_MAX {
            return Err(Error::InvalidRequest);
        }
        Ok(())
    }

    /// Makes the leader's assignment durable and hands it out.
    fn assign(&mut self, now: Now, assignments: Vec<(Str, Bytes)>, out: &mut Vec<Effect<T>>) {
        let Some(mut metadata) = self.durable.metadata.clone() else { return };
        for (id, assignment) in assignments {
            if let Some(member) = metadata.members.get_mut(&id) {
                member.assignment = Bytes::copy_from_slice(&assignment);
            }
        }
        metadata.since_ms = now.unix_ms;
        self.append(Record::Group(Some(metadata)), out);
        let next = State::Stable { unsynced: BTreeSet::new() };
        let last = std::mem::replace(&mut self.state, next);
        let State::CompletingRebalance { syncing } = last else { return };
        self.await_syncs(&syncing);
        for (id, ticket) in syncing {
            self.touch(now, &id);
            out.push(Effect::Reply(ticket, Reply::Synced(self.synced(&id))));
        }
        self.watch_retention(now);
    }

    fn await_syncs(&mut self, syncing: &BTreeMap<Str, T>) {
        let late = self.members.iter().map(|(id, _)| id).filter(|id| !syncing.contains_key(*id));
        let unsynced: BTreeSet<Str> = late.cloned().collect();
        if unsynced.is_empty() {
            self.timers.cancel(&Timer::Sync);
        }
        self.state = State::Stable { unsynced };
    }

    fn synced(&self, id: &Str) -> Synced {
        Synced {
            protocol_type: self.members.protocol_type().cloned().unwrap_or_default(),
            protocol: self.durable.protocol().cloned().unwrap_or_default(),
            assignment: self.durable.assignment(id),
        }
    }

    /// Members that joined but never synced hold no assignment; the others take their part.
    pub(super) fn remove_unsynced(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let late: Vec<Str> = match &self.state {
            State::CompletingRebalance { syncing } => {
                let all = self.members.iter().map(|(id, _)| id);
                all.filter(|id| !syncing.contains_key(*id)).cloned().collect()
            }
            State::Stable { unsynced } => unsynced.iter().cloned().collect(),
            _ => return,
        };
        late.iter().for_each(|id| self.remove(id, Error::UnknownMemberId, out));
        self.after_removal(now, out);
    }
}
