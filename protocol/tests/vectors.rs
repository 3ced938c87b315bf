//! Bytes that other implementations wrote, in `vectors/`: first contact, producing, consuming and
//! transactions of real clients, and the versions that the oracle lacks.
//!
//! A line is `request` with its header, or `response` without; then API, version, and the bytes.

use crate::{read_response, request_bytes, response_bytes};
use bytes::Bytes;
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::messages::*;
use tidelog_protocol::records::{Batch, Header};
use tidelog_protocol::{ApiKey, ErrorCode, Reader, Request, Response, Uuid, Version, Writer};

/// The topic id that the scripted listener gave out.
const ORDERS_ID: Uuid = *b"\x6b\xa7\xb8\x10\x9d\xad\x41\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8";

/// What a client sent.
struct Sent {
    header: RequestHeader,
    body: Request,
}

enum Vector {
    Request(ApiKey, Version, Bytes),
    Response(ApiKey, Version, Bytes),
}

const FILES: [(&str, &str); 9] = [
    ("aiokafka", include_str!("vectors/aiokafka.hex")),
    ("confluent_kafka", include_str!("vectors/confluent_kafka.hex")),
    ("dropped_by_kafka_4", include_str!("vectors/dropped_by_kafka_4.hex")),
    ("java_4_4", include_str!("vectors/java_4_4.hex")),
    ("kafka_python_2", include_str!("vectors/kafka_python_2.hex")),
    ("kafka_python_3", include_str!("vectors/kafka_python_3.hex")),
    ("kafka_python_3_codec", include_str!("vectors/kafka_python_3_codec.hex")),
    ("kafkajs", include_str!("vectors/kafkajs.hex")),
    ("kcat", include_str!("vectors/kcat.hex")),
];

fn vectors(text: &str) -> impl Iterator<Item = Vector> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [kind, api, version, hex] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("four words in {line}");
        };
        let key = *ApiKey::ALL.iter().find(|key| key.name() == api).expect("a known API");
        let version = key.version(version.parse().expect("a version"));
        match kind {
            "request" => Vector::Request(key, version, unhex(hex)),
            "response" => Vector::Response(key, version, unhex(hex)),
            _ => panic!("unknown kind {kind}"),
        }
    })
}

fn unhex(hex: &str) -> Bytes {
    let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect()
}

fn read_frame(frame: Bytes) -> Sent {
    let mut input = Reader::new(frame);
    let header = RequestHeader::read(&mut input).expect("a header");
    let body = Request::read(header.key, header.version, &mut input).expect("a body");
    input.finish().expect("nothing after the body");
    Sent { header, body }
}

/// The one frame of a file with an API, at a version.
fn sent(file: &str, key: ApiKey, number: i16) -> Request {
    let frames = vectors(text(file)).filter_map(|vector| match vector {
        Vector::Request(k, version, bytes) if (k, version.number) == (key, number) => Some(bytes),
        _ => None,
    });
    read_frame(frames.last().expect("such a frame")).body
}

/// Likewise for a response.
fn answered(file: &str, key: ApiKey, number: i16) -> Response {
    let bodies = vectors(text(file)).filter_map(|vector| match vector {
        Vector::Response(k, version, bytes) if (k, version.number) == (key, number) => {
            Some(read_response(bytes, key, version))
        }
        _ => None,
    });
    bodies.last().expect("such a response")
}

fn text(file: &str) -> &'static str {
    FILES.iter().find(|(name, _)| *name == file).expect("a file of vectors").1
}

#[test]
fn bytes_of_other_implementations_are_read_and_written_back_the_same() {
    for (name, text) in FILES {
        for vector in vectors(text) {
            match vector {
                Vector::Request(key, version, bytes) => {
                    let sent = read_frame(bytes.clone());
                    assert_eq!((sent.header.key, sent.header.version), (key, version), "{name}");
                    let mut out = Writer::default();
                    sent.header.write(&mut out);
                    out.put(&request_bytes(&sent.body, version));
                    assert_eq!(out.into_bytes(), bytes, "{name}: {:?}", sent.body);
                }
                Vector::Response(key, version, bytes) => {
                    let response = read_response(bytes.clone(), key, version);
                    assert_eq!(response_bytes(&response, version), bytes, "{name}: {response:?}");
                }
            }
        }
    }
}

