//! The broker's own path for one produced and one fetched batch, from the request's bytes to the
//! answer's, without sockets: what `run` counts the instructions of.

#![allow(missing_docs, clippy::unwrap_used, reason = "a failed measurement panics")]

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use std::hint::black_box;
use std::sync::Arc;
use tidelog::api::{Outcome, Session, dispatch};
use tidelog::broker::Broker;
use tidelog::cluster::Cluster;
use tidelog::settings::Layer;
use tidelog::topic::{Config, NewTopic};
use tidelog_protocol::header::{RequestHeader, write_response_header};
use tidelog_protocol::messages::*;
use tidelog_protocol::records::{BatchBuilder, Compression};
use tidelog_protocol::{Reader, Request, Str, Writer};

#[derive(Parser)]
struct Arguments {
    path: Path,
    /// How often the path is gone: between two counts, what setting up costs cancels out
    times: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Path {
    /// A batch of 16 KiB, acks=all, on disk before the next one comes
    Produce,
    /// A fetch that is answered with such a batch
    Fetch,
}

const TOPIC: &str = "red";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Arguments { path, times } = Arguments::parse();
    let dir = tempfile::tempdir().unwrap();
    let data_dir = Some(dir.path().to_owned());
    let settings = Layer { data_dir, ..Layer::default() }.settings(true).unwrap();
    let (broker, _) = Broker::open(settings).await.unwrap();
    let (cluster, _) = broker.create_account("acme").await.unwrap();
    let new =
        NewTopic { name: TOPIC.to_owned(), partitions: 1, config: Config::default(), sync: None };
    cluster.topics.create(new).await.unwrap();
    let advertised = (Str::from_static("localhost"), 9092);
    let session = Session::unknown(&broker, ([127, 0, 0, 1], 40_000).into(), advertised);
    let produce = frame(produce(), 9);
    answer(&cluster, &session, produce.clone()).await;
    let asked = match path {
        Path::Produce => produce,
        Path::Fetch => frame(fetch(), 12),
    };
    for _ in 0..times {
        black_box(answer(&cluster, &session, asked.clone()).await);
    }
    broker.close().await.unwrap();
}

/// What a connection does with a frame, but for the socket.
async fn answer(cluster: &Arc<Cluster>, session: &Session, frame: Bytes) -> Vec<Bytes> {
    let mut input = Reader::new(frame);
    let header = RequestHeader::read(&mut input).unwrap();
    let request = Request::read(header.key, header.version, &mut input).unwrap();
    let Outcome::Answer(response) = dispatch(cluster, session, &header, request).await else {
        panic!("not answered");
    };
    let mut out = Writer::default();
    write_response_header(&mut out, header.key, header.version, header.correlation_id);
    response.write(&mut out, header.version);
    out.into_frame()
}

fn frame(request: Request, version: i16) -> Bytes {
    let key = request.api_key();
    let client_id = Some(Str::from_static("counted"));
    let header = RequestHeader { key, version: key.version(version), correlation_id: 1, client_id };
    let mut out = Writer::default();
    header.write(&mut out);
    request.write(&mut out, header.version);
    out.into_bytes()
}

/// 16 records of about 1 KiB.
fn produce() -> Request {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    for key in 0_u32..16 {
        builder.append(0, Some(&key.to_be_bytes()), Some(&[b'x'; 1010]), &[]).unwrap();
    }
    let records = Some(builder.finish().unwrap().bytes().clone());
    let data = PartitionProduceData { index: 0, records };
    let topic =
        TopicProduceData { name: TOPIC.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
        .into()
}

fn fetch() -> Request {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topic =
        FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..Default::default() };
    FetchRequest { min_bytes: 1, topics: vec![topic], ..Default::default() }.into()
}
