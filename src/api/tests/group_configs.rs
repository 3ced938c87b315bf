//! Configs of groups: described, set, refused, obeyed, and still there after a restart.

use super::{Client, ask};
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str};

const GROUP: i8 = 32;
const SESSION: &str = "consumer.session.timeout.ms";
const INTERVAL: &str = "consumer.heartbeat.interval.ms";

/// A config's name, what to do with it, and the value.
type Changed<'a> = (&'a str, i8, Option<&'a str>);

/// Changes the configs of a group, and gives what that is answered.
async fn change(client: &Client, changes: &[Changed<'_>], dry: bool) -> (ErrorCode, String) {
    let config = |(name, config_operation, value): &Changed<'_>| IncrementalAlterableConfig {
        name: Str::from(*name),
        config_operation: *config_operation,
        value: value.map(Str::from),
    };
    let resource = IncrementalAlterConfigsResource {
        resource_type: GROUP,
        resource_name: "readers".into(),
        configs: changes.iter().map(config).collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: dry };
    let answer = ask!(client, 1, IncrementalAlterConfigs, request).responses.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default().to_string())
}

/// Its value, and where that comes from.
async fn value(client: &Client, group: &str, name: &str) -> (String, i8) {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: GROUP,
            resource_name: group.into(),
            configuration_keys: Some(vec![name.into()]),
        }],
        include_synonyms: true,
        include_documentation: false,
    };
    let config = ask!(client, 4, DescribeConfigs, request).results.remove(0).configs.remove(0);
    assert_eq!(config.synonyms.len(), if config.config_source == 8 { 2 } else { 1 });
    (config.value.unwrap_or_default().to_string(), config.config_source)
}

async fn configured(client: &Client) -> Vec<String> {
    let request = ListConfigResourcesRequest { resource_types: vec![GROUP] };
    let listed = ask!(client, 1, ListConfigResources, request).config_resources;
    listed.iter().map(|it| it.resource_name.to_string()).collect()
}

/// What a member is told of its heartbeats.
async fn interval_ms(client: &Client, group: &str, member_epoch: i32) -> i32 {
    let request = ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: "m".into(),
        member_epoch,
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec!["red".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let answer = ask!(client, 1, ConsumerGroupHeartbeat, request);
    assert_eq!(answer.error_code, ErrorCode::NONE, "{:?}", answer.error_message);
    answer.heartbeat_interval_ms
}

#[tokio::test]
async fn what_is_set_on_a_group_is_told_to_its_members_and_outlives_a_restart() {
    let client = Client::new().await;
    // In dev, heartbeats are more frequent than Kafka's default: the operator's word.
    assert_eq!(value(&client, "readers", INTERVAL).await, ("1000".to_owned(), 4));
    assert_eq!(interval_ms(&client, "readers", 0).await, 1000);
    let both = [(SESSION, 0, Some("50000")), (INTERVAL, 0, Some("7000"))];
    assert_eq!(change(&client, &both, true).await.0, ErrorCode::NONE);
    assert_eq!(configured(&client).await, [""; 0], "validate_only changes nothing");
    assert_eq!(change(&client, &both, false).await.0, ErrorCode::NONE);
    assert_eq!(interval_ms(&client, "readers", 1).await, 7000, "of a group that is live");
    assert_eq!(interval_ms(&client, "others", 0).await, 1000);

    let client = client.restart().await;
    assert_eq!(configured(&client).await, ["readers"]);
    assert_eq!(value(&client, "readers", SESSION).await, ("50000".to_owned(), 8));
    assert_eq!(interval_ms(&client, "readers", 1).await, 7000, "of a group that was loaded");
    assert_eq!(change(&client, &[(INTERVAL, 1, None)], false).await.0, ErrorCode::NONE);
    assert_eq!(interval_ms(&client, "readers", 1).await, 1000);
    assert_eq!(configured(&client).await, ["readers"]);

    let request = AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: GROUP,
            resource_name: "readers".into(),
            configs: Vec::new(),
        }],
        validate_only: false,
    };
    ask!(client, 2, AlterConfigs, request);
    assert_eq!(configured(&client).await, [""; 0], "all is replaced by nothing");
}

#[tokio::test]
async fn a_refused_change_of_a_group_changes_nothing_and_says_why() {
    let client = Client::new().await;
    let config = ErrorCode::INVALID_CONFIG;
    for (changes, text) in [
        ([("no.such", 0, Some("1"))], "Unknown group config name: no.such"),
        (
            [(SESSION, 0, Some("soon"))],
            "Invalid value soon for configuration consumer.session.timeout.ms: Not a number of type INT",
        ),
        (
            [(SESSION, 0, Some("100"))],
            "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.",
        ),
        // Kafka's bounds, widened to what the operator made the default.
        (
            [(INTERVAL, 0, Some("15001"))],
            "consumer.heartbeat.interval.ms must be in the range 1000 to 15000 inclusive.",
        ),
        ([(INTERVAL, 2, Some("1"))], "Can't APPEND to key consumer.heartbeat.interval.ms because"),
        (
            [("share.delivery.count.limit", 0, Some("6"))],
            "only the default, '5', is supported here",
        ),
    ] {
        let (code, message) = change(&client, &changes, false).await;
        assert!(code == config && message.contains(text), "{changes:?}: {code} {message}");
    }
    let default = [("share.delivery.count.limit", 0, Some("5"))];
    assert_eq!(change(&client, &default, true).await.0, ErrorCode::NONE);
    assert_eq!(configured(&client).await, [""; 0]);
}
