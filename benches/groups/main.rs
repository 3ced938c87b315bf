//! How long groups keep consumers waiting: a rebalance of 100 members, and the way from subscribing
//! to the first record, in each protocol.
//!
//! The members of the rebalance are in this process and look in every 10 ms, so what is measured is
//! the coordinator with its store and not the heartbeat interval of clients. The first record is
//! read over TCP: by the bare requests that it takes, and by librdkafka, which between the answers
//! to them waits for timers of its own, of 50 ms each.

#![allow(clippy::unwrap_used, missing_docs, reason = "a failed benchmark panics")]

mod requests;

use rdkafka::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::Arc;
use std::time::Duration;
use tidelog::broker::Broker;
use tidelog::cluster::Cluster;
use tidelog::group::{
    Beaten, ConsumerHeartbeat, Error, Heartbeat, Join, Partitions, Protocol, Reply, Sync,
};
use tidelog::serve::{self, Ready};
use tidelog::settings::Layer;
use tidelog::topic::{Config, NewTopic};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

const MEMBERS: usize = 100;
const PARTITIONS: i32 = 200;
const LOOK_IN: Duration = Duration::from_millis(10);
const ROUNDS: usize = 20;
/// How often `dev` has members heartbeat.
const INTERVAL: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer {
        data_dir: Some(dir.path().to_owned()),
        kafka_listen: Some(([127, 0, 0, 1], 0).into()),
        http_listen: Some(([127, 0, 0, 1], 0).into()),
        ..Layer::default()
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let ready = async |ready: Ready| {
        tokio::spawn(async move {
            measure(&ready.broker, &ready.kafka).await;
            drop(stop);
        });
        Ok(())
    };
    serve::run(layer.settings(true).unwrap(), ready, shutdown).await.unwrap();
}

async fn measure(broker: &Arc<Broker>, kafka: &str) {
    let (principal, _) = broker.dev_account().await.unwrap();
    let cluster = principal.cluster;
    create(&cluster, "work", PARTITIONS).await;
    println!("a member joins {MEMBERS} others, until all have their part:");
    println!("  classic    {:?}", rebalance_classic(cluster.clone()).await);
    println!("  consumer   {:?}", rebalance_consumer(cluster.clone()).await);
    create(&cluster, "first", 1).await;
    let producer: FutureProducer = client(kafka).create().unwrap();
    let record = FutureRecord::<(), _>::to("first").payload("a record");
    producer.send(record, Duration::from_secs(10)).await.unwrap();
    println!("a new group's consumer subscribes, until its first record (median of {ROUNDS}):");
    println!("  requests   {:?}", first_record_by_requests(kafka).await);
    for protocol in ["classic", "consumer"] {
        println!("  {protocol:<10} {:?}", first_record(kafka, protocol).await);
    }
}

async fn first_record_by_requests(kafka: &str) -> Duration {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let (kafka, group) = (kafka.to_owned(), format!("requests-{round}"));
        let began = tokio::time::Instant::now();
        let read = move || requests::first_record(&kafka, &group, "first");
        tokio::task::spawn_blocking(read).await.unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    times[ROUNDS / 2]
}

async fn create(cluster: &Cluster, name: &str, partitions: i32) {
    let config = Config::default();
    let new = NewTopic { name: name.to_owned(), partitions, config, sync: None };
    cluster.topics.create(new).await.unwrap();
}

fn client(kafka: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka);
    config
}

async fn first_record(kafka: &str, protocol: &str) -> Duration {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let consumer: StreamConsumer = client(kafka)
            .set("group.id", format!("{protocol}-{round}"))
            .set("group.protocol", protocol)
            .set("auto.offset.reset", "earliest")
            .create()
            .unwrap();
        let began = tokio::time::Instant::now();
        consumer.subscribe(&["first"]).unwrap();
        consumer.recv().await.unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    times[ROUNDS / 2]
}

/// Starts the members, lets them settle, and times what one more makes of it. A member gives the
/// generation or epoch that it has its part of; all must come to one that is new.
async fn rebalance<F: Future<Output = ()> + Send + 'static>(
    member: impl Fn(usize, watch::Sender<i32>) -> F,
) -> Duration {
    let (mut tasks, mut at) = (JoinSet::new(), Vec::new());
    let mut start = |number| {
        let (sender, receiver) = watch::channel(0);
        tasks.spawn(member(number, sender));
        receiver
    };
    at.extend((0..MEMBERS).map(&mut start));
    let settled = together(&mut at, 0).await;
    let began = tokio::time::Instant::now();
    at.push(start(MEMBERS));
    together(&mut at, settled).await;
    began.elapsed()
}

/// Waits until all members are at the same place, beyond `last`.
async fn together(at: &mut [watch::Receiver<i32>], last: i32) -> i32 {
    loop {
        let places: Vec<i32> = at.iter().map(|it| *it.borrow()).collect();
        if places[0] > last && places.iter().all(|place| *place == places[0]) {
            return places[0];
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn rebalance_classic(cluster: Arc<Cluster>) -> Duration {
    rebalance(move |_, at| classic_member(cluster.clone(), at)).await
}

async fn classic_member(cluster: Arc<Cluster>, at: watch::Sender<i32>) {
    let metadata = bytes::Bytes::from_static(b"\0\0\0\0\0\x01\0\x04work\0\0\0\0");
    let mut join = Join {
        new_member_id: format!("{:p}", &raw const at).into(),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata }],
        ..Default::default()
    };
    loop {
        let Reply::Joined(joined) = cluster.groups.join("classic", join.clone()).await else {
            continue;
        };
        join.member_id.clone_from(&joined.member_id);
        let part = |id| (id, bytes::Bytes::from_static(b"a part"));
        let sync = Sync {
            member_id: joined.member_id.clone(),
            generation: joined.generation,
            assignments: joined.members.into_iter().map(|it| part(it.member_id)).collect(),
            ..Default::default()
        };
        if let Reply::Synced(_) = cluster.groups.sync("classic", sync).await {
            at.send_replace(joined.generation);
        }
        let beat = Heartbeat {
            member_id: joined.member_id,
            generation: joined.generation,
            ..Default::default()
        };
        while cluster.groups.heartbeat("classic", beat.clone()).await == Reply::Done {
            tokio::time::sleep(LOOK_IN).await;
        }
    }
}

async fn rebalance_consumer(cluster: Arc<Cluster>) -> Duration {
    rebalance(move |number, at| consumer_member(cluster.clone(), number, at)).await
}

async fn consumer_member(cluster: Arc<Cluster>, number: usize, at: watch::Sender<i32>) {
    let mut beat = ConsumerHeartbeat {
        member_id: format!("m{number:03}").into(),
        rebalance_timeout_ms: Some(60_000),
        topics: Some(vec!["work".into()]),
        owned: Some(Partitions::default()),
        ..Default::default()
    };
    loop {
        let beaten = match cluster.groups.consumer_heartbeat("consumer", &beat).await {
            Reply::Beaten(beaten) => beaten,
            Reply::Refused(Error::FencedMemberEpoch, why) => panic!("{why}"),
            other => panic!("{other:?}"),
        };
        let Beaten { member_epoch, assignment, heartbeat_interval, .. } = beaten;
        // Who still waits for partitions is asked back sooner.
        if heartbeat_interval >= INTERVAL {
            at.send_replace(member_epoch);
        }
        beat = ConsumerHeartbeat {
            member_id: beat.member_id,
            member_epoch,
            owned: assignment.or(beat.owned),
            ..Default::default()
        };
        tokio::time::sleep(LOOK_IN).await;
    }
}
