//! In the background: moves what has become durable into the state store, and forgets there what
//! is too old.

use super::Ingest;
use super::snapshot;
use super::state::TOMBSTONES_MAX;
use super::stream::Stream;
use crate::clock;
use crate::task::blocking;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::Uuid;

/// How often what has become durable moves from memory into the state store.
const INTERVAL: Duration = Duration::from_secs(1);
/// After how many of these intervals it is looked what may be forgotten.
const FORGET_EVERY: u64 = 60;

impl Ingest {
    /// Settles every stream, for ever: once a second, and one that has much sooner.
    pub async fn settle(self: Arc<Self>) {
        let mut interval = tokio::time::interval(INTERVAL);
        let mut round = 0_u64;
        loop {
            let is_due = tokio::select! {
                _ = interval.tick() => true,
                () = self.unsettled.notified() => false,
            };
            let forget = is_due && round.is_multiple_of(FORGET_EVERY);
            if is_due {
                round += 1;
                self.drop_deleted();
            }
            // To forget takes room too, at first.
            if !self.broker.shared.state.has_room() {
                continue;
            }
            let mut streams: Vec<_> = self.streams.lock().values().cloned().collect();
            streams.retain(|stream| stream.had_much() || is_due);
            // Where nothing is ingested, no thread is woken.
            if !streams.is_empty() {
                // Looking takes the partitions' locks, which are held while mutations are written.
                blocking(move || streams.iter().for_each(|stream| settle(stream, forget))).await;
            }
            if forget {
                self.forget_answers().await;
            }
        }
    }

    async fn forget_answers(&self) {
        let clusters = self.broker.clusters();
        let accounts: Vec<_> = clusters.iter().map(|it| it.account.id.clone()).collect();
        let answers = self.answers.clone();
        let forgotten = blocking(move || answers.forget(&accounts, clock::unix_ms()));
        if let Err(error) = forgotten.await {
            tracing::error!("old answers stay in the state store: {error}");
        }
    }

    /// Drops the streams of topics that are there no more.
    fn drop_deleted(&self) {
        // First, so that a topic that is made meanwhile keeps its stream.
        let ids: Vec<Uuid> = self.streams.lock().keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        // Without the lock, which each mutation takes.
        let mut live = HashSet::new();
        for cluster in self.broker.clusters() {
            live.extend(cluster.topics.all().iter().map(|topic| topic.id));
        }
        for gone in ids.iter().filter(|id| !live.contains(*id)) {
            self.streams.lock().remove(gone);
        }
    }
}

fn settle(stream: &Stream, forget: bool) {
    let settled = stream.settle();
    let forgotten =
        if forget { stream.forget_deleted(clock::unix_ms(), TOMBSTONES_MAX) } else { Ok(()) };
    if let Err(error) = settled.and(forgotten) {
        tracing::error!("record state stays in memory: {error}");
    }
    snapshot::expire(stream, clock::unix_ms());
}
