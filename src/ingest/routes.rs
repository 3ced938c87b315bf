//! `/v1/syncs`: which routes there are.

use super::sync::routes as syncs;
use super::{Ingest, backfill, batch, doors, listing, records, sequin, snapshot, verify};
use crate::http::Context;
use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use std::sync::Arc;

#[derive(Clone, FromRef)]
pub(super) struct Routes {
    context: Context,
    ingest: Arc<Ingest>,
}

impl Routes {
    pub(super) fn ingest(&self) -> &Arc<Ingest> {
        &self.ingest
    }
}

/// The routes of `/v1/syncs`.
pub fn router(context: Context, ingest: Arc<Ingest>) -> Router {
    let sync = get(syncs::describe).put(syncs::replace).patch(syncs::change).delete(syncs::delete);
    let record = get(records::read).put(records::write);
    let record = record.patch(records::write).delete(records::write);
    Router::new()
        .route("/v1/syncs", get(syncs::list).post(syncs::create))
        .route("/v1/syncs/{sync}", sync)
        .route(
            "/v1/syncs/{sync}/collections/{collection}/records",
            get(listing::list).post(batch::post),
        )
        .route("/v1/syncs/{sync}/collections/{collection}/records/{id}", record)
        .route("/v1/syncs/{sync}/records", post(batch::post_mixed))
        .route(
            "/v1/syncs/{sync}/collections/{collection}/backfill",
            get(backfill::routes::get)
                .post(backfill::routes::post)
                .delete(backfill::routes::delete),
        )
        .route("/v1/syncs/{sync}/verify", get(verify::routes::verify))
        .route("/v1/mutations/run", post(sequin::run))
        .merge(snapshot::router())
        .merge(doors::router())
        .with_state(Routes { context, ingest })
}
