//! Requests in, answers out, through the broker as it is, on a directory of its own. Each crosses
//! the wire at the version it is asked in, so that what a version does not carry is lost here too.

mod allocations;
mod amplification;
mod api_versions;
mod configs;
mod consumer_groups;
mod fetch;
mod group_configs;
mod groups;
mod partitions;
mod produce;
mod producers;
mod repeats;
mod topics;
mod transactions;
mod unreadable_groups;
mod workers;

use super::{Outcome, Session, dispatch, serves};
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::settings::Layer;
use crate::topic::{Config, NewTopic, Topic};
use std::sync::Arc;
use tempfile::TempDir;
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::messages::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_protocol::{Reader, Request, Response, Str, Writer};

/// A client of a broker of its own.
struct Client {
    cluster: Arc<Cluster>,
    session: Session,
    dir: TempDir,
}

/// Asks, and takes the answer out of its enum.
macro_rules! ask {
    ($client:expr, $version:expr, $api:ident, $request:expr) => {
        match $client.ask($version, tidelog_protocol::Request::$api($request)).await {
            tidelog_protocol::Response::$api(answer) => answer,
            other => panic!("an answer of another kind: {other:?}"),
        }
    };
}
use ask;

impl Client {
    async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap()).await
    }

    async fn open(dir: TempDir) -> Self {
        Self::open_with(dir, Layer::default()).await
    }

    async fn open_with(dir: TempDir, layer: Layer) -> Self {
        let data_dir = Some(dir.path().to_owned());
        let settings = Layer { data_dir, ..layer }.settings(true).unwrap();
        let (broker, _) = Broker::open(settings).await.unwrap();
        let cluster = match broker.cluster_by_name("acme") {
            Some(cluster) => cluster,
            None => broker.create_account("acme").await.unwrap().0,
        };
        let advertised = (Str::from_static("localhost"), 9092);
        let session = Session::unknown(&broker, ([127, 0, 0, 1], 40_000).into(), advertised);
        Self { cluster, session, dir }
    }

    async fn restart(self) -> Self {
        self.session.broker.close().await.unwrap();
        let Self { dir, cluster, session } = self;
        drop((cluster, session));
        Self::open(dir).await
    }

    async fn ask(&self, version: i16, request: Request) -> Response {
        let key = request.api_key();
        assert!(serves(key, version), "{} {version} is not served", key.name());
        let version = key.version(version);
        let mut out = Writer::default();
        request.write(&mut out, version);
        let mut input = Reader::new(out.into_bytes());
        let request = Request::read(key, version, &mut input).unwrap();
        let client_id = Some(Str::from_static("test"));
        let header = RequestHeader { key, version, correlation_id: 1, client_id };
        let answer = match dispatch(&self.cluster, &self.session, &header, request).await {
            Outcome::Answer(answer) => answer,
            _ => panic!("{} {} was not answered", key.name(), version.number),
        };
        let mut out = Writer::default();
        answer.write(&mut out, version);
        Response::read(key, version, &mut Reader::new(out.into_bytes())).unwrap()
    }

    async fn topic(&self, name: &str, partitions: i32) -> Arc<Topic> {
        let config = Config::default();
        let new = NewTopic { name: name.to_owned(), partitions, config, sync: None };
        self.cluster.topics.create(new).await.unwrap()
    }

    /// Appends a batch to partition 0.
    async fn produce(&self, topic: &str, batch: Batch) -> ProduceResponse {
        let data = PartitionProduceData { index: 0, records: Some(batch.bytes().clone()) };
        let topic = TopicProduceData {
            name: topic.into(),
            partition_data: vec![data],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1000,
            topic_data: vec![topic],
            ..Default::default()
        };
        ask!(self, 9, Produce, request)
    }
}

/// A batch of this many small records.
fn batch(records: i64) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    (0..records).for_each(|n| builder.append(n, None, Some(b"value"), &[]).unwrap());
    builder.finish().unwrap()
}
