//! The management API under `/v1`: accounts, credentials, topics, how to connect, and which of
//! Kafka's APIs are served.

mod accounts;
mod connection;
mod kafka;
mod topics;

use crate::http::Context;
use axum::Router;
use axum::routing::{delete, get, post};

/// Its routes.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/healthz", get(connection::health))
        .route("/readyz", get(connection::health))
        .route("/v1/accounts", post(accounts::create))
        .route("/v1/accounts/{account}/credentials", post(accounts::create_credential))
        .route("/v1/connection", get(connection::connection))
        .route("/v1/kafka/apis", get(kafka::apis))
        .route("/v1/topics", post(topics::create).get(topics::list))
        .route("/v1/topics/{topic}", delete(topics::delete))
        .with_state(context)
}
