//! Retention and compaction: old segments, replaced records and idle producers go, in the
//! background.

use crate::broker::Broker;
use crate::clock;
use crate::state::State;
use crate::topic::{Partition, Topic};
use std::sync::Arc;
use std::time::Duration;
use tidelog_storage::{Compacted, Compaction, Error, Pace, Removed, Retention};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, sleep};

/// How often logs are looked at: Kafka's `log.retention.check.interval.ms` is five minutes, which
/// makes short retentions in tests and development imprecise.
const INTERVAL: Duration = Duration::from_secs(30);
/// An idempotent producer that has been silent for this long is forgotten: Kafka's
/// `producer.id.expiration.ms`.
const PRODUCER_EXPIRATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes that compaction reads and writes in a second: a few hundredths of what a disk of today
/// does, and the rest is for records.
const COMPACTION_BYTES_PER_SECOND: u64 = 64 << 20;

/// Applies every topic's retention, for ever.
pub async fn enforce(broker: Arc<Broker>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        for topic in topics(&broker) {
            let state = broker.shared.state.clone();
            let work = tokio::task::spawn_blocking(move || enforce_topic(&topic, &state));
            if let Err(error) = work.await {
                tracing::error!("retention failed: {error}");
            }
        }
    }
}

/// Compacts the topics whose policy says so, one at a time and unhurriedly, for ever.
pub async fn compact(broker: Arc<Broker>) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        for topic in topics(&broker).into_iter().filter(|it| it.config.is_compacted()) {
            let state = broker.shared.state.clone();
            let work = tokio::task::spawn_blocking(move || compact_topic(&topic, &state));
            if let Err(error) = work.await {
                tracing::error!("compaction failed: {error}");
            }
        }
    }
}

fn topics(broker: &Broker) -> Vec<Arc<Topic>> {
    broker.clusters().iter().flat_map(|cluster| cluster.topics.all()).collect()
}

/// On a blocking thread, which waits where compaction has to.
pub(crate) fn compact_topic(topic: &Topic, state: &State) {
    let Some(released) = released(topic, state) else { return };
    let mut pace = Pace::new(COMPACTION_BYTES_PER_SECOND);
    let runtime = Handle::current();
    let mut spend = |bytes| runtime.block_on(sleep(pace.spend(clock::now(), bytes)));
    for (index, partition, until) in released {
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
    }
}

/// The partitions, and up to where records of each may go; `None` if it is better not to say.
///
/// Events of a sync are the write-ahead log of its records' state, which must be safe first: what
/// is released is in the state store, and is synced there before it goes from the log.
fn released<'a>(topic: &'a Topic, state: &State) -> Option<Vec<(i32, &'a Partition, i64)>> {
    let released = topic.online().map(|(index, it)| (index, it, it.released())).collect();
    match topic.sync.is_some().then(|| state.sync()) {
        Some(Err(error)) => {
            tracing::error!("retention of {} waits: {error}", topic.name);
            None
        }
        _ => Some(released),
    }
}

pub(crate) fn enforce_topic(topic: &Topic, state: &State) {
    let Some(released) = released(topic, state) else { return };
    let now_ms = clock::unix_ms();
    let (age_ms, bytes) = (topic.config.retention_ms(), topic.config.retention_bytes());
    for (index, partition, until) in released {
        partition.log().expire_producers(clock::now(), PRODUCER_EXPIRATION);
        let name = &topic.name;
        if !topic.config.is_deleted() {
            continue;
        }
        let retention = Retention { age_ms, bytes, until };
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
