//! Configs: described, set, refused, and still there after a restart.

use super::{Client, ask, batch};
use crate::settings::Layer;
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| Str::from(*key)).collect()),
    }
}

async fn describe(
    client: &Client,
    version: i16,
    asked: DescribeConfigsResource,
) -> DescribeConfigsResult {
    let request = DescribeConfigsRequest {
        resources: vec![asked],
        include_synonyms: version >= 1,
        include_documentation: version >= 3,
    };
    ask!(client, version, DescribeConfigs, request).results.remove(0)
}

async fn value(client: &Client, topic: &str, name: &str) -> (String, i8) {
    let result = describe(client, 4, resource(TOPIC, topic, Some(&[name]))).await;
    let config = &result.configs[0];
    (config.value.clone().unwrap_or_default().to_string(), config.config_source)
}

/// A config's name, what to do with it, and the value.
type Changed<'a> = (&'a str, i8, Option<&'a str>);

/// Changes one topic's configs.
async fn change(
    client: &Client,
    topic: &str,
    changes: &[Changed<'_>],
    validate_only: bool,
) -> (ErrorCode, String) {
    let config =
        |(name, config_operation, value): &(&str, i8, Option<&str>)| IncrementalAlterableConfig {
            name: Str::from(*name),
            config_operation: *config_operation,
            value: value.map(Str::from),
        };
    let resource = IncrementalAlterConfigsResource {
        resource_type: TOPIC,
        resource_name: topic.into(),
        configs: changes.iter().map(config).collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let answer = ask!(client, 1, IncrementalAlterConfigs, request).responses.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default().to_string())
}

#[tokio::test]
async fn configs_say_where_they_come_from_in_every_version() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    assert_eq!(change(&client, "red", &[("retention.ms", 0, Some("60000"))], false).await.0.0, 0);
    for version in 0..=4 {
        let red = describe(&client, version, resource(TOPIC, "red", None)).await;
        assert_eq!((red.error_code, red.configs.len()), (ErrorCode::NONE, 37));
        let find = |name: &str| red.configs.iter().find(|it| it.name == name).unwrap();
        let (set, unset) = (find("retention.ms"), find("segment.bytes"));
        assert_eq!(set.value.as_deref(), Some("60000"));
        assert!(!set.read_only && !unset.read_only && find("min.insync.replicas").read_only);
        if version == 0 {
            assert!(!set.is_default && unset.is_default);
            continue;
        }
        assert_eq!((set.config_source, unset.config_source), (1, 5));
        let synonyms: Vec<_> = set.synonyms.iter().map(|it| (&*it.name, it.source)).collect();
        assert_eq!(synonyms, [("retention.ms", 1), ("log.retention.ms", 5)]);
        assert_eq!(set.config_type, if version >= 3 { 5 } else { 0 });
        assert_eq!(set.documentation.is_some(), version >= 3);
    }
}

#[tokio::test]
async fn resources_are_described_or_refused_by_kind_and_name() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let cases = [
        (TOPIC, "none", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "no/name", ErrorCode::INVALID_TOPIC_EXCEPTION),
        (BROKER, "1", ErrorCode::NONE),
        (BROKER, "", ErrorCode::NONE),
        (BROKER, "2", ErrorCode::INVALID_REQUEST),
        (BROKER, "one", ErrorCode::INVALID_REQUEST),
        (8, "1", ErrorCode::NONE),
        (16, "metrics", ErrorCode::NONE),
        (32, "group", ErrorCode::NONE),
        (3, "what", ErrorCode::INVALID_REQUEST),
    ];
    for (kind, name, expected) in cases {
        let result = describe(&client, 4, resource(kind, name, None)).await;
        assert_eq!(result.error_code, expected, "{kind} {name}");
        assert_eq!(result.error_message.is_some(), expected.is_error());
    }
    let keys = Some(["delete.topic.enable", "num.partitions"].as_slice());
    let broker = describe(&client, 4, resource(BROKER, "1", keys)).await;
    let values: Vec<_> = broker.configs.iter().map(|it| it.value.as_deref().unwrap()).collect();
    assert_eq!(values, ["true", "1"]);
    assert!(broker.configs.iter().all(|it| it.read_only && it.synonyms.len() == 1));

    let list = async |version, resource_types: &[i8]| {
        let request = ListConfigResourcesRequest { resource_types: resource_types.to_vec() };
        ask!(client, version, ListConfigResources, request)
    };
    assert!(list(0, &[]).await.config_resources.is_empty());
    let all = list(1, &[]).await.config_resources;
    let all: Vec<_> = all.iter().map(|it| (it.resource_type, &*it.resource_name)).collect();
    assert_eq!(all, [(TOPIC, "red"), (BROKER, "1"), (8, "1")]);
    assert_eq!(list(1, &[TOPIC]).await.config_resources.len(), 1);
    assert_eq!(list(1, &[3]).await.error_code, ErrorCode::UNSUPPORTED_VERSION);
}

