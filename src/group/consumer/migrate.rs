//! A live group changes its protocol: to the consumer protocol when the first member that speaks
//! it joins, and back when the last one leaves. Nobody loses what it reads meanwhile.

use super::Live;
use super::classic::{by_id, subscription, subscription_version, to_assignment};
use super::heartbeat::{Refusal, not_found, sorted};
use super::partitions::Partitions;
use super::record::{ConsumerRecord, Epoch};
use super::state::{Classic, ConsumerMember, Current, MemberState};
use crate::group::durable::Metadata;
use crate::group::member::{self, Roster, millis, whole_millis};
use crate::group::offsets::CONSUMER;
use crate::group::{Effect, Error, Group, Now, Protocol, Record, Reply, State, Timer};
use std::collections::BTreeSet;
use tidelog_protocol::Str;
use tidelog_protocol::messages::ConsumerProtocolAssignment;

impl<T> Group<T> {
    /// Makes a consumer group of a classic one: of consumers, or without members.
    ///
    /// # Errors
    /// When members of a classic group do not share topics as consumers do.
    pub(super) fn become_consumer(
        &mut self,
        now: Now,
        out: &mut Vec<Effect<T>>,
    ) -> Result<(), Refusal> {
        match self.state {
            State::Consumer(_) => return Ok(()),
            State::Dead => {
                let text = "The group is being deleted.".to_owned();
                return Err((Error::CoordinatorNotAvailable, text));
            }
            _ => {}
        }
        let members = self.upgraded(now).ok_or_else(not_found)?;
        let generation = self.durable.generation();
        self.pending.clear();
        self.timers.clear();
        self.members = Roster::default();
        let next = State::Consumer(Live::new(now));
        let waiting: Vec<T> = match std::mem::replace(&mut self.state, next) {
            State::PreparingRebalance(preparing) => preparing.joined.into_values().collect(),
            State::CompletingRebalance { syncing } => syncing.into_values().collect(),
            _ => Vec::new(),
        };
        let again = |ticket| Effect::Reply(ticket, Reply::Failed(Error::RebalanceInProgress));
        out.extend(waiting.into_iter().map(again));
        if self.durable.metadata.is_some() {
            self.append(Record::Group(None), out);
        }
        if generation > 0 {
            let epoch = Epoch { epoch: generation, metadata_hash: 0 };
            self.append_consumer(ConsumerRecord::Group(Some(epoch)), out);
            self.append_consumer(ConsumerRecord::TargetEpoch(Some(generation)), out);
        }
        for (id, member, part) in members {
            let current = Current {
                epoch: generation,
                previous_epoch: generation,
                state: MemberState::Stable,
                assigned: part.filter(|it| self.durable.consumer.owner(it).is_none()),
                revoking: Partitions::default(),
            };
            let target = current.assigned.clone();
            self.append_consumer(ConsumerRecord::Member(id.clone(), Some(member)), out);
            self.append_consumer(ConsumerRecord::Target(id.clone(), Some(target)), out);
            self.append_consumer(ConsumerRecord::Current(id.clone(), Some(current)), out);
            self.touch_consumer(now, &id);
        }
        self.watch_retention(now);
        Ok(())
    }

    /// The members with what they read, if all are consumers.
    fn upgraded(&self, now: Now) -> Option<Vec<(Str, ConsumerMember, Partitions)>> {
        if self.members.protocol_type().is_some_and(|other| other != CONSUMER) {
            return None;
        }
        let chosen = self.durable.protocol();
        let upgraded = |(id, member): (&Str, &member::Member)| {
            let mut protocols = member.protocols.clone();
            // The one in use comes first, as it tells what the member subscribes to.
            protocols.sort_by_key(|it| Some(&it.name) != chosen);
            let (_, subscription) = subscription(protocols.first()?)?;
            let part = match self.durable.assignment(id) {
                none if none.is_empty() => Partitions::default(),
                bytes => {
                    let (_, assignment) = ConsumerProtocolAssignment::from_bytes(bytes).ok()?;
                    by_id(now.topics, &assignment.assigned_partitions)
                }
            };
            let classic = Classic {
                session_timeout_ms: whole_millis(member.session_timeout),
                protocols: protocols.iter().map(Protocol::detached).collect(),
            };
            let member = ConsumerMember {
                instance_id: member.group_instance_id.clone(),
                rack_id: subscription.rack_id,
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout_ms: whole_millis(member.rebalance_timeout),
                topics: sorted(&subscription.topics),
                regex: None,
                assignor: None,
                classic: Some(classic),
            };
            Some((id.clone(), member, part))
        };
        self.members.iter().map(upgraded).collect()
    }

    /// Makes a classic group of one whose members all speak the classic protocol, or that has
    /// none. Members go on with what they read, and join to share it among them.
    ///
    /// Unlike Kafka: what is noted of them is what they may be reading, rather than what they were
    /// to have. Should the group change its protocol once more before they have joined, nobody else
    /// gets it.
    pub(in crate::group) fn become_classic(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let state = &self.durable.consumer;
        let mut roster = Roster::default();
        for (id, member) in &state.members {
            roster.insert(id.clone(), downgraded(member));
        }
        let protocol = roster.elect_protocol();
        let members = state.members.iter().map(|(id, member)| {
            let version = subscription_version(member);
            let assignment = to_assignment(now.topics, &state.current(id).held(), version);
            let kept = downgraded(member).durable(protocol.as_deref().unwrap_or(""), assignment);
            (id.clone(), kept)
        });
        let metadata = Metadata {
            protocol_type: Str::from_static(CONSUMER),
            // Generations go on where epochs were, so that none comes back.
            generation: state.epoch,
            leader: None,
            since_ms: now.unix_ms,
            members: members.collect(),
            protocol,
        };
        let gone = state.gone();
        gone.into_iter().for_each(|record| self.append_consumer(record, out));
        self.append(Record::Group(Some(metadata)), out);
        self.timers.clear();
        for (id, member) in roster.iter() {
            self.timers.set(Timer::Session(id.clone()), now.since_start + member.session_timeout);
        }
        self.members = roster;
        self.state = State::Empty;
        if !self.members.is_empty() {
            self.state = State::Stable { unsynced: BTreeSet::new() };
            self.prepare(now, out);
        }
        self.watch_retention(now);
    }
}

fn downgraded(member: &ConsumerMember) -> member::Member {
    let classic = member.classic.clone().unwrap_or_default();
    member::Member {
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        session_timeout: millis(classic.session_timeout_ms),
        rebalance_timeout: millis(member.rebalance_timeout_ms),
        protocol_type: Str::from_static(CONSUMER),
        protocols: classic.protocols,
    }
}
