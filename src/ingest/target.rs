//! Where a request's mutations go: the sync and collection its path names.

use super::Ingest;
use super::answers::Ticket;
use super::mutation::{Done, Error, Mutation};
use super::name::Collection;
use super::run::Destination;
use super::stream::Stream;
use super::sync::{Defined, Sync};
use crate::cluster::Cluster;
use crate::http::ApiError;
use axum::http::StatusCode;
use std::collections::HashMap;
use std::sync::Arc;

/// A collection of a sync.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) sync: Arc<Sync>,
    pub(super) defined: Arc<Defined>,
    pub(super) stream: Arc<Stream>,
}

impl Target {
    /// The collection of this name, to be written to: it and its topic are made if they are not
    /// there.
    ///
    /// # Errors
    /// When there is no such sync, naming those there are, or it refuses new collections.
    pub(super) async fn find(
        ingest: &Arc<Ingest>,
        cluster: &Arc<Cluster>,
        sync: &str,
        collection: &str,
    ) -> Result<Self, ApiError> {
        let sync = find_sync(ingest, cluster, sync)?;
        if let Some(target) = Self::live(ingest, cluster, &sync, collection) {
            return Ok(target);
        }
        let slug = Collection::parse(collection)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let sync = ingest.add_collection(cluster, &sync.id, &slug).await?;
        let target = Self::live(ingest, cluster, &sync, collection);
        target.ok_or_else(|| no_collection(&sync, collection))
    }

    /// The collection of this name, to be read.
    ///
    /// # Errors
    /// When there is no such sync or collection, naming those there are.
    pub(super) fn known(
        ingest: &Ingest,
        cluster: &Cluster,
        sync: &str,
        collection: &str,
    ) -> Result<Self, ApiError> {
        let sync = find_sync(ingest, cluster, sync)?;
        let target = Self::live(ingest, cluster, &sync, collection);
        target.ok_or_else(|| no_collection(&sync, collection))
    }

    /// A collection that has a topic.
    fn live(ingest: &Ingest, cluster: &Cluster, sync: &Arc<Sync>, name: &str) -> Option<Self> {
        let defined = sync.collections.get(name)?.clone();
        let stream = ingest.known_stream(cluster, sync, &defined)?;
        Some(Self { sync: sync.clone(), defined, stream })
    }

    /// Carries out mutations in their order; see [`Stream::mutate`]. They have the settler come, if
    /// it is time.
    pub(super) fn mutate(&self, mutations: Vec<Mutation<'_>>) -> Vec<Result<Done, Error>> {
        let outcomes = self.stream.mutate(self.destination(), mutations);
        self.stream.settle_after(outcomes.iter().flatten());
        outcomes
    }

    /// Carries out mutations but for those of a request under a key that a crash has left carried
    /// out; see [`Stream::mutate`]. **One without an event is among them when a later one of its
    /// record has one**: a record's events are in one partition, and what a crash leaves of that
    /// has no gaps, so it had changed nothing. Now it might undo the later one.
    ///
    /// # Errors
    /// When it is not known which those are; then nothing was carried out.
    pub(super) fn mutate_once(
        &self,
        mutations: Vec<Mutation<'_>>,
        ticket: Option<&Ticket>,
    ) -> Result<Vec<Result<Done, Error>>, ApiError> {
        let noted = mutations.iter().map(|it| self.noted(it, ticket));
        let noted = noted.collect::<Result<Vec<_>, _>>()?;
        // The place of each record's last event.
        let with_event = mutations.iter().enumerate().filter(|(at, _)| noted[*at].is_some());
        let last_events: HashMap<_, _> =
            with_event.map(|(at, it)| (it.id.as_str().to_owned(), at)).collect();
        let left = mutations.into_iter().enumerate().filter(|(at, _)| noted[*at].is_none());
        let left = left.map(|(at, mutation)| {
            let is_over = last_events.get(mutation.id.as_str()).is_some_and(|last| *last > at);
            Mutation { is_over, ..mutation }
        });
        let left = self.stream.mutate(self.destination(), left.collect());
        // Every mutation is noted or was carried out.
        let mut left = left.into_iter();
        Ok(noted.into_iter().filter_map(|it| it.map(Ok).or_else(|| left.next())).collect())
    }

    /// What a mutation published before a crash took its answer away.
    pub(super) fn noted(
        &self,
        mutation: &Mutation<'_>,
        ticket: Option<&Ticket>,
    ) -> Result<Option<Done>, ApiError> {
        match (ticket, &mutation.key) {
            (Some(ticket), Some(key)) => {
                ticket.noted(&self.stream.topic().id, mutation.id.as_str(), key)
            }
            _ => Ok(None),
        }
    }

    /// What events of the collection are made with.
    pub(super) fn destination(&self) -> Destination<'_> {
        Destination { sync: &self.sync, defined: &self.defined }
    }
}

fn no_collection(sync: &Sync, collection: &str) -> ApiError {
    let known = known_names("it has", sync.collections.keys().map(String::as_str));
    let text = format!("collection '{collection}' does not exist in sync '{}'; {known}", sync.id);
    ApiError::not_found(text)
}

/// The account's sync of this id.
///
/// # Errors
/// When there is none, naming those there are, or it cannot be read.
pub(super) fn find_sync(
    ingest: &Ingest,
    cluster: &Cluster,
    id: &str,
) -> Result<Arc<Sync>, ApiError> {
    ingest.sync(cluster, id).ok_or_else(|| {
        if let Err(error) = ingest.check_readable(cluster, id) {
            return error.into();
        }
        let syncs = ingest.syncs(cluster, "", NAMES_MAX);
        let known = known_names("there are", syncs.iter().map(|sync| sync.id.as_str()));
        ApiError::not_found(format!("sync '{id}' does not exist; {known}"))
    })
}

/// Names in an error are for people; this many are enough.
pub(super) const NAMES_MAX: usize = 20;

pub(super) fn known_names<'a>(are: &str, names: impl Iterator<Item = &'a str>) -> String {
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
            Error::TooLarge { .. } | Error::TooMuch => Self::too_large(text),
            Error::Record(_, error) => Self { message: text, ..Self::from(*error) },
            Error::Log(error) if error.is_disk_full() => {
                tracing::debug!("{error}");
                Self::disk_full()
            }
            Error::Damaged(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "log_damaged", text),
            Error::Retired => Self::not_found(text),
            Error::Remapped => Self::conflict(text),
            Error::Condition { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", text)
            }
            Error::HalfWritten(_) => {
                tracing::error!("{text}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "half_written", text)
            }
            Error::Log(_) | Error::State(_) | Error::Unreadable(_) => Self::internal(text),
            Error::Mapping(_)
            | Error::Patch(_)
            | Error::Refused(_)
            | Error::NoData
            | Error::Version { .. } => Self::bad_request(text),
        }
    }
}
