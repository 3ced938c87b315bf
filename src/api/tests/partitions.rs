//! Partitions: more of them, fewer records in them, how large they are, and where they are.

use super::{Client, ask, batch};
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str};

const UNKNOWN: ErrorCode = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;

#[tokio::test]
async fn topics_grow_and_never_shrink() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    client.produce("red", batch(3)).await;
    let grow = async |client: &Client, version, name: &str, count, validate_only| {
        let topic = CreatePartitionsTopic { name: name.into(), count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![topic], validate_only, timeout_ms: 1 };
        let result = ask!(client, version, CreatePartitions, request).results.remove(0);
        (result.error_code, result.error_message.unwrap_or_default().to_string())
    };
    let count = |client: &Client| client.cluster.topics.get("red").unwrap().count();
    let (invalid, none) = (ErrorCode::INVALID_PARTITIONS, ErrorCode::NONE);
    for version in 0..=3 {
        let now = count(&client);
        assert_eq!(grow(&client, version, "red", now, false).await.0, invalid);
        assert_eq!(grow(&client, version, "red", now + 1, true).await.0, none);
        assert_eq!(count(&client), i32::from(version) + 1, "validate_only grows nothing");
        assert_eq!(grow(&client, version, "red", now + 1, false).await.0, none);
    }
    let (code, text) = grow(&client, 3, "red", 2, false).await;
    assert_eq!(code, invalid);
    assert_eq!(text, "The topic red currently has 5 partition(s); 2 would not be an increase.");
    assert_eq!(grow(&client, 3, "red", 10_001, false).await.0, invalid);
    assert_eq!(grow(&client, 3, "none", 2, false).await.0, UNKNOWN);

    let topic = |assignments: &[i32]| {
        let assigned = |id: &i32| CreatePartitionsAssignment { broker_ids: vec![*id] };
        let assignments = Some(assignments.iter().map(assigned).collect());
        CreatePartitionsTopic { name: "red".into(), count: 7, assignments }
    };
    for (assignments, expected) in [(&[1, 2][..], false), (&[1], false), (&[1, 1], true)] {
        let topics = vec![topic(assignments)];
        let request = CreatePartitionsRequest { topics, ..Default::default() };
        let result = ask!(client, 3, CreatePartitions, request).results.remove(0);
        let refused = result.error_code == ErrorCode::INVALID_REPLICA_ASSIGNMENT;
        assert_eq!(!refused, expected, "{assignments:?}");
    }

    let client = client.restart().await;
    let topic = client.cluster.topics.get("red").unwrap();
    assert_eq!((topic.count(), topic.partition(0).unwrap().high_watermark()), (7, 3));
}

#[tokio::test]
async fn deleted_records_are_gone_and_stay_gone() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    client.produce("red", batch(5)).await;
    client.produce("red", batch(5)).await;
    let delete = async |client: &Client, version, offset| {
        let partition = |partition_index| DeleteRecordsPartition { partition_index, offset };
        let partitions = vec![partition(0), partition(1)];
        let topics = vec![DeleteRecordsTopic { name: "red".into(), partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 1000 };
        let results = ask!(client, version, DeleteRecords, request).topics.remove(0).partitions;
        assert_eq!((results[1].error_code, results[1].low_watermark), (UNKNOWN, -1));
        (results[0].error_code, results[0].low_watermark)
    };
    assert_eq!(delete(&client, 0, 3).await, (ErrorCode::NONE, 3));
    assert_eq!(delete(&client, 1, 1).await, (ErrorCode::NONE, 3), "it never goes back");
    for outside in [11, -2] {
        assert_eq!(delete(&client, 2, outside).await, (ErrorCode::OFFSET_OUT_OF_RANGE, -1));
    }
    let client = client.restart().await;
    let log_start = |client: &Client| {
        client.cluster.topics.get("red").unwrap().partition(0).unwrap().log().log_start_offset()
    };
    assert_eq!(log_start(&client), 3);
    assert_eq!(delete(&client, 2, -1).await, (ErrorCode::NONE, 10));
    client.produce("red", batch(1)).await;
    assert_eq!(log_start(&client), 10);
}

#[tokio::test]
async fn the_one_leader_epoch_ends_with_the_log() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    client.produce("red", batch(5)).await;
    for version in 0..=4 {
        let asked = |partition, current_leader_epoch, leader_epoch| OffsetForLeaderPartition {
            partition,
            current_leader_epoch: if version >= 2 { current_leader_epoch } else { -1 },
            leader_epoch,
        };
        let partitions = vec![asked(0, 0, 0), asked(0, -1, 5), asked(0, 1, 0), asked(1, 0, 0)];
        let topics = vec![OffsetForLeaderTopic { topic: "red".into(), partitions }];
        let request = OffsetForLeaderEpochRequest { replica_id: -2, topics };
        let topic = ask!(client, version, OffsetForLeaderEpoch, request).topics.remove(0);
        let ends: Vec<_> =
            topic.partitions.iter().map(|it| (it.error_code, it.end_offset)).collect();
        let newer = match version {
            0..=1 => (ErrorCode::NONE, 5),
            _ => (ErrorCode::UNKNOWN_LEADER_EPOCH, -1),
        };
        let none = ErrorCode::NONE;
        assert_eq!(ends, [(none, 5), (none, -1), newer, (UNKNOWN, -1)], "{version}");
    }
}

