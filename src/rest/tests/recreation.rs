//! A topic is deleted and made anew under its name while instances read it.

use super::*;
use crate::group::{Join, Joined, Protocol, Reply, Sync};
use tidelog_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopic,
};

/// More consumes than it takes to get what there is; each waits 300 ms at the most.
const CONSUMES_MAX: usize = 40;

impl Server {
    async fn make_anew(&self) {
        self.ok("DELETE /v1/topics/red", Value::Null).await;
        self.ok("POST /v1/topics", json!({ "name": "red", "partitions": 3 })).await;
    }

    /// Produces six records, two for every partition, and consumes until all were given.
    async fn pass_on(&self, prefix: &str, instances: &[&str]) {
        let value = |it: usize| format!("{prefix}{it}");
        let message = |it: usize| json!({ "partition": it % 3, "value": value(it) });
        self.ok("POST /produce/red", (0..6).map(message).collect()).await;
        let mut seen = Vec::new();
        for instance in instances.iter().cycle().take(CONSUMES_MAX) {
            seen.extend(self.consume(instance, &[]).await);
            if seen.len() == 6 {
                break;
            }
        }
        seen.sort();
        assert_eq!(seen, (0..6).map(value).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn instances_that_share_a_topic_read_one_made_anew_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    server.consume("a", &[]).await;
    server.consume("b", &[]).await;
    for round in ["first", "second", "third"] {
        server.pass_on(round, &["a", "b"]).await;
        server.make_anew().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn an_instance_that_another_member_assigns_to_reads_a_topic_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with_topics(dir.path()).await;
    tokio::join!(server.consume("i", &[]), assign_all_to_the_other(&server));
    server.pass_on("old", &["i"]).await;
    server.make_anew().await;
    server.pass_on("new", &["i"]).await;
    server.stop().await;
}

/// Leads the group from outside of the process until one more has joined, which is to read all of
/// red; then never looks at topics again.
async fn assign_all_to_the_other(server: &Server) {
    let cluster = server.broker.cluster_by_name("dev").unwrap();
    let red = ConsumerProtocolSubscription { topics: vec!["red".into()], ..Default::default() };
    let mut join = Join {
        new_member_id: "leader".into(),
        session_timeout_ms: 1_800_000,
        rebalance_timeout_ms: 1_800_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: red.to_bytes(0) }],
        ..Default::default()
    };
    let joined: Joined = loop {
        match cluster.groups.join("g", join.clone()).await {
            Reply::Joined(joined) if joined.members.len() == 2 => break joined,
            Reply::Joined(joined) => join.member_id = joined.member_id,
            reply => panic!("{reply:?}"),
        }
    };
    let all = ConsumerProtocolTopic { topic: "red".into(), partitions: vec![0, 1, 2] };
    let all = ConsumerProtocolAssignment { assigned_partitions: vec![all], user_data: None };
    let other = joined.members.iter().find(|it| it.member_id != "leader").unwrap();
    let sync = Sync {
        member_id: "leader".into(),
        generation: joined.generation,
        assignments: vec![(other.member_id.clone(), all.to_bytes(0))],
        ..Default::default()
    };
    let synced = cluster.groups.sync("g", sync).await;
    assert!(matches!(synced, Reply::Synced(_)), "{synced:?}");
}
