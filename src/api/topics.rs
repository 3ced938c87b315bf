//! CreateTopics and DeleteTopics.

use super::configs::{SOURCE_DEFAULT, SOURCE_TOPIC};
use super::placement::{NOT_CONSECUTIVE, check_replicas};
use super::{once, refusal, repeated};
use crate::cluster::Cluster;
use crate::topic::{Config, ConfigDefinition, NewTopic, OfEach, ToDelete};
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
    let plan = |asked: &CreatableTopic| {
        if excessive {
            let text = "Excessively large number of partitions per request.";
            return Err((ErrorCode::POLICY_VIOLATION, text.to_owned()));
        }
        match twice.contains(&asked.name) {
            true => Err((ErrorCode::INVALID_REQUEST, DUPLICATE_NAME.to_owned())),
            false => new_topic(&cluster, asked),
        }
    };
    let planned = asked.iter().map(plan).collect();
    let made = match request.validate_only {
        true => validate(&cluster, planned),
        false => create_all(&cluster, planned).await,
    };
    let topics = asked.iter().zip(made).map(|(asked, made)| match made {
        Ok(made) => made,
        Err(refusal) => refused(asked, refusal),
    });
    CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
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

type Made = Result<CreatableTopicResult, Refusal>;

fn validate(cluster: &Cluster, planned: Vec<Result<NewTopic, Refusal>>) -> Vec<Made> {
    let flush = cluster.shared.settings.flush;
    let validate = |planned: Result<NewTopic, Refusal>| {
        let new = planned?;
        cluster.topics.check(&new).map_err(|error| refusal(&error))?;
        Ok(result(&new.name, [0; 16], new.partitions, new.config.all(flush)))
    };
    planned.into_iter().map(validate).collect()
}

async fn create_all(cluster: &Cluster, planned: Vec<Result<NewTopic, Refusal>>) -> Vec<Made> {
    let flush = cluster.shared.settings.flush;
    let new = planned.iter().flatten().cloned().collect();
    let created = cluster.topics.create_all(new).await;
    let mut of_each = of_each(created);
    let answer = |planned: Result<NewTopic, Refusal>| {
        planned?;
        let topic = of_each()?;
        Ok(result(&topic.name, topic.id, topic.count(), topic.config.all(flush)))
    };
    planned.into_iter().map(answer).collect()
}

/// Gives what happened to one topic after the other.
fn of_each<T>(all: OfEach<T>) -> impl FnMut() -> Result<T, Refusal> {
    let mut all = all.map(Vec::into_iter).map_err(|error| refusal(&error));
    move || match &mut all {
        Ok(each) => each.next().expect("one for each").map_err(|error| refusal(&error)),
        Err(refusal) => Err(refusal.clone()),
    }
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
    name: &str,
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
        name: name.into(),
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
    let plan = |topic: DeleteTopicState| match twice.refuse(&topic) {
        Some(text) => {
            let to_delete = Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
            Planned { name: topic.name, topic_id: topic.topic_id, to_delete }
        }
        None => to_delete(&cluster, topic),
    };
    let asked = once(twice.without_ids(asked), |it| (it.name.clone(), it.topic_id));
    let planned: Vec<_> = asked.into_iter().map(plan).collect();
    let fitting = planned.iter().filter_map(|planned| planned.to_delete.clone().ok()).collect();
    let mut of_each = of_each(cluster.delete_topics(fitting).await);
    let answer = |Planned { name, topic_id, to_delete }| {
        let deleted = to_delete.and_then(|asked: ToDelete| {
            of_each().map_err(|refusal| match (refusal, asked.id) {
                // It is gone meanwhile, and its name may be another's.
                ((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, _), Some(_)) => unknown_id(),
                (refusal, _) => refusal,
            })
        });
        let (error_code, error_message) = match deleted {
            Ok(()) => (ErrorCode::NONE, None),
            Err((code, message)) => (code, Some(message.into())),
        };
        DeletableTopicResult { name, topic_id, error_code, error_message }
    };
    let responses = planned.into_iter().map(answer).collect();
    DeleteTopicsResponse { responses, ..Default::default() }
}

/// What a topic is called in the answer, and what is to be deleted.
struct Planned {
    name: Option<Str>,
    topic_id: Uuid,
    to_delete: Result<ToDelete, Refusal>,
}

fn unknown_id() -> Refusal {
    (ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID.".to_owned())
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

/// Without a name there is nothing to delete.
fn to_delete(cluster: &Cluster, asked: DeleteTopicState) -> Planned {
    let (found, id) = match &asked.name {
        Some(name) => (cluster.topics.get(name), None),
        None => (cluster.topics.by_id(&asked.topic_id), Some(asked.topic_id)),
    };
    let name = asked.name.or_else(|| found.as_ref().map(|topic| topic.name.as_str().into()));
    let to_delete = match &name {
        Some(name) => Ok(ToDelete { name: name.to_string(), id }),
        None => Err(unknown_id()),
    };
    Planned { name, topic_id: found.map_or(asked.topic_id, |topic| topic.id), to_delete }
}
