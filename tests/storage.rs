//! The log from outside: what the operator sees of it, and a start with damage.

use crate::support::http::Http;
use crate::support::process::Tidelog;
use std::collections::BTreeMap;
use std::path::Path;

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

#[test]
fn a_partition_that_cannot_be_opened_costs_no_other_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    create(&http, "red", 3);
    create(&http, "blue", 1);
    produce(&http, "red", 3);
    produce(&http, "blue", 1);
    assert!(tidelog.stop().success());
    let metadata = find(&dir.path().join("accounts"), "red-2").join("partition.metadata");
    let good = std::fs::read(&metadata).unwrap();
    std::fs::write(&metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n").unwrap();

    let mut tidelog = Tidelog::dev(dir.path());
    tidelog.wait_for_log(&["red", "topic stays closed"]);
    assert_eq!(fetch(&Http::dev(&tidelog.ready), "blue", 0), 1);
    assert!(tidelog.stop().success());

    std::fs::write(&metadata, good).unwrap();
    let tidelog = Tidelog::dev(dir.path());
    for partition in 0..3 {
        assert_eq!(fetch(&Http::dev(&tidelog.ready), "red", partition), 1, "{partition}");
    }
}