#[tokio::test]
async fn log_dirs_show_sizes_of_ones_own_topics() {
    let client = Client::new().await;
    client.topic("red", 2).await;
    client.topic("blue", 1).await;
    client.produce("red", batch(5)).await;
    for version in 1..=5 {
        let all = DescribeLogDirsRequest { topics: None };
        let dirs = ask!(client, version, DescribeLogDirs, all).results;
        assert_eq!((dirs.len(), dirs[0].topics.len()), (1, 2));
        assert!(!dirs[0].log_dir.contains(client.dir.path().to_str().unwrap()));
        let one = |topic: &str| DescribableLogDirTopic { topic: topic.into(), partitions: vec![0] };
        let some = DescribeLogDirsRequest { topics: Some(vec![one("red"), one("none")]) };
        let dirs = ask!(client, version, DescribeLogDirs, some).results;
        let topic = &dirs[0].topics[0];
        assert_eq!((dirs[0].topics.len(), topic.partitions.len()), (1, 1));
        assert!(topic.partitions[0].partition_size > 60);
    }
}

#[tokio::test]
async fn logs_are_in_the_one_directory_and_go_nowhere_else() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let all = DescribeLogDirsRequest { topics: None };
    let own = ask!(client, 4, DescribeLogDirs, all).results.remove(0).log_dir;
    for version in 1..=2 {
        let dir = |path: &str| AlterReplicaLogDir {
            path: path.into(),
            topics: vec![AlterReplicaLogDirTopic { name: "red".into(), partitions: vec![0, 1] }],
        };
        let request = AlterReplicaLogDirsRequest { dirs: vec![dir(&own), dir("/tmp")] };
        let results = ask!(client, version, AlterReplicaLogDirs, request).results;
        let codes: Vec<_> =
            results.iter().flat_map(|it| &it.partitions).map(|it| it.error_code).collect();
        let missing = ErrorCode::LOG_DIR_NOT_FOUND;
        assert_eq!(codes, [ErrorCode::NONE, UNKNOWN, missing, missing]);
    }
}

#[tokio::test]
async fn special_timestamps_mean_something_since_the_version_that_has_them() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    client.produce("red", batch(5)).await;
    for version in 1..=11 {
        // One each: a partition that is asked for twice in a request is refused.
        let mut found = Vec::new();
        for timestamp in [-1, -2, -3, -4, -5, -6, -7, 2, 9] {
            let asked = ListOffsetsPartition { timestamp, ..Default::default() };
            let topics = vec![ListOffsetsTopic { name: "red".into(), partitions: vec![asked] }];
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            let mut topics = ask!(client, version, ListOffsets, request).topics;
            found.append(&mut topics[0].partitions);
        }
        let since = |first, offset| match version >= first {
            true => (ErrorCode::NONE, offset),
            false => (ErrorCode::UNSUPPORTED_VERSION, -1),
        };
        let expected = [
            since(1, 5),
            since(1, 0),
            since(7, 4),
            since(8, 0),
            since(9, -1),
            since(11, -1),
            since(99, -1),
            since(1, 2),
            since(1, -1),
        ];
        let found: Vec<_> = found.iter().map(|it| (it.error_code, it.offset)).collect();
        assert_eq!(found, expected, "{version}");
    }
}

#[tokio::test]
async fn topics_are_described_page_by_page() {
    let client = Client::new().await;
    for (name, partitions) in [("a", 2), ("b", 3), ("c", 1)] {
        client.topic(name, partitions).await;
    }
    let ask = async |names: &[&str], limit, cursor| {
        let topics = names.iter().map(|name| DescribeTopicPartitionsTopic { name: (*name).into() });
        let request = DescribeTopicPartitionsRequest {
            topics: topics.collect(),
            response_partition_limit: limit,
            cursor,
        };
        ask!(client, 0, DescribeTopicPartitions, request)
    };
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let page = ask(&[], 2, cursor).await;
        let partitions = page.topics.iter().flat_map(|topic| {
            let name = topic.name.clone().unwrap_or_default();
            topic.partitions.iter().map(move |it| format!("{name}{}", it.partition_index))
        });
        pages.push(partitions.collect::<Vec<_>>().join(" "));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, ["a0 a1", "b0 b1", "b2 c0"]);

    let page = ask(&["none", "b", "a b"], 2000, None).await;
    let codes: Vec<_> = page.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [ErrorCode::INVALID_TOPIC_EXCEPTION, ErrorCode::NONE, UNKNOWN]);
    assert_eq!(page.topics[1].topic_authorized_operations, 3576);
    // A hostile cursor and limit give an empty or short page, and no more than that.
    let cursor = TopicPartitionsCursor { topic_name: "a".into(), partition_index: i32::MAX };
    assert_eq!(ask(&["a"], i32::MIN, Some(cursor)).await.topics[0].partitions.len(), 0);
}

