//! `/v1/syncs/{sync}/collections/{collection}/snapshots`

use super::super::Ingest;
use super::super::batch::{self, Batch, Options};
use super::super::event::format_timestamp;
use super::super::routes::Routes;
use super::super::target::Target;
use super::{Error, Id, Phase, Snapshot, finish};
use crate::clock;
use crate::http::{Account, ApiError, Json, Query, Segments};
use crate::task::{blocking, to_the_end};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// A request to close is answered by then, closed or not.
const CLOSE_WAIT: Duration = Duration::from_secs(20);

/// The routes of snapshots.
pub(in super::super) fn router() -> Router<Routes> {
    let path = "/v1/syncs/{sync}/collections/{collection}/snapshots";
    Router::new()
        .route(path, get(list).post(open))
        .route(&format!("{path}/{{snapshot}}"), get(describe).delete(abandon))
        .route(&format!("{path}/{{snapshot}}/records"), post(page))
        .route(&format!("{path}/{{snapshot}}/close"), post(close))
}

/// A snapshot, as it is shown.
#[derive(Serialize)]
struct SnapshotAnswer {
    id: String,
    state: &'static str,
    opened_at: String,
    /// Mutations since it was opened.
    touched: u64,
    /// Records deleted by the closing.
    deleted: u64,
    /// Why the closing stopped; closing it again goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl SnapshotAnswer {
    fn new(snapshot: &Snapshot, problem: Option<String>) -> Self {
        let opened_at = jiff::Timestamp::from_millisecond(snapshot.opened_ms).unwrap_or_default();
        Self {
            id: snapshot.id.to_string(),
            state: snapshot.phase.as_str(),
            opened_at: format_timestamp(opened_at),
            touched: snapshot.touched,
            deleted: snapshot.deleted,
            problem,
        }
    }
}

type CollectionPath = Segments<(String, String)>;
type SnapshotPath = Segments<(String, String, String)>;

async fn list(
    Account(principal): Account,
    State(routes): State<Routes>,
    Segments((sync, collection)): CollectionPath,
) -> Result<Json<Vec<SnapshotAnswer>>, ApiError> {
    let target = Target::known(routes.ingest(), &principal.cluster, &sync, &collection)?;
    let current = target.stream.snapshots.current();
    Ok(Json(current.map(|(it, problem)| SnapshotAnswer::new(&it, problem)).into_iter().collect()))
}

async fn open(
    Account(principal): Account,
    State(routes): State<Routes>,
    Segments((sync, collection)): CollectionPath,
) -> Result<(StatusCode, Json<SnapshotAnswer>), ApiError> {
    principal.cluster.shared.volume.check_spare()?;
    let target = Target::find(routes.ingest(), &principal.cluster, &sync, &collection).await?;
    let (id, now_ms) = (Id::from_random(clock::random()), clock::unix_ms());
    let stream = target.stream.clone();
    let open = move || stream.between_mutations(|ends| stream.snapshots.open(id, ends, now_ms));
    let snapshot = blocking(open).await?;
    target.stream.snapshots.synced().await;
    Ok((StatusCode::CREATED, Json(SnapshotAnswer::new(&snapshot, None))))
}

async fn describe(
    Account(principal): Account,
    State(routes): State<Routes>,
    Segments((sync, collection, snapshot)): SnapshotPath,
) -> Result<Json<SnapshotAnswer>, ApiError> {
    let target = Target::known(routes.ingest(), &principal.cluster, &sync, &collection)?;
    Ok(Json(answer(&target, parse(&snapshot)?)?))
}

/// A page is a batch of mutations; while the snapshot is open, each marks its record.
async fn page(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, collection, snapshot)): SnapshotPath,
    query: Query<Options>,
    request: Request,
) -> Result<Response, ApiError> {
    let cluster = principal.cluster;
    cluster.shared.volume.check_spare()?;
    let target = Target::known(&ingest, &cluster, &sync, &collection)?;
    let page = target.stream.snapshots.page(parse(&snapshot)?, clock::unix_ms())?;
    let (collection, _page) = (Some(collection), Some(page));
    batch::stream(Batch { ingest, cluster, sync, collection, _page }, query.0, request).await
}

async fn close(
    Account(principal): Account,
    State(routes): State<Routes>,
    Segments((sync, collection, snapshot)): SnapshotPath,
) -> Result<(StatusCode, Json<SnapshotAnswer>), ApiError> {
    principal.cluster.shared.volume.check_spare()?;
    let target = Target::known(routes.ingest(), &principal.cluster, &sync, &collection)?;
    let id = parse(&snapshot)?;
    let snapshots = target.stream.snapshots.clone();
    let work = snapshots.clone();
    blocking(move || work.close(id)).await?;
    snapshots.synced().await;
    if let Ok(finished) = tokio::time::timeout(CLOSE_WAIT, to_the_end(finish(target.clone()))).await
    {
        finished?;
    }
    let answer = answer(&target, id)?;
    let is_closed = answer.state == Phase::Closed.as_str();
    Ok((if is_closed { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(answer)))
}

async fn abandon(
    Account(principal): Account,
    State(routes): State<Routes>,
    Segments((sync, collection, snapshot)): SnapshotPath,
) -> Result<Json<SnapshotAnswer>, ApiError> {
    let target = Target::known(routes.ingest(), &principal.cluster, &sync, &collection)?;
    let id = parse(&snapshot)?;
    let stream = target.stream.clone();
    let abandon = move || stream.between_mutations(|_| stream.snapshots.abandon(id));
    let snapshot = blocking(abandon).await?;
    let snapshots = target.stream.snapshots.clone();
    snapshots.synced().await;
    blocking(move || snapshots.sweep_marks(id)).await?;
    Ok(Json(SnapshotAnswer::new(&snapshot, None)))
}

fn parse(id: &str) -> Result<Id, ApiError> {
    id.parse().map_err(ApiError::not_found)
}

fn answer(target: &Target, id: Id) -> Result<SnapshotAnswer, Error> {
    match target.stream.snapshots.current() {
        Some((snapshot, problem)) if snapshot.id == id => {
            Ok(SnapshotAnswer::new(&snapshot, problem))
        }
        current => Err(Error::Unknown { id, known: current.map(|(it, _)| (it.id, it.phase)) }),
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Unknown { .. } => Self::not_found(error.to_string()),
            Error::Unfinished(_) | Error::Phase { .. } | Error::Pages { .. } => {
                Self::conflict(error.to_string())
            }
            Error::Store(_) | Error::Unreadable(_) => Self::internal(error),
        }
    }
}
