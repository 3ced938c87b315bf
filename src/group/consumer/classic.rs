//! Members of a consumer group that speak the classic protocol: JoinGroup tells what they
//! subscribe to and own, SyncGroup hands out what they may read, Heartbeat calls them back.

use super::heartbeat::sorted;
use super::partitions::Partitions;
use super::state::{Classic, ConsumerMember, ConsumerState, Current, MemberState};
use crate::group::member::{GROUP_METADATA_BYTES_MAX, MEMBERS_MAX, detach, millis, protocol_bytes};
use crate::group::offsets::CONSUMER;
use crate::group::{
    Effect, Error, Group, Heartbeat, Join, Joined, LeavingMember, Now, Protocol, Reply, Sync,
    Synced, Timer, Topics,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use tidelog_protocol::Str;
use tidelog_protocol::messages::{
    CONSUMER_PROTOCOL_VERSION_MAX, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
    ConsumerProtocolTopic,
};

impl<T> Group<T> {
    /// A classic member joins, or joins again: it is answered at once with what it has, and is
    /// called back for the rest.
    pub(in crate::group) fn join_consumer(
        &mut self,
        now: Now,
        join: Join,
        ticket: T,
        out: &mut Vec<Effect<T>>,
    ) {
        let (old, subscription) = match self.judge_classic(&join) {
            Ok(accepted) => accepted,
            Err(error) => return out.push(Effect::Reply(ticket, Reply::Failed(error))),
        };
        let is_new = join.member_id.is_empty();
        if is_new && join.group_instance_id.is_none() && join.requires_known_member_id {
            let reply = Reply::MemberIdRequired(detach(&join.new_member_id));
            return out.push(Effect::Reply(ticket, reply));
        }
        let id = detach(if is_new { &join.new_member_id } else { &join.member_id });
        if let Some(old) = old.filter(|old| *old != id) {
            if self.is_last_of_its_kind(&old) {
                self.remove_consumers(now, &[old], out);
                return self.join(now, join, ticket, out);
            }
            self.replace_consumer(&old, &id, out);
        }
        let owned = owned(now.topics, &subscription);
        let member = classic_member(&join, subscription);
        let timeout = now.since_start + millis(member.rebalance_timeout_ms);
        self.admit(now, &id, member, Some(&owned), out);
        self.touch_consumer(now, &id);
        self.timers.set(Timer::Reconcile(id.clone()), timeout);
        let joined = Joined {
            generation: self.durable.consumer.current(&id).epoch,
            protocol_type: Str::from_static(CONSUMER),
            protocol: first_protocol(&self.durable.consumer, &id),
            // Nobody leads: the coordinator assigns.
            leader: Str::new(),
            member_id: id,
            ..Joined::default()
        };
        out.push(Effect::Reply(ticket, Reply::Joined(joined)));
    }

    /// Whether a member may join; with the static member whose place it takes.
    fn judge_classic(
        &self,
        join: &Join,
    ) -> Result<(Option<Str>, ConsumerProtocolSubscription), Error> {
        let limits = self.options.session_timeout_ms_min..=self.options.session_timeout_ms_max;
        if !limits.contains(&join.session_timeout_ms) {
            return Err(Error::InvalidSessionTimeout);
        }
        join.check_bounds()?;
        let (state, id) = (&self.durable.consumer, &join.member_id);
        let instance = join.group_instance_id.as_ref();
        let old = instance.and_then(|instance| state.instance(instance));
        let known = state.members.contains_key(id) || old.is_some();
        let is_full = state.members.len() >= self.options.consumer_max_size.min(MEMBERS_MAX);
        let group_bytes = state.bytes() + protocol_bytes(&join.protocols);
        if is_full && !known || group_bytes > GROUP_METADATA_BYTES_MAX {
            return Err(Error::GroupMaxSizeReached);
        }
        match (instance, old) {
            (Some(_), None) if !id.is_empty() => return Err(Error::UnknownMemberId),
            (_, Some(old)) if !id.is_empty() && old != id => return Err(Error::FencedInstanceId),
            _ => {}
        }
        if join.protocol_type != CONSUMER || !shares_protocol(state, id, &join.protocols) {
            return Err(Error::InconsistentGroupProtocol);
        }
        let subscription = join.protocols.first().and_then(subscription);
        let (_, subscription) = subscription.ok_or(Error::InconsistentGroupProtocol)?;
        Ok((old.cloned(), subscription))
    }

    /// Whether all members but this one speak the classic protocol.
    fn is_last_of_its_kind(&self, id: &Str) -> bool {
        let members = &self.durable.consumer.members;
        let consumers = members.iter().filter(|(_, member)| member.classic.is_none());
        consumers.map(|(id, _)| id).eq([id])
    }

    /// A classic member asks for its assignment.
    pub(in crate::group) fn sync_consumer(&mut self, now: Now, sync: &Sync) -> Reply {
        let (id, instance) = (detach(&sync.member_id), sync.group_instance_id.as_ref());
        if let Err(error) = self.check_classic(&id, instance, Some(sync.generation)) {
            return Reply::Failed(error);
        }
        let state = &self.durable.consumer;
        let protocol = first_protocol(state, &id);
        let differs = |sent: &Option<Str>, ours: &str| sent.as_ref().is_some_and(|it| it != ours);
        if differs(&sync.protocol_type, CONSUMER) || differs(&sync.protocol, &protocol) {
            return Reply::Failed(Error::InconsistentGroupProtocol);
        }
        let current = state.current(&id);
        // One that is still to give back has joined already, and joins again when it has.
        if state.epoch > current.epoch && current.state != MemberState::UnrevokedPartitions {
            self.call_back(now, &id);
            return Reply::Failed(Error::RebalanceInProgress);
        }
        let version = state.members.get(&id).map_or(0, subscription_version);
        let assignment = to_assignment(now.topics, &current.assigned, version);
        self.timers.cancel(&Timer::Reconcile(id.clone()));
        self.touch_consumer(now, &id);
        let protocol_type = Str::from_static(CONSUMER);
        Reply::Synced(Synced { protocol_type, protocol, assignment })
    }

    /// A classic member is alive; it is called back when the group has moved on, when it is to
    /// give something back, and when what it waits for has come free.
    pub(in crate::group) fn heartbeat_of_classic(&mut self, now: Now, beat: &Heartbeat) -> Reply {
        let (id, instance) = (detach(&beat.member_id), beat.group_instance_id.as_ref());
        if let Err(error) = self.check_classic(&id, instance, Some(beat.generation)) {
            return Reply::Failed(error);
        }
        self.touch_consumer(now, &id);
        let state = &self.durable.consumer;
        let current = state.current(&id);
        let has_to_join = current.epoch < state.epoch
            || match current.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !state.waits(&id, current),
            };
        if !has_to_join {
            return Reply::Done;
        }
        self.call_back(now, &id);
        Reply::Failed(Error::RebalanceInProgress)
    }

    /// The member was told to join, and has its rebalance timeout to do so.
    fn call_back(&mut self, now: Now, id: &Str) {
        let timeout = self.durable.consumer.members.get(id).map_or(0, |it| it.rebalance_timeout_ms);
        self.timers.set_sooner(Timer::Reconcile(id.clone()), now.since_start + millis(timeout));
    }

    /// Members leave, of whichever protocol: an administrator may make them.
    pub(in crate::group) fn leave_consumer(
        &mut self,
        now: Now,
        members: &[LeavingMember],
        out: &mut Vec<Effect<T>>,
    ) -> Vec<Result<(), Error>> {
        let mut leaving: Vec<Str> = Vec::new();
        let outcomes = members.iter().map(|member| {
            let (state, id) = (&self.durable.consumer, &member.member_id);
            let known = match &member.group_instance_id {
                None => state.members.get_key_value(id).map(|(id, _)| id),
                Some(instance) => state.instance(instance),
            };
            let known = known.filter(|known| !leaving.contains(known));
            let known = known.ok_or(Error::UnknownMemberId)?;
            if !id.is_empty() && known != id {
                return Err(Error::FencedInstanceId);
            }
            leaving.push(known.clone());
            Ok(())
        });
        let outcomes = outcomes.collect();
        self.remove_consumers(now, &leaving, out);
        outcomes
    }

    /// Whether a request comes from a member that speaks the classic protocol, and of its epoch.
    fn check_classic(
        &self,
        id: &Str,
        instance: Option<&Str>,
        generation: Option<i32>,
    ) -> Result<(), Error> {
        let state = &self.durable.consumer;
        if let Some(instance) = instance {
            match state.instance(instance) {
                None => return Err(Error::UnknownMemberId),
                Some(owner) if owner != id => return Err(Error::FencedInstanceId),
                Some(_) => {}
            }
        }
        let member = state.members.get(id).filter(|member| member.classic.is_some());
        member.ok_or(Error::UnknownMemberId)?;
        match generation.is_none_or(|it| it == state.current(id).epoch) {
            true => Ok(()),
            false => Err(Error::IllegalGeneration),
        }
    }
}

