//! The classic group protocol, and finding who coordinates a group.

use crate::error_code::ErrorCode;
use crate::wire::Str;
use bytes::Bytes;

messages! {
    /// Asks who coordinates groups (0), transactions (1) or share groups (2).
    FindCoordinatorRequest {
        key: Str [..=3],
        key_type: i8 [1..],
        coordinator_keys: Vec<Str> [4..],
    }
    /// The coordinating brokers.
    FindCoordinatorResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [..=3],
        error_message: Option<Str> [1..=3],
        node_id: i32 [..=3],
        host: Str [..=3],
        port: i32 [..=3],
        coordinators: Vec<FoundCoordinator> [4..],
    }
    FoundCoordinator {
        key: Str, node_id: i32, host: Str, port: i32, error_code: ErrorCode,
        error_message: Option<Str>,
    }
    /// Joins a group, or joins again for a rebalance.
    JoinGroupRequest {
        group_id: Str, session_timeout_ms: i32,
        rebalance_timeout_ms: i32 [1..] = -1,
        member_id: Str,
        group_instance_id: Option<Str> [5..],
        protocol_type: Str, protocols: Vec<JoinGroupProtocol>,
        reason: Option<Str> [8..],
    }
    JoinGroupProtocol { name: Str, metadata: Bytes }
    /// The new generation; the leader gets all members to assign partitions to.
    JoinGroupResponse {
        throttle_time_ms: i32 [2..],
        error_code: ErrorCode,
        generation_id: i32 = -1,
        protocol_type: Option<Str> [7..],
        protocol_name: Option<Str> [null 7..],
        leader: Str,
        skip_assignment: bool [9..],
        member_id: Str, members: Vec<JoinGroupMember>,
    }
    JoinGroupMember { member_id: Str, group_instance_id: Option<Str> [5..], metadata: Bytes }
    /// Keeps a member in its group.
    HeartbeatRequest {
        group_id: Str, generation_id: i32, member_id: Str,
        group_instance_id: Option<Str> [3..],
    }
    /// Whether a rebalance is under way.
    HeartbeatResponse { throttle_time_ms: i32 [1..], error_code: ErrorCode }
    /// Takes members out of their group: one up to version 2, several since 3.
    LeaveGroupRequest {
        group_id: Str,
        member_id: Str [..=2],
        members: Vec<LeaveGroupMember> [3..],
    }
    LeaveGroupMember { member_id: Str, group_instance_id: Option<Str>, reason: Option<Str> [5..] }
    /// Whether each member left.
    LeaveGroupResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode,
        members: Vec<LeaveGroupMemberResponse> [3..],
    }
    LeaveGroupMemberResponse {
        member_id: Str, group_instance_id: Option<Str>, error_code: ErrorCode,
    }
    /// Brings the leader's assignments, and asks for one's own.
    SyncGroupRequest {
        group_id: Str, generation_id: i32, member_id: Str,
        group_instance_id: Option<Str> [3..],
        protocol_type: Option<Str> [5..],
        protocol_name: Option<Str> [5..],
        assignments: Vec<SyncGroupAssignment>,
    }
    SyncGroupAssignment { member_id: Str, assignment: Bytes }
    /// The member's assignment.
    SyncGroupResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode,
        protocol_type: Option<Str> [5..],
        protocol_name: Option<Str> [5..],
        assignment: Bytes,
    }
}
