//! From what a member says to what it has: epochs, targets, and its next step.

use super::assignor::Assignor;
use super::partitions::Partitions;
use super::reconcile::{Target, reconcile};
use super::record::{ConsumerRecord, Epoch};
use super::state::{ConsumerMember, ConsumerState, MemberState};
use super::subscription::Resolved;
use crate::group::member::millis;
use crate::group::{Effect, Group, Now, Record, State, Timer};
use std::cmp::Reverse;
use tidelog_protocol::Str;

impl<T> Group<T> {
    /// Takes in a member as it now is, computes targets if the group's epoch is ahead of them, and
    /// brings the member as far towards its own as the others let it.
    pub(super) fn admit(
        &mut self,
        now: Now,
        id: &Str,
        member: ConsumerMember,
        owned: Option<&Partitions>,
        out: &mut Vec<Effect<T>>,
    ) {
        let last = self.durable.consumer.members.get(id);
        let resubscribed =
            last.is_none_or(|last| (&last.topics, &last.regex) != (&member.topics, &member.regex));
        if last != Some(&member) {
            self.append_consumer(ConsumerRecord::Member(id.clone(), Some(member)), out);
        }
        if resubscribed || self.have_topics_changed(now) {
            self.bump(now, out);
        }
        if self.durable.consumer.epoch > self.durable.consumer.assignment_epoch {
            self.retarget(now, out);
        }
        self.step(now, id, owned, out);
    }

    /// Whether topics that members subscribe to came, went or grew since the group's epoch.
    fn have_topics_changed(&mut self, now: Now) -> bool {
        let State::Consumer(live) = &mut self.state else { return false };
        if live.topics_seen.replace(now.topics.version()) == Some(now.topics.version()) {
            return false;
        }
        let state = &self.durable.consumer;
        let resolved = Resolved::new(now.topics, &state.members, &mut live.patterns);
        resolved.hash(now.topics) != state.metadata_hash
    }

    /// Begins another epoch.
    pub(super) fn bump(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let State::Consumer(live) = &mut self.state else { return };
        live.topics_seen = Some(now.topics.version());
        let state = &self.durable.consumer;
        let resolved = Resolved::new(now.topics, &state.members, &mut live.patterns);
        let metadata_hash = resolved.hash(now.topics);
        let epoch = state.epoch.saturating_add(1);
        self.append_consumer(ConsumerRecord::Group(Some(Epoch { epoch, metadata_hash })), out);
    }

    fn retarget(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        let State::Consumer(live) = &mut self.state else { return };
        let state = &self.durable.consumer;
        let resolved = Resolved::new(now.topics, &state.members, &mut live.patterns);
        let work = resolved.work(now.topics, state);
        let parts = state.preferred_assignor().assign(&work);
        let changed = work.members.iter().zip(parts).filter(|(member, part)| member.last != part);
        let changed: Vec<ConsumerRecord> = changed
            .map(|(member, part)| ConsumerRecord::Target(member.id.clone(), Some(part)))
            .collect();
        let epoch = state.epoch;
        changed.into_iter().for_each(|record| self.append_consumer(record, out));
        self.append_consumer(ConsumerRecord::TargetEpoch(Some(epoch)), out);
    }

    /// A member's next step; one that is to give partitions back has its rebalance timeout to do
    /// so. The deadlines of classic members are those of their requests.
    fn step(&mut self, now: Now, id: &Str, owned: Option<&Partitions>, out: &mut Vec<Effect<T>>) {
        let state = &self.durable.consumer;
        let (Some(member), current) = (state.members.get(id), state.current(id)) else { return };
        let target = Target { epoch: state.assignment_epoch, partitions: state.target(id) };
        let is_free = |it: &_| state.owner(it).is_none_or(|owner| owner == id);
        let next = reconcile(current, &target, owned, is_free);
        let (was, is) = (current.state, next.state);
        if member.classic.is_none() {
            let timeout = now.since_start + millis(member.rebalance_timeout_ms);
            let unrevoked = MemberState::UnrevokedPartitions;
            match (was == unrevoked, is == unrevoked) {
                (false, true) => self.timers.set(Timer::Reconcile(id.clone()), timeout),
                (true, false) => self.timers.cancel(&Timer::Reconcile(id.clone())),
                _ => {}
            }
        }
        if next != *current {
            self.append_consumer(ConsumerRecord::Current(id.clone(), Some(next)), out);
        }
    }

