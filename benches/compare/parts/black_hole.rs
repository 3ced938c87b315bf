//! A broker in our own codec that acknowledges what is produced and drops it: what a client gets
//! from it is the client's own limit.

use bytes::{Bytes, BytesMut};
use clap::Args;
use std::collections::BTreeMap;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use tidelog_protocol::header::{RequestHeader, write_response_header};
use tidelog_protocol::messages::*;
use tidelog_protocol::{ApiKey, ErrorCode, Reader, Request, Response, Str, Writer};

#[derive(Args)]
pub(crate) struct BlackHole {
    /// Where to listen
    listen: SocketAddr,
}

/// Partitions of each topic.
type Topics = Arc<Mutex<BTreeMap<Str, i32>>>;

const NODE: i32 = 1;
/// What producers ask for.
const SERVED: [ApiKey; 7] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::InitProducerId,
];

impl BlackHole {
    pub(crate) fn run(self) {
        let listener = TcpListener::bind(self.listen).unwrap();
        let address = listener.local_addr().unwrap();
        println!("{}", serde_json::json!({ "kafka": address.to_string() }));
        let topics = Topics::default();
        for stream in listener.incoming() {
            let (stream, topics) = (stream.unwrap(), topics.clone());
            thread::spawn(move || serve(stream, address, &topics));
        }
    }
}

fn serve(mut stream: TcpStream, address: SocketAddr, topics: &Topics) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = BytesMut::new();
    let mut prefix = [0; 4];
    while stream.read_exact(&mut prefix).is_ok() {
        let len = u32::from_be_bytes(prefix) as usize;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        stream.read_exact(&mut buffer[..len]).unwrap();
        let whole = buffer.freeze();
        let parts = answer(whole.slice(..len), address, topics);
        buffer = whole.try_into_mut().unwrap_or_default();
        let mut slices: Vec<_> = parts.iter().map(|it| IoSlice::new(it)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let written = stream.write_vectored(left).unwrap();
            IoSlice::advance_slices(&mut left, written);
        }
    }
}

fn answer(frame: Bytes, address: SocketAddr, topics: &Topics) -> Vec<Bytes> {
    let mut input = Reader::new(frame);
    let header = RequestHeader::read(&mut input).unwrap();
    let (key, mut version) = (header.key, header.version);
    let response = if key.versions().contains(&version.number) {
        match Request::read(key, version, &mut input).unwrap() {
            Request::Produce(request) if request.acks == 0 => return Vec::new(),
            request => respond(request, address, topics),
        }
    } else {
        version = key.version(0);
        versions(ErrorCode::UNSUPPORTED_VERSION)
    };
    let mut out = Writer::default();
    write_response_header(&mut out, key, version, header.correlation_id);
    response.write(&mut out, version);
    out.into_frame()
}

fn respond(request: Request, address: SocketAddr, topics: &Topics) -> Response {
    match request {
        Request::ApiVersions(_) => versions(ErrorCode::NONE),
        Request::Produce(request) => produced(request),
        Request::Metadata(request) => metadata(request, address, topics),
        Request::CreateTopics(request) => {
            let mut topics = topics.lock().unwrap();
            let created = request.topics.into_iter().map(|topic| {
                topics.insert(topic.name.clone(), topic.num_partitions);
                CreatableTopicResult { name: topic.name, ..Default::default() }
            });
            CreateTopicsResponse { topics: created.collect(), ..Default::default() }.into()
        }
        Request::ListOffsets(request) => {
            let partition = |it: ListOffsetsPartition| ListOffsetsPartitionResponse {
                partition_index: it.partition_index,
                offset: 0,
                ..Default::default()
            };
            let topic = |it: ListOffsetsTopic| ListOffsetsTopicResponse {
                name: it.name,
                partitions: it.partitions.into_iter().map(partition).collect(),
            };
            let topics = request.topics.into_iter().map(topic).collect();
            ListOffsetsResponse { topics, ..Default::default() }.into()
        }
        Request::InitProducerId(_) => {
            InitProducerIdResponse { producer_id: 1, ..Default::default() }.into()
        }
        request => panic!("{} is not served", request.api_key().name()),
    }
}

fn versions(error_code: ErrorCode) -> Response {
    let api = |key: &ApiKey| ApiVersion {
        api_key: *key as i16,
        min_version: *key.versions().start(),
        // By name, so that no topic ids have to be made.
        max_version: (*key.versions().end()).min(if *key == ApiKey::Produce { 12 } else { 99 }),
    };
    let api_keys = SERVED.iter().map(api).collect();
    ApiVersionsResponse { error_code, api_keys, ..Default::default() }.into()
}

fn produced(request: ProduceRequest) -> Response {
    let partition = |it: PartitionProduceData| PartitionProduceResponse {
        index: it.index,
        log_start_offset: 0,
        ..Default::default()
    };
    let topic = |it: TopicProduceData| TopicProduceResponse {
        name: it.name,
        topic_id: it.topic_id,
        partition_responses: it.partition_data.into_iter().map(partition).collect(),
    };
    let responses = request.topic_data.into_iter().map(topic).collect();
    ProduceResponse { responses, ..Default::default() }.into()
}

fn metadata(request: MetadataRequest, address: SocketAddr, topics: &Topics) -> Response {
    let mut topics = topics.lock().unwrap();
    let names: Vec<Str> = match request.topics {
        Some(asked) => asked.into_iter().filter_map(|it| it.name).collect(),
        None => topics.keys().cloned().collect(),
    };
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: NODE,
        leader_epoch: 0,
        replica_nodes: vec![NODE],
        isr_nodes: vec![NODE],
        ..Default::default()
    };
    let topic = |name: Str| {
        let count = *topics.entry(name.clone()).or_insert(1);
        MetadataResponseTopic {
            name: Some(name),
            partitions: (0..count).map(partition).collect(),
            ..Default::default()
        }
    };
    let topics = names.into_iter().map(topic).collect();
    let broker = MetadataResponseBroker {
        node_id: NODE,
        host: address.ip().to_string().into(),
        port: i32::from(address.port()),
        rack: None,
    };
    MetadataResponse { brokers: vec![broker], controller_id: NODE, topics, ..Default::default() }
        .into()
}
