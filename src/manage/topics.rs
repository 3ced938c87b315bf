//! Topics over HTTP.

use crate::http::{Account, ApiError, Context, Json, Segments};
use crate::topic::{Config, Error, NewTopic, Topic};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicRequest {
    name: String,
    partitions: Option<i32>,
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

#[derive(Serialize)]
pub(super) struct TopicAnswer {
    name: String,
    id: String,
    partitions: i32,
    configs: BTreeMap<String, String>,
}

impl From<&Topic> for TopicAnswer {
    fn from(topic: &Topic) -> Self {
        Self {
            name: topic.name.clone(),
            id: crate::id::kafka_uuid(&topic.id),
            partitions: topic.count(),
            configs: topic.config.set().clone(),
        }
    }
}

/// `POST /v1/topics {"name":"red","partitions":3,"configs":{"retention.ms":"60000"}}`
pub(super) async fn create(
    Account(principal): Account,
    State(context): State<Context>,
    Json(request): Json<TopicRequest>,
) -> Result<(StatusCode, Json<TopicAnswer>), ApiError> {
    let defaults = &context.broker.shared.settings;
    let new = NewTopic {
        name: request.name,
        partitions: request.partitions.unwrap_or(defaults.default_partitions),
        config: Config::new(request.configs).map_err(Error::from)?,
        sync: None,
    };
    let topic = principal.cluster.topics.create(new).await?;
    Ok((StatusCode::CREATED, Json(TopicAnswer::from(&*topic))))
}

/// `GET /v1/topics`
pub(super) async fn list(Account(principal): Account) -> Json<Vec<TopicAnswer>> {
    let topics = principal.cluster.topics.all();
    Json(topics.iter().map(|topic| TopicAnswer::from(&**topic)).collect())
}

/// `DELETE /v1/topics/{topic}`
pub(super) async fn delete(
    Account(principal): Account,
    Segments(topic): Segments<String>,
) -> Result<Json<serde_json::Value>, ApiError> {
    principal.cluster.delete_topic(&topic).await?;
    Ok(Json(serde_json::json!({ "deleted": topic })))
}
