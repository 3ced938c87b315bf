//! CreateTopics, DeleteTopics, CreatePartitions.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    create(peer);
    grow(peer);
    delete(peer);
}

fn one(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: replicas,
        ..Default::default()
    }
}

fn configured(name: &str, config: &str, value: Option<&str>) -> CreatableTopic {
    let value = value.map(Str::from);
    let config = CreatableTopicConfig { name: config.into(), value };
    CreatableTopic { configs: vec![config], ..one(name, 1, 1) }
}

fn placed(name: &str, placement: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = placement.iter().map(|(partition, brokers)| CreatableReplicaAssignment {
        partition_index: *partition,
        broker_ids: brokers.to_vec(),
    });
    CreatableTopic { assignments: assignments.collect(), ..one(name, -1, -1) }
}

fn create(peer: &mut Peer) {
    let all = |topics: Vec<CreatableTopic>| CreateTopicsRequest { topics, ..Default::default() };
    for version in peer.versions(ApiKey::CreateTopics) {
        let name = format!("made-{version}");
        peer.ask("new", version, all(vec![one(&name, 2, 1)]));
        ready(peer, &name, 2);
        peer.ask("again", version, all(vec![one(&name, 2, 1)]));
        if version > 0 {
            let request =
                CreateTopicsRequest { validate_only: true, ..all(vec![one("only-checked", 1, 1)]) };
            peer.ask("only checked", version, request);
        }
    }
    for (what, topic) in counted().into_iter().chain(configured_badly()).chain(placements()) {
        for version in [peer.oldest(ApiKey::CreateTopics), peer.newest(ApiKey::CreateTopics)] {
            let request = CreateTopicsRequest { validate_only: true, ..all(vec![topic.clone()]) };
            peer.ask(what, version, request);
        }
    }
    peer.newly("twice in one request", all(vec![one("twice", 1, 1), one("twice", 1, 1)]));
    let mixed = vec![one("mixed", 1, 1), one("a b", 1, 1), one("made-7", 1, 1)];
    peer.newly("good and bad", all(mixed));
    peer.newly("nothing", all(Vec::new()));
    let settings =
        [("cleanup.policy", "compact"), ("retention.ms", "60000"), ("max.message.bytes", "1000")];
    topic(peer, "set", 1, &settings);
    topic(peer, "made.so", 1, &[]);
    peer.newly("a name that differs in a dot", all(vec![one("made_so", 1, 1)]));
}

/// Names and numbers.
fn counted() -> Vec<(&'static str, CreatableTopic)> {
    let long = "n".repeat(250);
    vec![
        ("no name", one("", 1, 1)),
        ("a dot", one(".", 1, 1)),
        ("two dots", one("..", 1, 1)),
        ("a long name", one(&long, 1, 1)),
        ("a blank", one("a b", 1, 1)),
        ("a letter beyond ASCII", one("naïve", 1, 1)),
        ("no partitions", one("bad", 0, 1)),
        ("negative partitions", one("bad", -2, 1)),
        ("no replicas", one("bad", 1, 0)),
        ("negative replicas", one("bad", 1, -2)),
        ("two replicas", one("bad", 1, 2)),
        ("by default", one("checked", -1, -1)),
    ]
}

/// Configs.
fn configured_badly() -> Vec<(&'static str, CreatableTopic)> {
    vec![
        ("an unknown config", configured("bad", "no.such", Some("1"))),
        ("a word for a number", configured("bad", "retention.ms", Some("soon"))),
        ("a number too small", configured("bad", "segment.bytes", Some("1"))),
        ("a number too large", configured("bad", "max.message.bytes", Some("2147483648"))),
        ("an unknown policy", configured("bad", "cleanup.policy", Some("shred"))),
        ("a policy of nothing", configured("checked", "cleanup.policy", Some(""))),
        ("a policy twice", configured("checked", "cleanup.policy", Some("delete,delete"))),
        ("no truth", configured("bad", "preallocate", Some("yes"))),
        ("a ratio over 1", configured("bad", "min.cleanable.dirty.ratio", Some("1.5"))),
        ("a null value", configured("bad", "retention.ms", None)),
        ("an empty value", configured("bad", "retention.ms", Some(""))),
        ("an unknown time", configured("bad", "message.timestamp.type", Some("Never"))),
        ("an unknown codec", configured("bad", "compression.type", Some("brotli"))),
        (
            "lags that contradict",
            CreatableTopic {
                configs: [("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")]
                    .map(|(name, value)| CreatableTopicConfig {
                        name: name.into(),
                        value: Some(value.into()),
                    })
                    .to_vec(),
                ..one("bad", 1, 1)
            },
        ),
    ]
}

