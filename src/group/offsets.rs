//! Committed offsets: committing, deleting, and their expiry.

use super::consumer::{ConsumerState, Pattern, Patterns};
use super::member::detach;
use super::{Committed, Effect, Error, Group, Now, Record, Reply, State, Timer};
use std::collections::BTreeSet;
use std::time::Duration;
use tidelog_protocol::{Reader, Str, Version, Wire};

/// A request to commit offsets.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Empty in a simple commit, one outside of any membership.
    pub member_id: Str,
    /// Set by static members (version 7).
    pub group_instance_id: Option<Str>,
    /// Negative in a simple commit.
    pub generation: i32,
    /// Whether the request can carry a member epoch (version 9).
    pub has_member_epoch: bool,
    /// How long to keep the offsets, if the client says so (versions 2 to 4).
    pub retention_ms: Option<i64>,
    /// What to commit.
    pub partitions: Vec<CommitPartition>,
}

/// One partition of a commit.
#[derive(Clone, Debug, Default)]
pub struct CommitPartition {
    /// The topic.
    pub topic: Str,
    /// The partition.
    pub partition: i32,
    /// The next offset to consume.
    pub offset: i64,
    /// Epoch of the last record consumed, or -1 (version 6).
    pub leader_epoch: i32,
    /// The client's note; null and empty are the same.
    pub metadata: Str,
}

/// A partition by name.
pub type TopicPartition = (Str, i32);

/// The protocol type whose metadata is a ConsumerProtocolSubscription.
pub(super) const CONSUMER: &str = "consumer";

/// The longest note that a record can hold.
const NOTE_BYTES_MAX: usize = i16::MAX as usize;

/// A group without members and offsets is forgotten after this time
/// (`offsets.retention.check.interval.ms`).
const EMPTY_GROUP_RETENTION: Duration = Duration::from_secs(600);

impl<T> Group<T> {
    /// Commits offsets; the reply has an outcome for each partition.
    pub fn commit_offsets(
        &mut self,
        now: Now,
        commit: Commit,
        ticket: T,
        out: &mut Vec<Effect<T>>,
    ) {
        if let Err(error) = self.check_commit(&commit) {
            return out.push(Effect::Reply(ticket, Reply::Failed(error)));
        }
        self.touch(now, &commit.member_id);
        let mut outcomes = Vec::with_capacity(commit.partitions.len());
        let expire_ms = commit.retention_ms.map(|ms| now.unix_ms.saturating_add(ms).max(0));
        let metadata_bytes_max = self.options.offset_metadata_bytes_max.min(NOTE_BYTES_MAX);
        for partition in &commit.partitions {
            if partition.metadata.len() > metadata_bytes_max {
                outcomes.push(Err(Error::OffsetMetadataTooLarge));
                continue;
            }
            let committed = Committed {
                offset: partition.offset,
                // Neither the requests nor the records that have an expiry have an epoch.
                leader_epoch: if expire_ms.is_some() { -1 } else { partition.leader_epoch },
                metadata: detach(&partition.metadata),
                commit_ms: now.unix_ms,
                expire_ms,
            };
            let (topic, partition) = (detach(&partition.topic), partition.partition);
            self.append(Record::Offset { topic, partition, committed: Some(committed) }, out);
            outcomes.push(Ok(()));
        }
        if let Some(ms) = commit.retention_ms {
            let due = now.since_start + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
            self.timers.set_sooner(Timer::Retention, due);
        }
        self.watch_retention(now);
        out.push(Effect::Reply(ticket, Reply::Each(outcomes)));
    }

