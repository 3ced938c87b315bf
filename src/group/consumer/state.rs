//! What of a consumer group outlives the process: members, what each is to have, what each has.

use super::partitions::{Partition, Partitions};
use super::record::ConsumerRecord;
use crate::group::Protocol;
use crate::group::member::protocol_bytes;
use std::collections::BTreeMap;
use tidelog_protocol::{Str, Uuid};

/// A group of the consumer protocol as its records tell it; epoch 0 is none.
///
/// **A partition has one owner at most**, and is its owner's until that says it gave it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerState {
    /// Grows whenever members, their subscriptions or the topics subscribed to change.
    pub epoch: i32,
    /// Of the topics subscribed to, as they were at this epoch.
    pub metadata_hash: i64,
    /// The group epoch that the targets were computed for.
    pub assignment_epoch: i32,
    /// The members by id.
    pub members: BTreeMap<Str, ConsumerMember>,
    targets: BTreeMap<Str, Partitions>,
    currents: BTreeMap<Str, Current>,
    instances: BTreeMap<Str, Str>,
    owners: BTreeMap<Partition, Str>,
    /// What the members' subscriptions take.
    bytes: usize,
}

/// What a member is and asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerMember {
    /// Set for static members.
    pub instance_id: Option<Str>,
    /// Where the client is, as it says.
    pub rack_id: Option<Str>,
    /// As the client calls itself.
    pub client_id: Str,
    /// The client's address.
    pub client_host: Str,
    /// How long the member may take to give partitions back.
    pub rebalance_timeout_ms: i32,
    /// The topics subscribed to by name: sorted, each once.
    pub topics: Vec<Str>,
    /// The topics subscribed to by regular expression, if there is one.
    pub regex: Option<Str>,
    /// The assignor it votes for.
    pub assignor: Option<Str>,
    /// Set while the member speaks the classic protocol.
    pub classic: Option<Classic>,
}

impl ConsumerMember {
    fn bytes(&self) -> usize {
        let protocols = self.classic.as_ref().map_or(0, |it| protocol_bytes(&it.protocols));
        self.topics.iter().map(|topic| topic.len()).sum::<usize>() + protocols
    }
}

/// What a member says in the classic protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classic {
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// In order of preference, one at least.
    pub protocols: Vec<Protocol>,
}

/// How far a member has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it is to have at its epoch.
    #[default]
    Stable = 1,
    /// It has to give partitions back first.
    UnrevokedPartitions = 2,
    /// It waits for partitions that others have yet to give back.
    UnreleasedPartitions = 3,
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    /// The assignment epoch that it has reached; -2 for a static member that will be back.
    pub epoch: i32,
    /// The one before, which it still says if an answer was lost.
    pub previous_epoch: i32,
    /// How far it has come.
    pub state: MemberState,
    /// What it may read.
    pub assigned: Partitions,
    /// What it is to give back and may still be reading.
    pub revoking: Partitions,
}

/// The epoch of a static member that left for a while.
pub(super) const AWAY: i32 = -2;

static NOTHING: Partitions = Partitions::NONE;
static NEW: Current = Current {
    epoch: 0,
    previous_epoch: -1,
    state: MemberState::Stable,
    assigned: Partitions::NONE,
    revoking: Partitions::NONE,
};

impl Current {
    /// All that the member may be reading.
    pub(super) fn held(&self) -> Partitions {
        let mut held = Partitions::default();
        self.owned().for_each(|partition| _ = held.insert(partition));
        held
    }

    /// Whether the member has what it is to have at this epoch.
    pub(super) fn is_reconciled(&self, assignment_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == assignment_epoch
    }

    fn owned(&self) -> impl Iterator<Item = Partition> {
        self.assigned.iter().chain(self.revoking.iter())
    }
}

impl ConsumerState {
    /// Takes in a record: the only change there is.
    pub fn apply(&mut self, record: &ConsumerRecord) {
        match record {
            ConsumerRecord::Group(Some(group)) => {
                (self.epoch, self.metadata_hash) = (group.epoch, group.metadata_hash);
            }
            ConsumerRecord::Group(None) => *self = Self::default(),
            ConsumerRecord::TargetEpoch(epoch) => {
                self.assignment_epoch = epoch.unwrap_or_default();
            }
            ConsumerRecord::Member(id, member) => self.set_member(id, member.as_ref()),
            ConsumerRecord::Target(id, Some(target)) => {
                self.targets.insert(id.clone(), target.clone());
            }
            ConsumerRecord::Target(id, None) => drop(self.targets.remove(id)),
            ConsumerRecord::Current(id, current) => self.set_current(id, current.as_ref()),
        }
    }

    fn set_member(&mut self, id: &Str, member: Option<&ConsumerMember>) {
        let last = match member {
            Some(member) => self.members.insert(id.clone(), member.clone()),
            None => self.members.remove(id),
        };
        self.bytes += member.map_or(0, ConsumerMember::bytes);
        self.bytes -= last.as_ref().map_or(0, ConsumerMember::bytes);
        if let Some(instance) = last.and_then(|last| last.instance_id)
            && self.instances.get(&instance) == Some(id)
        {
            self.instances.remove(&instance);
        }
        if let Some(instance) = member.and_then(|member| member.instance_id.as_ref()) {
            self.instances.insert(instance.clone(), id.clone());
        }
    }

    fn set_current(&mut self, id: &Str, current: Option<&Current>) {
        let last = match current {
            Some(current) => self.currents.insert(id.clone(), current.clone()),
            None => self.currents.remove(id),
        };
        for partition in last.iter().flat_map(Current::owned) {
            if self.owners.get(&partition) == Some(id) {
                self.owners.remove(&partition);
            }
        }
        for partition in current.into_iter().flat_map(Current::owned) {
            self.owners.insert(partition, id.clone());
        }
    }

    /// What a member is to have.
    pub fn target(&self, id: &str) -> &Partitions {
        self.targets.get(id).unwrap_or(&NOTHING)
    }

    /// What a member has; nothing, at epoch 0, if it is new.
    pub fn current(&self, id: &str) -> &Current {
        self.currents.get(id).unwrap_or(&NEW)
    }

    /// Bytes that the members' subscriptions take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The id of a static member.
    pub fn instance(&self, instance: &str) -> Option<&Str> {
        self.instances.get(instance)
    }

    /// Who reads a partition, or may still be reading it.
    pub fn owner(&self, partition: &(Uuid, i32)) -> Option<&Str> {
        self.owners.get(partition)
    }

    /// Whether members are left, and all of them speak the classic protocol.
    pub(super) fn is_all_classic(&self) -> bool {
        !self.members.is_empty() && self.members.values().all(|member| member.classic.is_some())
    }

    /// The records that leave nothing of a member.
    pub(super) fn without(id: &Str) -> [ConsumerRecord; 3] {
        [
            ConsumerRecord::Current(id.clone(), None),
            ConsumerRecord::Target(id.clone(), None),
            ConsumerRecord::Member(id.clone(), None),
        ]
    }

    /// The records that leave nothing of the group.
    pub(in crate::group) fn gone(&self) -> Vec<ConsumerRecord> {
        let members = self.members.keys().flat_map(Self::without);
        members.chain([ConsumerRecord::TargetEpoch(None), ConsumerRecord::Group(None)]).collect()
    }
}
