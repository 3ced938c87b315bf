//! Looking at groups, and removing them.

use super::{Client, ask};
use bytes::Bytes;
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str};

/// One member joins and leads.
async fn join(client: &Client, group: &str) -> JoinGroupResponse {
    let subscription = Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 3, b'r', b'e', b'd', 0, 0, 0, 0]);
    let protocol = JoinGroupProtocol { name: Str::from_static("range"), metadata: subscription };
    let request = JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        protocol_type: Str::from_static("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    };
    let joined = ask!(client, 1, JoinGroup, request);
    let assignment = SyncGroupAssignment {
        member_id: joined.member_id.clone(),
        assignment: Bytes::from_static(b"all of it"),
    };
    let request = SyncGroupRequest {
        group_id: group.into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![assignment],
        ..Default::default()
    };
    assert_eq!(ask!(client, 1, SyncGroup, request).error_code, ErrorCode::NONE);
    joined
}

pub(super) async fn commit(client: &Client, group: &str, topic: &str) {
    assert_eq!(try_commit(client, group, topic).await, ErrorCode::NONE);
}

/// Commits offset 7 of the topic's first partition, from outside the group.
pub(super) async fn try_commit(client: &Client, group: &str, topic: &str) -> ErrorCode {
    let partition = OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() };
    let topic = OffsetCommitRequestTopic {
        name: topic.into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let answer = ask!(client, 8, OffsetCommit, request);
    answer.topics[0].partitions[0].error_code
}

fn names(names: &[&str]) -> Vec<Str> {
    names.iter().map(|name| Str::from(*name)).collect()
}

#[tokio::test]
async fn groups_are_described_with_their_members_and_missing_ones_as_the_version_has_it() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let joined = join(&client, "live").await;
    for version in 0..=6 {
        let groups = names(&["live", "none"]);
        let request = DescribeGroupsRequest { groups, include_authorized_operations: version >= 3 };
        let groups = ask!(client, version, DescribeGroups, request).groups;
        let (live, none) = (&groups[0], &groups[1]);
        assert_eq!((live.error_code, &*live.group_state), (ErrorCode::NONE, "Stable"));
        assert_eq!((&*live.protocol_type, &*live.protocol_data), ("consumer", "range"));
        let member = &live.members[0];
        assert_eq!(member.member_id, joined.member_id);
        assert_eq!((&*member.client_id, &*member.client_host), ("test", "/127.0.0.1"));
        assert_eq!(&*member.member_assignment, b"all of it");
        assert_eq!(live.authorized_operations, if version >= 3 { 3400 } else { i32::MIN });
        let not_found = match version {
            6 => (ErrorCode::GROUP_ID_NOT_FOUND, Some("Group none not found.")),
            _ => (ErrorCode::NONE, None),
        };
        assert_eq!((none.error_code, none.error_message.as_deref()), not_found, "{version}");
        assert_eq!((&*none.group_state, none.members.len()), ("Dead", 0));
    }
}

#[tokio::test]
async fn lists_show_simple_groups_too_and_filter_by_state_and_type() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    join(&client, "live").await;
    commit(&client, "simple", "red").await;
    let list = async |version, states: &[&str], types: &[&str]| {
        let request =
            ListGroupsRequest { states_filter: names(states), types_filter: names(types) };
        let mut groups = ask!(client, version, ListGroups, request).groups;
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        groups
    };
    for version in 0..=5 {
        let groups = list(version, &[], &[]).await;
        let shown: Vec<_> = groups.iter().map(|it| (&*it.group_id, &*it.protocol_type)).collect();
        assert_eq!(shown, [("live", "consumer"), ("simple", "")]);
        assert_eq!(&*groups[0].group_state, if version >= 4 { "Stable" } else { "" });
        assert_eq!(&*groups[0].group_type, if version >= 5 { "classic" } else { "" });
    }
    let count = async |states, types| list(5, states, types).await.len();
    assert_eq!(count(&["stable"], &[]).await, 1);
    assert_eq!(count(&["Empty", "Dead"], &["Classic"]).await, 1);
    assert_eq!(count(&["PreparingRebalance"], &[]).await, 0);
    assert_eq!(count(&[], &["consumer"]).await, 0);
}

#[tokio::test]
async fn only_groups_without_members_are_deleted() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    join(&client, "live").await;
    for version in 0..=2 {
        commit(&client, "simple", "red").await;
        let request = DeleteGroupsRequest { groups_names: names(&["live", "simple", "none"]) };
        let results = ask!(client, version, DeleteGroups, request).results;
        let codes: Vec<_> = results.iter().map(|it| it.error_code).collect();
        let (busy, gone) = (ErrorCode::NON_EMPTY_GROUP, ErrorCode::GROUP_ID_NOT_FOUND);
        assert_eq!(codes, [busy, ErrorCode::NONE, gone], "{version}");
    }
    assert!(!client.cluster.groups.exists("simple"));
    assert!(!client.cluster.groups.exists("none"), "asking does not make a group");
}

#[tokio::test]
async fn offsets_are_deleted_unless_the_group_consumes_the_topic() {
    let client = Client::new().await;
    client.topic("red", 2).await;
    client.topic("blue", 1).await;
    commit(&client, "live", "red").await;
    commit(&client, "live", "blue").await;
    join(&client, "live").await;
    let topic = |name: &str, partitions: &[i32]| OffsetDeleteRequestTopic {
        name: name.into(),
        partitions: partitions
            .iter()
            .map(|index| OffsetDeleteRequestPartition { partition_index: *index })
            .collect(),
    };
    let topics = vec![topic("none", &[0]), topic("red", &[0, 9]), topic("blue", &[0])];
    let request = OffsetDeleteRequest { group_id: Str::from_static("live"), topics };
    let answer = ask!(client, 0, OffsetDelete, request.clone());
    let codes: Vec<Vec<_>> = answer
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|it| it.error_code).collect())
        .collect();
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let expected =
        [vec![unknown], vec![ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC, unknown], vec![ErrorCode::NONE]];
    assert_eq!((answer.error_code, codes), (ErrorCode::NONE, expected.to_vec()));
    let left: Vec<_> = client.cluster.groups.offsets("live").await.unwrap();
    assert_eq!(left.iter().map(|(topic, ..)| &**topic).collect::<Vec<_>>(), ["red"]);

    let request = OffsetDeleteRequest { group_id: Str::from_static("none"), ..request };
    let answer = ask!(client, 0, OffsetDelete, request);
    assert_eq!(answer.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(answer.topics.is_empty());
}

#[tokio::test]
async fn a_group_without_a_name_has_no_members() {
    let client = Client::new().await;
    let refused = ErrorCode::INVALID_GROUP_ID;
    let sync = SyncGroupRequest { member_id: "member".into(), ..Default::default() };
    assert_eq!(ask!(client, 3, SyncGroup, sync).error_code, refused);
    let beat = HeartbeatRequest { member_id: "member".into(), ..Default::default() };
    assert_eq!(ask!(client, 3, Heartbeat, beat).error_code, refused);
    let members = vec![LeaveGroupMember { member_id: "member".into(), ..Default::default() }];
    let leave = LeaveGroupRequest { members, ..Default::default() };
    assert_eq!(ask!(client, 4, LeaveGroup, leave).error_code, refused);
    let leave = LeaveGroupRequest { member_id: "member".into(), ..Default::default() };
    assert_eq!(ask!(client, 1, LeaveGroup, leave).error_code, refused);
}
