//! CreateTopics and DeleteTopics.

use super::configs::{SOURCE_DEFAULT, SOURCE_TOPIC};
use super::placement::{NOT_CONSECUTIVE, check_replicas};
use super::{once, refusal, repeated};
use crate::cluster::Cluster;
use crate::topic::{Config, ConfigDefinition, Error, NewTopic, Topic};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tidelog_protocol::messages::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse, DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest,
    DeleteTopicsResponse,
};
use tidelog_protocol::{ErrorCode, Str, Uuid};

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
            Err((ErrorCode::INVALID_REQUEST, DUPLICATE_NAME.to_owned()))
        } else {
            create_one(&cluster, asked, request.validate_only).await
        };
        topics.push(created.unwrap_or_else(|refusal| refused(asked, refusal)));
    }
    CreateTopicsResponse { topics, ..Default::default() }
}

pub(super) const DUPLICATE_NAME: &str = "Duplicate topic name.";

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
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

async fn create_one(
    cluster: &Cluster,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let refuse = |error: Error| refusal(&error);
    let new = new_topic(cluster, asked)?;
    let flush = cluster.shared.settings.flush;
    if let Some(other) = colliding(cluster, &new.name) {
        let text = format!("Topic '{}' collides with existing topic: {other}", new.name);
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, text));
    }
    if validate_only {
        cluster.topics.check(&new).map_err(refuse)?;
        return Ok(result(&asked.name, [0; 16], new.partitions, new.config.all(flush)));
    }
    let topic: Arc<Topic> = cluster.topics.create(new).await.map_err(refuse)?;
    let partitions = topic.count();
    Ok(result(&asked.name, topic.id, partitions, topic.config.all(flush)))
}

/// A topic whose name differs only in dots and underscores: Kafka's metrics do not tell them apart.
fn colliding(cluster: &Cluster, name: &str) -> Option<String> {
    let plain = |name: &str| name.replace('.', "_");
    let wanted = plain(name);
    let topics = cluster.topics.all();
    let mut others = topics.iter().filter(|topic| topic.name != name);
    others.find(|topic| plain(&topic.name) == wanted).map(|topic| topic.name.clone())
}

fn new_topic(cluster: &Cluster, asked: &CreatableTopic) -> Result<NewTopic, Refusal> {
    let assigned = assigned(asked)?;
    if asked.replication_factor == 0 || asked.replication_factor < -1 {
        let text = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text.to_owned()));
    }
    if asked.replication_factor > 1 {
        let text = format!(
            "Unable to replicate the partition {0} time(s): The target replication factor of {0} cannot be reached because only 1 broker(s) are registered.",
            asked.replication_factor
        );
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, text));
    }
    let partitions = match (assigned, asked.num_partitions) {
        (1.., _) => assigned,
        (_, -1) => cluster.shared.settings.default_partitions,
        (_, count) => count,
    };
    let nulls = asked.configs.iter().filter(|it| it.value.is_none());
    let nulls: Vec<&str> = nulls.map(|it| &*it.name).collect();
    if !nulls.is_empty() {
        let text = format!("Null value not supported for topic configs: {}", nulls.join(", "));
        return Err((ErrorCode::INVALID_CONFIG, text));
    }
    let value = |value: &Option<Str>| value.clone().unwrap_or_default().to_string();
    let configs = asked.configs.iter().map(|it| (it.name.to_string(), value(&it.value)));
    let config =
        Config::new(configs).map_err(|error| (ErrorCode::INVALID_CONFIG, error.to_string()))?;
    Ok(NewTopic { name: asked.name.to_string(), partitions, config, sync: None })
}

