//! ConsumerGroupHeartbeat: joins, stays, leaves.

use super::Pattern;
use super::assignor::Assignor;
use super::partitions::Partitions;
use super::record::ConsumerRecord;
use super::state::{AWAY, ConsumerMember, Current, MemberState};
use crate::group::member::{
    GROUP_METADATA_BYTES_MAX, MEMBER_METADATA_BYTES_MAX, MEMBERS_MAX, PATTERNS_MAX, TEXT_BYTES_MAX,
    detach,
};
use crate::group::{Effect, Error, Group, Now, Reply, State, Timer};
use std::collections::BTreeSet;
use std::time::Duration;
use tidelog_protocol::Str;

/// A member's sign of life, with what changed since the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    /// Made up by the client.
    pub member_id: Str,
    /// 0 joins, -1 leaves, -2 leaves for a while as a static member does.
    pub member_epoch: i32,
    /// Set by static members.
    pub instance_id: Option<Str>,
    /// Where the client is.
    pub rack_id: Option<Str>,
    /// How long it may take to give partitions back; none is no change, as in what follows.
    pub rebalance_timeout_ms: Option<i32>,
    /// The topics it subscribes to.
    pub topics: Option<Vec<Str>>,
    /// The expression it subscribes to the topics of; an empty one is none.
    pub regex: Option<Str>,
    /// The assignor it votes for.
    pub assignor: Option<Str>,
    /// What it owns.
    pub owned: Option<Partitions>,
    /// As the client calls itself.
    pub client_id: Str,
    /// The client's address.
    pub client_host: Str,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// The member.
    pub member_id: Str,
    /// The epoch it is at.
    pub member_epoch: i32,
    /// When the next heartbeat is expected.
    pub heartbeat_interval: Duration,
    /// What it may read, if it asked or if that changed.
    pub assignment: Option<Partitions>,
}

/// A refusal, and what is wrong in words.
pub(super) type Refusal = (Error, String);

/// The epoch of a member that leaves.
const LEAVE: i32 = -1;

/// A member that waits for others' partitions is expected back this soon, if not sooner: with the
/// next heartbeat they may be there.
const WAITING_INTERVAL: Duration = Duration::from_millis(500);

impl ConsumerHeartbeat {
    /// The checks that need no group, in Kafka's order and words.
    fn check(&self) -> Result<(), Refusal> {
        let is_empty = |text: &Option<Str>| text.as_ref().is_some_and(|text| text.is_empty());
        let joins = self.member_epoch == 0;
        let wrong = if self.member_id.is_empty() {
            "MemberId can't be empty."
        } else if is_empty(&self.instance_id) {
            "InstanceId can't be empty."
        } else if is_empty(&self.rack_id) {
            "RackId can't be empty."
        } else if joins && self.rebalance_timeout_ms.is_none() {
            "RebalanceTimeoutMs must be provided in first request."
        } else if joins && self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
            "TopicPartitions must be empty when (re-)joining."
        } else if joins && self.topics.is_none() && self.regex.is_none() {
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
        } else if self.member_epoch == AWAY && self.instance_id.is_none() {
            "InstanceId can't be null."
        } else if self.member_epoch < AWAY {
            "MemberEpoch is invalid."
        } else if !self.is_bounded() {
            "A name is too long, or the subscription too large."
        } else {
            return self.check_choices();
        };
        Err((Error::InvalidRequest, wrong.to_owned()))
    }

    fn check_choices(&self) -> Result<(), Refusal> {
        if let Some(name) = &self.assignor
            && Assignor::by_name(name).is_none()
        {
            let known: Vec<&str> = Assignor::ALL.iter().map(|it| it.name()).collect();
            let known = known.join(", ");
            let text =
                format!("ServerAssignor {name} is not supported. Supported assignors: {known}.");
            return Err((Error::UnsupportedAssignor, text));
        }
        if let Some(regex) = &self.regex
            && let Err(error) = Pattern::new(regex)
        {
            let text = format!(
                "SubscribedTopicRegex `{regex}` is not a valid regular expression: {error}."
            );
            return Err((Error::InvalidRegularExpression, text));
        }
        Ok(())
    }

    /// Whether the member can be kept.
    fn is_bounded(&self) -> bool {
        let texts = [&self.member_id, &self.client_id, &self.client_host];
        let more = [&self.instance_id, &self.rack_id, &self.regex];
        let mut texts = texts.into_iter().chain(more.into_iter().flatten());
        let topics = self.topics.iter().flatten();
        texts.all(|text| text.len() <= TEXT_BYTES_MAX)
            && topics.map(|topic| topic.len()).sum::<usize>() <= MEMBER_METADATA_BYTES_MAX
    }

    /// The member as it is with what this heartbeat changes. It speaks the consumer protocol now.
    fn member(&self, last: Option<&ConsumerMember>) -> ConsumerMember {
        let last = last.cloned().unwrap_or_default();
        let kept = |new: &Option<Str>, last: Option<Str>| new.as_ref().map(detach).or(last);
        let regex = kept(&self.regex, last.regex).filter(|regex| !regex.is_empty());
        let topics = self.topics.as_ref().map(|topics| sorted(topics)).unwrap_or(last.topics);
        ConsumerMember {
            instance_id: kept(&self.instance_id, last.instance_id),
            rack_id: kept(&self.rack_id, last.rack_id),
            client_id: detach(&self.client_id),
            client_host: detach(&self.client_host),
            rebalance_timeout_ms: self.rebalance_timeout_ms.unwrap_or(last.rebalance_timeout_ms),
            topics,
            regex,
            assignor: kept(&self.assignor, last.assignor),
            classic: None,
        }
    }

    /// Whether the client tells everything anew, and so expects to be told its assignment.
    fn is_full(&self) -> bool {
        let subscribes = self.topics.is_some() || self.regex.is_some();
        self.member_epoch == 0
            || self.rebalance_timeout_ms.is_some() && subscribes && self.owned.is_some()
    }
}

