//! DescribeConfigs and ListConfigResources: what is set on topics and groups, and what the operator
//! set on the broker, each with where it comes from.

use super::broker_configs::{self, BrokerConfig};
use super::{group_configs, invalid_name, once};
use crate::cluster::{Cluster, NODE_ID};
use crate::topic::{ConfigDefinition, Topic, is_valid_name};
use std::borrow::Cow;
use tidelog_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
    ListConfigResourcesRequest, ListConfigResourcesResponse, ListedConfigResource,
};
use tidelog_protocol::{ErrorCode, Str};
use tidelog_storage::Flush;

/// What has configs, by Kafka's numbers.
pub(super) mod resource {
    pub(in crate::api) const TOPIC: i8 = 2;
    pub(in crate::api) const BROKER: i8 = 4;
    pub(in crate::api) const BROKER_LOGGER: i8 = 8;
    pub(in crate::api) const CLIENT_METRICS: i8 = 16;
    pub(in crate::api) const GROUP: i8 = 32;
}

/// Where a value comes from, by Kafka's numbers.
pub(super) const SOURCE_TOPIC: i8 = 1;
pub(super) const SOURCE_BROKER: i8 = 4;
pub(super) const SOURCE_DEFAULT: i8 = 5;

/// Since this version more than client metrics is listed (KIP-1142).
const ALL_RESOURCES_SINCE: i16 = 1;

/// Resources that one request has described: an answer is a thousand times its question.
const RESOURCES_MAX: usize = 10_000;

pub(super) type Refusal = (ErrorCode, String);

/// Describes topics, groups and the broker; everything else has no configs here.
pub(super) fn describe(
    cluster: &Cluster,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    let describe = |asked: DescribeConfigsResource| {
        let (error_code, error_message, mut configs) = match entries(cluster, &asked) {
            Ok(configs) => (ErrorCode::NONE, None, configs),
            Err((code, text)) => (code, Some(text.into()), Vec::new()),
        };
        // No names, like a null, stands for all of them.
        if let Some(names) = asked.configuration_keys.filter(|names| !names.is_empty()) {
            configs.retain(|config| names.contains(&config.name));
        }
        for config in &mut configs {
            if !synonyms {
                config.synonyms.clear();
            }
            config.documentation.take_if(|_| !documentation);
        }
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: asked.resource_type,
            resource_name: asked.resource_name,
            configs,
        }
    };
    let mut asked = once(request.resources, |it| (it.resource_type, it.resource_name.clone()));
    let too_many = asked.split_off(asked.len().min(RESOURCES_MAX));
    let mut results: Vec<_> = asked.into_iter().map(describe).collect();
    results.extend(too_many.into_iter().map(|asked| DescribeConfigsResult {
        error_code: ErrorCode::INVALID_REQUEST,
        error_message: Some(format!("at most {RESOURCES_MAX} are described at once").into()),
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
        configs: Vec::new(),
    }));
    DescribeConfigsResponse { results, ..Default::default() }
}

fn entries(
    cluster: &Cluster,
    asked: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let name = &asked.resource_name;
    let refuse = |text: &str| Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
    match asked.resource_type {
        resource::TOPIC => {
            let flush = cluster.shared.settings.flush;
            find_topic(cluster, name).map(|topic| topic_entries(&topic, flush))
        }
        // The defaults of all brokers, of which none can be set.
        resource::BROKER if name.is_empty() => Ok(Vec::new()),
        resource::BROKER => {
            check_broker(name, "Broker", " or empty string,")?;
            let configs = broker_configs::all(cluster);
            Ok(configs.into_iter().map(broker_entry).collect())
        }
        resource::BROKER_LOGGER if name.is_empty() => refuse("Broker id must not be empty"),
        resource::BROKER_LOGGER => check_broker(name, "Broker", "").map(|()| Vec::new()),
        resource::CLIENT_METRICS if name.is_empty() => {
            refuse("Client metrics subscription name must not be empty")
        }
        resource::GROUP if name.is_empty() => refuse("Group name must not be empty"),
        resource::GROUP => Ok(group_configs::entries(cluster, name)),
        resource::CLIENT_METRICS => Ok(Vec::new()),
        other => refuse(&format!("configs of resource type {other}: none")),
    }
}

