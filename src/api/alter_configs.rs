//! AlterConfigs and IncrementalAlterConfigs: setting configs of topics and groups. A change is
//! stored and in force when it is answered.

use super::configs::{Refusal, check_broker, find_topic, resource};
use super::{group_configs, refusal, repeated};
use crate::cluster::Cluster;
use crate::topic::{Change, Config};
use std::collections::HashSet;
use std::sync::Arc;
use tidelog_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
    AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource,
    IncrementalAlterConfigsResponse, IncrementalAlterableConfig,
};
use tidelog_protocol::{ErrorCode, Str};

type Resource = (i8, Str);

/// Replaces all that is set on each resource: what is not named goes back to its default.
pub(super) async fn replace(
    cluster: Arc<Cluster>,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let set = |AlterableConfig { name, value }| IncrementalAlterableConfig {
        name,
        config_operation: SET,
        value,
    };
    let asked = request.resources.into_iter().map(|asked| {
        let AlterConfigsResource { resource_type, resource_name, configs } = asked;
        ((resource_type, resource_name), configs.into_iter().map(set).collect())
    });
    let alter = Alter { replace: true, dry_run: request.validate_only };
    let responses = alter.all(&cluster, asked.collect()).await;
    AlterConfigsResponse { responses, ..Default::default() }
}

/// Changes single configs (KIP-339).
pub(super) async fn change(
    cluster: Arc<Cluster>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let asked = request.resources.into_iter().map(|asked| {
        let IncrementalAlterConfigsResource { resource_type, resource_name, configs } = asked;
        ((resource_type, resource_name), configs)
    });
    let alter = Alter { replace: false, dry_run: request.validate_only };
    let responses = alter.all(&cluster, asked.collect()).await;
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

/// How resources are altered.
struct Alter {
    /// Whether from the defaults, rather than from what is set.
    replace: bool,
    /// Whether nothing happens but the checks.
    dry_run: bool,
}

impl Alter {
    async fn all(
        &self,
        cluster: &Arc<Cluster>,
        asked: Vec<(Resource, Vec<IncrementalAlterableConfig>)>,
    ) -> Vec<AlterConfigsResourceResponse> {
        let twice = repeated(asked.iter().map(|(resource, _)| resource));
        let mut responses = Vec::with_capacity(asked.len());
        for (resource, configs) in asked {
            let changed = match twice.contains(&resource) {
                true => {
                    let text = "Each resource must appear at most once.";
                    Err((ErrorCode::INVALID_REQUEST, text.to_owned()))
                }
                false => self.one(cluster, &resource, configs).await,
            };
            responses.push(response(resource, changed));
        }
        responses
    }

    async fn one(
        &self,
        cluster: &Arc<Cluster>,
        (kind, name): &Resource,
        configs: Vec<IncrementalAlterableConfig>,
    ) -> Result<(), Refusal> {
        let refuse = |text| Err((ErrorCode::INVALID_REQUEST, text));
        let changes = changes(configs)?;
        match *kind {
            resource::TOPIC if name.is_empty() => {
                refuse("Default topic resources are not allowed.".to_owned())
            }
            resource::TOPIC => {
                find_topic(cluster, name)?;
                let replace = self.replace;
                let change = move |config: &Config| match replace {
                    true => Config::default().changed(changes),
                    false => config.changed(changes),
                };
                let changed = cluster.topics.configure(name, change, self.dry_run).await;
                changed.map_err(|error| refusal(&error))
            }
            resource::BROKER | resource::BROKER_LOGGER => {
                if !name.is_empty() {
                    check_broker(name, "Node", ",")?;
                }
                if changes.is_empty() {
                    return Ok(());
                }
                // They are the operator's: Kafka's words for those that need a restart.
                let names: Vec<&str> = changes.iter().map(|(name, _)| &**name).collect();
                let names = names.join(", ");
                refuse(format!("Cannot update these configs dynamically: [{names}]"))
            }
            resource::GROUP if name.is_empty() => {
                refuse("Default group resources are not allowed.".to_owned())
            }
            resource::GROUP => {
                group_configs::change(cluster, name, changes, self.replace, self.dry_run).await
            }
            resource::CLIENT_METRICS => {
                refuse(format!("resource type {kind} has no configs that can be set"))
            }
            kind => refuse(format!("Unknown resource type {kind}")),
        }
    }
}

fn changes(configs: Vec<IncrementalAlterableConfig>) -> Result<Vec<(String, Change)>, Refusal> {
    let (mut changes, mut nulls) = (Vec::with_capacity(configs.len()), Vec::new());
    let mut seen = HashSet::new();
    if !configs.iter().all(|config| seen.insert(&config.name)) {
        let text = "Error due to duplicate config keys";
        return Err((ErrorCode::INVALID_REQUEST, text.to_owned()));
    }
    for IncrementalAlterableConfig { name, config_operation, value } in configs {
        let change = match (config_operation, value) {
            (DELETE, _) => Change::Delete,
            (SET | APPEND | SUBTRACT, None) => {
                nulls.push(name);
                continue;
            }
            (SET, Some(value)) => Change::Set(value.to_string()),
            (APPEND, Some(value)) => Change::Append(value.to_string()),
            (SUBTRACT, Some(value)) => Change::Subtract(value.to_string()),
            (other, _) => {
                let text = format!("Unknown operation type {other}");
                return Err((ErrorCode::INVALID_REQUEST, text));
            }
        };
        changes.push((name.to_string(), change));
    }
    refuse_nulls(&nulls).map(|()| changes)
}

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn refuse_nulls(names: &[Str]) -> Result<(), Refusal> {
    match names.is_empty() {
        true => Ok(()),
        false => {
            let text = format!("Null value not supported for : {}", names.join(", "));
            Err((ErrorCode::INVALID_REQUEST, text))
        }
    }
}

fn response(
    (resource_type, resource_name): Resource,
    changed: Result<(), Refusal>,
) -> AlterConfigsResourceResponse {
    let (error_code, error_message) = match changed {
        Ok(()) => (ErrorCode::NONE, None),
        Err((code, text)) => (code, Some(text.into())),
    };
    AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
}
