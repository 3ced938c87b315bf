//! Where a webhook has got to: the committed offsets of its consumer group, `webhook.<id>`.
//!
//! The commits are simple ones, outside of any membership, so that every Kafka tool shows the
//! webhook's lag. **One commit is under way at a time**; what comes meanwhile is committed
//! together, so that a fast endpoint does not cost a sync for every record.

use super::delivery::Source;
use super::subscription::{Subscription, TopicPartition};
use crate::cluster::Cluster;
use crate::group::{Commit, CommitPartition, Error, Reply};
use crate::topic::LEADER_EPOCH;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The cursor of one webhook.
pub(super) struct Cursor {
    cluster: Arc<Cluster>,
    group: String,
    pending: BTreeMap<Source, i64>,
    committing: Option<BoxFuture<'static, Result<(), Error>>>,
    /// What is being committed.
    sent: BTreeMap<Source, i64>,
    failing: bool,
}

/// Between two commits: a busy webhook's records are gathered meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// After a commit that was refused.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(5);
/// A hundred years. Groups without members forget their offsets after a while; a webhook whose
/// endpoint, or whose broker, is down for longer must not lose its place.
const RETENTION_MS: i64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// The consumer group of a webhook.
pub(super) fn group_name(webhook: &str) -> String {
    format!("webhook.{webhook}")
}

/// Commits offsets for a webhook's group; durable when this returns.
///
/// The commit is submitted before the future is first polled.
pub(super) fn commit(
    cluster: &Cluster,
    group: &str,
    offsets: Vec<(TopicPartition, i64)>,
) -> impl Future<Output = Result<(), Error>> + use<> {
    let partitions = offsets.into_iter().map(|(at, offset)| CommitPartition {
        topic: at.topic.name.clone().into(),
        partition: at.index,
        offset,
        leader_epoch: LEADER_EPOCH,
        ..CommitPartition::default()
    });
    let commit = Commit {
        generation: -1,
        retention_ms: Some(RETENTION_MS),
        partitions: partitions.collect(),
        ..Commit::default()
    };
    let reply = (!commit.partitions.is_empty()).then(|| cluster.groups.commit(group, commit));
    async {
        match reply {
            Some(reply) => match reply.await {
                Reply::Failed(error) => Err(error),
                Reply::Each(outcomes) => outcomes.into_iter().collect(),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// What a webhook's group has committed, by topic and partition, once that is durable.
///
/// # Errors
/// When the group cannot be read.
pub(super) async fn committed(
    cluster: &Cluster,
    group: &str,
) -> Result<BTreeMap<(String, i32), i64>, Error> {
    let offsets = cluster.groups.offsets(group).await?.into_iter();
    Ok(offsets.map(|(topic, index, it)| ((topic.to_string(), index), it.offset)).collect())
}

impl Cursor {
    /// The cursor of a webhook, wherever it stands.
    pub(super) fn new(cluster: Arc<Cluster>, webhook: &str) -> Self {
        Self {
            cluster,
            group: group_name(webhook),
            pending: BTreeMap::new(),
            committing: None,
            sent: BTreeMap::new(),
            failing: false,
        }
    }

    /// Has an offset committed soon.
    pub(super) fn set(&mut self, source: Source, offset: i64) {
        self.pending.insert(source, offset);
    }

    /// Starts a commit, if none is under way and there is something to commit.
    pub(super) fn start(&mut self, subscription: &Subscription) {
        if self.committing.is_some() || self.pending.is_empty() {
            return;
        }
        self.sent = std::mem::take(&mut self.pending);
        // Nothing is committed for a topic that is gone: another may come under its name.
        let current = self.sent.iter().filter_map(|(source, offset)| {
            let at = subscription.get(*source)?;
            self.cluster.topics.by_id(&at.topic.id).map(|_| (at.clone(), *offset))
        });
        let durable = commit(&self.cluster, &self.group, current.collect());
        self.committing = Some(Box::pin(async {
            let outcome = durable.await;
            let pause = if outcome.is_ok() { PAUSE } else { PAUSE_AFTER_ERROR };
            tokio::time::sleep(pause).await;
            outcome
        }));
    }

    /// Waits for the end of the commit under way; for ever, if there is none.
    pub(super) async fn ended(&mut self) {
        let Some(committing) = &mut self.committing else { return std::future::pending().await };
        let outcome = committing.await;
        self.committing = None;
        let sent = std::mem::take(&mut self.sent);
        if let Err(error) = outcome {
            for (source, offset) in sent {
                self.pending.entry(source).or_insert(offset);
            }
            if !self.failing {
                let group = &self.group;
                tracing::warn!("{group}: the cursor cannot be committed and is held back: {error}");
            }
        }
        self.failing = outcome.is_err();
    }

    /// Commits what is left, once.
    pub(super) async fn flush(&mut self, subscription: &Subscription) {
        if self.committing.is_some() {
            self.ended().await;
        }
        self.start(subscription);
        if self.committing.is_some() {
            self.ended().await;
        }
    }
}
