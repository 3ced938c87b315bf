//! ConsumerGroupHeartbeat, ConsumerGroupDescribe: groups whose members the coordinator assigns to
//! (KIP-848).

use super::{Session, once, operations};
use crate::cluster::Cluster;
use crate::group::{
    Beaten, ConsumerDescription, ConsumerHeartbeat, ConsumerMemberDescription, Partitions, Reply,
};
use crate::id;
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::messages::{
    ConsumerGroupAssignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    ConsumerGroupDescribedGroup, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    ConsumerGroupMember, ConsumerGroupNamedAssignment, ConsumerGroupNamedTopicPartitions,
};
use tidelog_protocol::{ErrorCode, Str};

/// Since this version the client makes up its member's id.
const MEMBER_ID_BY_CLIENT_SINCE: i16 = 1;
/// What a member speaks, as ConsumerGroupDescribe numbers it.
const MEMBER_TYPE_CLASSIC: i8 = 0;
const MEMBER_TYPE_CONSUMER: i8 = 1;

/// A member joins, stays or leaves; it is answered as soon as what it is told is durable.
pub(super) fn heartbeat(
    cluster: &Cluster,
    session: &Session,
    header: &RequestHeader,
    request: ConsumerGroupHeartbeatRequest,
) -> impl Future<Output = ConsumerGroupHeartbeatResponse> + use<> {
    let (group, member_id) = (request.group_id.clone(), request.member_id.clone());
    let is_dynamic = request.instance_id.is_none();
    let stays = request.member_epoch > 0;
    let exists = cluster.groups.exists(&group);
    let reply = (!group.is_empty()).then(|| {
        let beat = beat(session, header, request);
        cluster.groups.consumer_heartbeat(&group, &beat)
    });
    async move {
        let failed = |error_code, why: String| ConsumerGroupHeartbeatResponse {
            error_code,
            error_message: Some(why.into()),
            ..Default::default()
        };
        let Some(reply) = reply else {
            return failed(ErrorCode::INVALID_REQUEST, "GroupId can't be empty.".to_owned());
        };
        match reply.await {
            Reply::Beaten(beaten) => beaten.into(),
            Reply::Refused(crate::group::Error::GroupIdNotFound, _) => {
                let why = match stays && !exists {
                    true => format!("Consumer group {group} not found."),
                    false => not_one(&group, exists),
                };
                failed(ErrorCode::GROUP_ID_NOT_FOUND, why)
            }
            Reply::Refused(error @ crate::group::Error::UnknownMemberId, _) if is_dynamic => {
                let why = format!("Member {member_id} is not a member of group {group}.");
                failed(error.into(), why)
            }
            Reply::Refused(error, why) => failed(error.into(), why),
            Reply::Failed(error) => failed(error.into(), error.to_string()),
            _ => failed(ErrorCode::UNKNOWN_SERVER_ERROR, String::new()),
        }
    }
}

fn beat(
    session: &Session,
    header: &RequestHeader,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerHeartbeat {
    let unnamed = request.member_id.is_empty() && request.member_epoch == 0;
    let member_id = match unnamed && header.version.number < MEMBER_ID_BY_CLIENT_SINCE {
        true => id::dashed_uuid(&id::random_uuid()).into(),
        false => request.member_id,
    };
    ConsumerHeartbeat {
        member_id,
        member_epoch: request.member_epoch,
        instance_id: request.instance_id,
        rack_id: request.rack_id,
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|ms| *ms != -1),
        topics: request.subscribed_topic_names,
        regex: request.subscribed_topic_regex,
        assignor: request.server_assignor,
        owned: request.topic_partitions.as_deref().map(Partitions::from_wire),
        client_id: header.client_id.clone().unwrap_or_default(),
        client_host: format!("/{}", session.peer.ip()).into(),
    }
}

