//! What ListGroups and DescribeGroups show of a group.

use super::offsets::CONSUMER;
use super::{Group, State};
use bytes::Bytes;
use tidelog_protocol::Str;

/// The states of a group by Kafka's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName {
    /// No members.
    Empty,
    /// Members join.
    PreparingRebalance,
    /// The leader assigns.
    CompletingRebalance,
    /// Members work; in a consumer group, all have what they are to have.
    Stable,
    /// The coordinator is about to assign to the members of a consumer group.
    Assigning,
    /// Members of a consumer group are on the way to what they are to have.
    Reconciling,
    /// The group is gone.
    Dead,
    /// The group cannot be read.
    Unknown,
}

/// The protocols of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// Members pick a leader among them, which assigns.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
}

impl GroupType {
    /// As it goes over the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

impl StateName {
    /// As it goes over the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Dead => "Dead",
            Self::Unknown => "Unknown",
        }
    }
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The protocol.
    pub group_type: GroupType,
    /// Empty for a group that never had members.
    pub protocol_type: Str,
    /// The state.
    pub state: StateName,
}

/// A group in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Empty for a group that never had members.
    pub protocol_type: Str,
    /// The state.
    pub state: StateName,
    /// The protocol voted for; empty unless stable.
    pub protocol: Str,
    /// The members, by id.
    pub members: Vec<MemberDescription>,
}

/// A member in detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: Str,
    /// Set for static members.
    pub group_instance_id: Option<Str>,
    /// As the client calls itself.
    pub client_id: Str,
    /// The client's address.
    pub client_host: Str,
    /// Its metadata for the protocol voted for; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its part of the work; empty unless the group is stable.
    pub assignment: Bytes,
}

impl<T> Group<T> {
    /// The state by name.
    pub fn state(&self) -> StateName {
        match self.state {
            State::Empty => StateName::Empty,
            State::PreparingRebalance(_) => StateName::PreparingRebalance,
            State::CompletingRebalance { .. } => StateName::CompletingRebalance,
            State::Stable { .. } => StateName::Stable,
            State::Consumer(_) => self.durable.consumer.name(),
            State::Dead => StateName::Dead,
        }
    }

    /// The group for a list.
    pub fn list(&self) -> Listing {
        let group_type = match self.state {
            State::Consumer(_) => GroupType::Consumer,
            _ => GroupType::Classic,
        };
        Listing { group_type, protocol_type: self.protocol_type(), state: self.state() }
    }

    /// The group in detail, if it is one of the classic protocol.
    pub fn describe(&self) -> Option<Description> {
        if let State::Consumer(_) = self.state {
            return None;
        }
        let state = self.state();
        let protocol = self.durable.protocol().filter(|_| state == StateName::Stable).cloned();
        let members = self.members.iter().map(|(id, member)| MemberDescription {
            member_id: id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.as_ref().map(|name| member.metadata(name)).unwrap_or_default(),
            assignment: protocol.as_ref().map(|_| self.durable.assignment(id)).unwrap_or_default(),
        });
        Some(Description {
            protocol_type: self.protocol_type(),
            state,
            members: members.collect(),
            protocol: protocol.unwrap_or_default(),
        })
    }

    fn protocol_type(&self) -> Str {
        if let State::Consumer(_) = self.state {
            return Str::from_static(CONSUMER);
        }
        let kept = self.durable.metadata.as_ref().map(|metadata| &metadata.protocol_type);
        self.members.protocol_type().or(kept).cloned().unwrap_or_default()
    }
}
