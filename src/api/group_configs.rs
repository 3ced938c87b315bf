//! The configs of groups (KIP-848): Kafka's names, defaults, bounds and words for what is wrong.
//!
//! **A config that is not honoured here has its default**, as with topics: those of share and of
//! streams groups are listed, and setting them to anything else is refused.
//!
//! Unlike Kafka: a timeout may also be what the operator made the default of all groups.

use super::configs::{Refusal, SOURCE_BROKER, SOURCE_DEFAULT};
use crate::cluster::Cluster;
use crate::group::{ConfigSet, HEARTBEAT_INTERVAL, SESSION_TIMEOUT, TEXT_BYTES_MAX};
use crate::topic::{Change, Kind};
use std::sync::Arc;
use tidelog_protocol::messages::{DescribeConfigsResourceResult, DescribeConfigsSynonym};
use tidelog_protocol::{ErrorCode, Str};

/// A value that was set on a group, by Kafka's number.
const SOURCE_GROUP: i8 = 8;
/// Groups of one account on which something may be set.
const CONFIGURED_MAX: usize = 10_000;

const INT_MAX: i64 = i32::MAX as i64;
const AT_LEAST_1: Kind = Kind::Int(1, INT_MAX);
const AT_LEAST_0: Kind = Kind::Int(0, INT_MAX);
const RESETS: &[&str] = &[];
const ISOLATIONS: &[&str] = &["read_committed", "read_uncommitted"];

struct Definition {
    name: &'static str,
    /// What Kafka calls the broker's default for it.
    broker_name: &'static str,
    default: &'static str,
    kind: Kind,
    documentation: &'static str,
}

const fn define(
    name: &'static str,
    broker_name: &'static str,
    default: &'static str,
    kind: Kind,
    documentation: &'static str,
) -> Definition {
    Definition { name, broker_name, default, kind, documentation }
}

const ASSIGNMENT_INTERVAL: &str =
    "How long at least between two assignments; here a group is assigned as soon as it changes.";
const DEAD_LETTERS: &str = "Of the topic for what a share group cannot deliver.";
const SHARE: &str = "Of share groups, which are not served.";
const STREAMS: &str = "Of streams groups, which are not served.";

/// In the order of their names.
const DEFINITIONS: &[Definition] = &[
    define(
        "consumer.assignment.interval.ms",
        "group.consumer.assignment.interval.ms",
        "1000",
        AT_LEAST_0,
        ASSIGNMENT_INTERVAL,
    ),
    define(
        HEARTBEAT_INTERVAL,
        "group.consumer.heartbeat.interval.ms",
        "5000",
        AT_LEAST_1,
        "How often a member is to heartbeat.",
    ),
    define(
        SESSION_TIMEOUT,
        "group.consumer.session.timeout.ms",
        "45000",
        AT_LEAST_1,
        "How long a member may be silent.",
    ),
    own("errors.deadletterqueue.copy.record.enable", "false", Kind::Boolean, DEAD_LETTERS),
    own("errors.deadletterqueue.topic.name", "", Kind::Word(&[]), DEAD_LETTERS),
    define(
        "share.assignment.interval.ms",
        "group.share.assignment.interval.ms",
        "1000",
        AT_LEAST_0,
        SHARE,
    ),
    own("share.auto.offset.reset", "latest", Kind::Word(RESETS), SHARE),
    define(
        "share.delivery.count.limit",
        "group.share.delivery.count.limit",
        "5",
        AT_LEAST_1,
        SHARE,
    ),
    define(
        "share.heartbeat.interval.ms",
        "group.share.heartbeat.interval.ms",
        "5000",
        AT_LEAST_1,
        SHARE,
    ),
    own("share.isolation.level", "read_uncommitted", Kind::Word(ISOLATIONS), SHARE),
    define(
        "share.partition.max.record.locks",
        "group.share.partition.max.record.locks",
        "2000",
        AT_LEAST_1,
        SHARE,
    ),
    define(
        "share.record.lock.duration.ms",
        "group.share.record.lock.duration.ms",
        "30000",
        AT_LEAST_1,
        SHARE,
    ),
    own("share.renew.acknowledge.enable", "true", Kind::Boolean, SHARE),
    define(
        "share.session.timeout.ms",
        "group.share.session.timeout.ms",
        "45000",
        AT_LEAST_1,
        SHARE,
    ),
    define(
        "streams.assignment.interval.ms",
        "group.streams.assignment.interval.ms",
        "1000",
        AT_LEAST_0,
        STREAMS,
    ),
    define("streams.assignor.name", "group.streams.assignors", "sticky", Kind::Word(&[]), STREAMS),
    define(
        "streams.heartbeat.interval.ms",
        "group.streams.heartbeat.interval.ms",
        "5000",
        AT_LEAST_1,
        STREAMS,
    ),
    define(
        "streams.initial.rebalance.delay.ms",
        "group.streams.initial.rebalance.delay.ms",
        "3000",
        AT_LEAST_0,
        STREAMS,
    ),
    define(
        "streams.num.standby.replicas",
        "group.streams.num.standby.replicas",
        "0",
        AT_LEAST_0,
        STREAMS,
    ),
    define(
        "streams.rack.aware.assignment.tags",
        "group.streams.rack.aware.assignment.tags",
        "",
        Kind::List(&[]),
        STREAMS,
    ),
    define(
        "streams.session.timeout.ms",
        "group.streams.session.timeout.ms",
        "45000",
        AT_LEAST_1,
        STREAMS,
    ),
];