#[test]
fn every_client_names_itself_and_asks_for_versions_first() {
    for (file, number, client_id, software) in [
        ("aiokafka", 0, "aio", ""),
        ("confluent_kafka", 3, "confluent", "confluent-kafka-python 2.16.1-rdkafka-2.16.0"),
        ("kafka_python_2", 0, "kpy", ""),
        ("kafka_python_3", 4, "kpy", "kafka-python 3.0.12"),
        ("kafkajs", 2, "kafkajs", ""),
        ("kcat", 3, "kcat", "librdkafka 2.0.2"),
    ] {
        let Request::ApiVersions(asked) = sent(file, ApiKey::ApiVersions, number) else {
            panic!("ApiVersions of {file}");
        };
        let said = format!("{} {}", asked.client_software_name, asked.client_software_version);
        assert_eq!(said.trim(), software, "{file}");
        for vector in vectors(text(file)) {
            let Vector::Request(_, _, bytes) = vector else { continue };
            assert_eq!(read_frame(bytes).header.client_id.as_deref(), Some(client_id), "{file}");
        }
    }
}

#[test]
fn every_producer_sends_one_sound_batch_of_its_records_to_the_topic() {
    let idempotent = 4001;
    for (file, number, acks, records, codec, producer_id) in [
        ("aiokafka", 7, -1, 3, 0, -1),
        ("confluent_kafka", 10, -1, 3, 0, idempotent),
        ("kafka_python_2", 7, -1, 3, 0, -1),
        ("kafka_python_3", 9, -1, 3, 0, idempotent),
        ("kafkajs", 7, -1, 3, 1, idempotent),
        ("kcat", 7, -1, 1, 0, -1),
    ] {
        let Request::Produce(produce) = sent(file, ApiKey::Produce, number) else {
            panic!("Produce of {file}");
        };
        assert_eq!((produce.acks, produce.transactional_id), (acks, None), "{file}");
        let [topic] = &produce.topic_data[..] else { panic!("one topic of {file}") };
        let [partition] = &topic.partition_data[..] else { panic!("one partition of {file}") };
        assert_eq!((&topic.name[..], partition.index), ("orders", 0), "{file}");
        let mut bytes = partition.records.clone().expect("records");
        let batch = Batch::split_from(&mut bytes).expect("a batch");
        let largest = (codec == 0).then_some(batch.header().max_timestamp);
        assert_eq!((batch.check(), bytes.len()), (Ok(largest), 0), "{file}");
        let Header { record_count, attributes, producer_id: id, .. } = *batch.header();
        assert_eq!((record_count, attributes.codec(), id), (records, codec, producer_id), "{file}");
    }
}