/// Partitions placed by hand.
fn placements() -> Vec<(&'static str, CreatableTopic)> {
    vec![
        ("an unknown broker", placed("bad", &[(0, &[9])])),
        ("a broker twice", placed("bad", &[(0, &[1, 1])])),
        ("no broker", placed("bad", &[(0, &[])])),
        ("a gap", placed("bad", &[(0, &[1]), (2, &[1])])),
        ("no first", placed("bad", &[(1, &[1])])),
        ("uneven", placed("bad", &[(0, &[1]), (1, &[1, 2])])),
        ("placed and counted", CreatableTopic { num_partitions: 1, ..placed("bad", &[(0, &[1])]) }),
        (
            "placed and replicated",
            CreatableTopic { replication_factor: 1, ..placed("bad", &[(0, &[1])]) },
        ),
        ("placed", placed("checked", &[(0, &[1]), (1, &[1])])),
    ]
}

fn grow(peer: &mut Peer) {
    topic(peer, "grows", 2, &[]);
    let request = |name: &str, count, assignments: Option<&[&[i32]]>| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: assignments.map(|all| {
                all.iter()
                    .map(|brokers| CreatePartitionsAssignment { broker_ids: brokers.to_vec() })
                    .collect()
            }),
        }],
        timeout_ms: 10_000,
        validate_only: true,
    };
    let asks: [(&str, CreatePartitionsRequest); 14] = [
        ("only checked", request("grows", 3, None)),
        ("the same", request("grows", 2, None)),
        ("fewer", request("grows", 1, None)),
        ("none", request("grows", 0, None)),
        ("negative", request("grows", -1, None)),
        ("unknown topic", request("unknown", 3, None)),
        ("invalid topic", request("a b", 3, None)),
        ("empty topic", request("", 3, None)),
        ("placed", request("grows", 3, Some(&[&[1]]))),
        ("too many places", request("grows", 3, Some(&[&[1], &[1]]))),
        ("too few places", request("grows", 4, Some(&[&[1]]))),
        ("an unknown broker", request("grows", 3, Some(&[&[9]]))),
        ("a broker twice", request("grows", 3, Some(&[&[1, 1]]))),
        ("no brokers", request("grows", 3, Some(&[&[]]))),
    ];
    for (what, request) in asks {
        peer.each(what, |_| request.clone());
    }
    let mut twice = request("grows", 3, None);
    twice.topics.push(twice.topics[0].clone());
    peer.newly("twice in one request", twice);
    let now = CreatePartitionsRequest { validate_only: false, ..request("grows", 4, None) };
    peer.newly("two more", now);
    ready(peer, "grows", 4);
}

fn delete(peer: &mut Peer) {
    for version in peer.versions(ApiKey::DeleteTopics) {
        let name = format!("goes-{version}");
        topic(peer, &name, 1, &[]);
        for (what, name) in
            [("there", name.as_str()), ("unknown", "unknown"), ("invalid", "a b"), ("empty", "")]
        {
            peer.ask(what, version, by_name(version, &[name]));
        }
        gone(peer, &name);
        peer.ask("gone", version, by_name(version, &[&name]));
    }
    let id = topic(peer, "goes-by-id", 1, &[]);
    let states = |states: &[(Option<&str>, Uuid)]| DeleteTopicsRequest {
        topics: states
            .iter()
            .map(|(name, topic_id)| DeleteTopicState {
                name: name.map(Str::from),
                topic_id: *topic_id,
            })
            .collect(),
        timeout_ms: 10_000,
        ..Default::default()
    };
    for (what, request) in [
        ("an unknown id", states(&[(None, [7; 16])])),
        ("neither name nor id", states(&[(None, [0; 16])])),
        ("name and id", states(&[(Some("goes-by-id"), id)])),
        ("twice by name", states(&[(Some("unknown"), [0; 16]), (Some("unknown"), [0; 16])])),
        ("twice by id", states(&[(None, id), (None, id)])),
        ("by name and by id", states(&[(Some("goes-by-id"), [0; 16]), (None, id)])),
        ("nothing", states(&[])),
    ] {
        peer.newly(what, request);
    }
    let id = topic(peer, "goes-by-id-too", 1, &[]);
    peer.newly("by id", states(&[(None, id)]));
    gone(peer, "goes-by-id-too");
}

fn by_name(version: i16, names: &[&str]) -> DeleteTopicsRequest {
    let state = |name: &&str| DeleteTopicState { name: Some((*name).into()), topic_id: [0; 16] };
    DeleteTopicsRequest {
        topics: names.iter().filter(|_| version >= 6).map(state).collect(),
        topic_names: if version >= 6 { Vec::new() } else { texts(names) },
        timeout_ms: 10_000,
    }
}