/// Names as they are kept: in order, each once, and not as slices of a frame.
pub(super) fn sorted(topics: &[Str]) -> Vec<Str> {
    let mut topics: Vec<Str> = topics.iter().map(detach).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

impl<T> Group<T> {
    /// A member joins, stays or leaves.
    pub fn consumer_heartbeat(
        &mut self,
        now: Now,
        beat: &ConsumerHeartbeat,
        ticket: T,
        out: &mut Vec<Effect<T>>,
    ) {
        let beaten = beat.check().and_then(|()| match beat.member_epoch {
            LEAVE | AWAY => self.depart(now, beat, out),
            _ => self.stay(now, beat, out),
        });
        let reply = match beaten {
            Ok(beaten) => Reply::Beaten(beaten),
            Err((error, why)) => Reply::Refused(error, why),
        };
        out.push(Effect::Reply(ticket, reply));
    }

    fn stay(
        &mut self,
        now: Now,
        beat: &ConsumerHeartbeat,
        out: &mut Vec<Effect<T>>,
    ) -> Result<Beaten, Refusal> {
        let id = detach(&beat.member_id);
        let joins = beat.member_epoch == 0;
        self.check_consumer_room(beat)?;
        if joins {
            self.become_consumer(now, out)?;
        } else if !matches!(self.state, State::Consumer(_)) {
            return Err(not_found());
        }
        if let Some(old) = self.find_consumer(beat)?.filter(|old| *old != id) {
            self.replace_consumer(&old, &id, out);
        }
        let state = &self.durable.consumer;
        let member = beat.member(state.members.get(&id));
        let before = state.current(&id).assigned.clone();
        self.admit(now, &id, member, beat.owned.as_ref(), out);
        self.touch_consumer(now, &id);
        let current = self.durable.consumer.current(&id);
        let changed = beat.is_full() || current.assigned != before;
        Ok(Beaten {
            member_epoch: current.epoch,
            heartbeat_interval: self.heartbeat_interval(current.state),
            assignment: changed.then(|| current.assigned.clone()),
            member_id: id,
        })
    }

    fn heartbeat_interval(&self, state: MemberState) -> Duration {
        let interval = self.options.consumer_heartbeat_interval;
        match state {
            MemberState::UnreleasedPartitions => interval.min(WAITING_INTERVAL),
            _ => interval,
        }
    }

    fn check_consumer_room(&self, beat: &ConsumerHeartbeat) -> Result<(), Refusal> {
        let (members, bytes, known) = match self.state {
            State::Consumer(_) => {
                let state = &self.durable.consumer;
                let instance = beat.instance_id.as_ref().and_then(|it| state.instance(it));
                let known = instance.is_some() || state.members.contains_key(&beat.member_id);
                (state.members.len(), state.bytes(), known)
            }
            _ => (self.members.len(), self.members.bytes(), false),
        };
        let max = self.options.consumer_max_size.min(MEMBERS_MAX);
        if members >= max && !known {
            let text =
                format!("The consumer group has reached its maximum capacity of {max} members.");
            return Err((Error::GroupMaxSizeReached, text));
        }
        let more: usize = beat.topics.iter().flatten().map(|topic| topic.len()).sum();
        if bytes + more > GROUP_METADATA_BYTES_MAX {
            let text = "The members' subscriptions are too large together.";
            return Err((Error::GroupMaxSizeReached, text.to_owned()));
        }
        if self.brings_one_pattern_too_many(beat) {
            let text = format!(
                "The consumer group's members subscribe by {PATTERNS_MAX} different regular \
                 expressions already."
            );
            return Err((Error::GroupMaxSizeReached, text));
        }
        Ok(())
    }

    fn brings_one_pattern_too_many(&self, beat: &ConsumerHeartbeat) -> bool {
        let Some(regex) = beat.regex.as_ref().filter(|it| !it.is_empty()) else { return false };
        let members = self.durable.consumer.members.iter();
        let others = members.filter(|(id, _)| **id != beat.member_id);
        let known: BTreeSet<&Str> = others.filter_map(|(_, it)| it.regex.as_ref()).collect();
        known.len() >= PATTERNS_MAX && !known.contains(regex)
    }

    /// The member a heartbeat speaks for: itself, or the static member whose place it takes.
    fn find_consumer(&self, beat: &ConsumerHeartbeat) -> Result<Option<Str>, Refusal> {
        let (state, id) = (&self.durable.consumer, &beat.member_id);
        let found = match &beat.instance_id {
            None => state.members.get_key_value(id).map(|(id, _)| id),
            Some(instance) => state.instance(instance),
        };
        if beat.member_epoch == 0 {
            if let (Some(owner), Some(instance)) = (found, &beat.instance_id)
                && owner != id
                && state.members.get(owner).is_some_and(|it| it.classic.is_none())
                && state.current(owner).epoch != AWAY
            {
                let text = format!(
                    "Static member {id} with instance id {instance} cannot join the group because \
                     the instance id is owned by {owner} member."
                );
                return Err((Error::UnreleasedInstanceId, text));
            }
            return Ok(found.cloned());
        }
        let owner = self.known_consumer(beat)?;
        check_epoch(state.current(&owner), beat)?;
        Ok(Some(owner))
    }

    /// The member a heartbeat speaks for, which must be in the group already.
    fn known_consumer(&self, beat: &ConsumerHeartbeat) -> Result<Str, Refusal> {
        let (state, id) = (&self.durable.consumer, &beat.member_id);
        let unknown = |text: String| (Error::UnknownMemberId, text);
        let Some(instance) = &beat.instance_id else {
            let known = state.members.get_key_value(id).map(|(id, _)| id.clone());
            return known
                .ok_or_else(|| unknown(format!("Member {id} is not a member of the group.")));
        };
        let owner = state.instance(instance);
        let owner = owner.ok_or_else(|| unknown(format!("Instance id {instance} is unknown.")))?;
        if owner != id {
            let text = format!(
                "Static member {id} with instance id {instance} was fenced by member {owner}."
            );
            return Err((Error::FencedInstanceId, text));
        }
        Ok(owner.clone())
    }

    /// A member leaves for good, or for a while: then it keeps its part until its session ends.
    fn depart(
        &mut self,
        now: Now,
        beat: &ConsumerHeartbeat,
        out: &mut Vec<Effect<T>>,
    ) -> Result<Beaten, Refusal> {
        if !matches!(self.state, State::Consumer(_)) {
            return Err(not_found());
        }
        let id = self.known_consumer(beat)?;
        if beat.member_epoch == AWAY {
            let current = Current {
                epoch: AWAY,
                revoking: Partitions::default(),
                ..self.durable.consumer.current(&id).clone()
            };
            self.timers.cancel(&Timer::Reconcile(id.clone()));
            self.append_consumer(ConsumerRecord::Current(id.clone(), Some(current)), out);
        } else {
            self.remove_consumers(now, std::slice::from_ref(&id), out);
        }
        Ok(Beaten {
            member_id: id,
            member_epoch: beat.member_epoch,
            heartbeat_interval: self.options.consumer_heartbeat_interval,
            assignment: None,
        })
    }
}

pub(super) fn not_found() -> Refusal {
    (Error::GroupIdNotFound, "There is no such consumer group.".to_owned())
}

/// The epoch must be the member's, or the one before if an answer was lost.
fn check_epoch(current: &Current, beat: &ConsumerHeartbeat) -> Result<(), Refusal> {
    let (known, said) = (current.epoch, beat.member_epoch);
    let was_lost = said == current.previous_epoch
        && beat.owned.as_ref().is_some_and(|owned| owned.is_subset(&current.assigned));
    let compared = match said.cmp(&known) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less if was_lost => return Ok(()),
        std::cmp::Ordering::Less => "smaller",
        std::cmp::Ordering::Greater => "greater",
    };
    let text = format!(
        "The consumer group member has a {compared} member epoch ({said}) than the one known by \
         the group coordinator ({known}). The member must abandon all its partitions and rejoin."
    );
    Err((Error::FencedMemberEpoch, text))
}
