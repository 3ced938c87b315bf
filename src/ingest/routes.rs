//! `/v1/syncs`: syncs, and records put into them.

use super::json::Object;
use super::name::{RecordId, SyncId};
use super::stream::{Error, Mutation, Operation, Stream};
use super::sync::{self, Definition, Sync};
use super::{Ingest, batch};
use crate::clock;
use crate::cluster::Cluster;
use crate::http::{Account, ApiError, Body, Context, Json};
use crate::task::blocking;
use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use std::sync::Arc;

#[derive(Clone, FromRef)]
pub(super) struct Routes {
    context: Context,
    ingest: Arc<Ingest>,
}

impl Routes {
    pub(super) fn ingest(&self) -> &Ingest {
        &self.ingest
    }
}

/// The routes of `/v1/syncs`.
pub fn router(context: Context, ingest: Arc<Ingest>) -> Router {
    let record = get(read).put(put).patch(patch).delete(delete);
    Router::new()
        .route("/v1/syncs", get(list).post(create))
        .route("/v1/syncs/{sync}", get(describe).put(replace))
        .route("/v1/syncs/{sync}/collections/{collection}/records", post(batch::post))
        .route("/v1/syncs/{sync}/collections/{collection}/records/{id}", record)
        .with_state(Routes { context, ingest })
}

#[derive(Serialize)]
struct SyncAnswer {
    id: String,
    #[serde(flatten)]
    definition: Definition,
}

impl From<&Sync> for SyncAnswer {
    fn from(sync: &Sync) -> Self {
        Self { id: sync.id.to_string(), definition: sync.definition() }
    }
}

async fn list(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
) -> Json<Vec<SyncAnswer>> {
    let syncs = ingest.syncs(&principal.cluster);
    Json(syncs.iter().map(|sync| SyncAnswer::from(&**sync)).collect())
}

async fn describe(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Path(id): Path<String>,
) -> Result<Json<SyncAnswer>, ApiError> {
    Ok(Json(SyncAnswer::from(&*find_sync(&ingest, &principal.cluster, &id)?)))
}

async fn create(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Json(definition): Json<Definition>,
) -> Result<(StatusCode, Json<SyncAnswer>), ApiError> {
    let id = SyncId::from_random(clock::random());
    let sync = ingest.put_sync(&principal.cluster, id, definition).await?;
    Ok((StatusCode::CREATED, Json(SyncAnswer::from(&*sync))))
}

async fn replace(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Path(id): Path<String>,
    Json(definition): Json<Definition>,
) -> Result<Json<SyncAnswer>, ApiError> {
    let id = SyncId::parse(&id).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let sync = ingest.put_sync(&principal.cluster, id, definition).await?;
    Ok(Json(SyncAnswer::from(&*sync)))
}

type RecordPath = Path<(String, String, String)>;

async fn put(
    account: Account,
    routes: State<Routes>,
    path: RecordPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RecordAnswer>, ApiError> {
    write(account, routes, path, &headers, Operation::Upsert, body).await
}

async fn patch(
    account: Account,
    routes: State<Routes>,
    path: RecordPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RecordAnswer>, ApiError> {
    write(account, routes, path, &headers, Operation::Patch, body).await
}

async fn delete(
    account: Account,
    routes: State<Routes>,
    path: RecordPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RecordAnswer>, ApiError> {
    write(account, routes, path, &headers, Operation::Delete, body).await
}

/// What a write answers; `event` is null when nothing changed and nothing was published.
#[derive(Serialize)]
pub(super) struct RecordAnswer {
    event: Option<&'static str>,
    topic: String,
    partition: i32,
    offset: Option<i64>,
}

impl RecordAnswer {
    pub(super) fn new(stream: &Stream, done: &super::stream::Done) -> Self {
        Self {
            event: done.published.map(|it| it.kind.as_str()),
            topic: stream.topic.name.clone(),
            partition: done.partition,
            offset: done.published.map(|it| it.offset),
        }
    }
}

async fn write(
    Account(principal): Account,
    State(routes): State<Routes>,
    Path((sync, collection, id)): RecordPath,
    headers: &HeaderMap,
    operation: Operation,
    body: Body,
) -> Result<Json<RecordAnswer>, ApiError> {
    let target = Target::find(&routes.ingest, &principal.cluster, &sync, &collection).await?;
    let id = RecordId::parse(&id).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let idempotency_key = idempotency_key(headers)?;
    let work = target.clone();
    let outcome = blocking(move || {
        let data =
            match operation {
                Operation::Delete => None,
                _ => Some(Object::parse(&body.0).map_err(|error| {
                    ApiError::bad_request(format!("invalid JSON body: {error}"))
                })?),
            };
        let mutation = Mutation { id, operation, data, idempotency_key };
        work.mutate(vec![mutation]).pop().map(|it| it.map_err(ApiError::from)).transpose()
    });
    let done = outcome.await?.ok_or_else(|| ApiError::internal("a mutation had no outcome"))?;
    target.stream.durable(done.partition, done.rests_on).await;
    Ok(Json(RecordAnswer::new(&target.stream, &done)))
}

async fn read(
    Account(principal): Account,
    State(routes): State<Routes>,
    Path((sync, collection, id)): RecordPath,
) -> Result<Response, ApiError> {
    let target = Target::find(&routes.ingest, &principal.cluster, &sync, &collection).await?;
    let record = RecordId::parse(&id).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let partition = target.stream.partition_of(&record);
    let stream = target.stream.clone();
    let (found, rests_on) = blocking(move || stream.get(&record)).await?;
    target.stream.durable(partition, rests_on).await;
    let Some(found) = found else {
        return Err(ApiError::not_found(format!("record '{id}' does not exist in '{collection}'")));
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], found).into_response())
}

/// Where a request's mutations go.
#[derive(Clone)]
pub(super) struct Target {
    sync: Arc<Sync>,
    collection: String,
    pub(super) stream: Arc<Stream>,
}

impl Target {
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

    pub(super) fn mutate(
        &self,
        mutations: Vec<Mutation<'_>>,
    ) -> Vec<Result<super::stream::Done, Error>> {
        // `find` has seen that the collection is there.
        match self.sync.collections.get(&self.collection) {
            Some(defined) => self.stream.mutate(&self.sync, defined, mutations),
            None => Vec::new(),
        }
    }
}

fn find_sync(ingest: &Ingest, cluster: &Cluster, id: &str) -> Result<Arc<Sync>, ApiError> {
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

/// Bytes of an idempotency key, which goes into a header of the event.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(text) if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len()) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(ApiError::bad_request(format!(
            "Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"
        ))),
    }
}

impl From<sync::Error> for ApiError {
    fn from(error: sync::Error) -> Self {
        use sync::Error as E;
        match error {
            E::Topic(error) => error.into(),
            E::TopicTaken(_) => Self::conflict(error.to_string()),
            E::Control(_) | E::Stored(..) => Self::internal(error),
            error => Self::bad_request(error.to_string()),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::TooLarge { .. } => Self::too_large(error.to_string()),
            Error::Log(error) if error.is_disk_full() => {
                tracing::error!("{error}");
                let text = "the disk is full; nothing was stored";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", text)
            }
            Error::Stale(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "log_damaged", error.to_string())
            }
            Error::Log(_) | Error::State(_) | Error::Unreadable(_) => Self::internal(error),
            error => Self::bad_request(error.to_string()),
        }
    }
}
