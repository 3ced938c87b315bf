//! Consumer groups as a pure state machine: the classic protocol (KIP-62, 345, 394, 559, 814) here,
//! the consumer protocol (KIP-848) in `consumer`, and what both commit in `offsets`.
//!
//! Nothing here reads a clock, makes an id, spawns a task or touches a socket: every input carries
//! [`Now`] and the ids it may need, every output is an [`Effect`]. A `T` is the ticket of a request
//! that waits for its reply: a oneshot sender in the broker, a name in tests.
//!
//! ```text
//!            join                        all joined, or time is up
//!   Empty ---------> PreparingRebalance ---------------------------> CompletingRebalance
//!     ^                |         ^  ^                                  |            |
//!     |   nobody left  |         |  '--- join, leave, silent member ---'            | leader syncs
//!     '----------------'         |                                                  v
//!     | delete, or nothing kept  '------- join, leave, silent member ----------- Stable
//!     v
//!    Dead
//! ```
//!
//! **Durable state changes only in [`Group::apply`]**, on the live path and in recovery alike.
//! **A reply that follows an [`Effect::Append`] in the list is released only once that record is
//! durable.** **Every ticket is answered exactly once, and while one waits there is a deadline.**
//!
//! Unlike Kafka: a generation is made durable when it is formed, before its members hear of it,
//! and not only when it is assigned. A generation number therefore never comes back with other
//! members after a crash.

mod configs;
mod consumer;
mod deadlines;
mod describe;
mod driver;
mod durable;
mod error;
mod join;
mod liveness;
mod member;
mod offsets;
mod rebalance;
mod record;
mod sync;
mod timer;
mod topics;
mod unreadable;

#[cfg(test)]
mod tests;

pub use configs::{ConfigSet, HEARTBEAT_INTERVAL, SESSION_TIMEOUT};
pub use consumer::{
    Assignor, Beaten, Classic, ConsumerDescription, ConsumerHeartbeat, ConsumerMember,
    ConsumerMemberDescription, ConsumerRecord, ConsumerState, Current,
    MemberState as ConsumerMemberState, Partitions,
};
pub use deadlines::Deadlines;
pub use describe::{Description, GroupType, Listing, MemberDescription, StateName};
pub use driver::{Groups, TopicsNow};
pub use durable::{Committed, Durable, MemberState, Metadata};
pub use error::Error;
pub use join::{Join, Joined, JoinedMember};
pub use liveness::{Heartbeat, LeavingMember};
pub use member::{
    ASSIGNMENT_BYTES_MAX, GROUP_METADATA_BYTES_MAX, MEMBER_METADATA_BYTES_MAX,
    MEMBER_PROTOCOLS_MAX, MEMBERS_MAX, PATTERNS_MAX, Protocol, TEXT_BYTES_MAX,
};
pub use offsets::{Commit, CommitPartition, TopicPartition};
pub use record::{Record, RecordError};
pub use sync::{Sync, Synced};
pub use topics::{Shape, Topics};
#[cfg(test)]
pub(crate) use unreadable::damage_or_mend;

use member::Roster;
use rebalance::Preparing;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tidelog_protocol::Str;
use timer::{Timer, Timers};

/// What an input comes with: two clocks, and the account's topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now<'a> {
    /// Monotonic time since an arbitrary start; deadlines are in it.
    pub since_start: Duration,
    /// Wall time in ms since 1970; commits and their expiry are in it.
    pub unix_ms: i64,
    /// The topics there are; only groups of the consumer protocol need to know.
    pub topics: &'a Topics,
}

impl Default for Now<'_> {
    fn default() -> Self {
        Self { since_start: Duration::ZERO, unix_ms: 0, topics: &topics::NO_TOPICS }
    }
}

/// What the driver has to do, in order, and for one input after the other: what an input is
/// answered may rest on a record that an earlier one appended.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Answer a request.
    Reply(T, Reply),
    /// Persist before any reply that follows is released.
    Append(Record),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The member is part of a generation.
    Joined(Joined),
    /// Join again with this id (KIP-394).
    MemberIdRequired(Str),
    /// The member's part of the work.
    Synced(Synced),
    /// A heartbeat or a deletion succeeded.
    Done,
    /// One outcome for each item of the request, in its order.
    Each(Vec<Result<(), Error>>),
    /// The request as a whole was refused.
    Failed(Error),
    /// A member of the consumer protocol is where it is told to be.
    Beaten(Beaten),
    /// The request as a whole was refused, for a reason told in words.
    Refused(Error, String),
}

