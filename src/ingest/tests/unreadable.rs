//! A sync whose definition cannot be read: what else there is goes on, and it waits to be mended.

use super::*;
use crate::control::TopicRow;
use sqlx::Connection;

const RECORD: &str = "PUT /v1/syncs/sync_a/collections/contact/records/003";

/// Stores a definition for `sync_a`, and gives the one before.
async fn store(sandbox: &Sandbox, definition: &str) -> String {
    let control = &sandbox.broker.shared.control;
    let mut row = control.syncs().await.unwrap().into_iter().find(|it| it.id == "sync_a").unwrap();
    let before = std::mem::replace(&mut row.definition, definition.to_owned());
    control.put_sync(&row).await.unwrap();
    before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_cannot_be_read_is_refused_kept_and_costs_no_other_anything() {
    let sandbox = Sandbox::new().await;
    let other = SyncId::parse("sync_b").unwrap();
    let cluster = sandbox.cluster();
    sandbox.ingest.put_sync(&cluster, other, Definition::default()).await.unwrap();
    drop(cluster);
    sandbox.put("contact", r#"{"a":1}"#).await.unwrap();
    // As a later version might have written it.
    let later = r#"{"collections":{},"what_is_to_come":1}"#;
    let whole = store(&sandbox, later).await;

    let sandbox = sandbox.restart(State::Kept, |_| ()).await;
    assert_eq!(sandbox.ingest.unreadable(), 1);
    let requests = [
        (RECORD, r#"{"a":2}"#),
        ("GET /v1/syncs/sync_a", ""),
        ("PUT /v1/syncs/sync_a", "{}"),
        ("PATCH /v1/syncs/sync_a", "{}"),
        ("POST /v1/syncs/sync_a/collections/contact/snapshots", ""),
    ];
    for (line, body) in requests {
        let refused = sandbox.http(line, &[], body).await;
        assert_eq!((refused.status, &refused.json["code"]), (503, &"sync_unreadable".into()));
        let why = refused.json["error"].as_str().unwrap();
        assert!(why.contains("sync_a") && why.contains("what_is_to_come"), "{line}: {why}");
    }
    let beside = "PUT /v1/syncs/sync_b/collections/contact/records/1";
    assert_eq!(sandbox.http(beside, &[], "{}").await.json["event"], "inserted");
    assert_eq!(store(&sandbox, &whole).await, later, "it is left as it is");

    // Mended, it is where it was.
    let sandbox = sandbox.restart(State::Kept, |_| ()).await;
    assert!(sandbox.http(RECORD, &[], r#"{"a":1}"#).await.json["event"].is_null());

    // Or it is deleted, and made anew.
    store(&sandbox, "{").await;
    let sandbox = sandbox.restart(State::Kept, |_| ()).await;
    let deleted = sandbox.http("DELETE /v1/syncs/sync_a?topics=delete", &[], "").await;
    assert_eq!(
        (deleted.status, deleted.json["topics"]["deleted"].as_array().unwrap().len()),
        (200, 2)
    );
    assert_eq!(sandbox.http("DELETE /v1/syncs/sync_a", &[], "").await.status, 404);
    assert_eq!(sandbox.ingest.unreadable(), 0);
    assert_eq!(sandbox.http("PUT /v1/syncs/sync_a", &[], "{}").await.status, 200);
    assert_eq!(sandbox.http(RECORD, &[], r#"{"a":1}"#).await.json["event"], "inserted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_whose_deletion_fails_can_be_deleted_again() {
    let sandbox = Sandbox::new().await;
    let control = format!("sqlite://{}", sandbox.dir.path().join("control.db").display());
    let mut control = sqlx::SqliteConnection::connect(&control).await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE DELETE ON sync BEGIN SELECT RAISE(ABORT, ''); END";
    sqlx::query(refuse).execute(&mut control).await.unwrap();
    let delete = async || sandbox.http("DELETE /v1/syncs/sync_a", &[], "").await.status;
    assert_eq!(delete().await, 500);
    assert_eq!(sandbox.http("GET /v1/syncs/sync_a", &[], "").await.status, 200);
    sqlx::query("DROP TRIGGER refuse").execute(&mut control).await.unwrap();
    assert_eq!(delete().await, 200);
    assert_eq!(delete().await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_its_sync_leaves_a_topics_configs_that_cannot_be_read_as_they_are() {
    let sandbox = Sandbox::new().await;
    sandbox.put("contact", r#"{"a":1}"#).await.unwrap();
    let control = sandbox.broker.shared.control.clone();
    for row in control.topics().await.unwrap() {
        control.update_topic(&TopicRow { configs: "{".to_owned(), ..row }).await.unwrap();
    }
    drop(control);

    let sandbox = sandbox.restart(State::Kept, |_| ()).await;
    let shorter = r#"{"collections":{"contact":{"retention":"1d"}}}"#;
    let changed = sandbox.http("PUT /v1/syncs/sync_a", &[], shorter).await;
    assert_eq!(changed.status, 200, "{}", changed.json);
    for row in sandbox.broker.shared.control.topics().await.unwrap() {
        assert_eq!(row.configs, "{", "{}", row.name);
    }
}
