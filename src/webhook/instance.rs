//! One webhook: what it is to do, and the task that does it.

use super::cursor::group_name;
use super::definition::Definition;
use super::driver::Driver;
use super::sender::Sender;
use super::signature::Secret;
use super::status::Status;
use crate::cluster::Cluster;
use crate::control::WebhookRow;
use anyhow::{Context, Result};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A webhook of one account.
pub(super) struct Webhook {
    pub(super) id: String,
    pub(super) definition: Definition,
    pub(super) secret: Secret,
    pub(super) cluster: Arc<Cluster>,
    /// Why it does not deliver, if it does not.
    pub(super) disabled: Mutex<Option<String>>,
    pub(super) status: Mutex<Status>,
    /// Held while the webhook is started or stopped.
    pub(super) switching: tokio::sync::Mutex<()>,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Dropped to have the task end.
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Between a failure of our own and the next try.
const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// Runs the webhook until it is stopped or disabled. A defect of ours that one record brings out
/// must not end it in silence.
async fn keep_running(webhook: Arc<Webhook>, sender: Arc<Sender>, mut stop: oneshot::Receiver<()>) {
    loop {
        let driver = Driver::new(webhook.clone(), sender.clone());
        if AssertUnwindSafe(driver.run(&mut stop)).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!("webhook {}: its task failed and will start again", webhook.id);
        tokio::select! {
            _ = &mut stop => return,
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

/// How long a task has for its last attempts and its last commit.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

impl Webhook {
    /// A webhook that does not deliver yet.
    pub(super) fn new(
        id: String,
        definition: Definition,
        secret: Secret,
        cluster: Arc<Cluster>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            definition,
            secret,
            cluster,
            disabled: Mutex::default(),
            status: Mutex::default(),
            switching: tokio::sync::Mutex::default(),
            running: Mutex::default(),
        })
    }

    /// A stored webhook.
    pub(super) fn from_row(row: WebhookRow, cluster: Arc<Cluster>) -> Result<Arc<Self>> {
        let definition = serde_json::from_str(&row.definition).context("definition")?;
        let webhook = Self::new(row.id, definition, Secret::parse(&row.secret)?, cluster);
        *webhook.disabled.lock() = row.disabled;
        Ok(webhook)
    }

    /// The webhook as it is stored.
    pub(super) fn to_row(&self) -> Result<WebhookRow> {
        Ok(WebhookRow {
            account: self.cluster.account.id.clone(),
            id: self.id.clone(),
            definition: serde_json::to_string(&self.definition)?,
            secret: self.secret.expose(),
            disabled: self.disabled.lock().clone(),
        })
    }

    /// The consumer group whose offsets are the webhook's cursor.
    pub(super) fn group(&self) -> String {
        group_name(&self.id)
    }

    /// Delivers from the cursor on, unless disabled. Whoever calls it has stopped the webhook.
    pub(super) fn start(self: &Arc<Self>, sender: &Arc<Sender>) {
        if self.disabled.lock().is_some() {
            return;
        }
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep_running(self.clone(), sender.clone(), stopped));
        *self.running.lock() = Some(Running { stop, task });
    }

    /// Stops delivering, and commits what was delivered. Attempts have a moment to end.
    pub(super) async fn stop(&self) {
        let running = self.running.lock().take();
        let Some(Running { stop, mut task }) = running else { return };
        drop(stop);
        if tokio::time::timeout(STOP_PATIENCE, &mut task).await.is_err() {
            task.abort();
            // An aborted task says so, and that is all it can say.
            let _ = task.await;
        }
    }

    /// Breaks everything off, the last commit too.
    pub(super) fn abort(&self) {
        if let Some(Running { task, .. }) = self.running.lock().take() {
            task.abort();
        }
    }

    /// Waits until the webhook has ended by itself.
    #[cfg(test)]
    pub(super) async fn ended(&self) {
        let running = self.running.lock().take();
        let Some(Running { stop, task }) = running else { return };
        task.await.unwrap();
        drop(stop);
    }

    /// Stores that the webhook does not deliver any more, and why.
    pub(super) async fn disable(&self, reason: String) {
        let (account, id) = (&self.cluster.account.id, &self.id);
        tracing::warn!("webhook {id}: disabled: {reason}");
        if let Err(error) = self.cluster.shared.control.disable_webhook(account, id, &reason).await
        {
            // It stays stopped; after a restart the endpoint is asked once more.
            tracing::error!("webhook {id}: that it is disabled cannot be stored: {error}");
        }
        *self.disabled.lock() = Some(reason);
    }
}
