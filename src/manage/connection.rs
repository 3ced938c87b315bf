//! How an account's clients connect: what the console and scripts ask.

use crate::account::DEV_ACCOUNT;
use crate::http::{Account, ApiError, Context, Json};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

/// `GET /v1/connection`: the listeners' real addresses, and in `dev` the password, so that the
/// console can fill it in.
pub(super) async fn connection(
    Account(principal): Account,
    State(context): State<Context>,
    headers: HeaderMap,
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
    let tls = settings.tls.is_some();
    let topics: Vec<_> = cluster.topics.all().iter().map(|topic| topic.name.clone()).collect();
    Ok(Json(json!({
        "account": cluster.account.name,
        "username": principal.username,
        "password": password,
        "kafka": {
            "bootstrap": bootstrap,
            "security_protocol": if tls { "SASL_SSL" } else { "SASL_PLAINTEXT" },
            "sasl_mechanism": "PLAIN",
            "tls": tls,
        },
        "http": { "url": url(&context, &headers, tls) },
        "topics": topics,
        "version": env!("CARGO_PKG_VERSION"),
    })))
}

/// The URL at which this client may go on: a certificate names the host, not an address of ours.
fn url(context: &Context, headers: &HeaderMap, tls: bool) -> String {
    match headers.get(header::HOST).and_then(|it| it.to_str().ok()).filter(|_| tls) {
        Some(host) => format!("https://{host}"),
        None => context.url.to_string(),
    }
}

/// `GET /healthz`, `GET /readyz`: this process listens only once it has recovered.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}
