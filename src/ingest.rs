//! Record mutations in, change events out: the parts that need no IO.
//!
//! A mutation's JSON is read as an [`json::Object`], its columns are renamed by the collection's
//! [`mapping::Mapping`], a PATCH is merged into the last state by [`patch::merge`], and
//! [`diff::diff`] says what changed. If anything did, [`event::NewEvent`] writes the value that is
//! appended to the topic, in the partition that [`partition_for`](crate::topic::partition_for) names.
//!
//! **Text passes through.** A column is never parsed into a number or re-encoded: it is a slice of
//! the request, and its bytes reach the topic as they came. Only equality looks at what the text
//! means ([`value::equal`]).

pub mod diff;
pub mod event;
pub mod json;
pub mod mapping;
pub mod name;
mod number;
pub mod patch;
pub mod value;

use crate::broker::Broker;
use crate::http::Context;
use axum::Router;
use std::sync::Arc;

/// Syncs.
pub struct Ingest;

impl Ingest {
    /// Opens.
    pub async fn open(_broker: &Arc<Broker>) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self))
    }
}

/// The routes of `/v1/syncs`.
pub fn router(context: Context, _ingest: Arc<Ingest>) -> Router {
    Router::new().with_state(context)
}
