//! The log from outside: what the operator sees of it, and a start with damage.

use crate::support::http::Http;
use crate::support::process::Tidelog;
use crate::support::raw::{self, Raw};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tidelog_protocol::messages::{
    FetchPartition, FetchRequest, FetchTopic, ListOffsetsPartition, ListOffsetsRequest,
    ListOffsetsTopic, MetadataRequest, MetadataRequestTopic,
};
use tidelog_protocol::{ErrorCode, Response};

/// The numbers of a page, by name and labels.
fn metrics(tidelog: &Tidelog) -> BTreeMap<String, f64> {
    let answer = Http::operator(&tidelog.ready).get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn create(http: &Http, topic: &str, partitions: u32) {
    let body = format!("{{\"name\":\"{topic}\",\"partitions\":{partitions}}}");
    http.post("/v1/topics", body).json();
}

/// Produces a record to each partition.
fn produce(http: &Http, topic: &str, partitions: u32) {
    let record = |partition| format!("{{\"partition\":{partition},\"value\":\"v{partition}\"}}");
    let records: Vec<_> = (0..partitions).map(record).collect();
    http.post(&format!("/produce/{topic}"), format!("[{}]", records.join(","))).json();
}

fn fetch(http: &Http, topic: &str, partition: u32) -> usize {
    let body = format!("{{\"topic\":\"{topic}\",\"partition\":{partition},\"offset\":0}}");
    http.post("/fetch", body).json().as_array().unwrap().len()
}

#[test]
fn metrics_are_the_operators_and_name_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    Http::nobody(&tidelog.ready).get("/metrics").refusal(401);
    let http = Http::dev(&tidelog.ready);
    http.get("/metrics").refusal(401);

    create(&http, "crimson", 3);
    produce(&http, "crimson", 3);
    let seen = metrics(&tidelog);
    assert_eq!(seen["tidelog_committed_records_total"], 3.0, "{seen:?}");
    assert_eq!(seen["tidelog_partitions"], 3.0);
    assert!(seen["tidelog_commit_seconds_count"] >= 1.0);
    let all = seen["tidelog_commit_partitions_bucket{le=\"+Inf\"}"];
    assert_eq!(all, seen["tidelog_commit_partitions_count"]);
    assert_eq!(seen["tidelog_volume_full"], 0.0);
    assert!(seen["tidelog_volume_free_bytes"] > 0.0);
    for unreadable in ["tidelog_groups_unreadable", "tidelog_syncs_unreadable"] {
        assert_eq!(seen[unreadable], 0.0);
    }
    let names = Http::operator(&tidelog.ready).get("/metrics").body;
    assert!(!names.contains("crimson") && !names.contains(&tidelog.ready.account), "{names}");

    // Half a batch at the end, of a log that was not closed.
    tidelog.kill();
    let log = dir.path().join("accounts");
    let log = find(&log, "crimson-1").join("00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    // The length of the batch stands behind its offset.
    let end = 12 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
    let torn: Vec<u8> = bytes[..end - 5].iter().copied().chain(*b"x").collect();
    bytes.splice(end..end + torn.len(), torn.iter().copied());
    std::fs::write(&log, bytes).unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let seen = metrics(&tidelog);
    assert_eq!(seen["tidelog_damage_total{kind=\"torn\"}"], 1.0, "{seen:?}");
    assert_eq!(seen["tidelog_torn_tail_bytes_total"], torn.len() as f64);
    assert_eq!(seen["tidelog_logs_opened_total{kind=\"recovered\"}"], 3.0);
    tidelog.wait_for_log(&["crimson-1", "saved beside it and cut off"]);
    assert_eq!(fetch(&Http::dev(&tidelog.ready), "crimson", 1), 1);
}

/// The directory of this name below `dir`.
fn find(dir: &Path, name: &str) -> std::path::PathBuf {
    let accounts = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    accounts.map(|account| account.join(name)).find(|it| it.is_dir()).unwrap()
}

#[test]
fn many_partitions_are_made_side_by_side_where_there_was_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    create(&Http::dev(&tidelog.ready), "wide", 200);
    produce(&Http::dev(&tidelog.ready), "wide", 200);
    tidelog.kill();
    let tidelog = Tidelog::dev(dir.path());
    for partition in [0, 17, 150, 199] {
        assert_eq!(fetch(&Http::dev(&tidelog.ready), "wide", partition), 1, "{partition}");
    }
}

/// What Kafka's APIs answer for each partition of a topic, the leaders Metadata names among them.
#[derive(Debug, Default, PartialEq)]
struct Answers {
    leaders: Vec<(ErrorCode, i32)>,
    produce: Vec<ErrorCode>,
    fetch: Vec<ErrorCode>,
    earliest: Vec<ErrorCode>,
}

