//! `/v1/syncs/{sync}/collections/{collection}/backfill`: `POST` begins one, `GET` says how far it
//! is, `DELETE` ends it.

use super::{Backfill, Of, Refused, begin, cancel, run};
use crate::clock;
use crate::http::{Account, ApiError, Json, Segments};
use crate::ingest::Ingest;
use crate::ingest::target::Target;
use crate::task::{blocking, to_the_end};
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

type CollectionPath = Segments<(String, String)>;

/// What is said of a backfill.
#[derive(Serialize)]
pub(in crate::ingest) struct BackfillAnswer {
    id: String,
    /// `running`, `done`, `cancelled` or `failed`.
    state: super::Phase,
    began_at: String,
    /// Records it came to.
    records: u64,
    /// Those it published; the others had an event since it began.
    published: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl From<Backfill> for BackfillAnswer {
    fn from(it: Backfill) -> Self {
        let began_at = Timestamp::from_millisecond(it.began_ms).unwrap_or_default().to_string();
        let Backfill { id, phase: state, records, published, problem, .. } = it;
        Self { id, state, began_at, records, published, problem }
    }
}

pub(in crate::ingest) async fn post(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, collection)): CollectionPath,
) -> Result<(StatusCode, Json<BackfillAnswer>), ApiError> {
    let cluster = principal.cluster;
    cluster.shared.volume.check_spare()?;
    let target = Target::known(&ingest, &cluster, &sync, &collection)?;
    let state = ingest.broker.shared.state.clone();
    // Once it is noted it goes on, also when the client hangs up.
    let begun = to_the_end(async move {
        let backfill = blocking(move || begin(&target.stream, clock::unix_ms())).await?;
        state.committed(&state.records, Vec::new()).await;
        let of = Of { sync, collection, id: backfill.id.clone() };
        tokio::spawn(run(ingest, cluster, of));
        Ok::<_, Refused>(backfill)
    });
    Ok((StatusCode::ACCEPTED, Json(begun.await?.into())))
}

pub(in crate::ingest) async fn get(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, collection)): CollectionPath,
) -> Result<Json<BackfillAnswer>, ApiError> {
    let target = Target::known(&ingest, &principal.cluster, &sync, &collection)?;
    // Held while the store is written.
    let current = blocking(move || target.stream.backfill.lock().clone()).await;
    Ok(Json(current.ok_or(Refused::None)?.into()))
}

pub(in crate::ingest) async fn delete(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, collection)): CollectionPath,
) -> Result<Json<BackfillAnswer>, ApiError> {
    let target = Target::known(&ingest, &principal.cluster, &sync, &collection)?;
    let state = ingest.broker.shared.state.clone();
    let cancelled = blocking(move || cancel(&target.stream)).await?;
    state.committed(&state.records, Vec::new()).await;
    Ok(Json(cancelled.into()))
}

impl From<Refused> for ApiError {
    fn from(error: Refused) -> Self {
        match error {
            Refused::Running(_) => Self::conflict(error.to_string()),
            Refused::None => Self::not_found(error.to_string()),
            Refused::State(error) => Self::internal(error),
        }
    }
}