    fn check_commit(&self, commit: &Commit) -> Result<(), Error> {
        let (id, instance) = (&commit.member_id, commit.group_instance_id.as_ref());
        match self.state {
            State::Dead => return Err(Error::CoordinatorNotAvailable),
            State::Consumer(_) => return self.check_consumer_commit(commit),
            State::Empty if commit.generation < 0 => return Ok(()),
            _ if commit.generation < 0 && id.is_empty() && instance.is_none() => {
                return Err(Error::UnknownMemberId);
            }
            _ => self.check_member(id, instance, commit.generation)?,
        }
        match self.state {
            State::CompletingRebalance { .. } => Err(Error::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    fn check_consumer_commit(&self, commit: &Commit) -> Result<(), Error> {
        let state = &self.durable.consumer;
        if commit.generation < 0 && state.members.is_empty() {
            return Ok(());
        }
        let member = state.members.get(&commit.member_id).ok_or(Error::UnknownMemberId)?;
        if member.classic.is_none() && !commit.has_member_epoch {
            return Err(Error::UnsupportedVersion);
        }
        state.check_epoch(&commit.member_id, commit.generation)
    }

    /// Deletes a group without members, and its offsets with it.
    pub fn delete(&mut self, ticket: T, out: &mut Vec<Effect<T>>) {
        let reply = match self.state {
            State::Dead => Reply::Failed(Error::GroupIdNotFound),
            State::Empty | State::Consumer(_) if !self.has_members() => {
                self.bury(out);
                Reply::Done
            }
            _ => Reply::Failed(Error::NonEmptyGroup),
        };
        out.push(Effect::Reply(ticket, reply));
    }

    /// Deletes the offsets of these partitions (OffsetDelete); the reply has an outcome for each.
    /// A partition of a topic that the group consumes is refused.
    pub fn delete_offsets(
        &mut self,
        now: Now,
        partitions: &[TopicPartition],
        ticket: T,
        out: &mut Vec<Effect<T>>,
    ) {
        let refusal = match self.members.protocol_type() {
            _ if matches!(self.state, State::Dead) => Some(Error::GroupIdNotFound),
            Some(other) if other != CONSUMER => Some(Error::NonEmptyGroup),
            _ => None,
        };
        if let Some(error) = refusal {
            return out.push(Effect::Reply(ticket, Reply::Failed(error)));
        }
        let subscribed = self.subscribed_topics();
        let mut outcomes = Vec::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            if subscribed.as_ref().is_none_or(|it| it.contains(topic)) {
                outcomes.push(Err(Error::GroupSubscribedToTopic));
                continue;
            }
            if self.durable.offset(topic, *partition).is_some() {
                self.forget_offset(topic, *partition, out);
            }
            outcomes.push(Ok(()));
        }
        self.watch_retention(now);
        out.push(Effect::Reply(ticket, Reply::Each(outcomes)));
    }

    /// Topics were deleted, and with them what was committed for them.
    pub fn remove_topic_offsets(&mut self, now: Now, topics: &[Str], out: &mut Vec<Effect<T>>) {
        let kept = self.durable.offsets().filter(|(topic, ..)| topics.contains(topic));
        let gone: Vec<_> = kept.map(|(topic, partition, _)| (topic.clone(), partition)).collect();
        gone.iter().for_each(|(topic, partition)| self.forget_offset(topic, *partition, out));
        self.watch_retention(now);
    }

    /// Looks for old offsets (KIP-211): in a group without members those committed, and its last
    /// member gone, too long ago; in a stable one those of topics it no longer consumes. A group
    /// with nothing left goes.
    ///
    /// Unlike Kafka: an offset that is set for a group whose members are long gone lives as long
    /// as any other.
    pub(super) fn expire_offsets(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let expiries: Vec<(TopicPartition, i64)> = self.expiries().collect();
        let (gone, kept): (Vec<_>, Vec<_>) =
            expiries.into_iter().partition(|(_, expiry)| *expiry <= now.unix_ms);
        gone.iter().for_each(|((topic, partition), _)| self.forget_offset(topic, *partition, out));
        if let Some(next) = kept.iter().map(|(_, expiry)| *expiry).min() {
            let wait = u64::try_from(next.saturating_sub(now.unix_ms)).unwrap_or(0);
            self.timers.set(Timer::Retention, now.since_start + Duration::from_millis(wait));
        }
        let unused = self.durable.offsets.is_empty() && self.pending.is_empty();
        if !self.has_members() && unused {
            let due = self.empty_since_ms().saturating_add(ms(EMPTY_GROUP_RETENTION));
            match due.saturating_sub(now.unix_ms) {
                wait @ 1.. => self.timers.set(
                    Timer::Retention,
                    now.since_start + Duration::from_millis(wait.unsigned_abs()),
                ),
                _ => self.bury(out),
            }
        }
    }

    /// Sees to it that offsets are looked at no later than the first can expire.
    pub(super) fn watch_retention(&mut self, now: Now) {
        let wait = match self.durable.offsets.is_empty() {
            true => EMPTY_GROUP_RETENTION,
            false => self.options.offsets_retention,
        };
        self.timers.set_sooner(Timer::Retention, now.since_start + wait);
    }

    /// When each offset expires in ms since 1970, as far as things stand.
    fn expiries(&self) -> impl Iterator<Item = (TopicPartition, i64)> {
        let retention = ms(self.options.offsets_retention);
        let empty = !self.has_members();
        let watched = matches!(self.state, State::Stable { .. } | State::Consumer(_));
        let subscribed = self.subscribed_topics().filter(|_| watched);
        let since = self.empty_since_ms();
        self.durable.offsets().filter_map(move |(topic, partition, committed)| {
            let base = match &subscribed {
                _ if empty => committed.commit_ms.max(since),
                Some(subscribed) if !subscribed.contains(topic) => committed.commit_ms,
                _ => return None,
            };
            let expiry = committed.expire_ms.unwrap_or(base.saturating_add(retention));
            Some(((topic.clone(), partition), expiry))
        })
    }

    fn empty_since_ms(&self) -> i64 {
        if let State::Consumer(live) = &self.state {
            return live.empty_since_ms;
        }
        self.durable.metadata.as_ref().map_or(i64::MIN, |metadata| metadata.since_ms)
    }

    /// The topics that members subscribe to; none if that cannot be known: the group is not one
    /// of consumers, or a subscription cannot be read.
    fn subscribed_topics(&self) -> Option<Subscribed> {
        if let State::Consumer(live) = &self.state {
            return Some(Subscribed::of_consumers(&self.durable.consumer, &live.patterns));
        }
        if self.members.protocol_type().is_some_and(|other| other != CONSUMER) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for (_, member) in self.members.iter() {
            for protocol in &member.protocols {
                let mut input = Reader::new(protocol.metadata.clone());
                let plain = Version { number: 0, flexible: false };
                i16::read(&mut input, plain).ok()?;
                topics.extend(<Vec<Str>>::read(&mut input, plain).ok()?);
            }
        }
        Some(Subscribed { topics, patterns: Vec::new() })
    }

    /// Whether anyone is in the group, or about to be.
    fn has_members(&self) -> bool {
        match self.state {
            State::Empty | State::Dead => false,
            State::Consumer(_) => !self.durable.consumer.members.is_empty(),
            _ => true,
        }
    }

    fn forget_offset(&mut self, topic: &Str, partition: i32, out: &mut Vec<Effect<T>>) {
        self.append(Record::Offset { topic: topic.clone(), partition, committed: None }, out);
    }

    /// Leaves nothing of the group.
    fn bury(&mut self, out: &mut Vec<Effect<T>>) {
        let all: Vec<TopicPartition> = self
            .durable
            .offsets()
            .map(|(topic, partition, _)| (topic.clone(), partition))
            .collect();
        all.iter().for_each(|(topic, partition)| self.forget_offset(topic, *partition, out));
        if self.durable.metadata.is_some() {
            self.append(Record::Group(None), out);
        }
        if self.durable.consumer != ConsumerState::default() {
            let gone = self.durable.consumer.gone();
            gone.into_iter().for_each(|record| self.append(Record::Consumer(record), out));
        }
        self.pending.clear();
        self.timers.clear();
        self.state = State::Dead;
    }
}

/// What a group's members subscribe to.
struct Subscribed {
    topics: BTreeSet<Str>,
    patterns: Vec<Pattern>,
}

impl Subscribed {
    fn of_consumers(state: &ConsumerState, patterns: &Patterns) -> Self {
        let members = state.members.values();
        let regexes: BTreeSet<&Str> = members.clone().filter_map(|it| it.regex.as_ref()).collect();
        Self {
            topics: members.flat_map(|member| member.topics.iter().cloned()).collect(),
            patterns: regexes.into_iter().filter_map(|it| patterns.pattern(it)).collect(),
        }
    }

    fn contains(&self, topic: &Str) -> bool {
        self.topics.contains(topic) || self.patterns.iter().any(|it| it.matches(topic))
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