impl Answers {
    fn of(tidelog: &Tidelog, topic: &str, partitions: i32) -> Self {
        let mut raw = Raw::connect(&tidelog.ready.kafka);
        let mut answers = Self::default();
        let named = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![named]), ..Default::default() };
        let Response::Metadata(metadata) = raw.call(request, 9) else { panic!() };
        let topics = metadata.topics.iter().flat_map(|topic| &topic.partitions);
        answers.leaders = topics.map(|it| (it.error_code, it.leader_id)).collect();
        for index in 0..partitions {
            let request = raw::produce_to(topic, index);
            let Response::Produce(produced) = raw.call(request, 9) else { panic!() };
            answers.produce.push(produced.responses[0].partition_responses[0].error_code);
            let partition = FetchPartition {
                partition: index,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            };
            let asked = vec![FetchTopic {
                topic: topic.into(),
                partitions: vec![partition],
                ..Default::default()
            }];
            let request = FetchRequest { topics: asked, max_bytes: 1 << 20, ..Default::default() };
            let Response::Fetch(fetched) = raw.call(request, 12) else { panic!() };
            answers.fetch.push(fetched.responses[0].partitions[0].error_code);
            let partition = ListOffsetsPartition {
                partition_index: index,
                timestamp: -2,
                ..Default::default()
            };
            let asked = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
            let request = ListOffsetsRequest { topics: vec![asked], ..Default::default() };
            let Response::ListOffsets(listed) = raw.call(request, 6) else { panic!() };
            answers.earliest.push(listed.topics[0].partitions[0].error_code);
        }
        answers
    }
}

/// Every file below a directory, with what is in it.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut all = BTreeMap::new();
    for path in entries {
        match path.is_dir() {
            true => {
                all.extend(contents(&path));
                all.insert(path, None);
            }
            false => drop(all.insert(path.clone(), Some(std::fs::read(path).unwrap()))),
        }
    }
    all
}

#[test]
fn partitions_that_cannot_be_opened_are_offline_and_cost_no_other_anything() {
    const OFFLINE: ErrorCode = ErrorCode::KAFKA_STORAGE_ERROR;
    const NONE: ErrorCode = ErrorCode::NONE;
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    create(&http, "red", 4);
    create(&http, "blue", 1);
    produce(&http, "red", 4);
    produce(&http, "blue", 1);
    assert!(tidelog.stop().success());
    let accounts = dir.path().join("accounts");
    // One belongs to another topic, as far as it says, and one has a directory for a segment.
    let metadata = find(&accounts, "red-2").join("partition.metadata");
    let owner = std::fs::read(&metadata).unwrap();
    std::fs::write(&metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n").unwrap();
    let segment = find(&accounts, "red-1").join("00000000000000000000.log");
    let aside = dir.path().join("aside");
    std::fs::rename(&segment, &aside).unwrap();
    std::fs::create_dir(&segment).unwrap();
    std::fs::write(segment.join("lost+found"), "x").unwrap();
    let broken = ["red-1", "red-2"].map(|name| find(&accounts, name));
    let before = broken.each_ref().map(|dir| contents(dir));

    let mut tidelog = Tidelog::dev(dir.path());
    tidelog.wait_for_log(&["red-1 is offline", "00000000000000000000.log"]);
    tidelog.wait_for_log(&["red-2 is offline", "belongs to topic id AAAAAAAAAAAAAAAAAAAAAQ"]);
    let http = Http::dev(&tidelog.ready);
    let offline = [NONE, OFFLINE, OFFLINE, NONE].to_vec();
    let leaderless = (ErrorCode::LEADER_NOT_AVAILABLE, -1);
    assert_eq!(
        Answers::of(&tidelog, "red", 4),
        Answers {
            leaders: vec![(NONE, 1), leaderless, leaderless, (NONE, 1)],
            produce: offline.clone(),
            fetch: offline.clone(),
            earliest: offline,
        }
    );
    assert_eq!(metrics(&tidelog)["tidelog_partitions_offline"], 2.0);
    assert_eq!(fetch(&http, "blue", 0), 1);
    // Over HTTP too, each partition answers for itself, and records that may go anywhere do.
    http.post("/produce/red", r#"{"partition":1,"value":"v"}"#).refusal(503);
    http.post("/fetch", r#"{"topic":"red","partition":2,"offset":0}"#).refusal(503);
    let places: BTreeSet<i64> = (0..8)
        .map(|_| http.post("/produce/red", r#"{"value":"v"}"#).json())
        .map(|answer| answer[0]["partition"].as_i64().unwrap())
        .collect();
    assert_eq!(places, [0, 3].into());
    // A group reads what can be read.
    let consume = || http.get("/consume/crew/me/red?timeout=10000").json();
    http.get("/consume/crew/me/red?timeout=0").json();
    http.post("/produce/red", r#"{"partition":3,"value":"last"}"#).json();
    assert_eq!(consume()[0]["value"], "last");
    assert!(tidelog.stop().success());
    assert_eq!(broken.each_ref().map(|dir| contents(dir)), before);

    // Mended, they are as they were.
    std::fs::write(&metadata, &owner).unwrap();
    std::fs::remove_dir_all(&segment).unwrap();
    std::fs::rename(&aside, &segment).unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    for partition in [1, 2] {
        assert_eq!(fetch(&Http::dev(&tidelog.ready), "red", partition), 1, "{partition}");
    }
    assert!(tidelog.stop().success());

    // A topic goes with what is offline of it, and what says that it is another's stays.
    std::fs::rename(&segment, &aside).unwrap();
    std::fs::create_dir(&segment).unwrap();
    std::fs::write(&metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n").unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    http.delete("/v1/topics/red").json();
    assert_eq!(broken.each_ref().map(|dir| dir.is_dir()), [false, true]);
    assert_eq!(fetch(&http, "blue", 0), 1);
}
