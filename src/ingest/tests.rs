//! Ingest on a broker in a directory of its own.

use super::json::Object;
use super::name::{RecordId, SyncId};
use super::routes::Target;
use super::stream::{Error, Mutation, Operation};
use super::sync::{CollectionDefinition, Definition};
use super::{Ingest, stream};
use crate::broker::Broker;
use crate::settings::Layer;
use std::path::Path;
use std::sync::Arc;

const COLLECTIONS: [&str; 2] = ["contact", "deal"];

async fn open(dir: &Path) -> (Arc<Broker>, Arc<Ingest>) {
    let layer = Layer { data_dir: Some(dir.to_owned()), ..Layer::default() };
    let (broker, _) = Broker::open(layer.settings(true).unwrap()).await.unwrap();
    broker.dev_account().await.unwrap();
    let ingest = Ingest::open(&broker).await.unwrap();
    (broker, ingest)
}

/// Puts a record, and waits until its event is durable.
async fn put(
    ingest: &Ingest,
    broker: &Broker,
    collection: &str,
    data: &str,
) -> Result<stream::Done, Error> {
    let cluster = broker.cluster_by_name("dev").unwrap();
    let target = Target::find(ingest, &cluster, "sync_a", collection).await.unwrap();
    let id = RecordId::parse("003").unwrap();
    let data = Some(Object::parse(data.as_bytes()).unwrap());
    let operation = Operation::Upsert;
    let mutation = Mutation { id, operation, data, idempotency_key: None };
    let done = target.mutate(vec![mutation]).pop().unwrap()?;
    target.stream.durable(done.partition, done.rests_on).await;
    Ok(done)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_stops_its_own_partition_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, ingest) = open(dir.path()).await;
    let cluster = broker.cluster_by_name("dev").unwrap();
    let collections = COLLECTIONS.map(|it| (it.to_owned(), CollectionDefinition::default()));
    let definition = Definition { provider: None, collections: collections.into() };
    let id = SyncId::parse("sync_a").unwrap();
    ingest.put_sync(&cluster, id, definition).await.unwrap();
    for (version, collection) in (0..3).flat_map(|it| COLLECTIONS.map(|name| (it, name))) {
        let data = format!(r#"{{"version":{version}}}"#);
        put(&ingest, &broker, collection, &data).await.unwrap();
    }
    broker.close().await.unwrap();
    let log = format!("accounts/{}/sequin.sync_a.contact-0", cluster.account.id);
    drop((cluster, ingest, broker));

    // Without its state store, everything is to be read again, and in one log it cannot be.
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let log = dir.path().join(log).join("00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&log, bytes).unwrap();

    let (broker, ingest) = open(dir.path()).await;
    let refused = put(&ingest, &broker, "contact", r#"{"version":2}"#).await;
    assert!(matches!(refused, Err(Error::Stale(0))));
    let unchanged = put(&ingest, &broker, "deal", r#"{"version":2}"#).await.unwrap();
    assert_eq!(unchanged.published, None);
}
