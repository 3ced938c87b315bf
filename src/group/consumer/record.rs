//! The records of a consumer group, and their encoding in Kafka's `__consumer_offsets` formats.
//!
//! ```text
//! key    version i16 | group, member id    3: the group   5: a member   6: the target's epoch
//!                                           7: a target    8: what a member has
//! value  version i16 = 0 | fields          none: a tombstone
//! ```

use super::partitions::Partitions;
use super::state::{Classic, ConsumerMember, Current, MemberState};
use crate::group::Protocol;
use crate::group::record::{PLAIN, RecordError, put, take};
use bytes::Bytes;
use tidelog_protocol::messages::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberKey, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
};
use tidelog_protocol::{Reader, Str, Version, Wire, Writer};

/// A change of a consumer group; none deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// The group's epoch.
    Group(Option<Epoch>),
    /// A member, by id.
    Member(Str, Option<ConsumerMember>),
    /// The epoch that the targets were computed for.
    TargetEpoch(Option<i32>),
    /// What a member is to have.
    Target(Str, Option<Partitions>),
    /// What a member has.
    Current(Str, Option<Current>),
}

/// A group epoch and the topics it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Grows by one.
    pub epoch: i32,
    /// Of the topics subscribed to.
    pub metadata_hash: i64,
}

const GROUP_KEY: i16 = 3;
const MEMBER_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const VALUE: Version = Version { number: 0, flexible: true };

impl ConsumerRecord {
    /// Key and value; no value is a tombstone.
    pub fn encode(&self, group: &Str) -> (Bytes, Option<Bytes>) {
        let group = group.clone();
        let of = |member_id: &Str| ConsumerGroupMemberKey {
            group: group.clone(),
            member_id: member_id.clone(),
        };
        match self {
            Self::Group(epoch) => {
                let value = epoch.map(|it| ConsumerGroupMetadataValue {
                    epoch: it.epoch,
                    metadata_hash: it.metadata_hash,
                });
                (put(&ConsumerGroupMetadataKey { group }, GROUP_KEY), value.map(put_value))
            }
            Self::Member(id, member) => {
                let value = member.as_ref().map(member_value);
                (put(&of(id), MEMBER_KEY), value.map(put_value))
            }
            Self::TargetEpoch(epoch) => {
                let key = ConsumerGroupTargetAssignmentMetadataKey { group };
                let value = epoch.map(|assignment_epoch| {
                    ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch }
                });
                (put(&key, TARGET_EPOCH_KEY), value.map(put_value))
            }
            Self::Target(id, target) => {
                let value = target.as_ref().map(|target| {
                    let topic_partitions = target.to_wire();
                    ConsumerGroupTargetAssignmentMemberValue { topic_partitions }
                });
                (put(&of(id), TARGET_KEY), value.map(put_value))
            }
            Self::Current(id, current) => {
                let value = current.as_ref().map(|it| ConsumerGroupCurrentMemberAssignmentValue {
                    member_epoch: it.epoch,
                    previous_member_epoch: it.previous_epoch,
                    state: it.state as i8,
                    assigned_partitions: it.assigned.to_wire(),
                    partitions_pending_revocation: it.revoking.to_wire(),
                });
                (put(&of(id), CURRENT_KEY), value.map(put_value))
            }
        }
    }

    /// The group and its record, from a key without its version and a value.
    ///
    /// # Errors
    /// When the version of key or value is unknown, or the bytes are not of that version.
    pub(in crate::group) fn decode(
        version: Version,
        key: Reader,
        value: Option<Bytes>,
    ) -> Result<(Str, Self), RecordError> {
        match version.number {
            GROUP_KEY => {
                let key: ConsumerGroupMetadataKey = take(key, version)?;
                let value: Option<ConsumerGroupMetadataValue> =
                    value.map(take_value).transpose()?;
                let epoch = |it: ConsumerGroupMetadataValue| Epoch {
                    epoch: it.epoch,
                    metadata_hash: it.metadata_hash,
                };
                Ok((key.group, Self::Group(value.map(epoch))))
            }
            TARGET_EPOCH_KEY => {
                let key: ConsumerGroupTargetAssignmentMetadataKey = take(key, version)?;
                let value: Option<ConsumerGroupTargetAssignmentMetadataValue> =
                    value.map(take_value).transpose()?;
                Ok((key.group, Self::TargetEpoch(value.map(|it| it.assignment_epoch))))
            }
            MEMBER_KEY | TARGET_KEY | CURRENT_KEY => {
                let ConsumerGroupMemberKey { group, member_id } = take(key, version)?;
                Ok((group, Self::decode_member(version.number, member_id, value)?))
            }
            other => Err(RecordError::UnknownKey(other)),
        }
    }

    fn decode_member(key: i16, id: Str, value: Option<Bytes>) -> Result<Self, RecordError> {
        Ok(match key {
            MEMBER_KEY => Self::Member(id, value.map(take_value).transpose()?.map(member)),
            TARGET_KEY => {
                let value: Option<ConsumerGroupTargetAssignmentMemberValue> =
                    value.map(take_value).transpose()?;
                let target = value.map(|it| Partitions::from_wire(&it.topic_partitions));
                Self::Target(id, target)
            }
            _ => Self::Current(id, value.map(take_value).transpose()?.map(current)),
        })
    }
}

fn put_value(value: impl Wire) -> Bytes {
    let mut out = Writer::default();
    VALUE.number.write(&mut out, PLAIN);
    value.write(&mut out, VALUE);
    out.into_bytes()
}

fn take_value<M: Wire>(value: Bytes) -> Result<M, RecordError> {
    let mut input = Reader::new(value);
    match i16::read(&mut input, PLAIN)? {
        0 => take(input, VALUE),
        other => Err(RecordError::UnknownValue(other, VALUE.number)),
    }
}

fn member_value(member: &ConsumerMember) -> ConsumerGroupMemberMetadataValue {
    let protocol = |protocol: &Protocol| ClassicProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
    };
    let classic = member.classic.as_ref().map(|classic| ClassicMemberMetadata {
        session_timeout_ms: classic.session_timeout_ms,
        supported_protocols: classic.protocols.iter().map(protocol).collect(),
    });
    ConsumerGroupMemberMetadataValue {
        instance_id: member.instance_id.clone(),
        rack_id: member.rack_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: member.topics.clone(),
        subscribed_topic_regex: member.regex.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: member.assignor.clone(),
        classic_member_metadata: classic,
    }
}

fn member(value: ConsumerGroupMemberMetadataValue) -> ConsumerMember {
    let protocol = |it: ClassicProtocol| Protocol { name: it.name, metadata: it.metadata };
    let classic = value.classic_member_metadata.map(|it| Classic {
        session_timeout_ms: it.session_timeout_ms,
        protocols: it.supported_protocols.into_iter().map(protocol).collect(),
    });
    ConsumerMember {
        instance_id: value.instance_id,
        rack_id: value.rack_id,
        client_id: value.client_id,
        client_host: value.client_host,
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        topics: value.subscribed_topic_names,
        regex: value.subscribed_topic_regex,
        assignor: value.server_assignor,
        classic,
    }
}

fn current(value: ConsumerGroupCurrentMemberAssignmentValue) -> Current {
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        state: match value.state {
            2 => MemberState::UnrevokedPartitions,
            3 => MemberState::UnreleasedPartitions,
            _ => MemberState::Stable,
        },
        assigned: Partitions::from_wire(&value.assigned_partitions),
        revoking: Partitions::from_wire(&value.partitions_pending_revocation),
    }
}