#[tokio::test]
async fn a_change_is_in_force_at_once_and_after_a_restart() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let code = async |client: &Client| {
        client.produce("red", batch(100)).await.responses[0].partition_responses[0].error_code
    };
    let limit = [("max.message.bytes", 0, Some("200")), ("retention.ms", 0, Some("-1"))];
    assert_eq!(change(&client, "red", &limit, true).await.0, ErrorCode::NONE);
    assert_eq!(code(&client).await, ErrorCode::NONE, "validate_only changes nothing");
    assert_eq!(change(&client, "red", &limit, false).await.0, ErrorCode::NONE);
    assert_eq!(code(&client).await, ErrorCode::MESSAGE_TOO_LARGE);

    let client = client.restart().await;
    assert_eq!(code(&client).await, ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(value(&client, "red", "retention.ms").await, ("-1".to_owned(), 1));
    let delete = [("max.message.bytes", 1, None)];
    assert_eq!(change(&client, "red", &delete, false).await.0, ErrorCode::NONE);
    assert_eq!(code(&client).await, ErrorCode::NONE);
    assert_eq!(value(&client, "red", "max.message.bytes").await, ("1048588".to_owned(), 5));
}

#[tokio::test]
async fn the_old_form_replaces_all_that_is_set() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    for version in 0..=2 {
        let both = [("retention.ms", 0, Some("1")), ("segment.bytes", 0, Some("2000000"))];
        assert_eq!(change(&client, "red", &both, false).await.0, ErrorCode::NONE);
        let config =
            AlterableConfig { name: "retention.ms".into(), value: Some(Str::from_static("2")) };
        let resource = |name: &str| AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: name.into(),
            configs: vec![config.clone()],
        };
        let resources = ["red", "none", "none", "none"].map(resource).to_vec();
        let request = AlterConfigsRequest { resources, validate_only: false };
        let answers = ask!(client, version, AlterConfigs, request).responses;
        let codes: Vec<_> = answers.iter().map(|it| it.error_code).collect();
        let twice = ErrorCode::INVALID_REQUEST;
        assert_eq!(codes, [ErrorCode::NONE, twice, twice, twice]);
        assert_eq!(value(&client, "red", "retention.ms").await, ("2".to_owned(), 1));
        assert_eq!(value(&client, "red", "segment.bytes").await, ("1073741824".to_owned(), 5));
    }
}

