//! What of a group outlives the process.
//!
//! **It changes in [`Durable::apply`] and nowhere else**, on the live path and in recovery alike.

use super::consumer::ConsumerState;
use super::record::Record;
use bytes::Bytes;
use std::collections::BTreeMap;
use tidelog_protocol::Str;

/// A group's state as its records tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// The last generation of a classic group, if there was one.
    pub metadata: Option<Metadata>,
    /// The group, if it is one of the consumer protocol.
    pub consumer: ConsumerState,
    /// Committed offsets by topic and partition.
    pub offsets: BTreeMap<Str, BTreeMap<i32, Committed>>,
}

/// A generation of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `consumer`, `connect` or whatever the members share.
    pub protocol_type: Str,
    /// Grows by one with every rebalance.
    pub generation: i32,
    /// The protocol voted for; none without members.
    pub protocol: Option<Str>,
    /// The member that assigns; none without members.
    pub leader: Option<Str>,
    /// When the group entered the state that this record tells of, in ms since 1970.
    pub since_ms: i64,
    /// The members, by id.
    pub members: BTreeMap<Str, MemberState>,
}

/// What is kept of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberState {
    /// Set for static members (KIP-345).
    pub group_instance_id: Option<Str>,
    /// As the client calls itself.
    pub client_id: Str,
    /// The client's address.
    pub client_host: Str,
    /// How long a rebalance waits for this member.
    pub rebalance_timeout_ms: i32,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// The member's metadata for the protocol voted for.
    pub subscription: Bytes,
    /// What the leader gave it; empty until then.
    pub assignment: Bytes,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to consume.
    pub offset: i64,
    /// Epoch of the last record consumed, or -1.
    pub leader_epoch: i32,
    /// The client's note.
    pub metadata: Str,
    /// When it was committed, in ms since 1970.
    pub commit_ms: i64,
    /// When it goes at the latest, in ms since 1970, if the client said so (OffsetCommit 2 to 4).
    pub expire_ms: Option<i64>,
}

impl Durable {
    /// Takes in a record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Group(metadata) => self.metadata.clone_from(metadata),
            Record::Consumer(record) => self.consumer.apply(record),
            Record::Offset { topic, partition, committed: Some(committed) } => {
                let partitions = self.offsets.entry(topic.clone()).or_default();
                partitions.insert(*partition, committed.clone());
            }
            Record::Offset { topic, partition, committed: None } => {
                if let Some(partitions) = self.offsets.get_mut(topic) {
                    partitions.remove(partition);
                    if partitions.is_empty() {
                        self.offsets.remove(topic);
                    }
                }
            }
        }
    }

    /// The offset committed for a partition.
    pub fn offset(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.offsets.get(topic)?.get(&partition)
    }

    /// Every committed offset.
    pub fn offsets(&self) -> impl Iterator<Item = (&Str, i32, &Committed)> {
        self.offsets.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, committed)| (topic, *partition, committed))
        })
    }

    pub(super) fn generation(&self) -> i32 {
        self.metadata.as_ref().map_or(0, |metadata| metadata.generation)
    }

    pub(super) fn protocol(&self) -> Option<&Str> {
        self.metadata.as_ref()?.protocol.as_ref()
    }

    pub(super) fn leader(&self) -> Option<&Str> {
        self.metadata.as_ref()?.leader.as_ref()
    }

    pub(super) fn assignment(&self, member: &str) -> Bytes {
        let member = self.metadata.as_ref().and_then(|metadata| metadata.members.get(member));
        member.map(|member| member.assignment.clone()).unwrap_or_default()
    }
}