/// Broker settings that bear on groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.max.size`; never more than [`MEMBERS_MAX`].
    pub max_size: usize,
    /// `group.consumer.session.timeout.ms`: how long a member may be silent.
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`: how often a member is to heartbeat.
    pub consumer_heartbeat_interval: Duration,
    /// `group.consumer.max.size`; never more than [`MEMBERS_MAX`].
    pub consumer_max_size: usize,
    /// `offsets.retention.minutes`: how long offsets outlive the group's last member.
    pub offsets_retention: Duration,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_secs(3),
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            max_size: MEMBERS_MAX,
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_max_size: MEMBERS_MAX,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offset_metadata_bytes_max: 4096,
        }
    }
}

/// A group, with the requests that wait in it.
#[derive(Debug)]
pub struct Group<T> {
    options: Options,
    durable: Durable,
    state: State<T>,
    members: Roster,
    /// Ids handed out by MEMBER_ID_REQUIRED that nobody joined with yet.
    pending: BTreeSet<Str>,
    timers: Timers,
}

#[derive(Debug)]
enum State<T> {
    Empty,
    PreparingRebalance(Preparing<T>),
    CompletingRebalance {
        syncing: BTreeMap<Str, T>,
    },
    Stable {
        unsynced: BTreeSet<Str>,
    },
    /// A group of the consumer protocol; its members are durable, and in no [`Roster`].
    Consumer(consumer::Live),
    Dead,
}

impl<T> Group<T> {
    /// A group that nobody has joined and nothing is committed for.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            durable: Durable::default(),
            state: State::Empty,
            members: Roster::default(),
            pending: BTreeSet::new(),
            timers: Timers::default(),
        }
    }

    /// A group from its records, as it goes on after a restart.
    pub fn load<'a>(
        options: Options,
        now: Now,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Self {
        let mut group = Self::new(options);
        records.into_iter().for_each(|record| group.apply(record));
        group.resume(now);
        group
    }

    /// Takes in a durable record: the only change of durable state.
    pub fn apply(&mut self, record: &Record) {
        self.durable.apply(record);
    }

    /// Starts from what was applied, which must be all of the group's records: members get fresh
    /// sessions, and a generation that was formed but never assigned is formed anew.
    pub fn resume(&mut self, now: Now) {
        self.timers.clear();
        if self.durable.consumer.epoch > 0 {
            self.state = State::Consumer(consumer::Live::new(now));
            self.timers.set(Timer::Retention, now.since_start);
            return self.resume_consumer(now);
        }
        let metadata = self.durable.metadata.clone().unwrap_or_default();
        let assigned = metadata.members.values().any(|member| !member.assignment.is_empty());
        self.members = Roster::restore(&metadata);
        for (id, member) in self.members.iter() {
            self.timers.set(Timer::Session(id.clone()), now.since_start + member.session_timeout);
        }
        self.state = State::Stable { unsynced: BTreeSet::new() };
        if self.members.is_empty() {
            self.state = State::Empty;
        } else if !assigned {
            self.prepare(now, &mut Vec::new());
        }
        if !self.is_vacant() {
            self.timers.set(Timer::Retention, now.since_start);
        }
    }

    /// When [`Group::expire`] next has work to do, on the clock of [`Now::since_start`].
    pub fn deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Fires every timer due.
    pub fn expire(&mut self, now: Now, out: &mut Vec<Effect<T>>) {
        while let Some(timer) = self.timers.pop_due(now.since_start) {
            match timer {
                Timer::Rebalance => self.end_rebalance(now, out),
                Timer::Sync => self.remove_unsynced(now, out),
                Timer::Session(id) | Timer::Reconcile(id)
                    if matches!(self.state, State::Consumer(_)) =>
                {
                    self.remove_consumers(now, &[id], out);
                }
                Timer::Reconcile(_) => {}
                Timer::Session(member) => {
                    self.remove(&member, Error::UnknownMemberId, out);
                    self.after_removal(now, out);
                }
                Timer::Pending(id) => {
                    self.pending.remove(&id);
                    self.watch_retention(now);
                    self.form_if_all_joined(now, out);
                }
                Timer::Retention => self.expire_offsets(now, out),
            }
        }
    }

    /// What the records tell.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Whether the group can be forgotten: it was deleted, or nothing was ever kept of it and
    /// nobody is about to join.
    pub fn is_vacant(&self) -> bool {
        let unused = self.durable == Durable::default() && self.pending.is_empty();
        match self.state {
            State::Dead => true,
            State::Empty => unused,
            _ => false,
        }
    }

    /// Changes durable state and has it persisted.
    fn append(&mut self, record: Record, out: &mut Vec<Effect<T>>) {
        self.apply(&record);
        out.push(Effect::Append(record));
    }

    /// The member is alive. One that waits for a reply needs no session: the wait has a deadline.
    fn touch(&mut self, now: Now, id: &Str) {
        let waits = match &self.state {
            State::PreparingRebalance(preparing) => preparing.joined.contains_key(id),
            State::CompletingRebalance { syncing } => syncing.contains_key(id),
            _ => false,
        };
        if let Some(member) = self.members.get(id).filter(|_| !waits) {
            self.timers.set(Timer::Session(id.clone()), now.since_start + member.session_timeout);
        }
    }
}
