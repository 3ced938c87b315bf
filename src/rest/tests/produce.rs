//! What becomes of the records of a request.

use super::*;
use crate::topic::partition_for;
use std::path::PathBuf;

impl Server {
    /// The first segment of a partition.
    pub(super) fn segment(&self, dir: &Path, partition: &str) -> PathBuf {
        let account = &self.broker.cluster_by_name("dev").unwrap().account.id;
        let partition = dir.join("accounts").join(account).join(partition);
        partition.join("00000000000000000000.log")
    }
}

/// A key that goes to this one of three partitions.
fn key_for(partition: i32) -> String {
    let mut keys = (0..).map(|it: i32| it.to_string());
    keys.find(|key| partition_for(key.as_bytes(), 3) == partition).unwrap()
}

#[tokio::test]
async fn a_key_whose_partition_is_offline_keeps_the_whole_request_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let segment = server.segment(dir.path(), "red-1");
    server.stop().await;
    std::fs::remove_file(&segment).unwrap();
    std::fs::create_dir_all(segment.join("lost+found")).unwrap();
    let server = Server::start(dir.path()).await;
    let keyed = |partition: i32| json!({ "key": key_for(partition), "value": "" });
    let (status, error) = server.refused("POST /produce/red", json!([keyed(0), keyed(1)])).await;
    assert!(status == 503 && error.contains("partition 1 of topic 'red'"), "{status} {error}");
    // Nothing is there yet.
    let produced = server.ok("POST /produce/red", json!([keyed(0)])).await;
    assert_eq!(produced[0]["offset"], 0);
    server.stop().await;
}

#[tokio::test]
async fn a_time_that_the_topic_does_not_take_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let configs = json!({ "message.timestamp.before.max.ms": "3600000" });
    let topic = json!({ "name": "fresh", "partitions": 1, "configs": configs });
    server.ok("POST /v1/topics", topic).await;
    let now = crate::clock::unix_ms();
    let at = |time: i64| json!({ "value": "", "timestamp": time });
    let old = now - 7_200_000;
    let (status, error) = server.refused("POST /produce/fresh", json!([at(now), at(old)])).await;
    assert!(status == 400 && error.contains("message 1"), "{error}");
    assert!(error.contains(&old.to_string()), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn the_time_that_the_topic_gives_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let configs = json!({ "message.timestamp.type": "LogAppendTime" });
    let topic = json!({ "name": "stamped", "partitions": 1, "configs": configs });
    server.ok("POST /v1/topics", topic).await;
    let now = crate::clock::unix_ms();
    let at = |time: i64| json!({ "value": "", "timestamp": time });
    let produced = server.ok("POST /produce/stamped", json!([at(5), at(now + 7_200_000)])).await;
    let from = json!({ "topic": "stamped", "partition": 0, "offset": 0 });
    let found = server.ok("POST /fetch", from).await;
    for place in 0..2 {
        let time = produced[place]["timestamp"].as_i64().unwrap();
        assert!((now..now + 3_600_000).contains(&time), "{time}");
        assert_eq!(found[place]["timestamp"], time);
    }
    server.stop().await;
}

#[tokio::test]
async fn who_fails_half_way_is_told_how_much_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let red = server.broker.clusters()[0].topics.get("red").unwrap();
    // As beside the topic's deletion.
    red.partition(1).unwrap().log().clone().delete().unwrap();
    let one = |topic: &str, index| json!({ "topic": topic, "partition": index, "value": topic });
    let all = json!([one("red", 1), one("blue", 0), one("red", 0), one("red", 2)]);
    let (status, error) = server.refused("POST /produce", all).await;
    assert_eq!(status, 503);
    assert!(
        error.contains("closed") && error.ends_with("; 2 of 4 messages were stored"),
        "{error}"
    );
    let place = |topic: &str| json!({ "topic": topic, "partition": 0, "offset": 0 });
    let places = json!({ "topicPartitionOffsets": [place("red"), place("blue")], "timeout": 0 });
    assert_eq!(values(&server.ok("POST /fetch", places).await), ["blue", "red"]);
    drop(red);
    server.stop().await;
}
