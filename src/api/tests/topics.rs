//! CreateTopics and DeleteTopics against a broker on a temporary directory.

use super::{Client, ask, batch};
use crate::api::configs::resource;
use crate::settings::Layer;
use crate::topic::{Config, Error, NewTopic, ToDelete};
use futures_util::FutureExt;
use tidelog_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResource, CreatableTopic, CreateTopicsRequest,
    DeleteTopicState, DeleteTopicsRequest, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResource, IncrementalAlterableConfig, MetadataRequest,
    MetadataRequestTopic, OffsetCommitRequest, OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
};
use tidelog_protocol::{ErrorCode, Str};

#[tokio::test]
async fn a_topic_is_found_by_its_id_whatever_name_stands_beside_it() {
    let client = Client::new().await;
    let red = client.topic("red", 1).await;
    for name in [None, Some(Str::new())] {
        let topic = MetadataRequestTopic { topic_id: red.id, name };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let answer = ask!(client, 12, Metadata, request);
        assert_eq!(answer.topics[0].name.as_deref(), Some("red"));
    }
}

/// A producer that is told so gives up; of an unknown topic it asks for as long as it may.
#[tokio::test]
async fn a_name_that_no_topic_can_have_is_refused_also_where_none_are_created() {
    let none_created = Layer { auto_create_topics: Some(false), ..Layer::default() };
    for layer in [Layer::default(), none_created] {
        let client = Client::open_with(tempfile::tempdir().unwrap(), layer).await;
        let name = Some(Str::from_static("no such name"));
        let topics = Some(vec![MetadataRequestTopic { name, ..Default::default() }]);
        let asked =
            MetadataRequest { topics, allow_auto_topic_creation: true, ..Default::default() };
        let answer = ask!(client, 12, Metadata, asked);
        assert_eq!(answer.topics[0].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
}

#[tokio::test]
async fn a_change_whose_client_left_goes_on_to_its_end() {
    let client = Client::new().await;
    for polls in 1..8 {
        let name = format!("red-{polls}");
        let new = NewTopic { name, partitions: 1, config: Config::default(), sync: None };
        let mut creating = Box::pin(client.cluster.topics.create(new.clone()));
        for _ in 0..polls {
            if (&mut creating).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(creating);
        client.cluster.topics.get_or_create(new.clone()).await.unwrap();
        drop(client.cluster.delete_topic(&new.name).now_or_never());
        // The next change waits for the deletion to end.
        client.topic(&format!("blue-{polls}"), 1).await;
        client.topic(&new.name, 1).await;
    }
}

#[tokio::test]
async fn a_deletion_that_a_crash_cut_short_is_finished_at_start() {
    let client = Client::new().await;
    client.topic("red", 2).await;
    client.produce("red", batch(3)).await;
    let partition = OffsetCommitRequestPartition { committed_offset: 2, ..Default::default() };
    let topic = OffsetCommitRequestTopic {
        name: "red".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: "readers".into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    ask!(client, 8, OffsetCommit, request);
    let control = client.cluster.shared.control.clone();
    let mut row = control.topics().await.unwrap().remove(0);
    row.partitions = -row.partitions;
    control.update_topic(&row).await.unwrap();

    let client = client.restart().await;
    assert!(client.cluster.topics.get("red").is_none());
    assert_eq!(*client.cluster.topics.watch().borrow(), 1, "it went, and was not there before");
    assert!(client.cluster.shared.control.topics().await.unwrap().is_empty());
    assert!(client.cluster.groups.offsets("readers").await.unwrap().is_empty());
    assert_eq!(client.topic("red", 1).await.partition(0).unwrap().log().log_end_offset(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_topics_that_are_made_and_deleted() {
    let mut client = Client::new().await;
    for _ in 0..5 {
        client.topic("red", 100).await;
        client.produce("red", batch(3)).await;
        let deleting = client.cluster.clone();
        let deleting = tokio::spawn(async move { deleting.delete_topic("red").await });
        while client.cluster.topics.get("red").is_some() {
            tokio::task::yield_now().await;
        }
        // Fails where a log that closes has lost its files.
        client = client.restart().await;
        deleting.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_topic_whose_configs_cannot_be_read_is_offline_and_loses_nothing_by_the_defaults() {
    let mut client = Client::new().await;
    client.topic("blue", 1).await;
    client.topic("red", 2).await;
    client.produce("red", batch(3)).await;
    let stored = async |client: &Client| {
        let topics = client.cluster.shared.control.topics().await.unwrap();
        topics.into_iter().find(|it| it.name == "red").unwrap()
    };
    let mut row = stored(&client).await;
    for (configs, why) in [("{", "damaged"), (r#"{"what.is.to.come":"1"}"#, "of a later version")] {
        let whole = std::mem::replace(&mut row.configs, configs.to_owned());
        client.cluster.shared.control.update_topic(&row).await.unwrap();

        client = client.restart().await;
        let red = client.cluster.topics.get("red").unwrap();
        assert_eq!(red.offline().collect::<Vec<_>>(), [0, 1], "{why}");
        let refused = client.produce("red", batch(1)).await;
        let refused = refused.responses[0].partition_responses[0].error_code;
        assert_eq!(refused, ErrorCode::KAFKA_STORAGE_ERROR, "{why}");
        let taken = client.produce("blue", batch(1)).await;
        assert_eq!(taken.responses[0].partition_responses[0].error_code, ErrorCode::NONE, "{why}");

        // It is left as it is, whatever else is asked of the topic.
        let refused = client.cluster.topics.grow("red", 3, false).await.unwrap_err();
        assert!(refused.to_string().contains("'red' is offline"), "{refused}");
        client.cluster.topics.release("red").await.unwrap();
        assert_eq!(stored(&client).await.configs, configs, "{why}");

        row.configs = whole;
        client.cluster.shared.control.update_topic(&row).await.unwrap();
        client = client.restart().await;
        let red = client.cluster.topics.get("red").unwrap();
        assert_eq!(red.partition(0).unwrap().log().log_end_offset(), 3, "{why}");
    }

    // Or one of them is set anew, and those that can be read stay.
    row.configs = r#"{"retention.ms":"-1","what.is.to.come":"1"}"#.to_owned();
    client.cluster.shared.control.update_topic(&row).await.unwrap();
    client = client.restart().await;
    let name = Str::from_static("segment.bytes");
    let config =
        IncrementalAlterableConfig { name, value: Some("1048576".into()), ..Default::default() };
    let one = IncrementalAlterConfigsResource {
        resource_type: resource::TOPIC,
        resource_name: "red".into(),
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![one], validate_only: false };
    let altered = ask!(client, 1, IncrementalAlterConfigs, request);
    assert_eq!(altered.responses[0].error_code, ErrorCode::NONE);
    assert_eq!(stored(&client).await.configs, r#"{"retention.ms":"-1","segment.bytes":"1048576"}"#);

    // Or all are, be it to what they are without.
    row.configs = "{".to_owned();
    client.cluster.shared.control.update_topic(&row).await.unwrap();
    client = client.restart().await;
    let none = AlterConfigsResource {
        resource_type: resource::TOPIC,
        resource_name: "red".into(),
        configs: Vec::new(),
    };
    let request = AlterConfigsRequest { resources: vec![none], validate_only: false };
    let altered = ask!(client, 1, AlterConfigs, request);
    assert_eq!(altered.responses[0].error_code, ErrorCode::NONE);
    client = client.restart().await;
    let red = client.cluster.topics.get("red").unwrap();
    assert_eq!(red.partition(0).unwrap().log().log_end_offset(), 3);
}

fn creatable(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: -1,
        ..Default::default()
    }
}

#[tokio::test]
async fn many_topics_come_and_go_in_one_transaction_and_a_bad_one_sinks_no_other() {
    const MANY: usize = 200;
    let client = Client::new().await;
    client.topic("re_d", 1).await;
    let names: Vec<String> = (0..MANY).map(|n| format!("topic{n}")).collect();
    let bad = ["re.d", "re_d", "no such name"];
    let all = || bad.iter().copied().chain(names.iter().map(|name| &**name));
    // SQLite writes whole pages of 4 KiB, and no less than one for a transaction.
    let wal = client.dir.path().join("control.db-wal");
    let written = || std::fs::metadata(&wal).unwrap().len();
    let before = written();

    let topics = all().map(creatable).collect();
    let request = CreateTopicsRequest { topics, timeout_ms: 1000, ..Default::default() };
    let answer = ask!(client, 7, CreateTopics, request);
    let codes: Vec<_> = answer.topics.iter().map(|it| it.error_code).collect();
    let invalid = ErrorCode::INVALID_TOPIC_EXCEPTION;
    assert_eq!(codes[..3], [invalid, ErrorCode::TOPIC_ALREADY_EXISTS, invalid]);
    assert_eq!(codes[3..], [ErrorCode::NONE; MANY]);
    for (name, answer) in names.iter().zip(&answer.topics[3..]) {
        let topic = client.cluster.topics.get(name).unwrap();
        assert_eq!((&*answer.name, answer.topic_id), (&**name, topic.id));
        assert_eq!(topic.online().count(), 1);
    }

    let topics = ["nobody"].into_iter().chain(names.iter().map(|name| &**name));
    let topics =
        topics.map(|name| DeleteTopicState { name: Some(name.into()), ..Default::default() });
    let request = DeleteTopicsRequest { topics: topics.collect(), ..Default::default() };
    let answer = ask!(client, 6, DeleteTopics, request);
    let codes: Vec<_> = answer.responses.iter().map(|it| it.error_code).collect();
    assert_eq!(codes[0], ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(codes[1..], [ErrorCode::NONE; MANY]);
    let per_topic = (written() - before) / MANY as u64;
    assert!(per_topic < 4096, "{per_topic} bytes of a topic");
    assert_eq!(client.cluster.topics.all().len(), 1);
    assert_eq!(client.cluster.shared.control.topics().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_name_that_collides_is_refused_also_where_topics_are_created_by_use() {
    let client = Client::new().await;
    client.topic("re.d", 1).await;
    let refused = client.cluster.topic_or_auto_create("re_d").await.err().unwrap();
    assert_eq!(refused.to_string(), "topic 're_d' collides with existing topic: re.d");
    client.cluster.delete_topic("re.d").await.unwrap();
    client.cluster.topic_or_auto_create("re_d").await.unwrap();
}

#[tokio::test]
async fn empty_partitions_of_no_topic_make_room_and_those_with_records_stay() {
    let client = Client::new().await;
    client.topic("red", 2).await;
    client.topic("blue", 1).await;
    client.produce("blue", batch(3)).await;
    let control = client.cluster.shared.control.clone();
    let rows = control.topics().await.unwrap();
    let mut red = rows.into_iter().find(|it| it.name == "red").unwrap();
    // As a crash leaves it that comes between the files of a new partition and its being stored.
    red.partitions = 1;
    control.update_topic(&red).await.unwrap();
    control.remove_topics(&red.account, &["blue".to_owned()]).await.unwrap();

    let client = client.restart().await;
    client.cluster.delete_topic("red").await.unwrap();
    assert_eq!(client.topic("red", 2).await.online().count(), 2);
    let config = Config::default();
    let blue = NewTopic { name: "blue".to_owned(), partitions: 1, config, sync: None };
    client.cluster.topics.create(blue).await.err().unwrap();
    assert_eq!(client.cluster.shared.control.topics().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_deletion_that_failed_is_finished_by_who_next_wants_the_name() {
    let client = Client::new().await;
    client.topic("red", 2).await;
    client.topic("blue", 1).await;
    // Where files go to be removed.
    let bin = client.dir.path().join("deleted");
    let _none_yet = std::fs::remove_dir(&bin);
    std::fs::write(&bin, "in the way").unwrap();
    for name in ["red", "blue"] {
        client.cluster.delete_topic(name).await.unwrap_err();
        assert!(client.cluster.topics.get(name).is_none());
    }
    std::fs::remove_file(&bin).unwrap();
    client.cluster.delete_topic("blue").await.unwrap();
    assert_eq!(client.topic("red", 3).await.online().count(), 3);
    assert_eq!(client.cluster.shared.control.topics().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_topic_that_got_the_name_of_one_that_was_to_be_deleted_by_id_stays() {
    let client = Client::new().await;
    let red = |id| ToDelete { name: "red".to_owned(), id: Some(id) };
    let before = client.topic("red", 1).await.id;
    client.cluster.delete_topic("red").await.unwrap();
    let after = client.topic("red", 1).await.id;
    let deleted = client.cluster.delete_topics(vec![red(before)]).await.unwrap();
    assert!(matches!(deleted[..], [Err(Error::Unknown(_))]), "{deleted:?}");
    assert_eq!(client.cluster.topics.get("red").map(|topic| topic.id), Some(after));
    let deleted = client.cluster.delete_topics(vec![red(after)]).await.unwrap();
    assert!(matches!(deleted[..], [Ok(())]), "{deleted:?}");
    assert!(client.cluster.topics.get("red").is_none());
}
