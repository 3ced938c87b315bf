//! A consumer that does what the classic protocol asks of it and waits for nothing else: what is
//! left is the broker's share of the way to a first record.

use std::io::{Read, Write};
use std::net::TcpStream;
use tidelog_protocol::header::{RequestHeader, read_response_header};
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Reader, Request, Response, Str, Writer};

/// Joins a new group on a new connection, and reads the first record of `topic`'s one partition.
pub(crate) fn first_record(kafka: &str, group: &str, topic: &str) {
    let mut broker = Broker(TcpStream::connect(kafka).unwrap());
    broker.0.set_nodelay(true).unwrap();
    let (group, topic) = (Str::from(group), Str::from(topic));
    let Response::FindCoordinator(_) =
        broker.ask(FindCoordinatorRequest { key: group.clone(), ..Default::default() }, 2)
    else {
        panic!("no coordinator")
    };
    let topics = vec![topic.clone()];
    let metadata = ConsumerProtocolSubscription { topics, ..Default::default() }.to_bytes(0);
    let protocol = JoinGroupProtocol { name: Str::from_static("range"), metadata };
    let mut join = JoinGroupRequest {
        group_id: group.clone(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: Str::from_static("consumer"),
        protocols: vec![protocol],
        ..Default::default()
    };
    let joined = loop {
        let Response::JoinGroup(joined) = broker.ask(join.clone(), 5) else { panic!("not joined") };
        join.member_id.clone_from(&joined.member_id);
        if joined.error_code != ErrorCode::MEMBER_ID_REQUIRED {
            break joined;
        }
    };
    let assigned = vec![ConsumerProtocolTopic { topic: topic.clone(), partitions: vec![0] }];
    let part = ConsumerProtocolAssignment { assigned_partitions: assigned, user_data: None };
    let assignment =
        SyncGroupAssignment { member_id: joined.member_id.clone(), assignment: part.to_bytes(0) };
    let sync = SyncGroupRequest {
        group_id: group.clone(),
        generation_id: joined.generation_id,
        member_id: joined.member_id,
        assignments: vec![assignment],
        ..Default::default()
    };
    let Response::SyncGroup(synced) = broker.ask(sync, 3) else { panic!("not synced") };
    assert_eq!(synced.error_code, ErrorCode::NONE);
    broker.read_from_earliest(&group, &topic);
}

struct Broker(TcpStream);

impl Broker {
    fn read_from_earliest(&mut self, group: &Str, topic: &Str) {
        let asked = OffsetFetchRequestTopic { name: topic.clone(), partition_indexes: vec![0] };
        let committed = OffsetFetchRequest {
            group_id: group.clone(),
            topics: Some(vec![asked]),
            ..Default::default()
        };
        let Response::OffsetFetch(_) = self.ask(committed, 5) else { panic!("no offsets") };
        let earliest = ListOffsetsPartition { timestamp: -2, ..Default::default() };
        let asked = ListOffsetsTopic { name: topic.clone(), partitions: vec![earliest] };
        let earliest = ListOffsetsRequest { topics: vec![asked], ..Default::default() };
        let Response::ListOffsets(listed) = self.ask(earliest, 5) else { panic!("no offset") };
        let partition = FetchPartition {
            fetch_offset: listed.topics[0].partitions[0].offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let asked =
            FetchTopic { topic: topic.clone(), partitions: vec![partition], ..Default::default() };
        let fetch = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            topics: vec![asked],
            ..Default::default()
        };
        let Response::Fetch(fetched) = self.ask(fetch, 12) else { panic!("nothing fetched") };
        let records = fetched.responses[0].partitions[0].records.as_ref();
        assert!(records.is_some_and(|it| !it.is_empty()), "no record");
    }

    fn ask(&mut self, request: impl Into<Request>, version: i16) -> Response {
        let request = request.into();
        let (key, mut out) = (request.api_key(), Writer::default());
        let version = key.version(version);
        let client_id = Some(Str::from_static("groups"));
        RequestHeader { key, version, correlation_id: 7, client_id }.write(&mut out);
        request.write(&mut out, version);
        self.0.write_all(&out.into_frame().concat()).unwrap();
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).unwrap();
        let mut input = Reader::new(frame.into());
        read_response_header(&mut input, key, version).unwrap();
        Response::read(key, version, &mut input).unwrap()
    }
}
