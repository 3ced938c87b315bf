//! What both brokers are asked: a part a family of APIs. Each part makes topics and groups of its
//! own, so any of them can be run alone.

mod admin;
mod cluster;
mod commits;
mod configs;
mod consumer_groups;
mod fetch;
mod groups;
mod listing;
mod offsets;
mod produce;
mod producers;
mod topics;
mod versions;

use crate::clock::midnight_ms;
use crate::peer::Peer;
use bytes::Bytes;
use tidelog_protocol::messages::*;
use tidelog_protocol::records::{BatchBuilder, Compression};
use tidelog_protocol::{ApiKey, ErrorCode, Response, Str, Uuid};

type Part = fn(&mut Peer);

// The parts that list everything come before those that leave something to be listed.
const PARTS: &[(&str, Part)] = &[
    ("versions", versions::ask),
    ("cluster", cluster::ask),
    ("listing", listing::ask),
    ("topics", topics::ask),
    ("configs", configs::ask),
    ("produce", produce::ask),
    ("producers", producers::ask),
    ("fetch", fetch::ask),
    ("offsets", offsets::ask),
    ("admin", admin::ask),
    ("groups", groups::ask),
    ("commits", commits::ask),
    ("consumer_groups", consumer_groups::ask),
];

/// Runs the parts with these names, or all.
pub(crate) fn run(peer: &mut Peer, names: &[String]) {
    for (name, ask) in PARTS {
        if names.is_empty() || names.iter().any(|it| it == name) {
            ask(peer);
        }
    }
}

/// Makes a topic and waits until it can be used; gives its id.
fn topic(peer: &mut Peer, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.collect(),
        ..Default::default()
    };
    peer.plainly(CreateTopicsRequest { topics: vec![topic], ..Default::default() });
    ready(peer, name, partitions)
}

/// Waits until a topic has this many partitions with leaders; gives its id.
fn ready(peer: &mut Peer, name: &str, partitions: i32) -> Uuid {
    let count = usize::try_from(partitions).unwrap_or(1);
    let answer = peer.until(about(&[name]), |answer| {
        let Response::Metadata(it) = answer else { return false };
        let topic = &it.topics[0];
        topic.error_code.is_none()
            && topic.partitions.len() == count
            && topic.partitions.iter().all(|it| it.error_code.is_none() && it.leader_id >= 0)
    });
    // Kafka's metadata names a leader before it leads.
    let end = |partition_index| ListOffsetsPartition {
        partition_index,
        timestamp: -1,
        ..Default::default()
    };
    let partitions = (0..partitions.max(1)).map(end).collect();
    let ends = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: name.into(), partitions }],
        ..Default::default()
    };
    peer.until(ends, |answer| match answer {
        Response::ListOffsets(it) => {
            it.topics[0].partitions.iter().all(|it| it.error_code.is_none())
        }
        _ => false,
    });
    match answer {
        Response::Metadata(it) => it.topics[0].topic_id,
        other => panic!("{other:?}"),
    }
}

/// Waits until a topic is gone.
fn gone(peer: &mut Peer, name: &str) {
    peer.until(about(&[name]), |answer| match answer {
        Response::Metadata(it) => it.topics[0].error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        _ => false,
    });
}

/// Metadata of some topics, none of which is made because of it.
fn about(names: &[&str]) -> MetadataRequest {
    let topic =
        |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
    MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}

/// A batch of these records, a second apart.
fn batch(values: &[&str]) -> Bytes {
    finish(BatchBuilder::new(Compression::None, 1 << 24), values, midnight_ms())
}

fn finish(mut builder: BatchBuilder, values: &[&str], mut time_ms: i64) -> Bytes {
    for value in values {
        builder.append(time_ms, None, Some(value.as_bytes()), &[]).expect("room");
        time_ms += 1000;
    }
    builder.finish().expect("records").bytes().clone()
}

/// Produce of one batch to one partition, by name and by id.
fn produce(name: &str, id: Uuid, partition: i32, records: Bytes) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: name.into(),
            topic_id: id,
            partition_data: vec![PartitionProduceData { index: partition, records: Some(records) }],
        }],
        ..Default::default()
    }
}

/// Waits until groups have a coordinator, which Kafka makes when it is first asked for one.
fn coordinator(peer: &mut Peer, group: &str) {
    let request =
        FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..Default::default() };
    peer.until(request, |answer| {
        let Response::FindCoordinator(it) = answer else { return false };
        it.coordinators.iter().all(|it| it.error_code.is_none())
    });
    let heartbeat = HeartbeatRequest { group_id: group.into(), ..Default::default() };
    peer.until(heartbeat, |answer| {
        let waits = [
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ];
        matches!(answer, Response::Heartbeat(it) if !waits.contains(&it.error_code))
    });
}

fn texts(texts: &[&str]) -> Vec<Str> {
    texts.iter().map(|it| (*it).into()).collect()
}