impl From<Beaten> for ConsumerGroupHeartbeatResponse {
    fn from(beaten: Beaten) -> Self {
        // Who leaves has no next one.
        let leaves = beaten.member_epoch < 0;
        let interval = if leaves { 0 } else { beaten.heartbeat_interval.as_millis() };
        let assignment =
            |it: Partitions| ConsumerGroupAssignment { topic_partitions: it.to_wire() };
        Self {
            member_id: Some(beaten.member_id),
            member_epoch: beaten.member_epoch,
            heartbeat_interval_ms: i32::try_from(interval).unwrap_or(i32::MAX),
            assignment: beaten.assignment.map(assignment),
            ..Default::default()
        }
    }
}

/// Describes groups of the consumer protocol with their members.
pub(super) fn describe(
    cluster: &Cluster,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let asked = request.include_authorized_operations;
    let describe = |group_id: Str| match cluster.groups.describe_consumer(&group_id) {
        Some(description) => ConsumerGroupDescribedGroup {
            authorized_operations: operations::asked(operations::GROUP, asked),
            ..described(cluster, group_id, description)
        },
        None => missing(cluster, group_id),
    };
    let groups = once(request.group_ids, Str::clone).into_iter().map(describe).collect();
    ConsumerGroupDescribeResponse { groups, ..Default::default() }
}

/// Why this is no group of the consumer protocol.
fn not_one(group: &str, exists: bool) -> String {
    match exists {
        true => format!("Group {group} is not a consumer group."),
        false => format!("Group {group} not found."),
    }
}

fn missing(cluster: &Cluster, group_id: Str) -> ConsumerGroupDescribedGroup {
    let exists = cluster.groups.exists(&group_id);
    let (error_code, why) = match cluster.groups.check(&group_id) {
        _ if group_id.is_empty() => (ErrorCode::INVALID_GROUP_ID, not_one(&group_id, exists)),
        Err(error) => (error.into(), error.to_string()),
        Ok(()) => (ErrorCode::GROUP_ID_NOT_FOUND, not_one(&group_id, exists)),
    };
    let error_message = Some(why.into());
    ConsumerGroupDescribedGroup { error_code, error_message, group_id, ..Default::default() }
}

fn described(
    cluster: &Cluster,
    group_id: Str,
    description: ConsumerDescription,
) -> ConsumerGroupDescribedGroup {
    let member = |it: ConsumerMemberDescription| ConsumerGroupMember {
        member_id: it.member_id,
        instance_id: it.member.instance_id,
        rack_id: it.member.rack_id,
        member_epoch: it.current.epoch,
        client_id: it.member.client_id,
        client_host: it.member.client_host,
        subscribed_topic_names: it.member.topics,
        // Of members that have none, it is empty, as Kafka keeps it.
        subscribed_topic_regex: Some(it.member.regex.unwrap_or_default()),
        assignment: named(cluster, &it.current.assigned),
        target_assignment: named(cluster, &it.target),
        member_type: match it.member.classic {
            Some(_) => MEMBER_TYPE_CLASSIC,
            None => MEMBER_TYPE_CONSUMER,
        },
    };
    ConsumerGroupDescribedGroup {
        group_id,
        group_state: Str::from_static(description.state.as_str()),
        group_epoch: description.epoch,
        assignment_epoch: description.assignment_epoch,
        assignor_name: Str::from_static(description.assignor.name()),
        members: description.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}

/// Partitions with their topics' names; those whose topic is gone are left out.
fn named(cluster: &Cluster, partitions: &Partitions) -> ConsumerGroupNamedAssignment {
    let topics = partitions.topics().filter_map(|(id, indexes)| {
        Some(ConsumerGroupNamedTopicPartitions {
            topic_id: *id,
            topic_name: cluster.topics.by_id(id)?.name.as_str().into(),
            partitions: indexes.iter().copied().collect(),
        })
    });
    ConsumerGroupNamedAssignment { topic_partitions: topics.collect() }
}
