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
        let asked = DeleteRecordsPartition { partition_index: 0, offset: -1 };
        let topic = DeleteRecordsTopic {
            name: Str::from_static("sequin.crm.deal"),
            partitions: vec![asked],
        };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 20_000 };
        match Raw::connect(&tidelog.ready.kafka).call(request, 2) {
            Response::DeleteRecords(answer) => {
                let deleted = &answer.topics[0].partitions[0];
                assert_eq!(deleted.error_code, ErrorCode::NONE);
                assert_eq!(deleted.low_watermark, offset + 1);
            }
            other => panic!("{other:?}"),
        }
        tidelog.kill();
        tidelog = Tidelog::dev(dir.path());
        let http = Http::dev(&tidelog.ready);
        assert_eq!(http.get(&records("crm/deal/1")).body, record);
    }
}
