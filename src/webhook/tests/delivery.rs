//! What arrives, in which order, and how often.

use super::endpoint::{Endpoint, Received, Reply};
use super::{Rig, numbered};
use crate::consumer::undecodable;
use crate::webhook::cursor::commit;
use crate::webhook::delivery::{DOWN_BYTES, IN_FLIGHT_MAX};
use crate::webhook::routes::partitions;
use crate::webhook::subscription::TopicPartition;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Fails every record of some keys a few times, each time in another way.
fn flaky(headers: &hyper::HeaderMap) -> Reply {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let attempt: u32 = text("tidelog-attempt").parse().unwrap();
    let failures = [500, 302, 429, 400].map(Reply::Status);
    match text("tidelog-key").as_str() {
        "fails" if attempt <= 4 => failures[attempt as usize - 1],
        "hangs-up" if attempt <= 2 => Reply::HangUp,
        _ => Reply::Status(200),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_arrives_in_the_order_of_its_key_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 3).await;
    let mut endpoint = Endpoint::start(flaky).await;
    let webhook = rig.webhook(&endpoint.url, "ev*", "beginning").await;
    let keys = ["fine", "fails", "hangs-up"];
    for round in 0..4 {
        for partition in 0..3 {
            let records = keys.map(|key| numbered(key, round * 5..round * 5 + 5)).concat();
            rig.produce("events", partition, &records).await;
        }
    }

    let verifier = standardwebhooks::Webhook::new(&webhook.secret.expose()).unwrap();
    let mut delivered: BTreeMap<(String, u32), Vec<u32>> = BTreeMap::new();
    let mut attempts: HashMap<String, Vec<u32>> = HashMap::new();
    let mut left = 3 * 3 * 20;
    while left > 0 {
        let received = endpoint.next().await;
        verifier.verify(received.body.as_bytes(), &received.headers).unwrap();
        attempts.entry(received.id()).or_default().push(received.number("tidelog-attempt"));
        if received.reply == Reply::Status(200) {
            let key = received.header("tidelog-key").to_owned();
            let place = (key, received.number("tidelog-partition"));
            delivered.entry(place).or_default().push(received.body.parse().unwrap());
            left -= 1;
        }
    }
    assert_eq!(delivered.len(), 9);
    for (place, values) in delivered {
        assert!(values.iter().copied().eq(0..20), "{place:?}: {values:?}");
    }
    assert_eq!(attempts.len(), 180, "an id stands for one record");
    let counts: BTreeSet<Vec<u32>> = attempts.into_values().collect();
    assert!(counts.into_iter().eq([vec![1], vec![1, 2, 3], vec![1, 2, 3, 4, 5]]));
    rig.webhooks.close().await;
    assert!(endpoint.rest().is_empty());
    assert_eq!(rig.cursor(&webhook).await, [60, 60, 60]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_does_not_delay_another() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let mut dead = Endpoint::start(|_| Reply::Never).await;
    let mut live = Endpoint::answering(200).await;
    rig.webhook(&dead.url, "events", "end").await;
    rig.webhook("http://127.0.0.1:1/", "events", "end").await;
    rig.webhook(&live.url, "events", "end").await;
    rig.produce("events", 0, &numbered("a", 0..1)).await;
    assert_eq!(dead.next().await.body, "0");
    for number in 0..200 {
        rig.produce("events", 0, &numbered(&format!("k{number}"), 0..1)).await;
    }
    assert_eq!(live.delivered(201).await.len(), 201);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_endpoint_that_is_down_little_is_held_and_all_arrives_once_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let is_back = Arc::new(AtomicBool::new(false));
    let asked = is_back.clone();
    let reply = move |_: &_| Reply::Status(if asked.load(Relaxed) { 200 } else { 500 });
    let mut endpoint = Endpoint::start(reply).await;
    let webhook = rig.webhook(&endpoint.url, "events", "beginning").await;
    let value = "x".repeat(4 << 10);
    let records: Vec<_> = (0..128).map(|key| format!("{key}:{value}")).collect();
    rig.produce("events", 0, &records).await;
    let held_max = DOWN_BYTES / value.len() + IN_FLIGHT_MAX;
    let is_settled = || {
        let status = webhook.status.lock();
        status.failed > 2 * held_max as u64 && status.held <= held_max
    };
    while !is_settled() {
        tokio::task::yield_now().await;
    }
    is_back.store(true, Relaxed);
    let ids: BTreeSet<_> = endpoint.delivered(128).await.iter().map(Received::id).collect();
    assert_eq!(ids.len(), 128);
    rig.webhooks.close().await;
    assert_eq!(rig.cursor(&webhook).await, [128]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_fails_holds_up_no_other_key_and_no_other_partition() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 2).await;
    let mut endpoint = Endpoint::start(|headers| match headers["tidelog-key"].as_bytes() {
        b"poison" => Reply::Status(500),
        _ => Reply::Status(200),
    })
    .await;
    let webhook = rig.webhook(&endpoint.url, "events", "beginning").await;
    rig.produce("events", 0, &numbered("poison", 0..2)).await;
    for number in 0..100 {
        let records = numbered(&format!("k{number}"), number..number + 1);
        rig.produce("events", number as i32 % 2, &records).await;
    }
    let delivered = endpoint.delivered(100).await;
    assert!(delivered.iter().all(|it| it.header("tidelog-key") != "poison"));
    rig.webhooks.close().await;
    assert_eq!(rig.cursor(&webhook).await, [0, 50], "the cursor does not pass what failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_at_the_end_leaves_out_what_was_there_and_nothing_after() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events.a", 1).await;
    rig.produce("events.a", 0, &numbered("old", 0..3)).await;
    let mut endpoint = Endpoint::answering(200).await;
    let webhook = rig.webhook(&endpoint.url, "events.*", "end").await;
    assert_eq!(rig.cursor(&webhook).await, [3], "a crash now changes nothing");

    rig.produce("events.a", 0, &numbered("new", 3..4)).await;
    assert_eq!(endpoint.next().await.body, "3");
    rig.topic("other", 1).await;
    rig.produce("other", 0, &numbered("x", 0..1)).await;
    rig.topic("events.b", 1).await;
    rig.produce("events.b", 0, &numbered("b", 4..5)).await;
    let first = endpoint.next().await;
    assert_eq!((first.body.as_str(), first.header("tidelog-topic")), ("4", "events.b"));

    // Another topic of the same name starts at its own beginning, with ids of its own.
    rig.cluster.delete_topic("events.b").await.unwrap();
    rig.topic("events.b", 1).await;
    rig.produce("events.b", 0, &numbered("b", 5..6)).await;
    let second = endpoint.next().await;
    assert_eq!((second.body.as_str(), second.header("tidelog-offset")), ("5", "0"));
    assert_ne!(first.id(), second.id());
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_value_is_a_body_of_no_bytes_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let reply = |headers: &hyper::HeaderMap| match headers.contains_key("content-length") {
        true => Reply::Status(200),
        false => Reply::Status(411),
    };
    let mut endpoint = Endpoint::start(reply).await;
    rig.webhook(&endpoint.url, "events", "beginning").await;
    rig.produce("events", 0, &["a:".to_owned(), "a:1".to_owned()]).await;
    let delivered = endpoint.delivered(2).await;
    let of = |at: usize| (delivered[at].body.as_str(), delivered[at].header("tidelog-attempt"));
    assert_eq!([of(0), of(1)], [("", "1"), ("1", "1")]);
    assert_eq!([0, 1].map(|at| delivered[at].number("content-length")), [0, 1]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_cannot_be_read_hold_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("damaged", 8).await;
    rig.topic("sound", 1).await;
    for index in 0..8 {
        rig.produce("damaged", index, &numbered("a", 0..1)).await;
    }
    let account = dir.path().join("accounts").join(&rig.cluster.account.id);
    for index in 0..8 {
        damage(&account.join(format!("damaged-{index}")));
    }
    let mut endpoint = Endpoint::answering(200).await;
    rig.webhook(&endpoint.url, "damaged", "beginning").await;
    // Waits for its turn after the others.
    rig.webhook(&endpoint.url, "*", "beginning").await;
    rig.produce("sound", 0, &numbered("b", 0..1)).await;
    let received = tokio::time::timeout(Duration::from_secs(20), endpoint.next()).await.unwrap();
    assert_eq!(received.header("tidelog-topic"), "sound");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_cannot_be_decoded_is_told_and_passed_once_its_owner_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("red", 1).await;
    rig.produce("red", 0, &numbered("a", 0..1)).await;
    rig.cluster.topics.get("red").unwrap().partition(0).unwrap().append(&undecodable()).unwrap();
    rig.produce("red", 0, &numbered("a", 2..3)).await;
    let mut endpoint = Endpoint::answering(200).await;
    let webhook = rig.webhook(&endpoint.url, "red", "beginning").await;
    assert_eq!(endpoint.next().await.body, "0");
    let told = loop {
        let shown = serde_json::to_value(partitions(&webhook).await).unwrap();
        match shown[0]["error"].as_str() {
            Some(error) => break error.to_owned(),
            None => tokio::task::yield_now().await,
        }
    };
    let way_out = format!("commit offset 2 for group '{}' and enable", webhook.group());
    assert!(told.contains("at offset 1 ") && told.contains(&way_out), "{told}");
    while rig.cursor(&webhook).await != [1] {
        tokio::task::yield_now().await;
    }
    let at = TopicPartition { topic: rig.cluster.topics.get("red").unwrap(), index: 0 };
    commit(&rig.cluster, &webhook.group(), vec![(at, 2)]).await.unwrap();
    rig.webhooks.enable(&webhook).await.unwrap();
    assert_eq!(endpoint.next().await.body, "2");
    let shown = serde_json::to_value(partitions(&webhook).await).unwrap();
    assert_eq!(shown[0].get("error"), None, "{shown}");
    rig.close().await;
}

/// Writes over a partition's records while it is open.
fn damage(partition: &Path) {
    for entry in std::fs::read_dir(partition).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "log") {
            let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all(&[0xff; 61]).unwrap();
        }
    }
}
