//! `/v1/syncs`: made, listed, read, replaced, changed, deleted.

use super::super::json::Object;
use super::super::name::SyncId;
use super::super::patch;
use super::super::registry::Topics;
use super::super::target::find_sync;
use super::super::{Ingest, page};
use super::{Definition, Error, Sync};
use crate::http::{self, Account, ApiError, Body, Json, Query, Segments};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Serialize)]
struct SyncAnswer<'a> {
    id: &'a str,
    #[serde(flatten)]
    definition: &'a Definition,
    status: Status<'a>,
}

/// What follows from the definition.
#[derive(Serialize)]
struct Status<'a> {
    collections: BTreeMap<&'a str, CollectionStatus<'a>>,
}

#[derive(Serialize)]
struct CollectionStatus<'a> {
    topic: String,
    table: &'a str,
    mapping_version: u32,
}

impl<'a> From<&'a Sync> for SyncAnswer<'a> {
    fn from(sync: &'a Sync) -> Self {
        let status = sync.collections.iter().map(|(slug, defined)| {
            let topic = sync.topic(&defined.collection);
            let mapping_version = defined.version();
            (slug.as_str(), CollectionStatus { topic, table: &defined.table, mapping_version })
        });
        let status = Status { collections: status.collect() };
        Self { id: sync.id.as_str(), definition: &sync.definition, status }
    }
}

/// `GET /v1/syncs?after=&limit=`: by id; a `Link` header leads to the next page.
pub(in crate::ingest) async fn list(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Query(asked): Query<page::Asked>,
) -> Result<Response, ApiError> {
    let limit = asked.limit()?;
    let mut syncs = ingest.syncs(&principal.cluster, asked.after(), limit + 1);
    let more = syncs.len() > limit;
    syncs.truncate(limit);
    let next = syncs.last().filter(|_| more).map(|last| last.id.as_str());
    let link = next.map(|last| page::link(&page::next("/v1/syncs", last, limit)));
    let answers: Vec<_> = syncs.iter().map(|sync| SyncAnswer::from(&**sync)).collect();
    Ok((link, Json(answers)).into_response())
}

/// `GET /v1/syncs/{sync}`
pub(in crate::ingest) async fn describe(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let sync = find_sync(&ingest, &principal.cluster, &id)?;
    Ok(Json(SyncAnswer::from(&*sync)).into_response())
}

/// `POST /v1/syncs`: under an id made here.
pub(in crate::ingest) async fn create(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Json(definition): Json<Definition>,
) -> Result<Response, ApiError> {
    let sync = ingest.create_sync(&principal.cluster, definition).await?;
    Ok((StatusCode::CREATED, Json(SyncAnswer::from(&*sync))).into_response())
}

/// `PUT /v1/syncs/{sync}`: the whole definition. Collections that have a topic and are not in it
/// stay, with nothing said about them. `If-None-Match: *` (RFC 9110, 13.1.2) makes a new one only.
pub(in crate::ingest) async fn replace(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments(id): Segments<String>,
    headers: HeaderMap,
    Json(definition): Json<Definition>,
) -> Result<Response, ApiError> {
    let (cluster, id) = (&principal.cluster, parse(&id)?);
    let sync = match headers.get(header::IF_NONE_MATCH) {
        None => ingest.put_sync(cluster, id, definition).await?,
        Some(tag) if tag == "*" => ingest.put_new_sync(cluster, id, definition).await?,
        Some(_) => {
            let text = "If-None-Match of a sync may only be *: it must not exist";
            return Err(ApiError::bad_request(text));
        }
    };
    Ok(Json(SyncAnswer::from(&*sync)).into_response())
}

/// `PATCH /v1/syncs/{sync}`: some of the definition (RFC 7396).
pub(in crate::ingest) async fn change(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Response, ApiError> {
    find_sync(&ingest, &principal.cluster, &id)?;
    let change = move |now: &Definition| {
        let wrong = |error| ApiError::bad_request(format!("invalid JSON body: {error}"));
        let now = super::text(now);
        let now = Object::parse(now.as_bytes()).map_err(ApiError::internal)?;
        let changed = patch::merge(&now, &Object::parse(&body.0).map_err(wrong)?);
        http::parse_json(changed.map_err(wrong)?.as_bytes())
    };
    let sync = ingest.change_sync(&principal.cluster, parse(&id)?, change).await?;
    Ok(Json(SyncAnswer::from(&*sync)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ingest) struct Deletion {
    #[serde(default)]
    topics: Topics,
}

/// `DELETE /v1/syncs/{sync}?topics=keep|delete`
pub(in crate::ingest) async fn delete(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments(id): Segments<String>,
    Query(Deletion { topics }): Query<Deletion>,
) -> Result<Response, ApiError> {
    // One that cannot be read can be deleted.
    if ingest.check_readable(&principal.cluster, &id).is_ok() {
        find_sync(&ingest, &principal.cluster, &id)?;
    }
    let names = ingest.delete_sync(&principal.cluster, &parse(&id)?, topics).await?;
    let (kept, deleted) = match topics {
        Topics::Keep => (names, Vec::new()),
        Topics::Delete => (Vec::new(), names),
    };
    let answer =
        serde_json::json!({ "deleted": id, "topics": { "kept": kept, "deleted": deleted } });
    Ok(Json(answer).into_response())
}

fn parse(id: &str) -> Result<SyncId, ApiError> {
    SyncId::parse(id).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// The code of a collection that its sync does not make.
pub(in crate::ingest) const COLLECTION_REFUSED: &str = "collection_refused";

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        use Error as E;
        match error {
            E::Topic(error) => error.into(),
            E::Unknown(_) => Self::not_found(error.to_string()),
            E::Refused(..) => {
                Self::new(StatusCode::NOT_FOUND, COLLECTION_REFUSED, error.to_string())
            }
            E::TopicTaken(_) | E::Partitions { .. } | E::Syncs(_) => {
                Self::conflict(error.to_string())
            }
            E::Exists(_) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", error.to_string())
            }
            E::Unreadable(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "sync_unreadable", error.to_string())
            }
            E::Control(_) | E::Stored(..) | E::State(_) => Self::internal(error),
            error => Self::bad_request(error.to_string()),
        }
    }
}
