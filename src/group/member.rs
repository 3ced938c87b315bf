//! The members of a group as they are now, which may be ahead of the last generation.

use super::durable::{MemberState, Metadata};
use super::error::Error;
use super::join::Join;
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;
use tidelog_protocol::Str;

/// Members of one group, and as many ids handed out to clients that have yet to join.
pub const MEMBERS_MAX: usize = 10_000;
/// Protocols that one member supports. Clients send one or two.
pub const MEMBER_PROTOCOLS_MAX: usize = 64;
/// Metadata of one member over all its protocols. The leader is sent every member's.
pub const MEMBER_METADATA_BYTES_MAX: usize = 1 << 20;
/// Metadata of all members of a group.
pub const GROUP_METADATA_BYTES_MAX: usize = 64 << 20;
/// All members' assignments together: they are one durable record.
pub const ASSIGNMENT_BYTES_MAX: usize = 16 << 20;
/// Different regular expressions that a group's members subscribe by. Clients send the same one;
/// all are matched with every topic whenever topics change.
pub const PATTERNS_MAX: usize = 100;
/// A name: of a client, an instance, a protocol. A record could hold 32767 bytes.
pub const TEXT_BYTES_MAX: usize = 4096;

/// A way to share work that a member supports, such as `range`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Compared with the other members'.
    pub name: Str,
    /// Read only by the leader.
    pub metadata: Bytes,
}

impl Protocol {
    /// A copy that keeps no request frame in memory.
    pub(super) fn detached(&self) -> Self {
        let metadata = Bytes::copy_from_slice(&self.metadata);
        Self { name: detach(&self.name), metadata }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) group_instance_id: Option<Str>,
    pub(super) client_id: Str,
    pub(super) client_host: Str,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocol_type: Str,
    /// In order of preference.
    pub(super) protocols: Vec<Protocol>,
}

impl Member {
    /// Copies what is kept, so that no request frame stays in memory for a member's sake.
    pub(super) fn new(join: &Join) -> Self {
        let protocols = join.protocols.iter().map(Protocol::detached);
        Self {
            group_instance_id: join.group_instance_id.as_ref().map(detach),
            client_id: detach(&join.client_id),
            client_host: detach(&join.client_host),
            session_timeout: millis(join.session_timeout_ms),
            rebalance_timeout: millis(join.rebalance_timeout_ms),
            protocol_type: detach(&join.protocol_type),
            protocols: protocols.collect(),
        }
    }

    /// The member as it rejoins. It stays the instance that it is, named again or not.
    pub(super) fn rejoin(&self, join: &Join) -> Self {
        Self { group_instance_id: self.group_instance_id.clone(), ..Self::new(join) }
    }

    fn restore(metadata: &Metadata, state: &MemberState) -> Self {
        let name = metadata.protocol.clone().unwrap_or_default();
        Self {
            group_instance_id: state.group_instance_id.clone(),
            client_id: state.client_id.clone(),
            client_host: state.client_host.clone(),
            session_timeout: millis(state.session_timeout_ms),
            rebalance_timeout: millis(state.rebalance_timeout_ms),
            protocol_type: metadata.protocol_type.clone(),
            protocols: vec![Protocol { name, metadata: state.subscription.clone() }],
        }
    }

    /// What is kept of the member in a generation with this protocol.
    pub(super) fn durable(&self, protocol: &str, assignment: Bytes) -> MemberState {
        MemberState {
            group_instance_id: self.group_instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: whole_millis(self.rebalance_timeout),
            session_timeout_ms: whole_millis(self.session_timeout),
            subscription: self.metadata(protocol),
            assignment,
        }
    }

    fn bytes(&self) -> usize {
        protocol_bytes(&self.protocols)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|supported| supported.name == protocol);
        found.map(|supported| supported.metadata.clone()).unwrap_or_default()
    }
}

/// What a member's protocols take.
pub(super) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}

/// A copy that does not keep alive the frame it came in.
pub(super) fn detach(text: &Str) -> Str {
    Str::from(text.to_string())
}

pub(super) fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

pub(super) fn whole_millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// The members by id, with the static ones by instance too.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<Str, Member>,
    instances: BTreeMap<Str, Str>,
    /// How many members support a protocol.
    support: BTreeMap<Str, usize>,
    bytes: usize,
}

impl Roster {
    pub(super) fn restore(metadata: &Metadata) -> Self {
        let mut roster = Self::default();
        for (id, state) in &metadata.members {
            roster.insert(id.clone(), Member::restore(metadata, state));
        }
        roster
    }

    pub(super) fn insert(&mut self, id: Str, member: Member) {
        self.remove(&id);
        if let Some(instance) = &member.group_instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        for name in distinct(&member.protocols) {
            *self.support.entry(name.clone()).or_default() += 1;
        }
        self.bytes += member.bytes();
        self.members.insert(id, member);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.group_instance_id {
            self.instances.remove(instance);
        }
        for name in distinct(&member.protocols) {
            match self.support.get_mut(name) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.support.remove(name)),
            }
        }
        self.bytes -= member.bytes();
        Some(member)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub(super) fn instance(&self, instance: &str) -> Option<&Str> {
        self.instances.get(instance)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Str, &Member)> {
        self.members.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// What all members' protocols take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member a request speaks for.
    pub(super) fn check(&self, id: &str, instance: Option<&Str>) -> Result<&Member, Error> {
        if let Some(instance) = instance {
            match self.instance(instance) {
                None => return Err(Error::UnknownMemberId),
                Some(owner) if owner != id => return Err(Error::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.get(id).ok_or(Error::UnknownMemberId)
    }

    /// How long a rebalance waits: as long as its most patient member asks.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    pub(super) fn protocol_type(&self) -> Option<&Str> {
        self.members.values().next().map(|member| &member.protocol_type)
    }

    /// Whether a member with these protocols can be one of the group.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        match self.protocol_type() {
            None => !protocol_type.is_empty() && !protocols.is_empty(),
            Some(ours) => {
                ours == protocol_type && protocols.iter().any(|other| self.common(&other.name))
            }
        }
    }

    /// The protocol that all support and most prefer; the first by name of equals.
    pub(super) fn elect_protocol(&self) -> Option<Str> {
        let mut votes = BTreeMap::<&Str, usize>::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|protocol| self.common(&protocol.name));
            *votes.entry(&choice?.name).or_default() += 1;
        }
        let (name, _) = votes.into_iter().max_by_key(|(name, votes)| (*votes, Reverse(*name)))?;
        Some(name.clone())
    }

    fn common(&self, protocol: &str) -> bool {
        self.support.get(protocol) == Some(&self.members.len())
    }
}

/// Names without repeats; a client may send one twice.
fn distinct(protocols: &[Protocol]) -> impl Iterator<Item = &Str> {
    let repeated = |at: usize| protocols[..at].iter().any(|p| p.name == protocols[at].name);
    protocols.iter().enumerate().filter(move |(at, _)| !repeated(*at)).map(|(_, p)| &p.name)
}
