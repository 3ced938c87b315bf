//! CreateTopics and DeleteTopics.

use super::configs::{SOURCE_DEFAULT, SOURCE_TOPIC};
use super::{once, repeated, topic_error};
use crate::cluster::Cluster;
use crate::topic::{Config, ConfigDefinition, Error, NewTopic, Topic};
use std::borrow::Cow;
use std::sync::Arc;
use tidelog_protocol::messages::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse, DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use tidelog_protocol::{ErrorCode, Str};

type Refusal = (ErrorCode, String);

/// Creates topics; each is ready for records when it is answered.
pub(super) async fn create(
    cluster: Arc<Cluster>,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let twice = repeated(request.topics.iter().map(|topic| &topic.name));
    let asked = once(request.topics, |topic| topic.name.clone());
    let excessive = asked.iter().map(partitions_at_least).sum::<i64>() > PARTITIONS_OF_REQUEST_MAX;
    let mut topics: Vec<CreatableTopicResult> = Vec::with_capacity(asked.len());
    for asked in &asked {
        let created = if excessive {
            let text = "Excessively large number of partitions per request.";
            Err((ErrorCode::POLICY_VIOLATION, text.to_owned()))
        } else if twice.contains(&asked.name) {
            let text =
                "Create topics request from client contains multiple entries for this topic.";
            Err((ErrorCode::INVALID_REQUEST, text.to_owned()))
        } else {
            create_one(&cluster, asked, request.validate_only).await
        };
        topics.push(created.unwrap_or_else(|refusal| refused(asked, refusal)));
    }
    CreateTopicsResponse { topics, ..Default::default() }
}

/// Partitions that one request may create, of all its topics: as many as Kafka lets it.
const PARTITIONS_OF_REQUEST_MAX: i64 = 10_000;

fn partitions_at_least(asked: &CreatableTopic) -> i64 {
    let assigned = i64::try_from(asked.assignments.len()).unwrap_or(i64::MAX);
    i64::from(asked.num_partitions).max(assigned).max(1)
}

fn refused(asked: &CreatableTopic, (error_code, message): Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: asked.name.clone(),
        error_code,
        error_message: Some(message.into()),
        ..Default::default()
    }
}

async fn create_one(
    cluster: &Cluster,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let refuse = |error: Error| (topic_error(&error), error.to_string());
    let new = new_topic(cluster, asked)?;
    let flush = cluster.shared.settings.flush;
    if validate_only {
        cluster.topics.check(&new).map_err(refuse)?;
        return Ok(result(&asked.name, [0; 16], new.partitions, new.config.all(flush)));
    }
    let topic: Arc<Topic> = cluster.topics.create(new).await.map_err(refuse)?;
    let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    Ok(result(&asked.name, topic.id, partitions, topic.config.all(flush)))
}

fn new_topic(cluster: &Cluster, asked: &CreatableTopic) -> Result<NewTopic, Refusal> {
    let assigned = i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX);
    if assigned > 0 && (asked.num_partitions != -1 || asked.replication_factor != -1) {
        let text = "partitions and replication factor are either counted or assigned, not both";
        return Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
    }
    if asked.replication_factor == 0 || asked.replication_factor < -1 {
        let text = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text.to_owned()));
    }
    if asked.replication_factor > 1 {
        let text = format!(
            "replication factor {} needs more than this one broker",
            asked.replication_factor
        );
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text));
    }
    let partitions = match (assigned, asked.num_partitions) {
        (1.., _) => assigned,
        (_, -1) => cluster.shared.settings.default_partitions,
        (_, count) => count,
    };
    let value = |value: &Option<Str>| value.clone().unwrap_or_default().to_string();
    let configs = asked.configs.iter().map(|it| (it.name.to_string(), value(&it.value)));
    let config =
        Config::new(configs).map_err(|error| (ErrorCode::INVALID_CONFIG, error.to_string()))?;
    Ok(NewTopic { name: asked.name.to_string(), partitions, config, sync: None })
}

fn result<'a>(
    name: &Str,
    topic_id: [u8; 16],
    partitions: i32,
    configs: impl Iterator<Item = (&'static ConfigDefinition, Cow<'a, str>, bool)>,
) -> CreatableTopicResult {
    let configs = configs.map(|(definition, value, is_set)| CreatableTopicConfigs {
        name: Str::from_static(definition.name),
        value: Some(Str::from(&*value)),
        read_only: !definition.honoured,
        config_source: if is_set { SOURCE_TOPIC } else { SOURCE_DEFAULT },
        ..Default::default()
    });
    CreatableTopicResult {
        name: name.clone(),
        topic_id,
        num_partitions: partitions,
        replication_factor: 1,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}

/// Deletes topics by name or, since version 6, by id.
pub(super) async fn delete(
    cluster: Arc<Cluster>,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState { name: Some(name), ..Default::default() };
    let asked = match version {
        6.. => request.topics,
        _ => request.topic_names.into_iter().map(by_name).collect(),
    };
    let mut responses = Vec::with_capacity(asked.len());
    for topic in asked {
        responses.push(delete_one(&cluster, topic).await);
    }
    DeleteTopicsResponse { responses, ..Default::default() }
}

async fn delete_one(cluster: &Arc<Cluster>, asked: DeleteTopicState) -> DeletableTopicResult {
    let name = match asked.name {
        Some(name) => Some(name),
        None => cluster.topics.by_id(&asked.topic_id).map(|topic| topic.name.as_str().into()),
    };
    let topic_id = name.as_deref().and_then(|name| cluster.topics.get(name)).map(|topic| topic.id);
    let deleted = match &name {
        Some(name) => {
            let deleted = cluster.delete_topic(name).await;
            deleted.map_err(|error| (topic_error(&error), error.to_string()))
        }
        None => Err((ErrorCode::UNKNOWN_TOPIC_ID, "no topic has this id".to_owned())),
    };
    let (error_code, error_message) = match deleted {
        Ok(()) => (ErrorCode::NONE, None),
        Err((code, message)) => (code, Some(message.into())),
    };
    DeletableTopicResult {
        name,
        topic_id: topic_id.unwrap_or(asked.topic_id),
        error_code,
        error_message,
    }
}