pub(super) fn find_topic(cluster: &Cluster, name: &str) -> Result<std::sync::Arc<Topic>, Refusal> {
    if !is_valid_name(name) {
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, invalid_name(name)));
    }
    let unknown = || format!("The topic '{name}' does not exist.");
    let topic = cluster.topics.get(name);
    topic.ok_or_else(|| (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, unknown()))
}

/// Refuses other brokers than this one. Kafka's words differ: what it calls a `broker`, and what
/// it would have taken `instead` of the right id.
pub(super) fn check_broker(name: &str, broker: &str, instead: &str) -> Result<(), Refusal> {
    let refuse = |text| Err((ErrorCode::INVALID_REQUEST, text));
    match name.parse::<i32>() {
        Ok(NODE_ID) => Ok(()),
        Ok(_) => {
            refuse(format!("Unexpected broker id, expected {NODE_ID}{instead} but received {name}"))
        }
        Err(_) => refuse(format!("{broker} id must be an integer, but it is: {name}")),
    }
}

fn topic_entries(topic: &Topic, flush: Flush) -> Vec<DescribeConfigsResourceResult> {
    let entry = |(definition, value, is_set): (&ConfigDefinition, Cow<str>, bool)| {
        let own = is_set.then(|| DescribeConfigsSynonym {
            name: Str::from_static(definition.name),
            value: Some(Str::from(&*value)),
            source: SOURCE_TOPIC,
        });
        let default = definition.default_with(flush);
        let source = if default == definition.default { SOURCE_DEFAULT } else { SOURCE_BROKER };
        let brokers = DescribeConfigsSynonym {
            name: Str::from_static(definition.broker_name),
            value: Some(Str::from(&*default)),
            source,
        };
        DescribeConfigsResourceResult {
            name: Str::from_static(definition.name),
            value: Some(Str::from(&*value)),
            read_only: !definition.honoured,
            is_default: !is_set,
            config_source: if is_set { SOURCE_TOPIC } else { source },
            is_sensitive: false,
            synonyms: own.into_iter().chain([brokers]).collect(),
            config_type: definition.kind.code(),
            documentation: Some(Str::from_static(definition.documentation)),
        }
    };
    topic.config.all(flush).map(entry).collect()
}

fn broker_entry(config: BrokerConfig) -> DescribeConfigsResourceResult {
    let source = if config.is_default { SOURCE_DEFAULT } else { SOURCE_BROKER };
    let value = Some(Str::from(config.value));
    let name = Str::from_static(config.name);
    let synonym = DescribeConfigsSynonym { name: name.clone(), value: value.clone(), source };
    DescribeConfigsResourceResult {
        name,
        value,
        read_only: true,
        is_default: config.is_default,
        config_source: source,
        is_sensitive: false,
        synonyms: vec![synonym],
        config_type: config.kind.code(),
        documentation: Some(Str::from_static(config.documentation)),
    }
}

/// Lists what DescribeConfigs can be asked about.
pub(super) fn list_resources(
    cluster: &Cluster,
    request: &ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    let (empty, wanted) = (request.resource_types.is_empty(), &request.resource_types);
    let known = |wanted: &i8| KNOWN.contains(wanted);
    if version < ALL_RESOURCES_SINCE {
        return ListConfigResourcesResponse::default();
    }
    if !wanted.iter().all(known) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION;
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let names = |resource_type| match resource_type {
        resource::TOPIC => {
            cluster.topics.all().iter().map(|topic| topic.name.as_str().into()).collect()
        }
        resource::BROKER | resource::BROKER_LOGGER => vec![Str::from(NODE_ID.to_string())],
        resource::GROUP => group_configs::configured(cluster),
        _ => Vec::new(),
    };
    let listed = KNOWN.iter().filter(|it| empty || wanted.contains(it)).flat_map(|kind| {
        let named =
            move |resource_name| ListedConfigResource { resource_name, resource_type: *kind };
        names(*kind).into_iter().map(named)
    });
    ListConfigResourcesResponse { config_resources: listed.collect(), ..Default::default() }
}

const KNOWN: &[i8] = &[
    resource::TOPIC,
    resource::BROKER,
    resource::BROKER_LOGGER,
    resource::CLIENT_METRICS,
    resource::GROUP,
];
