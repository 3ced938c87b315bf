//! `tidelog bench` against a broker: what it counts is what was sent and read.

use crate::support::process::{Tidelog, command};
use serde_json::Value;
use std::path::Path;

/// What it prints, or what it complains of.
fn bench(dir: &Path, address: &str, arguments: &[&str]) -> Result<Value, String> {
    let mut command = command(dir);
    command.arg("bench").args(arguments).args(["--bootstrap-server", address, "--output", "json"]);
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn what_is_produced_is_fetched_and_each_is_timed() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let ready = tidelog.ready.clone();
    let bench = |line: &str| {
        let arguments: Vec<_> = line.split(' ').collect();
        bench(dir.path(), &ready.kafka, &arguments)
    };
    for (codec, acks) in [("none", "all"), ("zstd", "1"), ("lz4", "0")] {
        let load = format!("--topic {codec} --partitions 3 --connections 4");
        let size = format!("--record-size 100 --batch-size 1000 --compression {codec}");
        let produced =
            bench(&format!("produce {load} {size} --acks {acks} --records 400")).unwrap();
        let records = produced["records"].as_u64().unwrap();
        assert!((400..500).contains(&records), "{produced}");
        assert_eq!(produced["bytes"], records * 100);
        assert_eq!(produced["acknowledged_ms"].is_null(), acks == "0", "{produced}");
        let fetched = bench(&format!("fetch {load}")).unwrap();
        assert_eq!(fetched["records"], records * 4, "each connection reads all of it");
        assert!(fetched["answered_ms"]["p99"].as_f64().unwrap() > 0.0, "{fetched}");
    }
    let load = "--partitions 2 --connections 2 --consumers 3 --batch-records 5";
    let refused = bench(&format!("latency --topic red {load} --rate 2000 --duration 200ms"));
    assert!(refused.unwrap_err().contains("--warm-up 1s leaves nothing of --duration 200ms"));
    let timed =
        bench(&format!("latency --topic red {load} --rate 2000 --duration 200ms --warm-up 0s"));
    let timed = timed.unwrap();
    assert_eq!(timed["acknowledged_ms"]["count"], 80, "a batch is acknowledged once");
    assert_eq!(timed["end_to_end_ms"]["count"], 3 * 400, "each consumer sees each record");
    let login = format!("--username {} --password {}", ready.username, ready.password);
    assert_eq!(
        bench(&format!("produce --topic red --partitions 2 --records 1 {login}")).unwrap()["records"],
        15
    );
}

#[test]
fn what_cannot_be_measured_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let ready = &tidelog.ready;
    let complains = |address: &str, line: &str, of: &str| {
        let arguments: Vec<_> = line.split(' ').collect();
        let complaint = bench(dir.path(), address, &arguments).unwrap_err();
        assert!(complaint.contains(of), "{line}: {complaint}");
    };
    complains("127.0.0.1:1", "produce", "no broker answers at 127.0.0.1:1");
    complains(&ready.kafka, "fetch --topic red", "red is empty; produce to it first");
    complains(&ready.kafka, "fetch --topic red --partitions 2", "say --partitions 1");
    complains(&ready.kafka, "produce --compression brotli", "'brotli' is no codec");
    complains(&ready.kafka, "produce --username a --password b", "a is refused");
    complains(&ready.kafka, "produce --topic a/b", "INVALID_TOPIC_EXCEPTION");
    let http = ready.http.strip_prefix("http://").unwrap();
    complains(http, "produce", "this is no Kafka listener");
}
