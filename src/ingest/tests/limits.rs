//! What is too much is refused, by item and field, and the limit is named; the rest is carried out.

use super::*;
use serde_json::json;

const BATCH: &str = "POST /v1/syncs/sync_a/collections/contact/records";

#[tokio::test(flavor = "multi_thread")]
async fn an_item_over_a_limit_is_refused_by_its_index_and_the_others_are_carried_out() {
    let sandbox = Sandbox::new().await;
    let upsert = |data: &str| format!(r#"{{"op":"upsert","id":"1","data":{data}}}"#);
    let columns = |count: usize| {
        let columns: Vec<_> = (0..count).map(|it| format!(r#""c{it}":0"#)).collect();
        format!("{{{}}}", columns.join(","))
    };
    let nested = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let long_id = format!(r#"{{"op":"delete","id":"{}"}}"#, "x".repeat(1025));
    let patch = format!(r#"{{"op":"patch","id":"1","data":{}}}"#, columns(2).replace('c', "d"));
    let table = [
        (upsert(&columns(5000)), None),
        (upsert(&columns(5001)), Some("the record has 5001 columns, at most 5000 are possible")),
        // What a patch would make of the record counts.
        (patch, Some("the record has 5002 columns, at most 5000 are possible")),
        (upsert(&nested(99)), None),
        (upsert(&nested(100)), Some("data: expected at most 100 levels of nesting at line 1")),
        (long_id, Some("id: ")),
        (
            upsert(&format!(r#"{{"a":"{}"}}"#, "x".repeat(1 << 20))),
            Some("max.message.bytes, 1048588"),
        ),
        (upsert(r#"{"a":1}"#), None),
    ];
    let items: Vec<_> = table.iter().map(|(item, _)| item.as_str()).collect();
    let answer = sandbox.http(BATCH, &[], &items.join("\n")).await.json;
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), table.len());
    for (at, (_, want)) in table.iter().enumerate() {
        let Some(want) = want else {
            assert!(results[at]["offset"].is_number(), "{}", results[at]);
            continue;
        };
        assert_eq!(results[at]["index"], at);
        let text = results[at]["error"].as_str().unwrap();
        assert!(text.contains(want), "item {at}: {text}");
    }
    assert_eq!(sandbox.events("contact").await, 3);

    let huge = format!("{{}}\n{}", upsert(&format!(r#"{{"a":"{}"}}"#, "x".repeat(17 << 20))));
    let answer = sandbox.http(BATCH, &[], &huge).await.json;
    let text = answer["error"].as_str().or(answer["results"][1]["error"].as_str()).unwrap();
    assert!(text.contains("an item is over the limit of 16777216 bytes"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_larger_than_a_start_reads_is_refused() {
    let sandbox = Sandbox::new().await;
    let configs = [("max.message.bytes", "200000000"), ("compression.type", "zstd")];
    let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = crate::topic::Config::new(configs).unwrap();
    let change = move |_: &crate::topic::Config| Ok(config.clone());
    sandbox.cluster().topics.configure("sequin.sync_a.contact", change, false).await.unwrap();
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(64 << 20));
    let refused = sandbox.put("contact", &text).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { max: 67_108_864, .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_or_sync_too_many_is_refused_with_how_many_there_may_be() {
    let sandbox = Sandbox::new().await;
    let collections = |count: usize| {
        let collections: serde_json::Map<_, _> =
            (0..count).map(|it| (format!("c{it}"), json!({}))).collect();
        json!({ "collections": collections }).to_string()
    };
    assert_eq!(sandbox.http("PUT /v1/syncs/full", &[], &collections(1000)).await.status, 200);
    let too_many = "1001 collections are more than 1000, the most a sync may have";
    let refused = sandbox.http("PUT /v1/syncs/other", &[], &collections(1001)).await;
    assert_eq!((refused.status, &refused.json["error"]), (400, &json!(too_many)));
    let record = "PUT /v1/syncs/full/collections/one_more/records/1";
    let refused = sandbox.http(record, &[], "{}").await;
    assert_eq!((refused.status, &refused.json["error"]), (400, &json!(too_many)));

    // There are two.
    for at in 2..1000 {
        let made = sandbox.http(&format!("PUT /v1/syncs/s{at}"), &[], "{}").await;
        assert_eq!(made.status, 200);
    }
    let refused = sandbox.http("PUT /v1/syncs/one_more", &[], "{}").await;
    let text = "the account has 1000 syncs, the most it may have; delete one first";
    assert_eq!((refused.status, &refused.json["error"]), (409, &json!(text)));
    assert_eq!(sandbox.http("PUT /v1/syncs/s2", &[], r#"{"name":"a"}"#).await.status, 200);
}
