//! Every webhook there is: starts, creates, enables and deletes them.

use super::cursor::{commit, group_name};
use super::definition::{Definition, Start};
use super::instance::Webhook;
use super::sender::Sender;
use super::signature::Secret;
use super::subscription::Subscription;
use super::target::Policy;
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::control::Control;
use crate::{clock, id};
use anyhow::{Context, Result, anyhow};
use futures_util::future::join_all;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The webhooks of every account, delivering.
pub struct Webhooks {
    sender: Arc<Sender>,
    control: Control,
    by_id: RwLock<BTreeMap<String, Arc<Webhook>>>,
    /// Held while a webhook is created, so that an account has no more than it may.
    creating: tokio::sync::Mutex<()>,
}

/// Why a webhook cannot be created.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Definition(#[from] super::definition::Error),
    #[error("the account has {WEBHOOKS_MAX} webhooks, as many as there can be")]
    Count,
    #[error("the webhook is to start at the end, and that of {0}-{1} is not known")]
    Offline(String, i32),
    #[error(transparent)]
    Broker(#[from] anyhow::Error),
}

/// Webhooks of one account.
const WEBHOOKS_MAX: usize = 1000;
const ID_PREFIX: &str = "wh";

impl Webhooks {
    /// Starts every stored webhook.
    ///
    /// # Errors
    /// When the control database or the system's certificates cannot be read.
    pub async fn open(broker: &Arc<Broker>) -> Result<Arc<Self>> {
        let dev = broker.shared.settings.dev;
        let policy = Policy { allow_private: dev, https_only: !dev };
        let webhooks = Self {
            sender: Arc::new(Sender::new(policy).context("the HTTP client of webhooks")?),
            control: broker.shared.control.clone(),
            by_id: RwLock::default(),
            creating: tokio::sync::Mutex::default(),
        };
        let rows = webhooks.control.webhooks().await.context("webhooks")?;
        forget_deleted(broker, &rows.iter().map(|row| group_name(&row.id)).collect()).await;
        for row in rows {
            let Some(cluster) = broker.cluster(&row.account) else { continue };
            let id = row.id.clone();
            match Webhook::from_row(row, cluster) {
                Ok(webhook) => {
                    webhook.start(&webhooks.sender);
                    webhooks.by_id.write().insert(id, webhook);
                }
                // One damaged webhook must not keep the others from starting.
                Err(error) => tracing::error!("webhook {id} does not start: {error:#}"),
            }
        }
        Ok(Arc::new(webhooks))
    }

    /// Stops delivering.
    pub async fn close(&self) {
        let _creating = self.creating.lock().await;
        let all: Vec<_> = self.by_id.read().values().cloned().collect();
        let stop = async |webhook: &Webhook| {
            let _switching = webhook.switching.lock().await;
            webhook.stop().await;
        };
        join_all(all.iter().map(|webhook| stop(webhook))).await;
    }

    /// The webhooks of an account, by id.
    pub(super) fn list(&self, cluster: &Cluster) -> Vec<Arc<Webhook>> {
        let by_id = self.by_id.read();
        by_id.values().filter(|it| it.cluster.account.id == cluster.account.id).cloned().collect()
    }

    /// The account's webhook with this id.
    pub(super) fn get(&self, cluster: &Cluster, id: &str) -> Option<Arc<Webhook>> {
        let found = self.by_id.read().get(id).cloned();
        found.filter(|webhook| webhook.cluster.account.id == cluster.account.id)
    }

    /// Creates a webhook, which delivers when this returns.
    pub(super) async fn create(
        &self,
        cluster: &Arc<Cluster>,
        definition: Definition,
    ) -> Result<Arc<Webhook>, Error> {
        definition.check(self.sender.policy())?;
        let _creating = self.creating.lock().await;
        if self.list(cluster).len() >= WEBHOOKS_MAX {
            return Err(Error::Count);
        }
        let secret = Secret::from_bytes(&clock::random::<32>()).map_err(anyhow::Error::from)?;
        let webhook = Webhook::new(id::prefixed(ID_PREFIX), definition, secret, cluster.clone());
        // First, so that a crash cannot leave a webhook that starts elsewhere. What it leaves of
        // one that was not created, the next start removes.
        if webhook.definition.start == Start::End {
            start_at_end(&webhook).await?;
        }
        let row = webhook.to_row()?;
        self.control.add_webhook(&row).await.map_err(anyhow::Error::from)?;
        webhook.start(&self.sender);
        self.by_id.write().insert(webhook.id.clone(), webhook.clone());
        Ok(webhook)
    }

    /// Starts a disabled webhook, or one that waits for its next attempt, at its cursor.
    pub(super) async fn enable(&self, webhook: &Arc<Webhook>) -> Result<()> {
        let _switching = webhook.switching.lock().await;
        let (account, id) = (&webhook.cluster.account.id, &webhook.id);
        if !self.by_id.read().contains_key(id) {
            return Ok(()); // deleted meanwhile
        }
        webhook.stop().await;
        let enabled = self.control.enable_webhook(account, id).await;
        if enabled.is_ok() {
            *webhook.disabled.lock() = None;
        }
        // If it was enabled before, it goes on in any case.
        webhook.start(&self.sender);
        enabled.map_err(Into::into)
    }

    /// Stops a webhook for good, and forgets its cursor.
    pub(super) async fn delete(&self, webhook: &Webhook) -> Result<()> {
        let _switching = webhook.switching.lock().await;
        self.control.remove_webhook(&webhook.cluster.account.id, &webhook.id).await?;
        self.by_id.write().remove(&webhook.id);
        webhook.stop().await;
        webhook.cluster.groups.delete(&webhook.group()).await;
        Ok(())
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.by_id.get_mut().values().for_each(|webhook| webhook.abort());
    }
}

/// Sets the cursor after everything there is.
async fn start_at_end(webhook: &Webhook) -> Result<(), Error> {
    let mut topics = webhook.cluster.topics.all();
    topics.retain(|topic| webhook.definition.matches(&topic.name));
    let mut subscription = Subscription::default();
    let sources = subscription.set(topics).came;
    let mut ends = Vec::new();
    for at in sources.iter().filter_map(|source| subscription.get(*source)) {
        // Without a cursor, all of it would be sent once it is back.
        let offline = || Error::Offline(at.topic.name.clone(), at.index);
        let end = at.partition().ok_or_else(offline)?.stable_end();
        ends.push((at.clone(), end));
    }
    let committed = commit(&webhook.cluster, &webhook.group(), ends).await;
    let failed = |error| anyhow!("the cursor of {} cannot be set: {error}", webhook.id);
    Ok(committed.map_err(failed)?)
}

/// Removes the cursors that a crash left of webhooks that were being created or deleted.
async fn forget_deleted(broker: &Broker, known: &HashSet<String>) {
    for cluster in broker.clusters() {
        for (group, _) in cluster.groups.list() {
            if is_ours(&group) && !known.contains(&*group) {
                cluster.groups.delete(&group).await;
            }
        }
    }
}

/// Whether a group's name is as we make them: other names are somebody's own.
fn is_ours(group: &str) -> bool {
    let digits = group.strip_prefix(&(group_name(ID_PREFIX) + "_")).unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
