//! `/v1/syncs`: which routes there are, and those of syncs themselves.

use super::name::SyncId;
use super::sync::{self, Definition, Sync};
use super::target::find_sync;
use super::{Ingest, batch, records, snapshot};
use crate::clock;
use crate::http::{Account, ApiError, Context, Json};
use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::http::StatusCode;
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
    let record = get(records::read).put(records::put);
    let record = record.patch(records::patch).delete(records::delete);
    Router::new()
        .route("/v1/syncs", get(list).post(create))
        .route("/v1/syncs/{sync}", get(describe).put(replace))
        .route("/v1/syncs/{sync}/collections/{collection}/records", post(batch::post))
        .route("/v1/syncs/{sync}/collections/{collection}/records/{id}", record)
        .merge(snapshot::router())
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
