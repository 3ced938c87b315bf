//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup: wire structs in, the group's machine, wire structs
//! out.

use super::Session;
use crate::cluster::Cluster;
use crate::group::{Error, Heartbeat, Join, LeavingMember, Protocol, Reply, Sync};
use crate::id;
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupMember, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupMemberResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use tidelog_protocol::{ErrorCode, Str};

/// Since this version a new member is told its id before it joins (KIP-394).
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
/// Since this version a client knows `skip_assignment` (KIP-814).
const SKIP_ASSIGNMENT_SINCE: i16 = 9;
/// Since this version several members leave at once (KIP-345).
const LEAVE_BATCH_SINCE: i16 = 3;
/// Since this version the rebalance timeout is its own (KIP-62).
const REBALANCE_TIMEOUT_SINCE: i16 = 1;

/// Joins; the future ends with the rebalance.
pub(super) fn join(
    cluster: &Cluster,
    session: &Session,
    header: &RequestHeader,
    request: JoinGroupRequest,
) -> impl Future<Output = JoinGroupResponse> + use<> {
    let version = header.version.number;
    // A slice of the frame would keep all of it in memory until the rebalance ends.
    let member_id = Str::from(&*request.member_id);
    let refused = request.group_id.is_empty().then_some(ErrorCode::INVALID_GROUP_ID);
    let client_id = header.client_id.clone().unwrap_or_default();
    let stem = request.group_instance_id.as_ref().unwrap_or(&client_id);
    let new_member_id = format!("{stem}-{}", id::dashed_uuid(&id::random_uuid()));
    let join = Join {
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        new_member_id: new_member_id.into(),
        requires_known_member_id: version >= MEMBER_ID_REQUIRED_SINCE,
        can_skip_assignment: version >= SKIP_ASSIGNMENT_SINCE,
        client_id,
        client_host: format!("/{}", session.peer.ip()).into(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: match version >= REBALANCE_TIMEOUT_SINCE {
            true => request.rebalance_timeout_ms,
            false => request.session_timeout_ms,
        },
        protocol_type: request.protocol_type,
        protocols: request
            .protocols
            .into_iter()
            .map(|it| Protocol { name: it.name, metadata: it.metadata })
            .collect(),
    };
    let reply = refused.is_none().then(|| cluster.groups.join(&request.group_id, join));
    async move {
        let failed = |error_code| JoinGroupResponse {
            error_code,
            // Null is allowed only since version 7.
            protocol_name: (version < 7).then(Str::new),
            member_id: member_id.clone(),
            ..Default::default()
        };
        let Some(reply) = reply else {
            return failed(refused.unwrap_or(ErrorCode::INVALID_GROUP_ID));
        };
        match reply.await {
            Reply::Joined(joined) => JoinGroupResponse {
                error_code: ErrorCode::NONE,
                generation_id: joined.generation,
                protocol_type: Some(joined.protocol_type),
                protocol_name: Some(joined.protocol),
                leader: joined.leader,
                skip_assignment: joined.skip_assignment,
                member_id: joined.member_id,
                members: joined
                    .members
                    .into_iter()
                    .map(|it| JoinGroupMember {
                        member_id: it.member_id,
                        group_instance_id: it.group_instance_id,
                        metadata: it.metadata,
                    })
                    .collect(),
                ..Default::default()
            },
            Reply::MemberIdRequired(id) => {
                JoinGroupResponse { member_id: id, ..failed(ErrorCode::MEMBER_ID_REQUIRED) }
            }
            reply => failed(code(&reply)),
        }
    }
}

/// Asks for the assignment; a follower's future ends when the leader has handed it in.
pub(super) fn sync(
    cluster: &Cluster,
    request: SyncGroupRequest,
) -> impl Future<Output = SyncGroupResponse> + use<> {
    let sync = Sync {
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        generation: request.generation_id,
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: request
            .assignments
            .into_iter()
            .map(|it| (it.member_id, it.assignment))
            .collect(),
    };
    let named = !request.group_id.is_empty();
    let reply = cluster.groups.sync(&request.group_id, sync);
    async move {
        if !named {
            let error_code = ErrorCode::INVALID_GROUP_ID;
            return SyncGroupResponse { error_code, ..Default::default() };
        }
        match reply.await {
            Reply::Synced(synced) => SyncGroupResponse {
                protocol_type: Some(synced.protocol_type),
                protocol_name: Some(synced.protocol),
                assignment: synced.assignment,
                ..Default::default()
            },
            reply => SyncGroupResponse { error_code: code(&reply), ..Default::default() },
        }
    }
}

/// Stays alive, and learns whether to rejoin.
pub(super) fn heartbeat(
    cluster: &Cluster,
    request: HeartbeatRequest,
) -> impl Future<Output = HeartbeatResponse> + use<> {
    let beat = Heartbeat {
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        generation: request.generation_id,
    };
    let named = !request.group_id.is_empty();
    let reply = cluster.groups.heartbeat(&request.group_id, beat);
    async move {
        let error_code = if named { code(&reply.await) } else { ErrorCode::INVALID_GROUP_ID };
        HeartbeatResponse { error_code, ..Default::default() }
    }
}

/// Leaves; older versions name one member, newer ones several.
pub(super) fn leave(
    cluster: &Cluster,
    request: LeaveGroupRequest,
    version: i16,
) -> impl Future<Output = LeaveGroupResponse> + use<> {
    let batch = version >= LEAVE_BATCH_SINCE;
    let members: Vec<LeavingMember> = match batch {
        true => request
            .members
            .into_iter()
            .map(|it| LeavingMember {
                member_id: it.member_id,
                group_instance_id: it.group_instance_id,
            })
            .collect(),
        false => vec![LeavingMember { member_id: request.member_id, group_instance_id: None }],
    };
    let named = !request.group_id.is_empty();
    let reply = cluster.groups.leave(&request.group_id, members.clone());
    async move {
        if !named {
            let error_code = ErrorCode::INVALID_GROUP_ID;
            return LeaveGroupResponse { error_code, ..Default::default() };
        }
        let reply = reply.await;
        let Reply::Each(outcomes) = &reply else {
            return LeaveGroupResponse { error_code: code(&reply), ..Default::default() };
        };
        let codes = outcomes
            .iter()
            .map(|outcome| outcome.map_or_else(ErrorCode::from, |()| ErrorCode::NONE));
        if !batch {
            let error_code = codes.into_iter().next().unwrap_or_default();
            return LeaveGroupResponse { error_code, ..Default::default() };
        }
        let members =
            members.into_iter().zip(codes).map(|(member, error_code)| LeaveGroupMemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code,
            });
        LeaveGroupResponse { members: members.collect(), ..Default::default() }
    }
}

/// The code of a reply that carries nothing else.
fn code(reply: &Reply) -> ErrorCode {
    match reply {
        Reply::Done => ErrorCode::NONE,
        Reply::Failed(error) => (*error).into(),
        // A machine answers a request with its own kind of reply or a failure.
        _ => Error::InvalidRequest.into(),
    }
}
