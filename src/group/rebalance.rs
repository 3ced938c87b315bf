//! From the first join of a rebalance to the generation that it forms.

use super::{
    Effect, Error, Group, Joined, JoinedMember, Metadata, Now, Record, Reply, State, Timer,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;
use tidelog_protocol::Str;

/// A rebalance that members still join.
#[derive(Debug)]
pub(super) struct Preparing<T> {
    pub(super) joined: BTreeMap<Str, T>,
    /// Who joined first; it leads if the old leader does not come back.
    first: Option<Str>,
    /// Set for the first rebalance of an empty group.
    initial: Option<Initial>,
}

/// An empty group waits for more members, and again whenever some came.
#[derive(Clone, Copy, Debug)]
struct Initial {
    grew: bool,
    left: Duration,
}

impl<T> Preparing<T> {
    pub(super) fn note_new_member(&mut self) {
        if let Some(initial) = &mut self.initial {
            initial.grew = true;
        }
    }
}

/// When none of the static members came back, the next look is no sooner than this.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

impl<T> Group<T> {
    /// Waits with the member for the generation to come, and forms it if that was the last one.
    pub(super) fn rejoin(&mut self, now: Now, id: Str, ticket: T, out: &mut Vec<Effect<T>>) {
        if !matches!(self.state, State::PreparingRebalance(_)) {
            self.prepare(now, out);
        }
        self.timers.cancel(&Timer::Session(id.clone()));
        if let State::PreparingRebalance(preparing) = &mut self.state {
            preparing.first.get_or_insert(id.clone());
            if let Some(abandoned) = preparing.joined.insert(id, ticket) {
                out.push(Effect::Reply(abandoned, Reply::Failed(Error::RebalanceInProgress)));
            }
        }
        self.form_if_all_joined(now, out);
    }

    /// Begins a rebalance: whoever waits for an assignment must rejoin.
    pub(super) fn prepare(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let (delay, timeout) =
            (self.options.initial_rebalance_delay, self.members.rebalance_timeout());
        let initial = matches!(self.state, State::Empty)
            .then(|| Initial { grew: false, left: timeout.saturating_sub(delay) });
        let wait = if initial.is_some() { delay } else { timeout };
        let next = Preparing { joined: BTreeMap::new(), first: None, initial };
        let last = std::mem::replace(&mut self.state, State::PreparingRebalance(next));
        if let State::CompletingRebalance { syncing } = last {
            for (id, ticket) in syncing {
                self.touch(now, &id);
                out.push(Effect::Reply(ticket, Reply::Failed(Error::RebalanceInProgress)));
            }
        }
        self.timers.cancel(&Timer::Sync);
        self.timers.set(Timer::Rebalance, now.since_start + wait);
    }

    pub(super) fn form_if_all_joined(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let State::PreparingRebalance(preparing) = &self.state else { return };
        let ready = match preparing.initial {
            Some(_) => self.options.initial_rebalance_delay.is_zero(),
            None => preparing.joined.len() == self.members.len() && self.pending.is_empty(),
        };
        if ready || self.members.is_empty() && preparing.initial.is_none() {
            self.form(now, out);
        }
    }

    /// The wait for members is over, unless an empty group is still growing.
    pub(super) fn end_rebalance(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let delay = self.options.initial_rebalance_delay;
        if let State::PreparingRebalance(preparing) = &mut self.state
            && let Some(initial) = &mut preparing.initial
            && initial.grew
            && !initial.left.is_zero()
        {
            let wait = delay.min(initial.left);
            *initial = Initial { grew: false, left: initial.left - wait };
            return self.timers.set(Timer::Rebalance, now.since_start + wait);
        }
        self.form(now, out);
    }

    /// Forms a generation of those that joined and of the static members.
    fn form(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let State::PreparingRebalance(preparing) = &self.state else { return };
        let absent = self.members.iter().filter(|(id, member)| {
            member.group_instance_id.is_none() && !preparing.joined.contains_key(*id)
        });
        let absent: Vec<Str> = absent.map(|(id, _)| id.clone()).collect();
        absent.iter().for_each(|id| self.remove(id, Error::UnknownMemberId, out));
        self.timers.cancel(&Timer::Rebalance);
        if self.members.is_empty() {
            return self.form_empty(now, out);
        }
        let State::PreparingRebalance(preparing) = &self.state else { return };
        let Some(leader) = self.elect_leader(preparing) else {
            let wait = self.members.rebalance_timeout().max(RETRY_AFTER_MIN);
            return self.timers.set(Timer::Rebalance, now.since_start + wait);
        };
        let protocol = self.members.elect_protocol().unwrap_or_default();
        let members = self
            .members
            .iter()
            .map(|(id, member)| (id.clone(), member.durable(&protocol, Bytes::new())));
        let metadata = Metadata {
            protocol_type: self.members.protocol_type().cloned().unwrap_or_default(),
            generation: self.next_generation(),
            members: members.collect(),
            protocol: Some(protocol),
            leader: Some(leader),
            since_ms: now.unix_ms,
        };
        self.append(Record::Group(Some(metadata)), out);
        self.answer_joins(now, out);
    }

    fn answer_joins(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let next = State::CompletingRebalance { syncing: BTreeMap::new() };
        let last = std::mem::replace(&mut self.state, next);
        let State::PreparingRebalance(Preparing { joined, .. }) = last else { return };
        for (id, ticket) in joined {
            self.touch(now, &id);
            out.push(Effect::Reply(ticket, Reply::Joined(self.joined(&id))));
        }
        self.timers.set(Timer::Sync, now.since_start + self.members.rebalance_timeout());
    }

    fn form_empty(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let kept = self.durable.metadata.as_ref();
        let metadata = Metadata {
            protocol_type: kept.map(|kept| kept.protocol_type.clone()).unwrap_or_default(),
            generation: self.next_generation(),
            since_ms: now.unix_ms,
            ..Default::default()
        };
        self.state = State::Empty;
        self.append(Record::Group(Some(metadata)), out);
        self.watch_retention(now);
    }

    /// The old leader if it is back, else who came first, else anyone who came.
    fn elect_leader(&self, preparing: &Preparing<T>) -> Option<Str> {
        let candidates = [self.durable.leader(), preparing.first.as_ref()];
        let back = candidates.into_iter().flatten().find(|id| preparing.joined.contains_key(*id));
        back.or_else(|| preparing.joined.keys().next()).cloned()
    }

    /// Past `i32::MAX` it starts over, as no client can hold a generation that old.
    fn next_generation(&self) -> i32 {
        self.durable.generation().checked_add(1).unwrap_or(1)
    }

    /// The answer to a member's join in the current generation.
    pub(super) fn joined(&self, id: &Str) -> Joined {
        let member_id = id.clone();
        let Some(metadata) = &self.durable.metadata else {
            return Joined { member_id, ..Joined::default() };
        };
        let leader = metadata.leader.clone().unwrap_or_default();
        // Only the leader, which assigns, is told of the others.
        let members = metadata.members.iter().filter(|_| leader == *id);
        let members = members.map(|(id, member)| JoinedMember {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: member.subscription.clone(),
        });
        Joined {
            generation: metadata.generation,
            protocol_type: metadata.protocol_type.clone(),
            protocol: metadata.protocol.clone().unwrap_or_default(),
            member_id,
            skip_assignment: false,
            members: members.collect(),
            leader,
        }
    }

    /// Forgets a member; whatever it waited for is answered with `why`.
    pub(super) fn remove(&mut self, id: &Str, why: Error, out: &mut Vec<Effect<T>>) {
        self.members.remove(id);
        self.timers.cancel(&Timer::Session(id.clone()));
        let ticket = match &mut self.state {
            State::PreparingRebalance(preparing) => preparing.joined.remove(id),
            State::CompletingRebalance { syncing } => syncing.remove(id),
            _ => None,
        };
        out.extend(ticket.map(|ticket| Effect::Reply(ticket, Reply::Failed(why))));
    }

    /// Members are gone: the others share the work anew.
    pub(super) fn after_removal(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        if matches!(self.state, State::CompletingRebalance { .. } | State::Stable { .. }) {
            self.prepare(now, out);
        }
        self.form_if_all_joined(now, out);
    }
}
