//! What a coordinator keeps in `__consumer_offsets`: record keys and values, each with a version
//! number of two bytes before it.

use crate::wire::Str;
use bytes::Bytes;

messages! {
    /// Key versions 0 and 1: the committed offset of one partition. A null value deletes it.
    OffsetCommitKey {
        group: Str,
        topic: Str,
        partition: i32,
    }
    /// Versions 0 to 4; flexible since 4.
    OffsetCommitValue {
        offset: i64,
        leader_epoch: i32 [3..] = -1,
        metadata: Str,
        commit_timestamp: i64,
        expire_timestamp: i64 [1..=1] = -1,
    }
    /// Key version 2: the group itself. A null value deletes it.
    GroupMetadataKey {
        group: Str,
    }
    /// Versions 0 to 4; flexible since 4.
    GroupMetadataValue {
        protocol_type: Str,
        generation: i32,
        protocol: Option<Str>,
        leader: Option<Str>,
        current_state_timestamp: i64 [2..] = -1,
        members: Vec<MemberMetadata>,
    }
    /// A member of a group at the time its generation was formed.
    MemberMetadata {
        member_id: Str,
        group_instance_id: Option<Str> [3..],
        client_id: Str,
        client_host: Str,
        rebalance_timeout: i32 [1..] = -1,
        session_timeout: i32,
        subscription: Bytes,
        assignment: Bytes,
    }
}
