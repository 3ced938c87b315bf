//! Groups of the consumer protocol, through every API that shows or uses them.

use super::{Client, ask};
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str};

fn text(text: &str) -> Str {
    Str::from(text)
}

/// A member of the group `g` that subscribes to the topic `red`.
fn joining(member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: text("g"),
        member_id: text(member),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![text("red")]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn staying(member: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    let (group_id, member_id) = (text("g"), text(member));
    ConsumerGroupHeartbeatRequest { group_id, member_id, member_epoch, ..Default::default() }
}

#[tokio::test]
async fn a_member_joins_is_described_commits_and_leaves_over_every_version() {
    for version in 0..=1 {
        let client = Client::new().await;
        let red = client.topic("red", 2).await;
        let joined = ask!(client, version, ConsumerGroupHeartbeat, joining("a"));
        assert_eq!((joined.error_code, joined.member_epoch), (ErrorCode::NONE, 1));
        assert_eq!(joined.heartbeat_interval_ms, 1000, "as `dev` has it");
        let assigned = joined.assignment.unwrap().topic_partitions;
        assert_eq!((assigned[0].topic_id, &assigned[0].partitions[..]), (red.id, &[0, 1][..]));
        let beaten = ask!(client, version, ConsumerGroupHeartbeat, staying("a", 1));
        assert_eq!((beaten.error_code, beaten.assignment), (ErrorCode::NONE, None));

        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![text("g"), text("none")],
            include_authorized_operations: true,
        };
        let groups = ask!(client, version, ConsumerGroupDescribe, request).groups;
        let (group, none) = (&groups[0], &groups[1]);
        assert_eq!((&*group.group_state, &*group.assignor_name), ("Stable", "uniform"));
        assert_eq!((group.group_epoch, group.assignment_epoch), (1, 1));
        assert_eq!(group.authorized_operations, 3400);
        let member = &group.members[0];
        assert_eq!((&*member.client_id, &*member.client_host), ("test", "/127.0.0.1"));
        assert_eq!(member.assignment, member.target_assignment);
        assert_eq!(&*member.assignment.topic_partitions[0].topic_name, "red");
        assert_eq!(member.member_type, if version >= 1 { 1 } else { -1 });
        assert_eq!(none.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
        assert_eq!(none.error_message.as_deref(), Some("Group none not found."));

        let left = ask!(client, version, ConsumerGroupHeartbeat, staying("a", -1));
        assert_eq!((left.error_code, left.member_epoch), (ErrorCode::NONE, -1));
        let again = ask!(client, version, ConsumerGroupHeartbeat, staying("a", 1));
        assert_eq!(again.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    }
}

#[tokio::test]
async fn the_first_version_has_ids_made_up_for_it_and_the_next_ones_are_refused_without() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let first = ask!(client, 0, ConsumerGroupHeartbeat, joining(""));
    assert_eq!(first.member_id.unwrap().len(), 36);
    let next = ask!(client, 1, ConsumerGroupHeartbeat, joining(""));
    assert_eq!(next.error_code, ErrorCode::INVALID_REQUEST);
    assert_eq!(next.error_message.as_deref(), Some("MemberId can't be empty."));
    let nameless = ConsumerGroupHeartbeatRequest { group_id: Str::new(), ..joining("a") };
    let nameless = ask!(client, 1, ConsumerGroupHeartbeat, nameless);
    assert_eq!(nameless.error_message.as_deref(), Some("GroupId can't be empty."));
    let other = ConsumerGroupHeartbeatRequest { group_id: text("none"), ..staying("a", 1) };
    let other = ask!(client, 1, ConsumerGroupHeartbeat, other);
    assert_eq!(other.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(other.error_message.as_deref(), Some("Consumer group none not found."));
    assert!(!client.cluster.groups.exists("none"), "asking does not make a group");
}

#[tokio::test]
async fn lists_and_the_classic_description_tell_the_type_of_a_group() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    ask!(client, 1, ConsumerGroupHeartbeat, joining("a"));
    let list = async |types: &[&str], states: &[&str]| {
        let request = ListGroupsRequest {
            types_filter: types.iter().map(|it| text(it)).collect(),
            states_filter: states.iter().map(|it| text(it)).collect(),
        };
        let groups = ask!(client, 5, ListGroups, request).groups;
        let shown = groups.into_iter().map(|it| (it.group_type, it.group_state, it.protocol_type));
        shown.collect::<Vec<_>>()
    };
    let listed = vec![(text("consumer"), text("Stable"), text("consumer"))];
    assert_eq!(list(&["Consumer"], &["stable"]).await, listed);
    assert_eq!(list(&["classic"], &[]).await, []);
    assert_eq!(list(&[], &["Assigning", "Reconciling", "Empty"]).await, []);
    for version in 5..=6 {
        let groups = vec![text("g")];
        let request = DescribeGroupsRequest { groups, include_authorized_operations: false };
        let group = ask!(client, version, DescribeGroups, request).groups.remove(0);
        assert_eq!(&*group.group_state, "Dead");
        let told = (version == 6).then_some("Group g is not a classic group.");
        assert_eq!(group.error_message.as_deref(), told);
    }
    let request = DeleteGroupsRequest { groups_names: vec![text("g")] };
    let deleted = ask!(client, 2, DeleteGroups, request).results.remove(0);
    assert_eq!(deleted.error_code, ErrorCode::NON_EMPTY_GROUP);
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_at_the_members_epoch_only() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    ask!(client, 1, ConsumerGroupHeartbeat, joining("a"));
    let commit = |epoch| {
        let partition = OffsetCommitRequestPartition { committed_offset: 7, ..Default::default() };
        let topic = OffsetCommitRequestTopic {
            name: text("red"),
            partitions: vec![partition],
            ..Default::default()
        };
        OffsetCommitRequest {
            group_id: text("g"),
            member_id: text("a"),
            generation_id_or_member_epoch: epoch,
            topics: vec![topic],
            ..Default::default()
        }
    };
    for (version, epoch, code) in [
        (9, 1, ErrorCode::NONE),
        (9, 2, ErrorCode::STALE_MEMBER_EPOCH),
        (8, 1, ErrorCode::UNSUPPORTED_VERSION),
    ] {
        let answer = ask!(client, version, OffsetCommit, commit(epoch));
        assert_eq!(answer.topics[0].partitions[0].error_code, code, "{version} {epoch}");
    }
    let fetch = async |member: Option<&str>, member_epoch| {
        let group = OffsetFetchRequestGroup {
            group_id: text("g"),
            member_id: member.map(text),
            member_epoch,
            topics: None,
        };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        let group = ask!(client, 9, OffsetFetch, request).groups.remove(0);
        (group.error_code, group.topics.len())
    };
    assert_eq!(fetch(None, -1).await, (ErrorCode::NONE, 1));
    assert_eq!(fetch(Some("a"), 1).await, (ErrorCode::NONE, 1));
    assert_eq!(fetch(Some("a"), 0).await, (ErrorCode::STALE_MEMBER_EPOCH, 0));
    assert_eq!(fetch(Some("b"), 1).await, (ErrorCode::UNKNOWN_MEMBER_ID, 0));
}

#[tokio::test]
async fn members_go_on_after_a_restart_and_see_what_became_of_topics() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    ask!(client, 1, ConsumerGroupHeartbeat, joining("a"));
    let client = client.restart().await;
    let beaten = ask!(client, 1, ConsumerGroupHeartbeat, staying("a", 1));
    assert_eq!((beaten.error_code, beaten.member_epoch), (ErrorCode::NONE, 1));
    client.cluster.topics.grow("red", 3, false).await.unwrap();
    let beaten = ask!(client, 1, ConsumerGroupHeartbeat, staying("a", 1));
    assert_eq!(beaten.member_epoch, 2);
    assert_eq!(beaten.assignment.unwrap().topic_partitions[0].partitions, [0, 1, 2]);
    client.cluster.delete_topic("red").await.unwrap();
    let beaten = ask!(client, 1, ConsumerGroupHeartbeat, staying("a", 2));
    assert_eq!(beaten.assignment.unwrap().topic_partitions, []);
}
