//! Retention and compaction: old segments, replaced records and idle producers go, in the
//! background.

use crate::broker::Broker;
use crate::clock;
use crate::cluster::Cluster;
use crate::topic::{Config, Partition, Topic};
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::Uuid;
use tidelog_storage::{Compacted, Compaction, Error, Pace, Removed, Retention};
use tokio::runtime::Handle;
use tokio::time::{Interval, MissedTickBehavior, sleep};

/// How often logs are looked at: Kafka's `log.retention.check.interval.ms` is five minutes, which
/// makes short retentions in tests and development imprecise.
const INTERVAL: Duration = Duration::from_secs(30);
/// An idempotent producer that has been silent for this long is forgotten: Kafka's
/// `producer.id.expiration.ms`.
const PRODUCER_EXPIRATION: Duration = Duration::from_secs(24 * 60 * 60);

/// When rounds begin: one that takes longer is not made up for.
fn rounds() -> Interval {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Applies every topic's retention, for ever.
pub async fn enforce(broker: Arc<Broker>) {
    let mut rounds = rounds();
    loop {
        rounds.tick().await;
        for (cluster, topic) in topics(&broker, |_| true) {
            let work = tokio::task::spawn_blocking(move || enforce_topic(&cluster, topic));
            if let Err(error) = work.await {
                tracing::error!("retention failed: {error}");
            }
        }
    }
}

/// Compacts the topics whose policy says so, one at a time and unhurriedly, for ever.
pub async fn compact(broker: Arc<Broker>) {
    let mut rounds = rounds();
    loop {
        rounds.tick().await;
        for (cluster, topic) in topics(&broker, Config::is_compacted) {
            let work = tokio::task::spawn_blocking(move || compact_topic(&cluster, topic));
            if let Err(error) = work.await {
                tracing::error!("compaction failed: {error}");
            }
        }
    }
}

/// By id: a round may take hours, and what is in force when a log's turn comes is what counts.
fn topics(broker: &Broker, wanted: fn(&Config) -> bool) -> Vec<(Arc<Cluster>, Uuid)> {
    let mut topics = Vec::new();
    for cluster in broker.clusters() {
        let wanted = cluster.topics.all().into_iter().filter(|topic| wanted(&topic.config));
        topics.extend(wanted.map(|topic| (cluster.clone(), topic.id)));
    }
    topics
}

/// Goes on with each partition of a topic as it then is, up to where its records may go, as long as
/// the topic is `wanted`.
///
/// Events of a sync are the write-ahead log of its records' state, which must be safe first: what
/// is released is in the state store, and is synced there before it goes from the log.
fn each_partition(
    cluster: &Cluster,
    id: Uuid,
    wanted: fn(&Config) -> bool,
    mut rule: impl FnMut(&Topic, i32, &Partition, i64),
) {
    let Some(topic) = cluster.topics.by_id(&id) else { return };
    let released = topic.online().map(|(index, partition)| (index, partition.released()));
    let released: Vec<_> = released.collect();
    if topic.sync.is_some()
        && let Err(error) = cluster.shared.state.sync()
    {
        tracing::error!("retention of {} waits: {error}", topic.name);
        return;
    }
    for (index, until) in released {
        let topic = cluster.topics.by_id(&id).filter(|topic| wanted(&topic.config));
        let Some(topic) = topic else { return };
        if let Ok(partition) = topic.partition(index) {
            rule(&topic, index, partition, until);
        }
    }
}

/// On a blocking thread, which waits where compaction has to.
pub(crate) fn compact_topic(cluster: &Cluster, id: Uuid) {
    let mut pace = Pace::new(cluster.shared.settings.compaction_bytes_per_second);
    let runtime = Handle::current();
    let mut spend = |bytes| runtime.block_on(sleep(pace.spend(clock::now(), bytes)));
    each_partition(cluster, id, Config::is_compacted, |topic, index, partition, until| {
        let name = &topic.name;
        let compaction = Compaction { until, ..topic.config.compaction() };
        match partition.log().compact(clock::unix_ms(), compaction, &mut spend) {
            Ok(Compacted { segments: 0, .. }) | Err(Error::Closed) => {}
            // Told once, of the volume; tried again next time.
            Err(error) if error.is_disk_full() => {}
            Ok(Compacted { segments, bytes }) => tracing::info!(
                "compaction took {bytes} bytes out of {segments} segments of {name}-{index}"
            ),
            Err(error) => tracing::error!("compaction of {name}-{index} failed: {error}"),
        }
    });
}

pub(crate) fn enforce_topic(cluster: &Cluster, id: Uuid) {
    each_partition(
        cluster,
        id,
        |_| true,
        |topic, index, partition, until| {
            partition.log().expire_producers(clock::now(), PRODUCER_EXPIRATION);
            let name = &topic.name;
            if !topic.config.is_deleted() {
                return;
            }
            let (age_ms, bytes) = (topic.config.retention_ms(), topic.config.retention_bytes());
            let retention = Retention { age_ms, bytes, until };
            match partition.log().enforce_retention(clock::unix_ms(), retention) {
                Ok(Removed { segments: 0, .. }) => {}
                Ok(Removed { segments, bytes }) => {
                    tracing::info!(
                        "retention removed {segments} segments, {bytes} bytes, of {name}-{index}"
                    );
                }
                Err(error) => tracing::error!("retention of {name}-{index} failed: {error}"),
            }
        },
    );
}
