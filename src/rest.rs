//! The Upstash-compatible REST API.

use crate::http::Context;
use axum::Router;

/// Its routes.
pub fn router(context: Context) -> Router {
    Router::new().with_state(context)
}
