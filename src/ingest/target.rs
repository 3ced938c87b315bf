//! Where a request's mutations go: the sync and collection its path names.

use super::Ingest;
use super::mutation::{Done, Error, Mutation};
use super::stream::Stream;
use super::sync::Sync;
use crate::cluster::Cluster;
use crate::http::ApiError;
use axum::http::StatusCode;
use std::sync::Arc;

/// A collection of a sync.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) sync: Arc<Sync>,
    pub(super) collection: String,
    pub(super) stream: Arc<Stream>,
}

impl Target {
    /// The collection of this name, its topic made if it is not there.
    ///
    /// # Errors
    /// When there is no such sync or collection, naming those there are.
    pub(super) async fn find(
        ingest: &Ingest,
        cluster: &Cluster,
        sync: &str,
        collection: &str,
    ) -> Result<Self, ApiError> {
        let sync = find_sync(ingest, cluster, sync)?;
        if !sync.collections.contains_key(collection) {
            let known = sync.collections.keys().map(String::as_str);
            let text = format!(
                "collection '{collection}' does not exist in sync '{}'; {}",
                sync.id,
                known_names("it has", known)
            );
            return Err(ApiError::not_found(text));
        }
        let topic = ingest.topic(cluster, &sync, collection).await?;
        let stream = ingest.stream(topic);
        Ok(Self { sync, collection: collection.to_owned(), stream })
    }

    /// Carries out mutations in their order; see [`Stream::mutate`].
    pub(super) fn mutate(&self, mutations: Vec<Mutation<'_>>) -> Vec<Result<Done, Error>> {
        // `find` has seen that the collection is there.
        match self.sync.collections.get(&self.collection) {
            Some(defined) => self.stream.mutate(&self.sync, defined, mutations),
            None => Vec::new(),
        }
    }
}

/// The account's sync of this id.
pub(super) fn find_sync(
    ingest: &Ingest,
    cluster: &Cluster,
    id: &str,
) -> Result<Arc<Sync>, ApiError> {
    ingest.sync(cluster, id).ok_or_else(|| {
        let syncs = ingest.syncs(cluster);
        let known = known_names("there are", syncs.iter().map(|sync| sync.id.as_str()));
        ApiError::not_found(format!("sync '{id}' does not exist; {known}"))
    })
}

/// Names in an error are for people; this many are enough.
const NAMES_MAX: usize = 20;

fn known_names<'a>(are: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.take(NAMES_MAX).collect();
    match names.is_empty() {
        true => format!("{are} none"),
        false => format!("{are} {}", names.join(", ")),
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::TooLarge { .. } => Self::too_large(text),
            Error::Log(error) if error.is_disk_full() => {
                tracing::error!("{error}");
                let text = "the disk is full; nothing was stored";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", text)
            }
            Error::Damaged(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "log_damaged", text),
            Error::Condition(_) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", text)
            }
            Error::Log(_) | Error::State(_) | Error::Unreadable(_) => Self::internal(text),
            Error::Mapping(_) | Error::Patch(_) | Error::NoData | Error::Version { .. } => {
                Self::bad_request(text)
            }
        }
    }
}
