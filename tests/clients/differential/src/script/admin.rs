//! ElectLeaders, reassignments, log directories, ACLs, quotas, SCRAM credentials.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    topic(peer, "admin", 2, &[]);
    elect(peer);
    reassign(peer);
    move_logs(peer);
    acls(peer);
    quotas(peer);
    scram(peer);
}

fn elect(peer: &mut Peer) {
    for (what, name, partitions) in [
        ("of a topic", "admin", &[0, 1][..]),
        ("unknown partition", "admin", &[9]),
        ("unknown topic", "unknown", &[0]),
        ("no topic", "", &[0]),
    ] {
        for election_type in [0, 1] {
            let topics =
                vec![ElectLeadersTopic { topic: name.into(), partitions: partitions.to_vec() }];
            peer.each(&format!("{what}, {election_type}"), |version| ElectLeadersRequest {
                election_type: if version == 0 { 0 } else { election_type },
                topic_partitions: Some(topics.clone()),
                timeout_ms: 10_000,
            });
        }
    }
    peer.newly(
        "none",
        ElectLeadersRequest { topic_partitions: Some(Vec::new()), ..Default::default() },
    );
    peer.newly("a third way", ElectLeadersRequest { election_type: 2, ..Default::default() });
}

fn reassign(peer: &mut Peer) {
    for (what, name, partition_index, replicas) in [
        ("to where it is", "admin", 0, Some(&[1][..])),
        ("to an unknown broker", "admin", 0, Some(&[9])),
        ("to a broker twice", "admin", 0, Some(&[1, 1])),
        ("to nowhere", "admin", 0, Some(&[])),
        ("to a negative broker", "admin", 0, Some(&[-1])),
        ("called off", "admin", 0, None),
        ("unknown partition", "admin", 9, Some(&[1])),
        ("unknown topic", "unknown", 0, Some(&[1])),
    ] {
        peer.each(what, |_| AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic {
                name: name.into(),
                partitions: vec![ReassignablePartition {
                    partition_index,
                    replicas: replicas.map(<[i32]>::to_vec),
                }],
            }],
            ..Default::default()
        });
    }
    peer.newly("no moves", AlterPartitionReassignmentsRequest::default());
    peer.newly("all moves", ListPartitionReassignmentsRequest::default());
    for (what, name) in [("moves of a topic", "admin"), ("of an unknown one", "unknown")] {
        let topics = vec![ListPartitionReassignmentsTopic {
            name: name.into(),
            partition_indexes: vec![0, 9],
        }];
        let request =
            ListPartitionReassignmentsRequest { topics: Some(topics), ..Default::default() };
        peer.newly(what, request);
    }
}

fn move_logs(peer: &mut Peer) {
    let asks = [("unknown directory", "admin", 0), ("unknown topic", "unknown", 0)];
    for (what, name, partition) in asks {
        peer.each(what, |_| AlterReplicaLogDirsRequest {
            dirs: vec![AlterReplicaLogDir {
                path: "/no/such/directory".into(),
                topics: vec![AlterReplicaLogDirTopic {
                    name: name.into(),
                    partitions: vec![partition],
                }],
            }],
        });
    }
}

fn acls(peer: &mut Peer) {
    peer.each("all", |_| DescribeAclsRequest {
        resource_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    });
    let creation = AclCreation {
        resource_type: 2,
        resource_name: "admin".into(),
        principal: "User:a".into(),
        host: "*".into(),
        operation: 3,
        permission_type: 3,
        ..Default::default()
    };
    peer.each("two", |_| CreateAclsRequest { creations: vec![creation.clone(), creation.clone()] });
    let filter = DeleteAclsFilter {
        resource_type_filter: 2,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    peer.each("some", |_| DeleteAclsRequest { filters: vec![filter.clone()] });
}

fn quotas(peer: &mut Peer) {
    let component = |kind: &str, match_type, value: Option<&str>| QuotaFilterComponent {
        entity_type: kind.into(),
        match_type,
        match_value: value.map(Str::from),
    };
    for (what, components) in [
        ("all", vec![]),
        ("of a user", vec![component("user", 0, Some("a"))]),
        ("of the default user", vec![component("user", 1, None)]),
        ("of any user", vec![component("user", 2, None)]),
        ("of an unknown kind", vec![component("planet", 2, None)]),
        ("of no kind", vec![component("", 2, None)]),
        ("of a match that is none", vec![component("user", 7, None)]),
        ("of a kind twice", vec![component("user", 2, None), component("user", 2, None)]),
        ("of an address and a user", vec![component("ip", 2, None), component("user", 2, None)]),
    ] {
        for strict in [false, true] {
            peer.each(&format!("{what}, strict {strict}"), |_| DescribeClientQuotasRequest {
                components: components.clone(),
                strict,
            });
        }
    }
}

fn scram(peer: &mut Peer) {
    let users = |names: &[&str]| DescribeUserScramCredentialsRequest {
        users: Some(names.iter().map(|name| ScramUserName { name: (*name).into() }).collect()),
    };
    peer.newly("all users", DescribeUserScramCredentialsRequest::default());
    for (what, names) in [
        ("no users", &[][..]),
        ("unknown users", &["a", "b"]),
        ("a user twice", &["a", "a"]),
        ("no name", &[""]),
    ] {
        peer.newly(what, users(names));
    }
}