#[test]
fn topics_go_by_name_or_by_id_as_the_version_says() {
    let by_name = FetchTopic { topic: "orders".into(), ..Default::default() };
    let by_id = FetchTopic { topic_id: ORDERS_ID, ..Default::default() };
    for (file, number, topic, isolation_level, current_leader_epoch, fetch_bytes) in [
        ("aiokafka", 11, &by_name, 0, -1, 50 << 20),
        ("confluent_kafka", 16, &by_id, 1, 0, 50 << 20),
        ("kafka_python_2", 4, &by_name, 0, -1, 50 << 20),
        ("kafkajs", 11, &by_name, 1, -1, 10 << 20),
        ("kcat", 11, &by_name, 1, -1, 50 << 20),
    ] {
        let partition = FetchPartition {
            current_leader_epoch,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let expected = FetchRequest {
            max_wait_ms: if file == "kafkajs" { 5000 } else { 500 },
            min_bytes: 1,
            max_bytes: fetch_bytes,
            isolation_level,
            topics: vec![FetchTopic { partitions: vec![partition], ..topic.clone() }],
            ..Default::default()
        };
        assert_eq!(sent(file, ApiKey::Fetch, number), expected.into(), "{file}");
    }
}

#[test]
fn a_group_is_joined_with_the_subscription_as_bytes() {
    for (file, number, member, strategy, subscription_version) in [
        ("aiokafka", 5, None, "roundrobin", 0),
        ("confluent_kafka", 5, Some("static-1"), "range", 3),
        ("kafka_python_3", 7, None, "range", 0),
        ("kafkajs", 5, None, "RoundRobinAssigner", 0),
    ] {
        let Request::JoinGroup(join) = sent(file, ApiKey::JoinGroup, number) else {
            panic!("JoinGroup of {file}");
        };
        assert_eq!((&join.group_id[..], &join.member_id[..]), ("readers", "m-0001"), "{file}");
        assert_eq!(join.group_instance_id.as_deref(), member, "{file}");
        assert_eq!(&join.protocol_type[..], "consumer", "{file}");
        assert_eq!(&join.protocols[0].name[..], strategy, "{file}");
        let metadata = join.protocols[0].metadata.clone();
        let read = ConsumerProtocolSubscription::from_bytes(metadata.clone());
        let (version, subscription) = read.expect("a subscription");
        assert_eq!(
            (version, &subscription.topics[..]),
            (subscription_version, &["orders".into()][..])
        );
        assert_eq!(subscription.to_bytes(version), metadata, "{file}");
    }
    let Request::SyncGroup(sync) = sent("kafka_python_3", ApiKey::SyncGroup, 5) else {
        panic!("SyncGroup");
    };
    assert_eq!((sync.generation_id, sync.protocol_name.as_deref()), (3, Some("range")));
    let assignment = sync.assignments[0].assignment.clone();
    let (version, assigned) =
        ConsumerProtocolAssignment::from_bytes(assignment.clone()).expect("an assignment");
    let topic = ConsumerProtocolTopic { topic: "orders".into(), partitions: vec![0] };
    assert_eq!((version, &assigned.assigned_partitions[..]), (0, &[topic][..]));
    assert_eq!(assigned.to_bytes(version), assignment);
}

#[test]
fn a_transaction_is_spelled_out_by_librdkafka() {
    let [file, id] = ["confluent_kafka", "tx-1"];
    let init = InitProducerIdRequest {
        transactional_id: Some(id.into()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    assert_eq!(sent(file, ApiKey::InitProducerId, 4), init.into());
    let topic = AddPartitionsToTxnTopic { name: "orders".into(), partitions: vec![0] };
    let add = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: id.into(),
        v3_and_below_producer_id: 4001,
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    assert_eq!(sent(file, ApiKey::AddPartitionsToTxn, 0), add.into());
    let end = EndTxnRequest {
        transactional_id: id.into(),
        producer_id: 4001,
        producer_epoch: 0,
        committed: true,
    };
    assert_eq!(sent(file, ApiKey::EndTxn, 1), end.into());
}

#[test]
fn versions_that_the_oracle_lacks_have_their_fields_in_place() {
    let file = "dropped_by_kafka_4";
    let partition = PartitionProduceResponse {
        index: 3,
        error_code: ErrorCode::NOT_LEADER_OR_FOLLOWER,
        base_offset: 77,
        log_append_time_ms: 1_234_567_890_123,
        ..Default::default()
    };
    let topic = TopicProduceResponse {
        name: "orders".into(),
        partition_responses: vec![partition],
        ..Default::default()
    };
    let produced =
        ProduceResponse { responses: vec![topic], throttle_time_ms: 250, ..Default::default() };
    assert_eq!(answered(file, ApiKey::Produce, 2), produced.into());

    let partition = OffsetCommitRequestPartition {
        partition_index: 3,
        committed_offset: 77,
        commit_timestamp: 1_234_567_890_123,
        committed_metadata: Some("note".into()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: "orders".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let commit = OffsetCommitRequest {
        group_id: "readers".into(),
        generation_id_or_member_epoch: 9,
        member_id: "m-1".into(),
        topics: vec![topic],
        ..Default::default()
    };
    assert_eq!(sent(file, ApiKey::OffsetCommit, 1), commit.into());

    let marker = WritableTxnMarker {
        producer_id: 4001,
        producer_epoch: 6,
        transaction_result: true,
        topics: vec![WritableTxnMarkerTopic { name: "orders".into(), partition_indexes: vec![3] }],
        coordinator_epoch: 9,
        transaction_version: 2,
    };
    let markers = WriteTxnMarkersRequest { markers: vec![marker] };
    assert_eq!(sent("kafka_python_3_codec", ApiKey::WriteTxnMarkers, 2), markers.into());

    let versions = ApiVersionsRequest {
        client_software_name: "apache-kafka-java".into(),
        client_software_version: "4.4.0".into(),
        cluster_id: Some("dGlkZWxvZy10aWRlbG9nLQ".into()),
        node_id: 3,
    };
    assert_eq!(sent("java_4_4", ApiKey::ApiVersions, 5), versions.into());
    let result = DeletableGroupResult {
        group_id: "readers".into(),
        error_code: ErrorCode::GROUP_ID_NOT_FOUND,
        error_message: Some("gone".into()),
    };
    let deleted = DeleteGroupsResponse { throttle_time_ms: 250, results: vec![result] };
    assert_eq!(answered("java_4_4", ApiKey::DeleteGroups, 3), deleted.into());
}
