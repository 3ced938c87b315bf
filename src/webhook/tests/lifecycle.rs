//! Webhooks over restarts, and their ends.

use super::endpoint::{Endpoint, Reply};
use super::{Rig, numbered};
use crate::broker::Broker;
use crate::group::{Error, damage_or_mend};
use crate::settings::Layer;
use crate::webhook::Webhooks;
use crate::webhook::cursor::commit;
use crate::webhook::routes::partitions;
use crate::webhook::subscription::TopicPartition;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delivery_goes_on_from_the_cursor_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let mut endpoint = Endpoint::answering(200).await;
    rig.webhook(&endpoint.url, "events", "beginning").await;
    rig.produce("events", 0, &numbered("a", 0..10)).await;
    endpoint.delivered(10).await;
    rig.close().await;

    let rig = Rig::open(dir.path()).await;
    rig.produce("events", 0, &numbered("a", 10..11)).await;
    let next = endpoint.next().await;
    assert_eq!((next.body.as_str(), next.header("tidelog-attempt")), ("10", "1"));
    rig.close().await;
    assert!(endpoint.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offline_partition_holds_up_no_other_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 2).await;
    let mut endpoint = Endpoint::answering(200).await;
    let webhook = rig.webhook(&endpoint.url, "events", "beginning").await;
    rig.produce("events", 0, &numbered("a", 0..2)).await;
    rig.produce("events", 1, &numbered("b", 0..3)).await;
    endpoint.delivered(5).await;
    let logs = dir.path().join("accounts").join(&*rig.cluster.account.id);
    rig.webhooks.close().await;
    assert_eq!(rig.cursor(&webhook).await, [2, 3]);
    rig.produce("events", 1, &numbered("b", 3..4)).await;
    rig.broker.close().await.unwrap();
    drop((rig, webhook));

    // A directory is where its segment was.
    let segment = logs.join("events-1").join("00000000000000000000.log");
    let aside = dir.path().join("aside");
    std::fs::rename(&segment, &aside).unwrap();
    std::fs::create_dir_all(segment.join("lost+found")).unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.produce("events", 0, &numbered("a", 2..3)).await;
    assert_eq!(endpoint.next().await.header("tidelog-key"), "a");
    rig.close().await;
    assert!(endpoint.rest().is_empty());

    std::fs::remove_dir_all(&segment).unwrap();
    std::fs::rename(&aside, &segment).unwrap();
    let rig = Rig::open(dir.path()).await;
    let next = endpoint.next().await;
    assert_eq!((next.header("tidelog-key"), next.body.as_str()), ("b", "3"));
    rig.close().await;
    assert!(endpoint.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_whose_group_cannot_be_read_waits_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let mut endpoint = Endpoint::answering(200).await;
    let webhook = rig.webhook(&endpoint.url, "events", "beginning").await;
    rig.produce("events", 0, &numbered("a", 0..2)).await;
    endpoint.delivered(2).await;
    rig.webhooks.close().await;
    assert_eq!(rig.cursor(&webhook).await, [2]);
    damage_or_mend(&rig.cluster.shared.state, &webhook.group());
    rig.broker.close().await.unwrap();
    drop((rig, webhook));

    let rig = Rig::open(dir.path()).await;
    rig.produce("events", 0, &numbered("a", 2..3)).await;
    let webhook = rig.webhooks.list(&rig.cluster).remove(0);
    let shown = serde_json::to_value(partitions(&webhook).await).unwrap();
    assert_eq!(shown[0]["error"], Error::Unreadable.to_string());
    assert!(shown[0]["committed_offset"].is_null() && shown[0]["lag"].is_null(), "{shown}");
    rig.webhooks.close().await;
    damage_or_mend(&rig.cluster.shared.state, &webhook.group());
    rig.broker.close().await.unwrap();
    drop((rig, webhook));

    let rig = Rig::open(dir.path()).await;
    assert_eq!(endpoint.next().await.body, "2");
    rig.close().await;
    assert!(endpoint.rest().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_begins_anew_when_its_group_that_could_not_be_read_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let mut endpoint = Endpoint::answering(200).await;
    let webhook = rig.webhook(&endpoint.url, "*", "beginning").await;
    rig.produce("events", 0, &numbered("a", 0..1)).await;
    endpoint.delivered(1).await;
    rig.webhooks.close().await;
    damage_or_mend(&rig.cluster.shared.state, &webhook.group());
    rig.broker.close().await.unwrap();
    drop((rig, webhook));

    let rig = Rig::open(dir.path()).await;
    let webhook = rig.webhooks.list(&rig.cluster).remove(0);
    rig.topic("meanwhile", 1).await;
    rig.produce("meanwhile", 0, &numbered("b", 1..2)).await;
    rig.cluster.groups.delete(&webhook.group()).await;
    // It asks again after a while, and when topics change.
    rig.topic("later", 1).await;
    let again = endpoint.delivered(2).await;
    let bodies: std::collections::BTreeSet<_> = again.iter().map(|it| it.body.as_str()).collect();
    assert!(bodies.into_iter().eq(["0", "1"]));
    drop(webhook);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_acknowledged_comes_again_after_a_crash_under_the_same_id() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let healthy = Arc::new(AtomicBool::new(false));
    let answers = healthy.clone();
    let mut endpoint = Endpoint::start(move |_| match answers.load(Ordering::SeqCst) {
        true => Reply::Status(200),
        false => Reply::Never,
    })
    .await;
    rig.webhook(&endpoint.url, "events", "beginning").await;
    rig.produce("events", 0, &numbered("a", 0..2)).await;
    let before = endpoint.next().await;
    let Rig { broker, webhooks, cluster } = rig;
    drop((webhooks, cluster));
    broker.close().await.unwrap();
    drop(broker);

    healthy.store(true, Ordering::SeqCst);
    let rig = Rig::open(dir.path()).await;
    let after = endpoint.delivered(2).await;
    assert_eq!(after[0].id(), before.id());
    assert_eq!(after.iter().map(|it| it.body.as_str()).collect::<Vec<_>>(), ["0", "1"]);
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_set_back_is_delivered_again_under_the_same_ids() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let mut endpoint = Endpoint::answering(200).await;
    let webhook = rig.webhook(&endpoint.url, "events", "beginning").await;
    rig.produce("events", 0, &numbered("a", 0..5)).await;
    let first = endpoint.delivered(5).await;
    webhook.stop().await;
    assert_eq!(rig.cursor(&webhook).await, [5]);
    let topic = rig.cluster.topics.get("events").unwrap();
    let back = vec![(TopicPartition { topic, index: 0 }, 2)];
    commit(&rig.cluster, &webhook.group(), back).await.unwrap();
    rig.webhooks.enable(&webhook).await.unwrap();
    let again = endpoint.delivered(3).await;
    assert!(again.iter().map(|it| it.id()).eq(first[2..].iter().map(|it| it.id())));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gone_disables_a_webhook_until_it_is_enabled() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let back = Arc::new(AtomicBool::new(false));
    let answers = back.clone();
    let mut endpoint = Endpoint::start(move |_| match answers.load(Ordering::SeqCst) {
        true => Reply::Status(200),
        false => Reply::Status(410),
    })
    .await;
    let webhook = rig.webhook(&endpoint.url, "events", "beginning").await;
    rig.produce("events", 0, &numbered("a", 0..1)).await;
    webhook.ended().await;
    assert_eq!(endpoint.rest().len(), 1);
    let reason = webhook.disabled.lock().clone().unwrap();
    assert!(reason.starts_with("the endpoint answered 410 Gone at 2"), "{reason}");
    let id = webhook.id.clone();
    drop(webhook);
    rig.close().await;

    let rig = Rig::open(dir.path()).await;
    let webhook = rig.webhooks.get(&rig.cluster, &id).unwrap();
    assert_eq!(webhook.disabled.lock().clone(), Some(reason));
    back.store(true, Ordering::SeqCst);
    rig.produce("events", 0, &numbered("a", 1..2)).await;
    assert!(endpoint.rest().is_empty());
    rig.webhooks.enable(&webhook).await.unwrap();
    assert_eq!(endpoint.delivered(2).await[1].body, "1");
    drop(webhook);
    rig.close().await;

    let rig = Rig::open(dir.path()).await;
    let webhook = rig.webhooks.get(&rig.cluster, &id).unwrap();
    assert!(webhook.disabled.lock().is_none());
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_webhook_stops_and_leaves_no_group() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let mut endpoint = Endpoint::answering(500).await;
    let webhook = rig.webhook(&endpoint.url, "events", "end").await;
    rig.produce("events", 0, &numbered("a", 0..1)).await;
    endpoint.next().await;
    rig.webhooks.delete(&webhook).await.unwrap();
    assert!(rig.webhooks.list(&rig.cluster).is_empty());
    assert!(!rig.cluster.groups.exists(&webhook.group()));
    endpoint.rest();
    drop(webhook);
    rig.close().await;

    let rig = Rig::open(dir.path()).await;
    assert!(rig.webhooks.list(&rig.cluster).is_empty());
    assert!(endpoint.rest().is_empty());
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_outside_of_the_log_goes_to_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let mut endpoint = Endpoint::answering(200).await;
    let webhook = rig.webhook(&endpoint.url, "events", "end").await;
    rig.webhooks.close().await;
    let topic = rig.cluster.topics.get("events").unwrap();
    let beyond = vec![(TopicPartition { topic, index: 0 }, 1000)];
    commit(&rig.cluster, &webhook.group(), beyond).await.unwrap();
    drop(webhook);
    rig.produce("events", 0, &numbered("a", 0..1)).await;
    rig.close().await;

    let rig = Rig::open(dir.path()).await;
    assert_eq!(endpoint.next().await.body, "0");
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_of_a_webhook_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::open(dir.path()).await;
    rig.topic("events", 1).await;
    let topic = rig.cluster.topics.get("events").unwrap();
    for group in ["webhook.wh_0123456789abcdef", "webhook.wh_mine"] {
        let at = vec![(TopicPartition { topic: topic.clone(), index: 0 }, 0)];
        commit(&rig.cluster, group, at).await.unwrap();
    }
    let kept = rig.webhook("http://127.0.0.1:1/", "events", "end").await.group();
    rig.close().await;

    let rig = Rig::open(dir.path()).await;
    let groups = rig.cluster.groups.list();
    let names: Vec<String> = groups.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&kept) && names.contains(&"webhook.wh_mine".to_owned()));
    rig.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn production_sends_nothing_in_the_clear_or_to_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer { data_dir: Some(dir.path().to_owned()), ..Layer::default() };
    let (broker, _) = Broker::open(layer.settings(false).unwrap()).await.unwrap();
    let (cluster, _) = broker.create_account("acme").await.unwrap();
    let webhooks = Webhooks::open(&broker).await.unwrap();
    for url in ["http://example.com/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/"]
    {
        let text = format!(r#"{{"url":"{url}","topics":["*"]}}"#);
        let created = webhooks.create(&cluster, serde_json::from_str(&text).unwrap()).await;
        assert!(created.err().unwrap().to_string().starts_with("url: expected"), "{url}");
    }
    assert!(webhooks.list(&cluster).is_empty());
    broker.close().await.unwrap();
}
