//! Requests beside the deletion of their sync.

use super::*;
use futures_util::FutureExt;
use std::pin::pin;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beside_the_deletion_of_its_sync_makes_no_topic_and_no_stream() {
    let sandbox = Sandbox::new().await;
    let cluster = sandbox.cluster();
    let (ingest, account) = (&sandbox.ingest, cluster.account.id.clone());
    let sync = ingest.sync(&cluster, "sync_a").unwrap();
    let name = sandbox.target("contact").await.stream.topic().name.clone();
    cluster.delete_topic(&name).await.unwrap();

    // It has found the sync, whose collection has no topic, when a deletion is under way.
    let deleting = ingest.editing.lock().entry(account.clone()).or_default().clone();
    let deleting = deleting.lock_owned().await;
    let mut finding = pin!(Target::find(ingest, &cluster, "sync_a", "contact"));
    assert!(finding.as_mut().now_or_never().is_none());
    ingest.syncs.write().remove(&(account, "sync_a".to_owned()));
    drop(deleting);
    assert_eq!(finding.await.err().map(|it| it.status.as_u16()), Some(404));
    assert!(cluster.topics.get(&name).is_none());
    // Or its topic, which the deletion comes to later.
    assert!(ingest.known_stream(&cluster, &sync, &sync.collections["deal"]).is_none());
}
