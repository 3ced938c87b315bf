//! The durable records of a group, and their encoding in Kafka's `__consumer_offsets` formats.
//!
//! ```text
//! key    version i16 | fields     0, 1: offset of (group, topic, partition)   2: the group
//!                                 3 and more: a group of the consumer protocol
//! value  version i16 | fields     none: a tombstone
//! ```
//!
//! Every value version is read; the highest that is not flexible is written, so that older tools
//! read it too. An offset with an expiry of its own is written as version 1, which has the field
//! (and no leader epoch, nor had the requests that set an expiry).

use super::consumer::ConsumerRecord;
use super::durable::{Committed, MemberState, Metadata};
use bytes::Bytes;
use tidelog_protocol::messages::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};
use tidelog_protocol::{DecodeError, Reader, Str, Version, Wire, Writer};

/// A change of a group's durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The group as a whole, or that it is gone.
    Group(Option<Metadata>),
    /// One partition's committed offset, or that it is gone.
    Offset {
        /// The topic.
        topic: Str,
        /// The partition.
        partition: i32,
        /// The commit; none deletes.
        committed: Option<Committed>,
    },
    /// Something of a group of the consumer protocol (KIP-848).
    Consumer(ConsumerRecord),
}

/// Why bytes are not a record of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A kind of record we do not know.
    #[error("unknown key version {0}, expected 0 to 3 or 5 to 8")]
    UnknownKey(i16),
    /// A layout we do not know.
    #[error("unknown value version {0}, expected 0 to {1}")]
    UnknownValue(i16, i16),
    /// A known layout that does not hold.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const EXPIRING_OFFSET_VALUE: i16 = 1;
const OFFSET_VALUE: i16 = 3;
const GROUP_VALUE: i16 = 3;
const FIRST_FLEXIBLE_VALUE: i16 = 4;
const LAST_VALUE: i16 = 4;

impl Record {
    /// Key and value; no value is a tombstone.
    pub fn encode(&self, group: &Str) -> (Bytes, Option<Bytes>) {
        match self {
            Record::Group(metadata) => {
                let key = GroupMetadataKey { group: group.clone() };
                let value = metadata.as_ref().map(group_value);
                (put(&key, GROUP_KEY), value.map(|value| put(&value, GROUP_VALUE)))
            }
            Record::Offset { topic, partition, committed } => {
                let (group, topic) = (group.clone(), topic.clone());
                let key = OffsetCommitKey { group, topic, partition: *partition };
                (put(&key, OFFSET_KEY), committed.as_ref().map(put_committed))
            }
            Record::Consumer(record) => record.encode(group),
        }
    }

    /// The group that a key is of, which every kind of key begins with, also one we do not know.
    ///
    /// # Errors
    /// When the bytes end before the group does.
    pub fn group(key: Bytes) -> Result<Str, RecordError> {
        let mut key = Reader::new(key);
        i16::read(&mut key, PLAIN)?;
        Ok(Str::read(&mut key, PLAIN)?)
    }

    /// The group and its record.
    ///
    /// # Errors
    /// When the version of key or value is unknown, or the bytes are not of that version.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<(Str, Self), RecordError> {
        let mut key = Reader::new(key);
        let version = Version { number: i16::read(&mut key, PLAIN)?, flexible: false };
        match version.number {
            0 | OFFSET_KEY => {
                let key: OffsetCommitKey = take(key, version)?;
                let committed = value.map(take_value).transpose()?.map(committed);
                let (topic, partition) = (key.topic, key.partition);
                Ok((key.group, Record::Offset { topic, partition, committed }))
            }
            GROUP_KEY => {
                let key: GroupMetadataKey = take(key, version)?;
                let metadata = value.map(take_value).transpose()?.map(metadata);
                Ok((key.group, Record::Group(metadata)))
            }
            _ => {
                let (group, record) = ConsumerRecord::decode(version, key, value)?;
                Ok((group, Record::Consumer(record)))
            }
        }
    }
}

pub(super) const PLAIN: Version = Version { number: 0, flexible: false };

pub(super) fn put(message: &impl Wire, number: i16) -> Bytes {
    let mut out = Writer::default();
    number.write(&mut out, PLAIN);
    message.write(&mut out, Version { number, flexible: false });
    out.into_bytes()
}

pub(super) fn take<M: Wire>(mut input: Reader, version: Version) -> Result<M, RecordError> {
    let message = M::read(&mut input, version)?;
    input.finish()?;
    Ok(message)
}

fn take_value<M: Wire>(value: Bytes) -> Result<M, RecordError> {
    let mut input = Reader::new(value);
    let number = i16::read(&mut input, PLAIN)?;
    if !(0..=LAST_VALUE).contains(&number) {
        return Err(RecordError::UnknownValue(number, LAST_VALUE));
    }
    take(input, Version { number, flexible: number >= FIRST_FLEXIBLE_VALUE })
}

fn put_committed(committed: &Committed) -> Bytes {
    let version = if committed.expire_ms.is_some() { EXPIRING_OFFSET_VALUE } else { OFFSET_VALUE };
    let value = OffsetCommitValue {
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.clone(),
        commit_timestamp: committed.commit_ms,
        expire_timestamp: committed.expire_ms.unwrap_or(-1),
    };
    put(&value, version)
}

fn committed(value: OffsetCommitValue) -> Committed {
    Committed {
        offset: value.offset,
        leader_epoch: value.leader_epoch,
        metadata: value.metadata,
        commit_ms: value.commit_timestamp,
        expire_ms: (value.expire_timestamp >= 0).then_some(value.expire_timestamp),
    }
}

fn group_value(metadata: &Metadata) -> GroupMetadataValue {
    let members = metadata.members.iter().map(|(member_id, member)| MemberMetadata {
        member_id: member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    });
    GroupMetadataValue {
        protocol_type: metadata.protocol_type.clone(),
        generation: metadata.generation,
        protocol: metadata.protocol.clone(),
        leader: metadata.leader.clone(),
        current_state_timestamp: metadata.since_ms,
        members: members.collect(),
    }
}

fn metadata(value: GroupMetadataValue) -> Metadata {
    let members = value.members.into_iter().map(|member| {
        let before_version_1 = member.rebalance_timeout < 0;
        let state = MemberState {
            group_instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            rebalance_timeout_ms: match before_version_1 {
                true => member.session_timeout,
                false => member.rebalance_timeout,
            },
            session_timeout_ms: member.session_timeout,
            subscription: member.subscription,
            assignment: member.assignment,
        };
        (member.member_id, state)
    });
    Metadata {
        protocol_type: value.protocol_type,
        generation: value.generation,
        protocol: value.protocol,
        leader: value.leader,
        since_ms: value.current_state_timestamp,
        members: members.collect(),
    }
}
