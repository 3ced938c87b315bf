//! DescribeGroups, ListGroups, DeleteGroups, OffsetDelete: looking at groups, and removing them.

use super::{once, operations};
use crate::cluster::Cluster;
use crate::group::{Description, Listing, Reply, StateName, TopicPartition};
use std::collections::HashSet;
use std::sync::Arc;
use tidelog_protocol::messages::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DescribedGroup, DescribedGroupMember, ListGroupsRequest,
    ListGroupsResponse, ListedGroup, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use tidelog_protocol::{ErrorCode, Str};

/// Before this version a group that does not exist is a dead one (KIP-1043).
const GROUP_ID_NOT_FOUND_SINCE: i16 = 6;

/// Describes groups with their members.
pub(super) fn describe(
    cluster: &Cluster,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let asked = request.include_authorized_operations;
    let describe = |group_id: Str| match cluster.groups.describe(&group_id) {
        Some(description) => DescribedGroup {
            authorized_operations: operations::asked(operations::GROUP, asked),
            ..described(group_id, description)
        },
        None => missing(cluster, group_id, version, asked),
    };
    let groups = once(request.groups, Str::clone).into_iter().map(describe).collect();
    DescribeGroupsResponse { groups, ..Default::default() }
}

fn described(group_id: Str, description: Description) -> DescribedGroup {
    let member = |member: crate::group::MemberDescription| DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    };
    DescribedGroup {
        group_id,
        group_state: Str::from_static(description.state.as_str()),
        protocol_type: description.protocol_type,
        protocol_data: description.protocol,
        members: description.members.into_iter().map(member).collect(),
        ..Default::default()
    }
}

fn missing(cluster: &Cluster, group_id: Str, version: i16, operations: bool) -> DescribedGroup {
    if let Err(error) = cluster.groups.check(&group_id) {
        return DescribedGroup {
            error_code: error.into(),
            error_message: Some(error.to_string().into()),
            group_state: Str::from_static(StateName::Unknown.as_str()),
            group_id,
            ..Default::default()
        };
    }
    let why = match cluster.groups.exists(&group_id) {
        true => "is not a classic group",
        false => "not found",
    };
    let dead = DescribedGroup {
        group_state: Str::from_static(StateName::Dead.as_str()),
        group_id,
        ..Default::default()
    };
    match version {
        GROUP_ID_NOT_FOUND_SINCE.. => DescribedGroup {
            error_code: ErrorCode::GROUP_ID_NOT_FOUND,
            error_message: Some(format!("Group {} {why}.", dead.group_id).into()),
            ..dead
        },
        _ => DescribedGroup {
            authorized_operations: operations::asked(operations::GROUP, operations),
            ..dead
        },
    }
}

/// Lists the groups in one of the states and of one of the types; no filter lets all pass.
pub(super) fn list(cluster: &Cluster, request: &ListGroupsRequest) -> ListGroupsResponse {
    let lower = |filter: &[Str]| -> HashSet<String> {
        filter.iter().map(|wanted| wanted.to_ascii_lowercase()).collect()
    };
    let (states, types) = (lower(&request.states_filter), lower(&request.types_filter));
    let passes = |filter: &HashSet<String>, value: &str| {
        filter.is_empty() || filter.contains(&value.to_ascii_lowercase())
    };
    let wanted = |(_, listing): &(Str, Listing)| {
        passes(&states, listing.state.as_str()) && passes(&types, listing.group_type.as_str())
    };
    let listed = |(group_id, listing): (Str, Listing)| ListedGroup {
        group_id,
        protocol_type: listing.protocol_type,
        group_state: Str::from_static(listing.state.as_str()),
        group_type: Str::from_static(listing.group_type.as_str()),
    };
    let groups = cluster.groups.list().into_iter().filter(wanted).map(listed).collect();
    ListGroupsResponse { groups, ..Default::default() }
}

/// Deletes groups without members, and what they committed.
pub(super) async fn delete(
    cluster: Arc<Cluster>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in once(request.groups_names, Str::clone) {
        let (error_code, error_message) = match cluster.groups.exists(&group_id) {
            true => match cluster.groups.delete(&group_id).await {
                Reply::Done => (ErrorCode::NONE, None),
                Reply::Failed(error) => (error.into(), Some(error.to_string())),
                _ => (ErrorCode::UNKNOWN_SERVER_ERROR, None),
            },
            false => (ErrorCode::GROUP_ID_NOT_FOUND, Some(format!("Group {group_id} not found."))),
        };
        let error_message = error_message.map(Str::from);
        results.push(DeletableGroupResult { group_id, error_code, error_message });
    }
    DeleteGroupsResponse { results, ..Default::default() }
}

/// Forgets what a group committed for some partitions.
pub(super) async fn delete_offsets(
    cluster: Arc<Cluster>,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let failed = |error_code| OffsetDeleteResponse { error_code, ..Default::default() };
    if request.group_id.is_empty() {
        return failed(ErrorCode::INVALID_GROUP_ID);
    }
    if !cluster.groups.exists(&request.group_id) {
        return failed(ErrorCode::GROUP_ID_NOT_FOUND);
    }
    let mut known: Vec<TopicPartition> = Vec::new();
    let topics = request.topics.into_iter().map(|asked| {
        let topic = cluster.topics.get(&asked.name);
        let mut answer = |partition_index| {
            let error_code = match topic.as_ref().is_some_and(|it| it.has(partition_index)) {
                true => {
                    known.push((asked.name.clone(), partition_index));
                    ErrorCode::NONE
                }
                false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            OffsetDeleteResponsePartition { partition_index, error_code }
        };
        let partitions = asked.partitions.iter().map(|it| answer(it.partition_index)).collect();
        OffsetDeleteResponseTopic { name: asked.name, partitions }
    });
    let mut topics: Vec<_> = topics.collect();
    let outcomes = match cluster.groups.delete_offsets(&request.group_id, known).await {
        Reply::Each(outcomes) => outcomes,
        Reply::Failed(error) => return failed(error.into()),
        _ => return failed(ErrorCode::UNKNOWN_SERVER_ERROR),
    };
    let answers = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    let open = answers.filter(|answer| answer.error_code.is_none());
    for (answer, outcome) in open.zip(outcomes) {
        answer.error_code = outcome.err().map(ErrorCode::from).unwrap_or_default();
    }
    OffsetDeleteResponse { topics, ..Default::default() }
}
