//! The broker configs that tools read. They are the operator's, so no client changes them.

use crate::cluster::{Cluster, NODE_ID};
use crate::group;
use crate::settings::Settings;
use crate::topic::{ConfigDefinition, DEFINITIONS, Kind};
use tidelog_storage::Flush;

/// A broker config.
pub(super) struct BrokerConfig {
    /// Kafka's name.
    pub(super) name: &'static str,
    pub(super) value: String,
    /// Whether it is Kafka's default, or at least nothing the operator set.
    pub(super) is_default: bool,
    pub(super) kind: Kind,
    pub(super) documentation: &'static str,
}

/// The release whose behaviour clients may expect; tools guess features from it.
pub(super) const KAFKA_RELEASE: &str = "4.3-IV0";

const INT: Kind = Kind::Int(i32::MIN as i64, i32::MAX as i64);
const TEXT: Kind = Kind::Word(&[]);

const ASSIGNORS: &str = "uniform,range";
const PROTOCOLS: &str = "The group protocols that members may speak.";

/// Every broker config, those of topics' defaults included.
pub(super) fn all(cluster: &Cluster) -> Vec<BrokerConfig> {
    let settings = &cluster.shared.settings;
    let mut configs = vec![
        set(
            "auto.create.topics.enable",
            settings.auto_create_topics,
            Kind::Boolean,
            "Whether a topic is created when a client asks about one that does not exist.",
        ),
        set("broker.id", NODE_ID, INT, "This broker's id."),
        set("node.id", NODE_ID, INT, "This broker's id."),
        set(
            "num.partitions",
            settings.default_partitions,
            INT,
            "Partitions of a topic when nobody says how many.",
        ),
        fixed("default.replication.factor", 1, INT, "Replicas of a topic; there is one broker."),
        fixed("delete.topic.enable", true, Kind::Boolean, "Whether clients may delete topics."),
        fixed(
            "inter.broker.protocol.version",
            KAFKA_RELEASE,
            TEXT,
            "The release of Kafka whose features this broker's are compared with.",
        ),
        fixed("process.roles", "broker,controller", Kind::List(&[]), "What this process does."),
        fixed("socket.request.max.bytes", 104_857_600, INT, "Bytes of one request."),
    ];
    configs.extend(of_groups(settings));
    configs.extend(DEFINITIONS.iter().map(|topic| default_of(topic, settings.flush)));
    configs.sort_by_key(|config| config.name);
    configs
}

/// Those of groups and of what they commit.
fn of_groups(settings: &Settings) -> Vec<BrokerConfig> {
    let groups = group::Options::default();
    let delay_ms = settings.group_initial_rebalance_delay.as_millis();
    let retention_minutes = groups.offsets_retention.as_secs() / 60;
    vec![
        set(
            "group.consumer.heartbeat.interval.ms",
            settings.group_consumer_heartbeat_interval.as_millis(),
            INT,
            "How often a member of a consumer group is to heartbeat.",
        ),
        set(
            "group.consumer.session.timeout.ms",
            settings.group_consumer_session_timeout.as_millis(),
            INT,
            "How long a member of a consumer group may be silent.",
        ),
        set(
            "group.initial.rebalance.delay.ms",
            delay_ms,
            INT,
            "How long the first member of a group waits for others.",
        ),
        fixed("group.consumer.assignors", ASSIGNORS, Kind::List(&[]), "The first is the default."),
        fixed(
            "group.consumer.max.size",
            groups.consumer_max_size,
            INT,
            "Members of one consumer group.",
        ),
        fixed(
            "group.consumer.migration.policy",
            "bidirectional",
            TEXT,
            "Which way a live group may change its protocol.",
        ),
        fixed(
            "group.coordinator.rebalance.protocols",
            "classic,consumer",
            Kind::List(&[]),
            PROTOCOLS,
        ),
        fixed(
            "group.max.session.timeout.ms",
            groups.session_timeout_ms_max,
            INT,
            "The longest session timeout a member may ask for.",
        ),
        fixed("group.max.size", groups.max_size, INT, "Members of one group."),
        fixed(
            "group.min.session.timeout.ms",
            groups.session_timeout_ms_min,
            INT,
            "The shortest session timeout a member may ask for.",
        ),
        fixed(
            "offset.metadata.max.bytes",
            groups.offset_metadata_bytes_max,
            INT,
            "Bytes of the note that comes with a committed offset.",
        ),
        fixed(
            "offsets.retention.minutes",
            retention_minutes,
            INT,
            "How long offsets outlive the last member of their group.",
        ),
    ]
}

fn default_of(topic: &ConfigDefinition, flush: Flush) -> BrokerConfig {
    let value = topic.default_with(flush);
    let is_default = value == topic.default;
    BrokerConfig { is_default, ..fixed(topic.broker_name, value, topic.kind, topic.documentation) }
}

fn set(
    name: &'static str,
    value: impl ToString,
    kind: Kind,
    documentation: &'static str,
) -> BrokerConfig {
    BrokerConfig { is_default: false, ..fixed(name, value, kind, documentation) }
}

fn fixed(
    name: &'static str,
    value: impl ToString,
    kind: Kind,
    documentation: &'static str,
) -> BrokerConfig {
    BrokerConfig { name, value: value.to_string(), is_default: true, kind, documentation }
}