/// One without a default of the broker's.
const fn own(
    name: &'static str,
    default: &'static str,
    kind: Kind,
    documentation: &'static str,
) -> Definition {
    define(name, name, default, kind, documentation)
}

impl Definition {
    fn is_honoured(&self) -> bool {
        [HEARTBEAT_INTERVAL, SESSION_TIMEOUT].contains(&self.name)
    }

    /// What it is when nothing is set on the group, and where that comes from.
    fn default_in(&self, cluster: &Cluster) -> (String, i8) {
        let settings = &cluster.shared.settings;
        let operators = match self.name {
            HEARTBEAT_INTERVAL => settings.group_consumer_heartbeat_interval,
            SESSION_TIMEOUT => settings.group_consumer_session_timeout,
            _ => return (self.default.to_owned(), SOURCE_DEFAULT),
        };
        let value = operators.as_millis().to_string();
        let source = if value == self.default { SOURCE_DEFAULT } else { SOURCE_BROKER };
        (value, source)
    }

    fn entry(&self, cluster: &Cluster, set: &ConfigSet) -> DescribeConfigsResourceResult {
        let (default, source) = self.default_in(cluster);
        let synonym = |name, value: &String, source| DescribeConfigsSynonym {
            name: Str::from_static(name),
            value: Some(Str::from(value.clone())),
            source,
        };
        let own = set.get(self.name);
        let synonyms = own.map(|value| synonym(self.name, value, SOURCE_GROUP)).into_iter();
        DescribeConfigsResourceResult {
            name: Str::from_static(self.name),
            value: Some(Str::from(own.unwrap_or(&default).clone())),
            read_only: !self.is_honoured(),
            is_default: own.is_none(),
            config_source: if own.is_some() { SOURCE_GROUP } else { source },
            is_sensitive: false,
            synonyms: synonyms.chain([synonym(self.broker_name, &default, source)]).collect(),
            config_type: self.kind.code(),
            documentation: Some(Str::from_static(self.documentation)),
        }
    }
}

/// Every config of a group, which need not exist.
pub(super) fn entries(cluster: &Cluster, group: &str) -> Vec<DescribeConfigsResourceResult> {
    let set = cluster.groups.config(group);
    DEFINITIONS.iter().map(|definition| definition.entry(cluster, &set)).collect()
}

/// The groups on which something is set.
pub(super) fn configured(cluster: &Cluster) -> Vec<Str> {
    cluster.groups.configs().into_keys().collect()
}