/// How many partitions are placed by hand, all of them on this broker.
fn assigned(asked: &CreatableTopic) -> Result<i32, Refusal> {
    let placed = i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX);
    if placed == 0 {
        return Ok(0);
    }
    let twice = |what: &str| {
        let text =
            format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err((ErrorCode::INVALID_REQUEST, text))
    };
    if asked.replication_factor != -1 {
        return twice("replication factor");
    }
    if asked.num_partitions != -1 {
        return twice("numPartitions");
    }
    let mut indexes: Vec<i32> = asked.assignments.iter().map(|it| it.partition_index).collect();
    indexes.sort_unstable();
    asked.assignments.iter().try_for_each(|it| check_replicas(&it.broker_ids))?;
    match indexes.into_iter().eq(0..placed) {
        true => Ok(placed),
        false => Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, NOT_CONSECUTIVE.to_owned())),
    }
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
    let twice = Twice::of(&cluster, &asked);
    let mut responses = Vec::with_capacity(asked.len());
    for topic in once(twice.without_ids(asked), |it| (it.name.clone(), it.topic_id)) {
        let (name, topic_id, deleted) = match twice.refuse(&topic) {
            Some(text) => {
                let refused = Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
                (topic.name, topic.topic_id, refused)
            }
            None => delete_one(&cluster, topic).await,
        };
        let (error_code, error_message) = match deleted {
            Ok(()) => (ErrorCode::NONE, None),
            Err((code, message)) => (code, Some(message.into())),
        };
        responses.push(DeletableTopicResult { name, topic_id, error_code, error_message });
    }
    DeleteTopicsResponse { responses, ..Default::default() }
}

/// What one request names more than once; such topics are not deleted at all.
struct Twice {
    names: HashSet<Str>,
    ids: HashSet<Uuid>,
    /// The topics asked for by id, and which of them are asked for by name too.
    by_both: HashMap<Str, Uuid>,
}

impl Twice {
    fn of(cluster: &Cluster, asked: &[DeleteTopicState]) -> Self {
        let named = || asked.iter().filter_map(|topic| topic.name.as_ref());
        let ids = asked.iter().filter(|topic| topic.name.is_none()).map(|topic| &topic.topic_id);
        let wanted: HashSet<&Uuid> = ids.clone().collect();
        let id_of = |name: &Str| cluster.topics.get(name).map(|topic| (name.clone(), topic.id));
        let by_both = named().filter_map(id_of).filter(|(_, id)| wanted.contains(id)).collect();
        Self { names: repeated(named()), ids: repeated(ids), by_both }
    }

    /// Takes out the ids of topics that are named too: Kafka answers those once.
    fn without_ids(&self, mut asked: Vec<DeleteTopicState>) -> Vec<DeleteTopicState> {
        let ids: HashSet<&Uuid> = self.by_both.values().collect();
        asked.retain(|topic| topic.name.is_some() || !ids.contains(&topic.topic_id));
        for topic in &mut asked {
            let id = topic.name.as_ref().and_then(|name| self.by_both.get(name));
            topic.topic_id = id.copied().unwrap_or(topic.topic_id);
        }
        asked
    }

    fn refuse(&self, topic: &DeleteTopicState) -> Option<&'static str> {
        let no_id = topic.topic_id == Uuid::default();
        match &topic.name {
            Some(name) if self.names.contains(name) => Some(DUPLICATE_NAME),
            Some(name) if self.by_both.contains_key(name) => {
                Some("The provided topic name maps to an ID that was already supplied.")
            }
            Some(_) if !no_id => Some("You may not specify both topic name and topic id."),
            Some(_) => None,
            None if no_id => Some("Neither topic name nor id were specified."),
            None if self.ids.contains(&topic.topic_id) => Some("Duplicate topic id."),
            None => None,
        }
    }
}

async fn delete_one(
    cluster: &Arc<Cluster>,
    asked: DeleteTopicState,
) -> (Option<Str>, Uuid, Result<(), Refusal>) {
    let found = match &asked.name {
        Some(name) => cluster.topics.get(name),
        None => cluster.topics.by_id(&asked.topic_id),
    };
    let name = asked.name.or_else(|| found.as_ref().map(|topic| topic.name.as_str().into()));
    let deleted = match &name {
        Some(name) => cluster.delete_topic(name).await.map_err(|error| refusal(&error)),
        None => {
            let text = "This server does not host this topic ID.";
            Err((ErrorCode::UNKNOWN_TOPIC_ID, text.to_owned()))
        }
    };
    (name, found.map_or(asked.topic_id, |topic| topic.id), deleted)
}