#[tokio::test]
async fn everything_is_led_by_and_placed_on_the_one_broker() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    for version in 0..=2 {
        let topic = ElectLeadersTopic { topic: "red".into(), partitions: vec![0, 1] };
        let request =
            ElectLeadersRequest { topic_partitions: Some(vec![topic]), ..Default::default() };
        let answer = ask!(client, version, ElectLeaders, request);
        let results = &answer.replica_election_results[0].partition_result;
        let codes: Vec<_> = results.iter().map(|it| it.error_code).collect();
        assert_eq!(codes, [ErrorCode::ELECTION_NOT_NEEDED, UNKNOWN]);
        let all = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
        assert!(ask!(client, version, ElectLeaders, all).replica_election_results.is_empty());
    }
    let to = |partition_index, replicas: Option<&[i32]>| ReassignablePartition {
        partition_index,
        replicas: replicas.map(<[i32]>::to_vec),
    };
    for version in 0..=1 {
        let partitions = vec![to(0, Some(&[1])), to(0, Some(&[2])), to(0, None), to(1, Some(&[1]))];
        let topics = vec![ReassignableTopic { name: "red".into(), partitions }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let answer = ask!(client, version, AlterPartitionReassignments, request);
        let codes: Vec<_> = answer.responses[0].partitions.iter().map(|it| it.error_code).collect();
        let (elsewhere, idle) =
            (ErrorCode::INVALID_REPLICA_ASSIGNMENT, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS);
        assert_eq!(codes, [ErrorCode::NONE, elsewhere, idle, UNKNOWN]);
    }
    let none = ListPartitionReassignmentsRequest::default();
    assert!(ask!(client, 0, ListPartitionReassignments, none).topics.is_empty());
    let topic = DescribeQuorumTopic {
        topic_name: Str::from_static("__cluster_metadata"),
        partitions: vec![DescribeQuorumPartition { partition_index: 0 }],
    };
    let quorum = ask!(client, 2, DescribeQuorum, DescribeQuorumRequest { topics: vec![topic] });
    assert_eq!(quorum.topics[0].partitions[0].leader_id, 1);
    assert_eq!(quorum.nodes[0].listeners[0].port, 9092);
}

#[tokio::test]
async fn there_are_no_acls_quotas_or_scram_credentials() {
    let client = Client::new().await;
    for version in 0..=3 {
        let answer = ask!(client, version, DescribeAcls, DescribeAclsRequest::default());
        assert_eq!(answer.error_code, ErrorCode::SECURITY_DISABLED);
    }
    let creations = vec![AclCreation { principal: "User:a".into(), ..Default::default() }];
    let created = ask!(client, 1, CreateAcls, CreateAclsRequest { creations });
    assert_eq!(created.results[0].error_code, ErrorCode::SECURITY_DISABLED);
    let quotas = ask!(client, 1, DescribeClientQuotas, DescribeClientQuotasRequest::default());
    assert_eq!((quotas.error_code, quotas.entries), (ErrorCode::NONE, Some(Vec::new())));
    let users = Some(vec![ScramUserName { name: Str::from_static("ann") }]);
    let request = DescribeUserScramCredentialsRequest { users };
    let scram = ask!(client, 0, DescribeUserScramCredentials, request);
    assert_eq!(scram.results[0].error_code, ErrorCode::RESOURCE_NOT_FOUND);
}

#[tokio::test]
async fn what_a_client_may_do_is_told_only_if_asked() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    for version in 8..=13 {
        for asked in [false, true] {
            let request = MetadataRequest {
                topics: None,
                include_cluster_authorized_operations: asked && version <= 10,
                include_topic_authorized_operations: asked,
                ..Default::default()
            };
            let answer = ask!(client, version, Metadata, request);
            let topic = answer.topics[0].topic_authorized_operations;
            assert_eq!(topic, if asked { 3576 } else { i32::MIN }, "{version}");
            let told = asked && version <= 10;
            let cluster = answer.cluster_authorized_operations;
            assert_eq!(cluster, if told { 8096 } else { i32::MIN }, "{version}");
        }
    }
    for (version, endpoint_type, code) in [
        (0, 1, ErrorCode::NONE),
        (2, 1, ErrorCode::NONE),
        (1, 2, ErrorCode::MISMATCHED_ENDPOINT_TYPE),
        (2, 3, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE),
    ] {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: true,
            endpoint_type,
            ..Default::default()
        };
        let answer = ask!(client, version, DescribeCluster, request);
        assert_eq!(answer.error_code, code);
        let told = code.is_none();
        assert_eq!(answer.cluster_authorized_operations, if told { 8096 } else { i32::MIN });
    }
}
