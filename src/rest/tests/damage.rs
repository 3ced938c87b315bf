//! A partition whose records cannot be read.

use super::*;
use crate::consumer::undecodable;

#[tokio::test]
async fn a_damaged_partition_is_named_and_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let put = async |partition: i32, value: &str| {
        let message = json!({ "partition": partition, "value": value });
        server.ok("POST /produce/red", message).await;
    };
    for partition in 0..3 {
        put(partition, &partition.to_string()).await;
    }
    let segment = server.segment(dir.path(), "red-0");
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 61], 0).unwrap();

    let fetch = |partitions: &[i32]| {
        let place = |it: &i32| json!({ "topic": "red", "partition": it, "offset": 0 });
        let places: Vec<_> = partitions.iter().map(place).collect();
        json!({ "topicPartitionOffsets": places, "timeout": 0 })
    };
    let consume = "GET /consume/g/i/red?timeout=300";
    assert_eq!(values(&server.ok("POST /fetch", fetch(&[0, 1, 2])).await), ["1", "2"]);
    assert_eq!(server.consume("i", &[]).await, ["1", "2"]);
    for (line, body) in [("POST /fetch", fetch(&[0])), (consume, Value::Null)] {
        let (status, error) = server.refused(line, body).await;
        assert!(status == 503 && error.contains("partition 0 of topic 'red'"), "{status} {error}");
    }
    put(2, "3").await;
    assert_eq!(values(&server.ok(consume, Value::Null).await), ["3"]);
    server.stop().await;
}

#[tokio::test]
async fn a_batch_that_cannot_be_decoded_is_named_with_the_way_past_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let put = async |partition: i32, value: &str| {
        let message = json!({ "partition": partition, "value": value });
        server.ok("POST /produce/red", message).await;
    };
    put(0, "before").await;
    let topic = server.broker.clusters()[0].topics.get("red").unwrap();
    topic.partition(0).unwrap().append(&undecodable()).unwrap();
    put(0, "after").await;

    let fetch =
        |offset: i64| json!({ "topic": "red", "partition": 0, "offset": offset, "timeout": 0 });
    let consume = "GET /consume/g/i/red?timeout=300";
    assert_eq!(values(&server.ok("POST /fetch", fetch(0)).await), ["before"]);
    assert_eq!(server.consume("i", &[]).await, ["before"]);
    let refused = [("POST /fetch", fetch(1), "fetch from"), (consume, Value::Null, "commit")];
    for (line, body, way_out) in refused {
        let (status, error) = server.refused(line, body).await;
        let way_out = format!("{way_out} offset 2 to go on after it");
        let parts =
            ["partition 0 of topic 'red'", "at offset 1 ", "more than 67108864 bytes", &way_out];
        assert!(status == 422 && parts.iter().all(|part| error.contains(part)), "{error}");
    }
    put(1, "other").await;
    assert_eq!(values(&server.ok(consume, Value::Null).await), ["other"]);
    assert_eq!(values(&server.ok("POST /fetch", fetch(2)).await), ["after"]);
    let past = json!({ "topic": "red", "partition": 0, "offset": 2 });
    server.ok("POST /commit/g/i", past).await;
    assert_eq!(values(&server.ok(consume, Value::Null).await), ["after"]);
    drop(topic);
    server.stop().await;
}

/// What `tidelog log repair` takes out of the end of a log leaves such a gap.
#[tokio::test]
async fn a_gap_at_the_end_of_a_log_is_nothing_to_wait_in() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    let one = |value| json!([{ "value": value, "partition": 0 }]);
    server.ok("POST /produce/red", one("kept")).await;
    let cluster = server.broker.clusters().remove(0);
    let topic = cluster.topics.get("red").unwrap();
    let kept = topic.partition(0).unwrap().log().size_bytes();
    server.ok("POST /produce/red", one("lost")).await;
    let segment = server.segment(dir.path(), "red-0");
    drop((cluster, topic));
    server.stop().await;
    std::fs::File::options().write(true).open(segment).unwrap().set_len(kept).unwrap();

    let server = Server::start(dir.path()).await;
    let consumed = tokio::time::timeout(Duration::from_secs(30), async {
        (server.consume("i", &[]).await, server.consume("i", &[]).await)
    });
    let (first, second) = consumed.await.expect("both come to their end");
    assert_eq!((first, second), (vec!["kept".to_owned()], Vec::new()));
    server.ok("POST /produce/red", one("new")).await;
    assert_eq!(server.consume("i", &[]).await, ["new"]);
    server.stop().await;
}
