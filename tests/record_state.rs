//! The state of records beside the log: what is removed from the one is in the other.

use crate::support::desk::records;
use crate::support::http::Http;
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
