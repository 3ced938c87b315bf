//! A record whose last event cannot be read any more, and whose state is in the store.

use super::*;
use crate::consumer;
use crate::ingest::verify::{Failed, verify};
use crate::ingest::version::Version;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_on_from_its_state_when_its_last_event_is_damaged() {
    let sandbox = Sandbox::new().await;
    let at = |data| Mutation { version: Some(Version::Number(5)), ..upsert("003", data) };
    sandbox.mutate("contact", at(r#"{"a":1,"b":2}"#)).await.unwrap();
    sandbox.mutate("contact", upsert("other", "{}")).await.unwrap();
    sandbox.target("contact").await.stream.settle().unwrap();
    let log = format!("accounts/{}/sequin.sync_a.contact-0", sandbox.cluster().account.id);
    let log = Path::new(&log).join("00000000000000000000.log");
    let mut sandbox = sandbox
        .restart(State::Kept, |dir| {
            let mut bytes = std::fs::read(dir.join(&log)).unwrap();
            bytes[100] ^= 1;
            std::fs::write(dir.join(&log), bytes).unwrap();
        })
        .await;

    let unchanged = sandbox.mutate("contact", at(r#"{"b":2,"a":1.0}"#)).await.unwrap();
    assert_eq!(unchanged.published, None);
    // Whether it came before is looked for in the log, which does not say; so it stands.
    let follows = Some(Object::parse(br#"{"a":7}"#).unwrap());
    let changed = Mutation { follows, ..at(r#"{"a":3,"b":2}"#) };
    let changed = sandbox.mutate("contact", changed).await.unwrap();
    let offset = changed.published.unwrap().offset;
    let stream = sandbox.target("contact").await.stream;
    let event = consumer::read(stream.partition(0).unwrap(), offset, 1, 1).unwrap();
    let event = event.records[0].value.clone().unwrap();
    let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(
        (&event["event"], &event["changes"]),
        (&"updated".into(), &serde_json::json!({"a": 1}))
    );
    let verified = verify(&stream, &mut |_| true);
    assert!(matches!(verified, Err(Failed::Log(0, 0, _))), "{verified:?}");

    // A start replays what came after the damage.
    drop(stream);
    sandbox = sandbox.restart(State::Kept, |_| ()).await;
    let unchanged = sandbox.mutate("contact", at(r#"{"a":3,"b":2}"#)).await.unwrap();
    assert_eq!((unchanged.published, unchanged.etag), (None, Some(offset)));
}