#[tokio::test]
async fn a_refused_change_changes_nothing_and_says_why() {
    let client = Client::new().await;
    client.topic("red", 1).await;
    let (config, request) = (ErrorCode::INVALID_CONFIG, ErrorCode::INVALID_REQUEST);
    let cases: &[(&[Changed<'_>], ErrorCode, &str)] = &[
        (&[("retention", 0, Some("1"))], config, "Unknown topic config name: retention"),
        (&[("compression.lz4.level", 0, Some("18"))], config, "no more than 17"),
        (&[("preallocate", 0, Some("true"))], config, "is supported here"),
        (&[("retention.ms", 2, Some("1"))], config, "its type is not LIST"),
        (&[("retention.ms", 0, None)], request, "Null value not supported for : retention.ms"),
        (&[("retention.ms", 4, Some("1"))], request, "operation type 4"),
        (
            &[("retention.ms", 0, Some("1")), ("retention.ms", 1, None)],
            request,
            "duplicate config keys",
        ),
        (
            &[("retention.bytes", 0, Some("5")), ("segment.ms", 0, Some("x"))],
            config,
            "Not a number",
        ),
    ];
    for (changes, code, text) in cases {
        let (found, message) = change(&client, "red", changes, false).await;
        assert!(found == *code && message.contains(text), "{changes:?}: {found} {message}");
    }
    assert!(client.cluster.topics.get("red").unwrap().config.set().is_empty());
    let defaults =
        [("min.insync.replicas", 0, Some("1")), ("compression.type", 0, Some("producer"))];
    assert_eq!(change(&client, "red", &defaults, false).await.0, ErrorCode::NONE);
    let (code, _) = change(&client, "none", &defaults, false).await;
    assert_eq!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    let resource = IncrementalAlterConfigsResource {
        resource_type: BROKER,
        resource_name: "1".into(),
        configs: vec![IncrementalAlterableConfig {
            name: "node.id".into(),
            value: Some("2".into()),
            ..Default::default()
        }],
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: true };
    let answer = &ask!(client, 0, IncrementalAlterConfigs, request).responses[0];
    assert_eq!(answer.error_code, ErrorCode::INVALID_REQUEST);
}

#[tokio::test]
async fn when_to_flush_is_the_topics_own_or_else_the_operators_as_clients_are_told() {
    const LONG: &str = "9223372036854775807";
    for (flush, messages, ms) in [
        ("commit", ("1", 5), (LONG, 5)),
        ("interval:250ms", (LONG, 4), ("250", 4)),
        ("never", (LONG, 4), (LONG, 5)),
    ] {
        let layer = Layer { flush: Some(flush.to_owned()), ..Layer::default() };
        let client = Client::open_with(tempfile::tempdir().unwrap(), layer).await;
        client.topic("red", 1).await;
        for (name, default) in [("flush.messages", messages), ("flush.ms", ms)] {
            let default = (default.0.to_owned(), default.1);
            assert_eq!(value(&client, "red", name).await, default, "{flush}");
            for (number, code) in [("100", 0), ("0", if name == "flush.ms" { 0 } else { 40 })] {
                let set = change(&client, "red", &[(name, 0, Some(number))], false).await;
                assert_eq!(set.0.0, code, "{flush}: {set:?}");
            }
            assert_eq!(value(&client, "red", name).await.1, 1);
            let delete = change(&client, "red", &[(name, 1, None)], false).await;
            assert_eq!(delete.0, ErrorCode::NONE);
            assert_eq!(value(&client, "red", name).await, default, "{flush}");
        }
        let topic = client.cluster.topics.get("red").unwrap();
        let log = topic.partition(0).unwrap().log();
        let answer = client.produce("red", batch(1)).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
        assert_eq!(log.high_watermark(), 1, "{flush}");
    }
}

/// A group has configs whether it is there or not, and the answer is far longer than the question.
#[tokio::test]
async fn so_many_resources_are_described_at_once_and_no_more() {
    const GROUP: i8 = 32;
    let client = Client::new().await;
    let resources = (0..10_001).map(|n| resource(GROUP, &n.to_string(), Some(&["none"])));
    let request = DescribeConfigsRequest { resources: resources.collect(), ..Default::default() };
    let results = ask!(client, 1, DescribeConfigs, request).results;
    assert_eq!(results.len(), 10_001);
    let (described, refused) = results.split_at(10_000);
    assert!(described.iter().all(|it| it.error_code == ErrorCode::NONE));
    assert_eq!(refused[0].error_code, ErrorCode::INVALID_REQUEST);
}
