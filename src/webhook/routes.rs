//! `/v1/webhooks`. Another account's webhook and one that does not exist look alike.

use super::cursor::committed;
use super::definition::{Definition, Pattern, Retry, Start};
use super::instance::Webhook;
use super::registry::{Error, Webhooks};
use super::status::Status;
use crate::http::{Account, ApiError, Context, Json, Segments};
use crate::task::to_the_end;
use crate::topic::Partition;
use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone)]
struct Shared {
    context: Context,
    webhooks: Arc<Webhooks>,
}

impl FromRef<Shared> for Context {
    fn from_ref(shared: &Shared) -> Self {
        shared.context.clone()
    }
}

impl FromRef<Shared> for Arc<Webhooks> {
    fn from_ref(shared: &Shared) -> Self {
        shared.webhooks.clone()
    }
}

/// The routes of `/v1/webhooks`.
pub fn router(context: Context, webhooks: Arc<Webhooks>) -> Router {
    Router::new()
        .route("/v1/webhooks", post(create).get(list))
        .route("/v1/webhooks/{id}", get(describe).delete(delete))
        .route("/v1/webhooks/{id}/secret", get(secret))
        .route("/v1/webhooks/{id}/enable", post(enable))
        .with_state(Shared { context, webhooks })
}

/// A webhook as it is shown, without its secret.
#[derive(Serialize)]
struct Shown {
    id: String,
    url: String,
    topics: Vec<Pattern>,
    start: Start,
    retry: Retry,
    disabled: Option<String>,
}

#[derive(Serialize)]
struct Created {
    secret: String,
    #[serde(flatten)]
    webhook: Shown,
}

#[derive(Serialize)]
struct Described {
    #[serde(flatten)]
    webhook: Shown,
    group: String,
    status: Status,
    partitions: Vec<PartitionStatus>,
}

/// How far a partition is delivered; offsets are the next to deliver and the next to be written.
#[derive(Serialize)]
pub(super) struct PartitionStatus {
    topic: String,
    partition: i32,
    committed_offset: Option<i64>,
    end_offset: Option<i64>,
    lag: Option<i64>,
    /// Why nothing of it is delivered, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<&Webhook> for Shown {
    fn from(webhook: &Webhook) -> Self {
        let Definition { url, topics, start, retry } = webhook.definition.clone();
        let disabled = webhook.disabled.lock().clone();
        Self { id: webhook.id.clone(), url, topics, start, retry, disabled }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Definition(error) => Self::bad_request(error.to_string()),
            Error::Count => Self::conflict(error.to_string()),
            Error::Offline(topic, index) => Self::partition_offline(&topic, index),
            Error::Broker(error) => Self::internal(format!("{error:#}")),
        }
    }
}

fn find(webhooks: &Webhooks, account: &Account, id: &str) -> Result<Arc<Webhook>, ApiError> {
    let found = webhooks.get(&account.0.cluster, id);
    found.ok_or_else(|| ApiError::not_found(format!("webhook '{id}' does not exist")))
}

/// `POST /v1/webhooks {"url":"https://...","topics":["sequin.*"]}`
async fn create(
    account: Account,
    State(webhooks): State<Arc<Webhooks>>,
    Json(definition): Json<Definition>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let cluster = account.0.cluster.clone();
    cluster.shared.volume.check_spare()?;
    let webhook = to_the_end(async move { webhooks.create(&cluster, definition).await }).await?;
    let created = Created { secret: webhook.secret.expose(), webhook: Shown::from(&*webhook) };
    Ok((StatusCode::CREATED, Json(created)))
}

/// `GET /v1/webhooks`
async fn list(account: Account, State(webhooks): State<Arc<Webhooks>>) -> Json<Vec<Shown>> {
    let webhooks = webhooks.list(&account.0.cluster);
    Json(webhooks.iter().map(|webhook| Shown::from(&**webhook)).collect())
}

/// `GET /v1/webhooks/{id}`
async fn describe(
    account: Account,
    State(webhooks): State<Arc<Webhooks>>,
    Segments(id): Segments<String>,
) -> Result<Json<Described>, ApiError> {
    let webhook = find(&webhooks, &account, &id)?;
    let partitions = partitions(&webhook).await;
    let status = webhook.status.lock().clone();
    let group = webhook.group();
    Ok(Json(Described { webhook: Shown::from(&*webhook), group, status, partitions }))
}

/// `GET /v1/webhooks/{id}/secret`
async fn secret(
    account: Account,
    State(webhooks): State<Arc<Webhooks>>,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, ApiError> {
    let webhook = find(&webhooks, &account, &id)?;
    Ok(Json(json!({ "secret": webhook.secret.expose() })))
}

/// `POST /v1/webhooks/{id}/enable`: also has an enabled webhook try at once what waits.
async fn enable(
    account: Account,
    State(webhooks): State<Arc<Webhooks>>,
    Segments(id): Segments<String>,
) -> Result<Json<Shown>, ApiError> {
    let webhook = find(&webhooks, &account, &id)?;
    let of = webhooks.clone();
    let enabled = to_the_end(async move { of.enable(&webhook).await }).await;
    enabled.map_err(ApiError::internal)?;
    // It may have been deleted meanwhile.
    Ok(Json(Shown::from(&*find(&webhooks, &account, &id)?)))
}

/// `DELETE /v1/webhooks/{id}`
async fn delete(
    account: Account,
    State(webhooks): State<Arc<Webhooks>>,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, ApiError> {
    let webhook = find(&webhooks, &account, &id)?;
    let deleted = to_the_end(async move { webhooks.delete(&webhook).await }).await;
    deleted.map_err(ApiError::internal)?;
    Ok(Json(json!({ "deleted": id })))
}

pub(super) async fn partitions(webhook: &Webhook) -> Vec<PartitionStatus> {
    let committed = committed(&webhook.cluster, &webhook.group()).await;
    let (committed, unreadable) = match committed {
        Ok(committed) => (committed, None),
        Err(error) => (BTreeMap::new(), Some(error.to_string())),
    };
    let mut topics = webhook.cluster.topics.all();
    topics.retain(|topic| webhook.definition.matches(&topic.name));
    let mut statuses = Vec::new();
    for topic in topics {
        for partition in 0..topic.count() {
            let stored = committed.get(&(topic.name.clone(), partition)).copied();
            let log = topic.partition(partition);
            let start = || log.ok().map(|log| log.log().log_start_offset());
            let committed_offset = stored.or_else(|| start().filter(|_| unreadable.is_none()));
            let end_offset = log.ok().map(Partition::high_watermark);
            let error = log.err().map(|absent| absent.to_string());
            let stuck = webhook.status.lock().stuck.get(&(topic.id, partition)).cloned();
            // What is committed may be anything: any client of the account can say it.
            let lag = |(end, committed): (i64, i64)| end.saturating_sub(committed).max(0);
            statuses.push(PartitionStatus {
                topic: topic.name.clone(),
                partition,
                committed_offset,
                end_offset,
                lag: end_offset.zip(committed_offset).map(lag),
                error: error.or_else(|| unreadable.clone()).or(stuck),
            });
        }
    }
    statuses
}
