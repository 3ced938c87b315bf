//! JoinGroup: who may come in, and whether that takes a rebalance.

use super::member::{
    GROUP_METADATA_BYTES_MAX, MEMBER_METADATA_BYTES_MAX, MEMBER_PROTOCOLS_MAX, MEMBERS_MAX, Member,
    TEXT_BYTES_MAX, detach, protocol_bytes,
};
use super::{Effect, Error, Group, Now, Protocol, Record, Reply, State, Timer};
use bytes::Bytes;
use std::time::Duration;
use tidelog_protocol::Str;

/// A request to take part in the group.
#[derive(Clone, Debug, Default)]
pub struct Join {
    /// Empty for a member that has no id yet.
    pub member_id: Str,
    /// Set by static members (KIP-345, version 5).
    pub group_instance_id: Option<Str>,
    /// The id this member gets if it is new: client id, or group instance id if there is one,
    /// `-` and a random uuid.
    pub new_member_id: Str,
    /// Whether a new member is first told its id and joins with it then (KIP-394, version 4).
    pub requires_known_member_id: bool,
    /// Whether the client knows `skip_assignment` (KIP-814, version 9).
    pub can_skip_assignment: bool,
    /// As the client calls itself.
    pub client_id: Str,
    /// The client's address.
    pub client_host: Str,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for the member; version 0 has none and means the session's.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, or whatever the members share.
    pub protocol_type: Str,
    /// In order of preference.
    pub protocols: Vec<Protocol>,
}

/// A member's place in a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: i32,
    /// What the members share.
    pub protocol_type: Str,
    /// The protocol voted for.
    pub protocol: Str,
    /// The member that assigns.
    pub leader: Str,
    /// The member that asked.
    pub member_id: Str,
    /// Whether the leader is to take the assignment as it is (KIP-814).
    pub skip_assignment: bool,
    /// Every member, for the leader only.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Str,
    /// Set for static members.
    pub group_instance_id: Option<Str>,
    /// Its metadata for the protocol voted for.
    pub metadata: Bytes,
}

/// What becomes of a join.
enum Verdict {
    /// Tell the client its id and wait for it to come back.
    Reserve,
    /// A new member under this id.
    Add(Str),
    /// A static member came back under a new id; this was the old one.
    Replace(Str),
    /// A known member rejoins.
    Rejoin,
    /// A known member missed the answer to its join, or joins without need.
    Repeat,
}

/// A new member waits with its first join, which may be abandoned, for no longer than this. Old
/// members are bounded by the session they get when the rebalance ends.
const NEW_MEMBER_WAIT_MAX: Duration = Duration::from_secs(5 * 60);

impl Join {
    /// Whether the member can be kept: Kafka has no such limits but the length of a request.
    pub(super) fn check_bounds(&self) -> Result<(), Error> {
        let ids = [&self.member_id, &self.new_member_id];
        let texts = [&self.client_id, &self.client_host, &self.protocol_type];
        let names = self.protocols.iter().map(|protocol| &protocol.name);
        let texts = ids.into_iter().chain(texts);
        let mut texts = texts.chain(&self.group_instance_id).chain(names);
        let fits = texts.all(|text| text.len() <= TEXT_BYTES_MAX)
            && self.protocols.len() <= MEMBER_PROTOCOLS_MAX
            && protocol_bytes(&self.protocols) <= MEMBER_METADATA_BYTES_MAX;
        if fits { Ok(()) } else { Err(Error::InvalidRequest) }
    }
}

impl<T> Group<T> {
    /// A member joins or rejoins.
    pub fn join(&mut self, now: Now, join: Join, ticket: T, out: &mut Vec<Effect<T>>) {
        if let State::Consumer(_) = self.state {
            if !self.durable.consumer.members.is_empty() {
                return self.join_consumer(now, join, ticket, out);
            }
            self.become_classic(now, out);
        }
        match self.judge(&join) {
            Err(error) => out.push(Effect::Reply(ticket, Reply::Failed(error))),
            Ok(Verdict::Reserve) => self.reserve(now, &join, ticket, out),
            Ok(Verdict::Add(id)) => {
                self.pending.remove(&id);
                self.timers.cancel(&Timer::Pending(id.clone()));
                self.members.insert(id.clone(), Member::new(&join));
                if let State::PreparingRebalance(preparing) = &mut self.state {
                    preparing.note_new_member();
                }
                let session = Timer::Session(id.clone());
                self.rejoin(now, id, ticket, out);
                if self.waits_to_join(&session) {
                    self.timers.set(session, now.since_start + NEW_MEMBER_WAIT_MAX);
                }
            }
            Ok(Verdict::Replace(old)) => self.replace(now, old, &join, ticket, out),
            Ok(Verdict::Rejoin) => {
                let id = detach(&join.member_id);
                let member = self.members.get(&id).map(|member| member.rejoin(&join));
                self.members.insert(id.clone(), member.unwrap_or_else(|| Member::new(&join)));
                self.rejoin(now, id, ticket, out);
            }
            Ok(Verdict::Repeat) => {
                let joined = self.joined(&join.member_id);
                self.touch(now, &join.member_id);
                out.push(Effect::Reply(ticket, Reply::Joined(joined)));
            }
        }
    }

