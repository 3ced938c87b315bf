//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

use super::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) fn ask(peer: &mut Peer) {
    topic(peer, "configs", 1, &[("retention.ms", "60000"), ("cleanup.policy", "compact")]);
    describe(peer);
    change(peer);
    replace(peer);
    of_a_group(peer);
}

fn of_a_group(peer: &mut Peer) {
    let (session, interval) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
    let group = |ops: &[(&str, i8, Option<&str>)]| changes(GROUP, "configs", ops);
    for (what, request) in [
        ("of a group", group(&[(session, SET, Some("50000"))])),
        ("of a group, too short", group(&[(session, SET, Some("44999"))])),
        ("of a group, too long", group(&[(interval, SET, Some("15001"))])),
        ("of a group, what it is not", group(&[(interval, SET, Some("soon"))])),
        ("of a group, nothing", group(&[(interval, SET, Some("0"))])),
        ("of a group, the unknown", group(&[("no.such", SET, Some("1"))])),
        ("of a group, null", group(&[(session, SET, None)])),
        ("of a group, no list", group(&[(session, APPEND, Some("1"))])),
        ("of a group, delete", group(&[(session, DELETE, None)])),
        ("of a group, delete the unknown", group(&[("no.such", DELETE, None)])),
    ] {
        peer.newly(what, request);
    }
    let both = group(&[(session, SET, Some("50000")), (interval, SET, Some("7000"))]);
    peer.newly("both of a group", IncrementalAlterConfigsRequest { validate_only: false, ..both });
    peer.until(resource(GROUP, "configs", None), |answer| match answer {
        Response::DescribeConfigs(it) => {
            it.results[0].configs.iter().any(|it| it.value.as_deref() == Some("7000"))
        }
        _ => false,
    });
    peer.newly("a group with two", resource(GROUP, "configs", None));
    let groups = ListConfigResourcesRequest { resource_types: vec![GROUP] };
    peer.newly("groups with configs", groups);
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys.map(texts),
        }],
        include_synonyms: true,
        include_documentation: true,
    }
}

fn describe(peer: &mut Peer) {
    let keys: &[&str] = &["retention.ms", "cleanup.policy", "segment.bytes", "no.such"];
    peer.each("some of a topic", |_| resource(TOPIC, "configs", Some(keys)));
    peer.newly("all of a topic", resource(TOPIC, "configs", None));
    peer.newly("none of a topic", resource(TOPIC, "configs", Some(&[])));
    peer.newly(
        "plainly",
        DescribeConfigsRequest {
            include_synonyms: false,
            include_documentation: false,
            ..resource(TOPIC, "configs", None)
        },
    );
    let keys: &[&str] = &["num.partitions", "log.retention.ms", "node.id", "no.such"];
    peer.each("some of the broker", |_| resource(BROKER, "1", Some(keys)));
    for (what, kind, name) in [
        ("unknown topic", TOPIC, "unknown"),
        ("invalid topic", TOPIC, "a b"),
        ("no topic", TOPIC, ""),
        ("another broker", BROKER, "9"),
        ("a broker without a number", BROKER, "one"),
        ("the default of brokers", BROKER, ""),
        ("another broker's loggers", BROKER_LOGGER, "9"),
        ("loggers without a broker", BROKER_LOGGER, ""),
        ("client metrics", CLIENT_METRICS, "metrics"),
        ("client metrics without a name", CLIENT_METRICS, ""),
        ("a group", GROUP, "configs"),
        ("no group", GROUP, ""),
        ("an unknown kind", 99, "what"),
        ("a kind of nothing", 0, "what"),
    ] {
        peer.newly(what, resource(kind, name, None));
    }
    let mut twice = resource(TOPIC, "configs", Some(&["retention.ms"]));
    twice.resources.push(twice.resources[0].clone());
    peer.newly("a topic twice", twice);
}

fn changes(
    kind: i8,
    name: &str,
    ops: &[(&str, i8, Option<&str>)],
) -> IncrementalAlterConfigsRequest {
    let configs = ops.iter().map(|(name, operation, value)| IncrementalAlterableConfig {
        name: (*name).into(),
        config_operation: *operation,
        value: value.map(Str::from),
    });
    IncrementalAlterConfigsRequest {
        resources: vec![IncrementalAlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: configs.collect(),
        }],
        validate_only: true,
    }
}

