//! Events go from the log only once the record state they are the write-ahead log of is safe.

use super::*;
use crate::ingest::mutation::Hold;
use crate::retention::{compact_topic, enforce_topic};

/// Events are old at once, and each is in a segment of its own.
const SHORT: &str = r#"{"configs":{"retention.ms":"1","segment.bytes":"1048576","cleanup.policy":
    "compact,delete","min.cleanable.dirty.ratio":"0","min.compaction.lag.ms":"0"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn events_stay_in_the_log_until_their_records_are_in_the_store() {
    for rule in [enforce_topic, compact_topic] {
        let sandbox = Sandbox::new().await;
        let configs: serde_json::Value = serde_json::from_str(SHORT).unwrap();
        let configs: std::collections::BTreeMap<String, String> =
            serde_json::from_value(configs["configs"].clone()).unwrap();
        let config = crate::topic::Config::new(configs).unwrap();
        let change = move |_: &crate::topic::Config| Ok(config.clone());
        let cluster = sandbox.cluster();
        cluster.topics.configure("sequin.sync_a.contact", change, false).await.unwrap();
        drop(cluster);

        // An event whose sender waits for its answer, and after it others of the same record.
        let account = sandbox.cluster().account.id.clone();
        let hold = Hold::default();
        let ticket = sandbox.ingest.answers.begin(&account, "k").unwrap();
        let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(400_000));
        let first = Mutation { key: Some(ticket.key(None, &hold)), ..upsert("1", &text) };
        let first = sandbox.mutate("contact", first).await.unwrap().published.unwrap();
        sandbox.mutate("contact", upsert("2", &text)).await.unwrap();
        for value in 0..6 {
            let text = text.replace("\"a\"", &format!("\"{value}\""));
            sandbox.mutate("contact", upsert("1", &text)).await.unwrap();
        }
        let remove = async |sandbox: &Sandbox| {
            let stream = sandbox.target("contact").await.stream;
            stream.settle().unwrap();
            let (topic, cluster) = (stream.topic(), sandbox.cluster());
            let log = topic.partition(0).unwrap().log().clone();
            let before = log.size_bytes();
            crate::task::blocking(move || rule(&cluster, topic.id)).await;
            before - log.size_bytes()
        };
        assert_eq!(remove(&sandbox).await, 0);
        drop(ticket);

        // It crashes before the answer is stored: the state and the answer come from the log.
        let sandbox = sandbox.restart(State::Kept, |_| ()).await;
        let again = "PUT /v1/syncs/sync_a/collections/contact/records/1";
        let again = sandbox.http(again, &[("idempotency-key", "k")], &text).await;
        assert_eq!(again.json["offset"], first.offset, "{}", again.json);
        drop(hold);

        // Now they may go, and the state needs them no more.
        assert!(remove(&sandbox).await > 0);
        let sandbox = sandbox.restart(State::Kept, |_| ()).await;
        let unchanged = sandbox.mutate("contact", upsert("2", &text)).await.unwrap();
        assert_eq!(unchanged.published, None);
    }
}
