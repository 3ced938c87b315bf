//! The state of records beside the log: what is removed from the one is in the other.

use crate::support::desk::records;
use crate::support::http::Http;
use crate::support::kafka;
use crate::support::process::Tidelog;
use crate::support::raw::Raw;
use tidelog_protocol::messages::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use tidelog_protocol::{ErrorCode, Response, Str};

#[test]
fn deleted_events_leave_the_state_they_made_whatever_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    for round in 0..3 {
        let http = Http::dev(&tidelog.ready);
        http.put("/v1/syncs/crm", r#"{"collections":{"deal":{}}}"#).json();
        let record = format!(r#"{{"round":{round}}}"#);
        let answer = http.put(&records("crm/deal/1"), record.as_str()).json();
        let offset = answer["offset"].as_i64().unwrap();
        // At once, before it has moved to the state store.
        let mut raw = Raw::connect(&tidelog.ready.kafka);
        assert_eq!(delete(&mut raw, -1), (ErrorCode::NONE, offset + 1));
        // What is past the end never moves there, and is not waited for.
        http.put(&records("crm/deal/2"), record.as_str()).json();
        assert_eq!(delete(&mut raw, offset + 9).0, ErrorCode::OFFSET_OUT_OF_RANGE);
        tidelog.kill();
        tidelog = Tidelog::dev(dir.path());
        let http = Http::dev(&tidelog.ready);
        assert_eq!(http.get(&records("crm/deal/1")).body, record);
    }
}

const FUTURE: &str = "2100-01-01T00:00:00Z";
const OTHERS: usize = 50;

#[test]
fn a_time_that_the_log_no_longer_reaches_is_said_to_be_gone_and_what_stayed_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    http.put("/v1/syncs/crm", r#"{"collections":{"deal":{}}}"#).json();
    let put = |id: &str, record: &str| {
        let answer = http.put(&records(&format!("crm/deal/{id}")), record).json();
        answer["offset"].as_i64().unwrap()
    };
    put("kept", r#"{"v":1}"#);
    put("changed", r#"{"v":1}"#);
    put("gone", r#"{"v":1}"#);
    http.delete(&records("crm/deal/gone")).json();
    let last = put("changed", r#"{"v":2}"#);
    // Enough that the last is of a later millisecond, which is what the log finds times by.
    (0..OTHERS).for_each(|other| _ = put(&format!("other{other}"), "{}"));
    let events = kafka::read_all(&kafka::dev(&tidelog.ready), "sequin.crm.deal");
    let created = |at: usize| {
        let value = events[at].value.as_deref().unwrap();
        let event: serde_json::Value = serde_json::from_str(value).unwrap();
        event["created_at"].as_str().unwrap().to_owned()
    };
    let (inserted, next) = (created(2), created(4 + OTHERS));
    let mut raw = Raw::connect(&tidelog.ready.kafka);
    assert_eq!(delete(&mut raw, last), (ErrorCode::NONE, last));

    for restarted in [false, true] {
        if restarted {
            tidelog.kill();
            tidelog = Tidelog::dev(dir.path());
        }
        let http = Http::dev(&tidelog.ready);
        let read = |id: &str, at: &str| http.get(&format!("{}?at={at}", records(id)));
        // The state has what has not changed since the first event that is left.
        assert_eq!(read("crm/deal/kept", &next).body, r#"{"v":1}"#);
        assert_eq!(read("crm/deal/kept", FUTURE).body, r#"{"v":1}"#);
        assert_eq!(read("crm/deal/changed", &next).body, r#"{"v":2}"#);
        read("crm/deal/gone", FUTURE).refusal(404);
        for (id, at) in [
            ("crm/deal/changed", inserted.as_str()),
            ("crm/deal/gone", &inserted),
            ("crm/deal/gone", &next),
            // Whether it was there already, nothing tells any more.
            ("crm/deal/kept", &inserted),
            ("crm/deal/kept", "2020-01-01T00:00:00Z"),
        ] {
            let refusal = read(id, at).refusal(410);
            assert!(refusal.contains("removed by retention"), "{id} at {at}: {refusal}");
        }
    }
}

/// The error code and the low watermark; patient for longer than the connection waits.
fn delete(raw: &mut Raw, offset: i64) -> (ErrorCode, i64) {
    let asked = DeleteRecordsPartition { partition_index: 0, offset };
    let name = Str::from_static("sequin.crm.deal");
    let topic = DeleteRecordsTopic { name, partitions: vec![asked] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 30_000 };
    let Response::DeleteRecords(answer) = raw.call(request, 2) else { panic!("another answer") };
    let deleted = &answer.topics[0].partitions[0];
    (deleted.error_code, deleted.low_watermark)
}
