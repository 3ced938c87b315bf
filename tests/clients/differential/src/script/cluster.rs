//! Metadata, DescribeCluster, FindCoordinator, DescribeQuorum: who is there.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    let id = topic(peer, "cluster", 2, &[]);
    // All topics, before there are internal ones.
    peer.each("all topics", |_| MetadataRequest {
        allow_auto_topic_creation: false,
        ..Default::default()
    });
    peer.each("no topics", |_| MetadataRequest { topics: Some(Vec::new()), ..Default::default() });
    peer.each("with operations", |_| MetadataRequest {
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..about(&["cluster"])
    });
    metadata(peer, id);
    cluster(peer);
    coordinators(peer);
}

fn metadata(peer: &mut Peer, id: Uuid) {
    let long = "n".repeat(250);
    for version in peer.versions(ApiKey::Metadata).filter(|version| *version >= 4) {
        for name in ["unknown", "", ".", "..", "a b", "naïve", &long] {
            peer.ask(&format!("topic '{name}'"), version, about(&[name]));
        }
        let auto = MetadataRequest { allow_auto_topic_creation: true, ..about(&["a/b"]) };
        peer.ask("an invalid name, to be created", version, auto);
    }
    peer.newly("a topic twice", about(&["cluster", "cluster"]));
    for version in 10..=peer.newest(ApiKey::Metadata) {
        let by_id = |topic_id, name: Option<&str>| MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { topic_id, name: name.map(Str::from) }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        peer.ask("by id", version, by_id(id, None));
        peer.ask("by id and name", version, by_id(id, Some("cluster")));
        peer.ask("by an unknown id", version, by_id([7; 16], None));
        peer.ask("by nothing", version, by_id([0; 16], None));
    }
}

fn cluster(peer: &mut Peer) {
    peer.each("brokers", |_| DescribeClusterRequest::default());
    peer.each("with operations", |_| DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        ..Default::default()
    });
    for (what, endpoint_type) in [("controllers", 2), ("no such type", 3)] {
        peer.newly(what, DescribeClusterRequest { endpoint_type, ..Default::default() });
    }
    let quorum = |name: &str, partition_index| DescribeQuorumRequest {
        topics: vec![DescribeQuorumTopic {
            topic_name: name.into(),
            partitions: vec![DescribeQuorumPartition { partition_index }],
        }],
    };
    peer.each("the quorum", |_| quorum("__cluster_metadata", 0));
    peer.each("another partition", |_| quorum("__cluster_metadata", 1));
    peer.each("another topic", |_| quorum("cluster", 0));
    peer.each("no topic", |_| DescribeQuorumRequest::default());
}

fn coordinators(peer: &mut Peer) {
    coordinator(peer, "cluster");
    for (what, key_type, key) in
        [("group", 0, "cluster"), ("empty", 0, ""), ("no such type", 9, "cluster")]
    {
        peer.each(what, |version| FindCoordinatorRequest {
            key: if version < 4 { key.into() } else { Str::new() },
            key_type: if version == 0 { 0 } else { key_type },
            coordinator_keys: if version < 4 { Vec::new() } else { texts(&[key]) },
        });
    }
    for version in 4..=peer.newest(ApiKey::FindCoordinator) {
        let coordinator_keys = texts(&["b", "a", ""]);
        let request = FindCoordinatorRequest { coordinator_keys, ..Default::default() };
        peer.ask("several groups", version, request);
    }
    let shares = FindCoordinatorRequest {
        key_type: 2,
        coordinator_keys: texts(&["not a share key"]),
        ..Default::default()
    };
    peer.newly("a share's", shares);
}