impl ConsumerState {
    /// Whether another member still owns something of this one's target.
    fn waits(&self, id: &Str, current: &Current) -> bool {
        let missing = self.target(id).iter().filter(|it| !current.assigned.contains(it));
        missing.into_iter().any(|it| self.owner(&it).is_some_and(|owner| owner != id))
    }
}

/// Whether the group's other classic members all support one of the protocols.
fn shares_protocol(state: &ConsumerState, id: &Str, protocols: &[Protocol]) -> bool {
    let others = state.members.iter().filter(|(other, _)| *other != id);
    let others: Vec<&Classic> = others.filter_map(|(_, it)| it.classic.as_ref()).collect();
    let supports =
        |classic: &Classic, name: &Str| classic.protocols.iter().any(|it| it.name == *name);
    protocols.iter().any(|it| others.iter().all(|classic| supports(classic, &it.name)))
}

fn first_protocol(state: &ConsumerState, id: &str) -> Str {
    let classic = state.members.get(id).and_then(|member| member.classic.as_ref());
    let first = classic.and_then(|classic| classic.protocols.first());
    first.map(|protocol| protocol.name.clone()).unwrap_or_default()
}

pub(super) fn subscription(protocol: &Protocol) -> Option<(i16, ConsumerProtocolSubscription)> {
    ConsumerProtocolSubscription::from_bytes(protocol.metadata.clone()).ok()
}

