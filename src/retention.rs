//! Retention and compaction: old segments, replaced records and idle producers go, in the
//! background.

use crate::broker::Broker;
use crate::clock;
use crate::state::State;
use crate::topic::Topic;
use std::sync::Arc;
use std::time::Duration;
use tidelog_storage::{Compacted, Removed, Retention};

/// How often logs are looked at: Kafka's `log.retention.check.interval.ms` is five minutes, which
/// makes short retentions in tests and development imprecise.
const INTERVAL: Duration = Duration::from_secs(30);
/// An idempotent producer that has been silent for this long is forgotten: Kafka's
/// `producer.id.expiration.ms`.
const PRODUCER_EXPIRATION_MS: i64 = 24 * 60 * 60 * 1000;

/// Applies every topic's retention, for ever.
pub async fn enforce(broker: Arc<Broker>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        for cluster in broker.clusters() {
            for topic in cluster.topics.all() {
                let state = broker.shared.state.clone();
                let work = tokio::task::spawn_blocking(move || enforce_topic(&topic, &state));
                if let Err(error) = work.await {
                    tracing::error!("retention failed: {error}");
                }
            }
        }
    }
}

fn enforce_topic(topic: &Topic, state: &State) {
    // Events of a sync are the write-ahead log of its records' state, which must be safe first.
    if topic.sync.is_some()
        && let Err(error) = state.sync()
    {
        return tracing::error!("retention of {} waits: {error}", topic.name);
    }
    let now_ms = clock::unix_ms();
    let retention =
        Retention { age_ms: topic.config.retention_ms(), bytes: topic.config.retention_bytes() };
    for (index, partition) in topic.partitions.iter().enumerate() {
        partition.log().expire_producers(now_ms - PRODUCER_EXPIRATION_MS);
        let name = &topic.name;
        if topic.config.is_compacted() {
            match partition.log().compact(now_ms, topic.config.compaction()) {
                Ok(Compacted { segments: 0, .. }) => {}
                Ok(Compacted { segments, bytes }) => tracing::info!(
                    "compaction took {bytes} bytes out of {segments} segments of {name}-{index}"
                ),
                Err(error) => tracing::error!("compaction of {name}-{index} failed: {error}"),
            }
        }
        if !topic.config.is_deleted() {
            continue;
        }
        match partition.log().enforce_retention(now_ms, retention) {
            Ok(Removed { segments: 0, .. }) => {}
            Ok(Removed { segments, bytes }) => {
                tracing::info!(
                    "retention removed {segments} segments, {bytes} bytes, of {name}-{index}"
                );
            }
            Err(error) => tracing::error!("retention of {name}-{index} failed: {error}"),
        }
    }
}
