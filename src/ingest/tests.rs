//! Ingest on a broker in a directory of its own.

mod atomic;
mod backfills;
mod batches;
mod crashes;
mod damage;
mod deletions;
mod keys;
mod limits;
mod power;
mod power_promises;
mod reference;
mod refusals;
mod retention;
mod settling;
mod unreadable;
mod verifies;
mod versions;

use super::json::Object;
use super::mutation::{Done, Error, Mutation, Operation};
use super::name::{RecordId, SyncId};
use super::sync::{CollectionDefinition, Definition};
use super::target::Target;
use super::{Ingest, router};
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::http::Context;
use crate::settings::Layer;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use std::path::Path;
use std::sync::Arc;
use tidelog_storage::fs::{Disk, Fs};
use tower::ServiceExt;

/// A broker with one sync, `sync_a`, in a directory of its own.
struct Sandbox {
    dir: tempfile::TempDir,
    broker: Arc<Broker>,
    ingest: Arc<Ingest>,
}

/// An answer over HTTP.
struct Answered {
    status: u16,
    headers: HeaderMap,
    json: serde_json::Value,
}

/// What a start finds of the state store.
#[derive(Clone, Copy)]
enum State {
    Kept,
    Lost,
}

const COLLECTIONS: [&str; 2] = ["contact", "deal"];

impl Sandbox {
    async fn new() -> Self {
        Self::on(Arc::new(Disk), tempfile::tempdir().unwrap()).await
    }

    /// The same, with the logs on this file system.
    async fn on(fs: Arc<dyn Fs>, dir: tempfile::TempDir) -> Self {
        let (broker, ingest) = open_on(fs, dir.path()).await;
        let sandbox = Self { dir, broker, ingest };
        let collection = |partitions| CollectionDefinition {
            partitions: Some(partitions),
            ..CollectionDefinition::default()
        };
        let collections = [("contact", 1), ("deal", 3)];
        let collections = collections.map(|(name, count)| (name.to_owned(), collection(count)));
        let definition = Definition { collections: collections.into(), ..Definition::default() };
        let id = SyncId::parse("sync_a").unwrap();
        sandbox.ingest.put_sync(&sandbox.cluster(), id, definition).await.unwrap();
        sandbox
    }

    fn cluster(&self) -> Arc<Cluster> {
        self.broker.cluster_by_name("dev").unwrap()
    }

    /// Stops and starts again; `between` sees the directory meanwhile.
    async fn restart(self, state: State, between: impl FnOnce(&Path)) -> Self {
        let Self { dir, broker, ingest } = self;
        broker.close().await.unwrap();
        drop((ingest, broker));
        if let State::Lost = state {
            std::fs::remove_dir_all(dir.path().join("state")).unwrap();
        }
        between(dir.path());
        let (broker, ingest) = open(dir.path()).await;
        Self { dir, broker, ingest }
    }

    /// Sends a request as the account.
    async fn http(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let (principal, password) = self.broker.dev_account().await.unwrap();
        let context = Context { broker: self.broker.clone(), url: "".into(), kafka: "".into() };
        let (method, path) = line.split_once(' ').unwrap();
        let token = STANDARD.encode(format!("{}:{password}", principal.username));
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Basic {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = router(context, self.ingest.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        Answered { status: parts.status.as_u16(), headers: parts.headers, json }
    }

    /// The events of a collection.
    async fn events(&self, collection: &str) -> i64 {
        let topic = self.target(collection).await.stream.topic();
        topic.online().map(|(_, it)| it.log().log_end_offset()).sum()
    }

    async fn target(&self, collection: &str) -> Target {
        Target::find(&self.ingest, &self.cluster(), "sync_a", collection).await.unwrap()
    }

    /// Carries out one mutation, and waits until it may be answered.
    async fn mutate(&self, collection: &str, mutation: Mutation<'_>) -> Result<Done, Error> {
        let target = self.target(collection).await;
        let done = target.mutate(vec![mutation]).pop().unwrap()?;
        target.stream.confirm([&done].into_iter()).await;
        Ok(done)
    }

    /// Puts record 003.
    async fn put(&self, collection: &str, data: &str) -> Result<Done, Error> {
        self.mutate(collection, upsert("003", data)).await
    }
}

pub(super) async fn open(dir: &Path) -> (Arc<Broker>, Arc<Ingest>) {
    open_on(Arc::new(Disk), dir).await
}

/// The same, with the logs on this file system.
async fn open_on(fs: Arc<dyn Fs>, dir: &Path) -> (Arc<Broker>, Arc<Ingest>) {
    let layer = Layer { data_dir: Some(dir.to_owned()), ..Layer::default() };
    let (broker, _) = Broker::open_on(fs, layer.settings(true).unwrap()).await.unwrap();
    broker.dev_account().await.unwrap();
    let ingest = Ingest::open(&broker).await.unwrap();
    (broker, ingest)
}

fn upsert<'a>(id: &str, data: &'a str) -> Mutation<'a> {
    let data = Some(Object::parse(data.as_bytes()).unwrap());
    Mutation::new(RecordId::parse(id).unwrap(), Operation::Upsert, data)
}

fn delete(id: &str) -> Mutation<'static> {
    Mutation::new(RecordId::parse(id).unwrap(), Operation::Delete, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_stops_its_own_partition_and_no_other() {
    let sandbox = Sandbox::new().await;
    for (version, collection) in (0..3).flat_map(|it| COLLECTIONS.map(|name| (it, name))) {
        sandbox.put(collection, &format!(r#"{{"version":{version}}}"#)).await.unwrap();
    }
    let log = format!("accounts/{}/sequin.sync_a.contact-0", sandbox.cluster().account.id);
    // Without its state store, everything is to be read again, and in one log it cannot be.
    let log = Path::new(&log).join("00000000000000000000.log");
    let flip = |dir: &Path| {
        let mut bytes = std::fs::read(dir.join(&log)).unwrap();
        bytes[100] ^= 1;
        std::fs::write(dir.join(&log), bytes).unwrap();
    };
    // Or it cannot even be opened.
    let replace = |dir: &Path| {
        std::fs::remove_file(dir.join(&log)).unwrap();
        std::fs::create_dir(dir.join(&log)).unwrap();
    };
    let mut sandbox = sandbox;
    let damages: [&dyn Fn(&Path); 2] = [&flip, &replace];
    for damage in damages {
        sandbox = sandbox.restart(State::Lost, damage).await;
        let refused = sandbox.put("contact", r#"{"version":2}"#).await;
        assert!(matches!(refused, Err(Error::Damaged(0))));
        let unchanged = sandbox.put("deal", r#"{"version":2}"#).await.unwrap();
        assert_eq!(unchanged.published, None);
    }
}
