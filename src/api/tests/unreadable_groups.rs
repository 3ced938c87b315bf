//! Groups whose records cannot be read: what else there is goes on, and they wait to be mended.

use super::groups::{commit, try_commit};
use super::{Client, ask};
use crate::group::{Record, damage_or_mend};
use bytes::Bytes;
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str};

const UNREADABLE: ErrorCode = ErrorCode::KAFKA_STORAGE_ERROR;

/// What the store has of a group, by topic.
fn rows(client: &Client, group: &str) -> Vec<(String, Vec<u8>)> {
    let prefix = [client.cluster.account.id.as_bytes(), &[0]].concat();
    let mut rows = Vec::new();
    for row in client.cluster.shared.state.groups.prefix(&prefix) {
        let (key, value) = row.into_inner().unwrap();
        let record = Record::decode(Bytes::copy_from_slice(&key[prefix.len()..]), None);
        if let Ok((name, Record::Offset { topic, .. })) = record
            && &*name == group
        {
            rows.push((topic.to_string(), value.to_vec()));
        }
    }
    rows
}

/// The offset committed for a topic's first partition, or why it is not told.
async fn fetch(client: &Client, version: i16, group: &str, topic: &str) -> Result<i64, ErrorCode> {
    let name = Str::from(topic);
    if version < 8 {
        let asked = OffsetFetchRequestTopic { name, partition_indexes: vec![0] };
        let (group_id, topics) = (group.into(), Some(vec![asked]));
        let request = OffsetFetchRequest { group_id, topics, ..Default::default() };
        let answer = ask!(client, version, OffsetFetch, request);
        let partition = answer.topics.first().map(|it| it.partitions[0].clone());
        let codes = [Some(answer.error_code), partition.as_ref().map(|it| it.error_code)];
        let refused = codes.into_iter().flatten().find(|code| *code != ErrorCode::NONE);
        return refused.map_or_else(|| Ok(partition.unwrap().committed_offset), Err);
    }
    let topics = vec![OffsetFetchRequestGroupTopic {
        name,
        partition_indexes: vec![0],
        ..Default::default()
    }];
    let asked = OffsetFetchRequestGroup {
        group_id: group.into(),
        member_epoch: -1,
        topics: Some(topics),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
    let answer = ask!(client, version, OffsetFetch, request).groups.remove(0);
    match answer.error_code {
        ErrorCode::NONE => Ok(answer.topics[0].partitions[0].committed_offset),
        code => Err(code),
    }
}

/// What every other request that names the group is answered.
async fn refusals(client: &Client, group: &str) -> Vec<ErrorCode> {
    let group_id = || Str::from(group);
    let protocol = JoinGroupProtocol { name: "range".into(), metadata: Bytes::new() };
    let join = JoinGroupRequest {
        group_id: group_id(),
        session_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let beat = HeartbeatRequest { group_id: group_id(), ..Default::default() };
    let consumer = ConsumerGroupHeartbeatRequest {
        group_id: group_id(),
        member_id: "me".into(),
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec!["red".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let offsets = OffsetDeleteRequestTopic {
        name: "red".into(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    };
    let offsets = OffsetDeleteRequest { group_id: group_id(), topics: vec![offsets] };
    let classic = DescribeGroupsRequest { groups: vec![group_id()], ..Default::default() };
    let described =
        ConsumerGroupDescribeRequest { group_ids: vec![group_id()], ..Default::default() };
    vec![
        ask!(client, 1, JoinGroup, join).error_code,
        ask!(client, 1, Heartbeat, beat).error_code,
        ask!(client, 0, ConsumerGroupHeartbeat, consumer).error_code,
        ask!(client, 0, OffsetDelete, offsets).error_code,
        ask!(client, 5, DescribeGroups, classic).groups[0].error_code,
        ask!(client, 0, ConsumerGroupDescribe, described).groups[0].error_code,
        try_commit(client, group, "red").await,
    ]
}

async fn states(client: &Client) -> Vec<(String, String)> {
    let listed = ask!(client, 5, ListGroups, ListGroupsRequest::default()).groups;
    let state = |it: ListedGroup| (it.group_id.to_string(), it.group_state.to_string());
    let mut states: Vec<_> = listed.into_iter().map(state).collect();
    states.sort();
    states
}

#[tokio::test]
async fn a_group_that_cannot_be_read_is_refused_kept_and_costs_no_other_anything() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    client.topic("blue", 1).await;
    for (group, topic) in [("bad", "red"), ("bad", "blue"), ("good", "red")] {
        commit(&client, group, topic).await;
    }
    let state = |client: &Client| client.cluster.shared.state.clone();
    damage_or_mend(&state(&client), "bad");
    // A record of the account's that does not even say whose it is.
    let key = [client.cluster.account.id.as_bytes(), &[0, 0]].concat();
    state(&client).commit_blocking(&state(&client).groups, vec![(key, Some(b"what".to_vec()))]);
    let damaged = rows(&client, "bad");

    let client = client.restart().await;
    assert_eq!(refusals(&client, "bad").await, [UNREADABLE; 7]);
    for version in [1, 2, 7, 8, 9] {
        assert_eq!(fetch(&client, version, "good", "red").await, Ok(7), "{version}");
        assert_eq!(fetch(&client, version, "bad", "blue").await, Err(UNREADABLE), "{version}");
    }
    commit(&client, "good", "blue").await;
    let listed = [("bad", "Unknown"), ("good", "Empty")];
    assert_eq!(states(&client).await, listed.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(client.cluster.groups.unreadable(), 1);
    assert_eq!(rows(&client, "bad"), damaged, "it is left as it is");

    // Mended, it is where it was.
    damage_or_mend(&state(&client), "bad");
    let client = client.restart().await;
    assert_eq!(fetch(&client, 9, "bad", "red").await, Ok(7));
    assert_eq!(fetch(&client, 9, "bad", "blue").await, Ok(7));
    assert_eq!(client.cluster.groups.unreadable(), 0);
}

#[tokio::test]
async fn a_group_that_cannot_be_read_forgets_deleted_topics_and_begins_anew_once_it_is_deleted() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    client.topic("blue", 1).await;
    for (group, topic) in [("bad", "red"), ("bad", "blue"), ("good", "red")] {
        commit(&client, group, topic).await;
    }
    damage_or_mend(&client.cluster.shared.state, "bad");
    let client = client.restart().await;
    client.cluster.delete_topic("blue").await.unwrap();
    let left: Vec<_> = rows(&client, "bad").into_iter().map(|(topic, _)| topic).collect();
    assert_eq!(left, ["red"], "another topic may come under the name of one that is gone");

    let groups_names = vec!["bad".into()];
    let request = DeleteGroupsRequest { groups_names };
    let deleted = async || ask!(client, 2, DeleteGroups, request.clone()).results[0].error_code;
    assert_eq!(deleted().await, ErrorCode::NONE);
    assert_eq!(deleted().await, ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(rows(&client, "bad").is_empty());
    assert_eq!(fetch(&client, 9, "bad", "red").await, Ok(-1));
    commit(&client, "bad", "red").await;
    let client = client.restart().await;
    assert_eq!(fetch(&client, 9, "bad", "red").await, Ok(7));
    assert_eq!(fetch(&client, 9, "good", "red").await, Ok(7));
}
