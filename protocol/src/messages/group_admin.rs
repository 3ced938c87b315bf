//! Listing, describing and deleting groups.

use crate::error_code::ErrorCode;
use crate::wire::Str;
use bytes::Bytes;

messages! {
    /// Asks for the members of groups.
    DescribeGroupsRequest { groups: Vec<Str>, include_authorized_operations: bool [3..] }
    /// The groups and their members.
    DescribeGroupsResponse { throttle_time_ms: i32 [1..], groups: Vec<DescribedGroup> }
    DescribedGroup {
        error_code: ErrorCode,
        error_message: Option<Str> [6..],
        group_id: Str, group_state: Str, protocol_type: Str, protocol_data: Str,
        members: Vec<DescribedGroupMember>,
        authorized_operations: i32 [3..] = i32::MIN,
    }
    DescribedGroupMember {
        member_id: Str,
        group_instance_id: Option<Str> [4..],
        client_id: Str, client_host: Str, member_metadata: Bytes, member_assignment: Bytes,
    }
    /// Asks for the groups in some states and of some types, empty for all.
    ListGroupsRequest {
        states_filter: Vec<Str> [4..],
        types_filter: Vec<Str> [5..],
    }
    /// The groups.
    ListGroupsResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode, groups: Vec<ListedGroup>,
    }
    ListedGroup {
        group_id: Str, protocol_type: Str,
        group_state: Str [4..],
        group_type: Str [5..],
    }
    /// Deletes empty groups with their offsets.
    DeleteGroupsRequest { groups_names: Vec<Str> }
    /// Whether each group was deleted.
    DeleteGroupsResponse { throttle_time_ms: i32, results: Vec<DeletableGroupResult> }
    DeletableGroupResult {
        group_id: Str,
        error_code: ErrorCode,
        error_message: Option<Str> [3..],
    }
}