    /// The checks of a join, in Kafka's order.
    fn judge(&self, join: &Join) -> Result<Verdict, Error> {
        let limits = self.options.session_timeout_ms_min..=self.options.session_timeout_ms_max;
        if !limits.contains(&join.session_timeout_ms) {
            return Err(Error::InvalidSessionTimeout);
        }
        join.check_bounds()?;
        if matches!(self.state, State::Dead) {
            return Err(Error::CoordinatorNotAvailable);
        }
        let group_bytes = self.members.bytes() + protocol_bytes(&join.protocols);
        if !self.has_room_for(&join.member_id) || group_bytes > GROUP_METADATA_BYTES_MAX {
            return Err(Error::GroupMaxSizeReached);
        }
        if !self.members.supports(&join.protocol_type, &join.protocols) {
            return Err(Error::InconsistentGroupProtocol);
        }
        match join.member_id.is_empty() {
            true => self.judge_new(join),
            false => self.judge_known(join),
        }
    }

    fn judge_new(&self, join: &Join) -> Result<Verdict, Error> {
        let add = Verdict::Add(detach(&join.new_member_id));
        match &join.group_instance_id {
            Some(instance) => {
                let old = self.members.instance(instance);
                Ok(old.map_or(add, |old| Verdict::Replace(old.clone())))
            }
            None if !join.requires_known_member_id => Ok(add),
            None if self.pending.len() >= MEMBERS_MAX => Err(Error::GroupMaxSizeReached),
            None => Ok(Verdict::Reserve),
        }
    }

    fn judge_known(&self, join: &Join) -> Result<Verdict, Error> {
        let id = &join.member_id;
        if self.pending.contains(id) && join.group_instance_id.is_none() {
            return Ok(Verdict::Add(detach(id)));
        }
        let member = self.members.check(id, join.group_instance_id.as_ref())?;
        let unchanged = member.protocols == join.protocols;
        let leads = self.durable.leader() == Some(id);
        match self.state {
            State::Empty | State::Consumer(_) | State::Dead => Err(Error::UnknownMemberId),
            State::CompletingRebalance { .. } if unchanged => Ok(Verdict::Repeat),
            State::Stable { .. } if unchanged && !leads => Ok(Verdict::Repeat),
            _ => Ok(Verdict::Rejoin),
        }
    }

    /// During a rebalance, those that have joined count; members that do not come back give way.
    fn has_room_for(&self, id: &str) -> bool {
        let size_max = self.options.max_size.min(MEMBERS_MAX);
        match &self.state {
            State::Empty | State::Consumer(_) | State::Dead => true,
            State::PreparingRebalance(preparing) => {
                preparing.joined.contains_key(id) || preparing.joined.len() < size_max
            }
            State::CompletingRebalance { .. } | State::Stable { .. } => {
                self.members.get(id).is_some() || self.members.len() < size_max
            }
        }
    }

    fn reserve(&mut self, now: Now, join: &Join, ticket: T, out: &mut Vec<Effect<T>>) {
        let id = detach(&join.new_member_id);
        let session = Member::new(join).session_timeout;
        self.pending.insert(id.clone());
        self.timers.set(Timer::Pending(id.clone()), now.since_start + session);
        out.push(Effect::Reply(ticket, Reply::MemberIdRequired(id)));
    }

    fn waits_to_join(&self, session: &Timer) -> bool {
        matches!((&self.state, session), (State::PreparingRebalance(preparing), Timer::Session(id))
            if preparing.joined.contains_key(id))
    }

    /// A static member is back under a new id. In a stable group whose choice of protocol and
    /// whose metadata stay the same nobody else need notice.
    fn replace(&mut self, now: Now, old: Str, join: &Join, ticket: T, out: &mut Vec<Effect<T>>) {
        let id = detach(&join.new_member_id);
        let protocol = self.durable.protocol().cloned().unwrap_or_default();
        let metadata = self.members.get(&old).map(|member| member.metadata(&protocol));
        let led = self.durable.leader() == Some(&old);
        self.remove(&old, Error::FencedInstanceId, out);
        self.members.insert(id.clone(), Member::new(join));
        let member = self.members.get(&id).map(|member| member.metadata(&protocol));
        let same = self.members.elect_protocol().as_ref() == Some(&protocol) && metadata == member;
        if !same || !matches!(self.state, State::Stable { .. }) {
            return self.rejoin(now, id, ticket, out);
        }
        self.rename(now, &old, &id, out);
        let mut joined = self.joined(&id);
        if led && join.can_skip_assignment {
            joined.skip_assignment = true;
        } else if led {
            // Before KIP-814 a leader always assigned; told another leads, this one does not.
            joined.leader = old;
            joined.members.clear();
        }
        self.touch(now, &id);
        out.push(Effect::Reply(ticket, Reply::Joined(joined)));
    }

    /// Moves a member's place in the generation to another id.
    fn rename(&mut self, now: Now, old: &Str, id: &Str, out: &mut Vec<Effect<T>>) {
        let Some(mut metadata) = self.durable.metadata.clone() else { return };
        let assignment = self.durable.assignment(old);
        metadata.members.remove(old);
        if let (Some(member), Some(protocol)) = (self.members.get(id), &metadata.protocol) {
            metadata.members.insert(id.clone(), member.durable(protocol, assignment));
        }
        if metadata.leader.as_ref() == Some(old) {
            metadata.leader = Some(id.clone());
        }
        metadata.since_ms = now.unix_ms;
        self.append(Record::Group(Some(metadata)), out);
        if let State::Stable { unsynced } = &mut self.state
            && unsynced.remove(old)
        {
            unsynced.insert(id.clone());
        }
    }
}
