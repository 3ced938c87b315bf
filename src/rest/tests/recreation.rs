//! A topic is deleted and made anew under its name while instances read it.

use super::*;

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