    /// Forgets members; the others share their part at the next heartbeat.
    pub(in crate::group) fn remove_consumers(
        &mut self,
        now: Now,
        ids: &[Str],
        out: &mut Vec<Effect<T>>,
    ) {
        if ids.is_empty() {
            return;
        }
        for id in ids {
            let records = ConsumerState::without(id);
            records.into_iter().for_each(|record| self.append_consumer(record, out));
            self.timers.cancel(&Timer::Session(id.clone()));
            self.timers.cancel(&Timer::Reconcile(id.clone()));
        }
        if self.durable.consumer.is_all_classic() {
            // At the epoch that its members know, so that they are called back and not fenced.
            return self.become_classic(now, out);
        }
        self.bump(now, out);
        if self.durable.consumer.members.is_empty() {
            if let State::Consumer(live) = &mut self.state {
                live.empty_since_ms = now.unix_ms;
            }
            self.watch_retention(now);
        }
    }

    /// Gives the place of a static member to another id, which is to come to it from epoch 0.
    pub(super) fn replace_consumer(&mut self, old: &Str, id: &Str, out: &mut Vec<Effect<T>>) {
        let state = &self.durable.consumer;
        let Some(member) = state.members.get(old).cloned() else { return };
        let (target, mut current) = (state.target(old).clone(), state.current(old).clone());
        (current.epoch, current.previous_epoch) = (0, 0);
        let records = ConsumerState::without(old).into_iter().chain([
            ConsumerRecord::Member(id.clone(), Some(member)),
            ConsumerRecord::Target(id.clone(), Some(target)),
            ConsumerRecord::Current(id.clone(), Some(current)),
        ]);
        records.for_each(|record| self.append_consumer(record, out));
        self.timers.cancel(&Timer::Session(old.clone()));
        self.timers.cancel(&Timer::Reconcile(old.clone()));
    }

    /// The member is alive.
    pub(super) fn touch_consumer(&mut self, now: Now, id: &Str) {
        let Some(member) = self.durable.consumer.members.get(id) else { return };
        let timeout = match &member.classic {
            Some(classic) => millis(classic.session_timeout_ms),
            None => self.options.consumer_session_timeout,
        };
        self.timers.set(Timer::Session(id.clone()), now.since_start + timeout);
    }

    pub(super) fn append_consumer(&mut self, record: ConsumerRecord, out: &mut Vec<Effect<T>>) {
        self.append(Record::Consumer(record), out);
    }

    /// Goes on after a restart: members have fresh sessions, and fresh time to give back.
    pub(in crate::group) fn resume_consumer(&mut self, now: Now) {
        let ids: Vec<Str> = self.durable.consumer.members.keys().cloned().collect();
        for id in ids {
            self.touch_consumer(now, &id);
            let state = &self.durable.consumer;
            if state.current(&id).state == MemberState::UnrevokedPartitions {
                let timeout = state.members.get(&id).map_or(0, |it| it.rebalance_timeout_ms);
                self.timers.set(Timer::Reconcile(id), now.since_start + millis(timeout));
            }
        }
    }
}

impl ConsumerState {
    /// The assignor that most members vote for.
    pub(super) fn preferred_assignor(&self) -> Assignor {
        let votes = |assignor: &Assignor| {
            let named = self.members.values().filter_map(|member| member.assignor.as_ref());
            named.filter(|name| **name == assignor.name()).count()
        };
        let all = Assignor::ALL.iter().enumerate();
        let best = all.max_by_key(|(at, assignor)| (votes(assignor), Reverse(*at)));
        best.map_or(Assignor::Uniform, |(_, assignor)| *assignor)
    }
}