/// The version that the member writes its subscription in, and reads its assignment in.
pub(super) fn subscription_version(member: &ConsumerMember) -> i16 {
    let first = member.classic.as_ref().and_then(|classic| classic.protocols.first());
    first.and_then(subscription).map_or(0, |(version, _)| version)
}

fn owned(topics: &Topics, subscription: &ConsumerProtocolSubscription) -> Partitions {
    by_id(topics, &subscription.owned_partitions)
}

/// Partitions by topic id; those that do not exist are left out.
pub(super) fn by_id(topics: &Topics, named: &[ConsumerProtocolTopic]) -> Partitions {
    let known = named.iter().filter_map(|it| Some((topics.get(&it.topic)?, &it.partitions)));
    let partitions = known.flat_map(|(shape, indexes)| {
        let exist = indexes.iter().filter(move |it| (0..shape.partitions).contains(*it));
        exist.map(move |index| (shape.id, *index))
    });
    partitions.collect()
}

/// Partitions as a classic member reads them; those whose topic is gone are left out.
pub(super) fn to_assignment(topics: &Topics, partitions: &Partitions, version: i16) -> Bytes {
    let mut named: BTreeMap<&Str, Vec<i32>> = BTreeMap::new();
    for (id, indexes) in partitions.topics() {
        if let Some(name) = topics.name(id) {
            named.insert(name, indexes.iter().copied().collect());
        }
    }
    let topic = |(topic, partitions): (&Str, Vec<i32>)| ConsumerProtocolTopic {
        topic: topic.clone(),
        partitions,
    };
    let assigned_partitions = named.into_iter().map(topic).collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    assignment.to_bytes(version.min(CONSUMER_PROTOCOL_VERSION_MAX))
}

fn classic_member(join: &Join, subscription: ConsumerProtocolSubscription) -> ConsumerMember {
    ConsumerMember {
        instance_id: join.group_instance_id.as_ref().map(detach),
        rack_id: subscription.rack_id.as_ref().map(detach),
        client_id: detach(&join.client_id),
        client_host: detach(&join.client_host),
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        topics: sorted(&subscription.topics),
        regex: None,
        assignor: None,
        classic: Some(Classic {
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols.iter().map(Protocol::detached).collect(),
        }),
    }
}