/// Changes what is set on a group: from nothing when all is replaced.
pub(super) async fn change(
    cluster: &Arc<Cluster>,
    group: &Str,
    changes: Vec<(String, Change)>,
    replace: bool,
    dry_run: bool,
) -> Result<(), Refusal> {
    if group.len() > TEXT_BYTES_MAX {
        return Err((ErrorCode::INVALID_REQUEST, "The name of the group is too long.".to_owned()));
    }
    let (checked, name) = (cluster.clone(), group.clone());
    let change = move |before: &ConfigSet| {
        let start = if replace { ConfigSet::new() } else { before.clone() };
        let set = changed(&checked, start, changes)?;
        let configs = checked.groups.configs();
        if !set.is_empty() && configs.len() >= CONFIGURED_MAX && !configs.contains_key(&name) {
            let text = format!("Configs are set on {CONFIGURED_MAX} groups, which is the most.");
            return Err((ErrorCode::POLICY_VIOLATION, text));
        }
        Ok(if dry_run { before.clone() } else { set })
    };
    let stored = cluster.configure_group(group, change).await;
    stored.unwrap_or_else(|error| Err((ErrorCode::UNKNOWN_SERVER_ERROR, error.to_string())))
}

fn invalid(text: String) -> Refusal {
    (ErrorCode::INVALID_CONFIG, text)
}

fn changed(
    cluster: &Cluster,
    mut set: ConfigSet,
    changes: Vec<(String, Change)>,
) -> Result<ConfigSet, Refusal> {
    for (name, change) in changes {
        let verb = match change {
            Change::Set(value) => {
                set.insert(name, value);
                continue;
            }
            Change::Delete => {
                set.remove(&name);
                continue;
            }
            Change::Append(_) => "APPEND",
            Change::Subtract(_) => "SUBTRACT",
        };
        let found = DEFINITIONS.iter().find(|it| it.name == name);
        return Err(match found {
            // Lists are of streams groups only.
            Some(list) if matches!(list.kind, Kind::List(_)) => unsupported(list, "more"),
            _ => invalid(format!("Can't {verb} to key {name} because its type is not LIST.")),
        });
    }
    set.iter().try_for_each(|(name, value)| check(cluster, name, value))?;
    let ms = |name: &str| match (set.get(name), DEFINITIONS.iter().find(|it| it.name == name)) {
        (Some(value), _) => value.trim().parse::<i64>().unwrap_or_default(),
        (None, Some(it)) => it.default_in(cluster).0.parse().unwrap_or_default(),
        (None, None) => 0,
    };
    match ms(SESSION_TIMEOUT) > ms(HEARTBEAT_INTERVAL) {
        true => Ok(set),
        false => {
            Err(invalid(format!("{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}")))
        }
    }
}

fn check(cluster: &Cluster, name: &str, value: &str) -> Result<(), Refusal> {
    let Some(definition) = DEFINITIONS.iter().find(|it| it.name == name) else {
        return Err(invalid(format!("Unknown group config name: {name}")));
    };
    if let Err(reason) = definition.kind.check(value) {
        let text = format!("Invalid value {value} for configuration {name}: {reason}");
        return Err(invalid(text));
    }
    let (min, max) = match name {
        HEARTBEAT_INTERVAL => (5000, 15_000),
        SESSION_TIMEOUT => (45_000, 60_000),
        _ if definition.kind.same(value, definition.default) => return Ok(()),
        _ => return Err(unsupported(definition, value)),
    };
    let operators: i64 = definition.default_in(cluster).0.parse().unwrap_or(min);
    let (min, max) = (min.min(operators), max.max(operators));
    let value: i64 = value.trim().parse().unwrap_or_default();
    match (min..=max).contains(&value) {
        true => Ok(()),
        false => Err(invalid(format!("{name} must be in the range {min} to {max} inclusive."))),
    }
}

fn unsupported(definition: &Definition, value: &str) -> Refusal {
    let Definition { name, default, .. } = definition;
    invalid(format!(
        "Invalid value {value} for configuration {name}: only the default, '{default}', is \
         supported here"
    ))
}
