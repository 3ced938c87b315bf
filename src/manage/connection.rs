//! How an account's clients connect: what the console and scripts ask.

use crate::account::DEV_ACCOUNT;
use crate::http::{Account, ApiError, Context, Json};
use axum::extract::State;
use serde_json::{Value, json};

/// `GET /v1/connection`: the listeners' real addresses, and in `dev` the password, so that the
/// console can fill it in.
pub(super) async fn connection(
    Account(principal): Account,
    State(context): State<Context>,
) -> Result<Json<Value>, ApiError> {
    let cluster = &principal.cluster;
    let settings = &context.broker.shared.settings;
    let bootstrap = match &settings.kafka_advertise {
        Some((host, port)) => format!("{host}:{port}"),
        None => context.kafka.to_string(),
    };
    let password = match settings.dev && cluster.account.name == DEV_ACCOUNT {
        true => {
            let (dev, password) = context.broker.dev_account().await.map_err(ApiError::internal)?;
            (dev.username == principal.username).then_some(password)
        }
        false => None,
    };
    let topics: Vec<_> = cluster.topics.all().iter().map(|topic| topic.name.clone()).collect();
    Ok(Json(json!({
        "account": cluster.account.name,
        "username": principal.username,
        "password": password,
        "kafka": {
            "bootstrap": bootstrap,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "tls": false,
        },
        "http": { "url": &*context.url },
        "topics": topics,
        "version": env!("CARGO_PKG_VERSION"),
    })))
}

/// `GET /healthz`, `GET /readyz`: this process listens only once it has recovered.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
