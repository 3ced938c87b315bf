//! Records move to the state store behind the answers, and memory is bounded all the same.

use super::*;
use crate::ingest::state::{Row, Rows};

const MIB: usize = 1 << 20;

/// Nobody settles here but what mutations do themselves, so what they leave to others is seen.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_waits_for_the_store_until_too_much_waits_for_it() {
    let sandbox = Sandbox::new().await;
    let stream = sandbox.target("contact").await.stream;
    let rows = Rows::new(sandbox.broker.shared.state.clone(), stream.topic().id);
    let stored = |id: &str| rows.get(id).unwrap() != Row::NONE;
    let text = |id: usize| format!(r#"{{"a":"{id}{}"}}"#, "x".repeat(100_000));

    sandbox.mutate("contact", upsert("0", &text(0))).await.unwrap();
    assert!(!stream.had_much(), "the next round of the settler does it");
    sandbox.mutate("contact", upsert("1", &text(1))).await.unwrap();
    sandbox.mutate("contact", upsert("2", &text(2))).await.unwrap();
    assert!(stream.had_much(), "it is asked to come sooner");
    assert!(!stream.had_much(), "and once");

    let mut put = 3;
    while !stored("0") {
        assert!(put * 100_000 < 5 * MIB, "memory grows without end");
        sandbox.mutate("contact", upsert(&put.to_string(), &text(put))).await.unwrap();
        put += 1;
    }
    assert!(put * 100_000 > 4 * MIB, "an answer waited for the store at {put} records");
    stream.settle().unwrap();
    assert!((0..put).all(|id| stored(&id.to_string())));
}
