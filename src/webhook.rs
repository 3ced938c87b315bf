//! Topics pushed to HTTP endpoints: the parts that need no IO.
//!
//! A webhook is a consumer group whose cursor is the group's committed offsets. [`delivery`]
//! decides what is sent when and how far the cursor may move, [`retry`] how long a failed record
//! waits, [`signature`] how a receiver knows that a request is ours, and [`target`] which
//! addresses we may be made to call.

pub mod delivery;
pub mod retry;
pub mod signature;
pub mod target;

use crate::broker::Broker;
use crate::http::Context;
use axum::Router;
use std::sync::Arc;

/// The webhooks of every account, delivering.
pub struct Webhooks;

impl Webhooks {
    /// Starts every stored webhook.
    pub async fn open(_broker: &Arc<Broker>) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self))
    }

    /// Stops delivering.
    pub async fn close(&self) {}
}

/// The routes of `/v1/webhooks`.
pub fn router(context: Context, _webhooks: Arc<Webhooks>) -> Router {
    Router::new().with_state(context)
}