fn change(peer: &mut Peer) {
    let topic = |ops: &[(&str, i8, Option<&str>)]| changes(TOPIC, "configs", ops);
    for (what, request) in [
        ("set", topic(&[("retention.ms", SET, Some("1000"))])),
        ("set to what it is not", topic(&[("retention.ms", SET, Some("soon"))])),
        ("set the unknown", topic(&[("no.such", SET, Some("1"))])),
        ("set to null", topic(&[("retention.ms", SET, None)])),
        ("set to nothing", topic(&[("retention.ms", SET, Some(""))])),
        ("two to null", topic(&[("segment.ms", SET, None), ("retention.ms", SET, None)])),
        ("delete", topic(&[("retention.ms", DELETE, None)])),
        ("delete what is not set", topic(&[("segment.ms", DELETE, None)])),
        ("delete the unknown", topic(&[("no.such", DELETE, None)])),
        ("append", topic(&[("cleanup.policy", APPEND, Some("delete"))])),
        ("append what is there", topic(&[("cleanup.policy", APPEND, Some("compact"))])),
        ("append what it cannot be", topic(&[("cleanup.policy", APPEND, Some("shred"))])),
        ("append to no list", topic(&[("retention.ms", APPEND, Some("1"))])),
        ("append to the unknown", topic(&[("no.such", APPEND, Some("1"))])),
        ("append null", topic(&[("cleanup.policy", APPEND, None)])),
        ("subtract", topic(&[("cleanup.policy", SUBTRACT, Some("delete"))])),
        ("subtract all", topic(&[("cleanup.policy", SUBTRACT, Some("compact"))])),
        ("subtract from no list", topic(&[("retention.ms", SUBTRACT, Some("1"))])),
        ("an unknown operation", topic(&[("retention.ms", 9, Some("1"))])),
        ("a key twice", topic(&[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)])),
        ("nothing", topic(&[])),
        ("unknown topic", changes(TOPIC, "unknown", &[("retention.ms", SET, Some("1"))])),
        ("unknown topic and config", changes(TOPIC, "unknown", &[("no.such", SET, Some("1"))])),
        ("invalid topic", changes(TOPIC, "a b", &[("retention.ms", SET, Some("1"))])),
        ("no topic", changes(TOPIC, "", &[("retention.ms", SET, Some("1"))])),
        ("another broker", changes(BROKER, "9", &[("log.retention.ms", SET, Some("1"))])),
        ("a broker by letters", changes(BROKER, "one", &[("log.retention.ms", SET, Some("1"))])),
        ("what no client sets", changes(BROKER, "1", &[("node.id", SET, Some("2"))])),
        ("no group", changes(GROUP, "", &[("no.such", SET, Some("1"))])),
        ("an unknown kind", changes(99, "what", &[("a", SET, Some("1"))])),
    ] {
        peer.each(what, |_| request.clone());
    }
    let mut twice = topic(&[("retention.ms", SET, Some("1"))]);
    twice.resources.push(twice.resources[0].clone());
    peer.newly("a topic twice", twice);
    let all = topic(&[
        ("retention.ms", DELETE, None),
        ("cleanup.policy", APPEND, Some("delete")),
        ("retention.bytes", SET, Some("123456")),
    ]);
    peer.newly("several", IncrementalAlterConfigsRequest { validate_only: false, ..all });
    set(peer, "123456");
}

/// Waits until `retention.bytes` is this, and tells all that is set.
fn set(peer: &mut Peer, wanted: &str) {
    peer.until(resource(TOPIC, "configs", Some(&["retention.bytes"])), |answer| match answer {
        Response::DescribeConfigs(it) => it.results[0].configs[0].value.as_deref() == Some(wanted),
        _ => false,
    });
    peer.newly("after that", resource(TOPIC, "configs", None));
}

fn replace(peer: &mut Peer) {
    let request = |kind, name: &str, configs: &[(&str, Option<&str>)]| AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configs: configs
                .iter()
                .map(|(name, value)| AlterableConfig {
                    name: (*name).into(),
                    value: value.map(Str::from),
                })
                .collect(),
        }],
        validate_only: true,
    };
    let topic = |configs: &[(&str, Option<&str>)]| request(TOPIC, "configs", configs);
    for (what, request) in [
        ("one", topic(&[("retention.ms", Some("1000"))])),
        ("what it is not", topic(&[("retention.ms", Some("soon"))])),
        ("the unknown", topic(&[("no.such", Some("1"))])),
        ("null", topic(&[("retention.ms", None)])),
        ("a key twice", topic(&[("retention.ms", Some("1")), ("retention.ms", Some("2"))])),
        ("nothing", topic(&[])),
        ("unknown topic", request(TOPIC, "unknown", &[("retention.ms", Some("1"))])),
        ("no topic", request(TOPIC, "", &[("retention.ms", Some("1"))])),
        ("another broker", request(BROKER, "9", &[("log.retention.ms", Some("1"))])),
        ("an unknown kind", request(99, "what", &[("a", Some("1"))])),
    ] {
        peer.each(what, |_| request.clone());
    }
    let all = topic(&[("retention.bytes", Some("654321"))]);
    peer.newly("all", AlterConfigsRequest { validate_only: false, ..all });
    set(peer, "654321");
}
