//! Webhooks as a whole: a real broker in a directory of its own, and endpoints that fail.

mod delivery;
mod endpoint;
mod lifecycle;
mod routes;

use super::definition::Definition;
use super::instance::Webhook;
use super::registry::Webhooks;
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::settings::Layer;
use crate::topic::{Config, NewTopic};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::records::{BatchBuilder, Compression};

/// A broker with one account, and its webhooks.
struct Rig {
    broker: Arc<Broker>,
    cluster: Arc<Cluster>,
    webhooks: Arc<Webhooks>,
}

impl Rig {
    /// Opens what is in `dir`, as after any end of the process.
    async fn open(dir: &Path) -> Self {
        let broker = tokio::time::timeout(Duration::from_secs(10), open(dir)).await.unwrap();
        let cluster = match broker.cluster_by_name("acme") {
            Some(cluster) => cluster,
            None => broker.create_account("acme").await.unwrap().0,
        };
        let webhooks = Webhooks::open(&broker).await.unwrap();
        Self { broker, cluster, webhooks }
    }

    /// Ends in order.
    async fn close(self) {
        self.webhooks.close().await;
        self.broker.close().await.unwrap();
    }

    async fn topic(&self, name: &str, partitions: i32) {
        let new = NewTopic { name: name.into(), partitions, config: Config::default(), sync: None };
        self.cluster.topics.create(new).await.unwrap();
    }

    /// Appends a record for each `key:value`, as one batch; durable when this returns.
    async fn produce(&self, topic: &str, partition: i32, records: &[String]) {
        let mut batch = BatchBuilder::new(Compression::None, 1 << 20);
        for record in records {
            let (key, value) = record.split_once(':').unwrap();
            batch.append(0, Some(key.as_bytes()), Some(value.as_bytes()), &[]).unwrap();
        }
        let topic = self.cluster.topics.get(topic).unwrap();
        let partition = topic.partition(partition).unwrap();
        partition.append(&batch.finish().unwrap()).unwrap();
        let end = partition.log().log_end_offset();
        partition.past(end).await;
    }

    /// A webhook that does not wait long.
    async fn webhook(&self, url: &str, topics: &str, start: &str) -> Arc<Webhook> {
        let schedule = ["10ms", "20ms"];
        let definition: Definition = serde_json::from_value(serde_json::json!({
            "url": url, "topics": [topics], "start": start, "retry": { "schedule": schedule },
        }))
        .unwrap();
        self.webhooks.create(&self.cluster, definition).await.unwrap()
    }

    /// The committed offsets of a webhook, in order.
    async fn cursor(&self, webhook: &Webhook) -> Vec<i64> {
        let committed = super::cursor::committed(&self.cluster, &webhook.group()).await;
        committed.unwrap().into_values().collect()
    }
}

/// The store's thread lets go of the directory a moment after its last user has.
async fn open(dir: &Path) -> Arc<Broker> {
    loop {
        let layer = Layer { data_dir: Some(dir.to_owned()), ..Layer::default() };
        match Broker::open(layer.settings(true).unwrap()).await {
            Ok((broker, _)) => return broker,
            Err(error) if format!("{error:?}").contains("Locked") => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn numbered(key: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("{key}:{number}")).collect()
}
