//! `tidelog dump-log` and `tidelog log repair` on the directory of a broker: what is in it, whether
//! it holds, and what is left when it does not.

use crate::support::http::Http;
use crate::support::process::{Tidelog, command};
use crate::support::{kafka, wait};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidelog_protocol::records::{BatchBuilder, Compression};
use tidelog_storage::fs::Disk;
use tidelog_storage::{Flush, PartitionOptions, Volume, VolumeOptions};

/// Where the only topic's only partition is.
fn partition(dir: &Path) -> PathBuf {
    let account = std::fs::read_dir(dir.join("accounts")).unwrap().next().unwrap().unwrap();
    account.path().join("red-0")
}

/// The lines it prints, and whether it found the directory sound.
fn dump(dir: &Path, options: &[&str]) -> (Vec<Value>, bool) {
    let mut command = command(dir);
    command.arg("dump-log").arg(partition(dir)).args(["--output", "json"]).args(options);
    let output = command.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output.status.success())
}

#[test]
fn what_librdkafka_sends_is_stored_in_the_topics_codec_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let topic = r#"{"name":"red","partitions":1,"configs":{"compression.type":"lz4"}}"#;
    Http::dev(&tidelog.ready).post("/v1/topics", topic.to_owned()).json();
    let values: Vec<_> = (0..4).map(|n| n.to_string().repeat(200)).collect();
    for (codec, value) in ["none", "gzip", "snappy", "lz4"].into_iter().zip(&values) {
        let mut config = kafka::dev(&tidelog.ready);
        let producer: BaseProducer = config.set("compression.type", codec).create().unwrap();
        producer.send(BaseRecord::to("red").key("key").payload(value)).unwrap();
        producer.flush(wait::DEADLINE).unwrap();
    }
    let read = kafka::read_all(&kafka::dev(&tidelog.ready), "red");
    let read: Vec<_> = read.into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(read, values);
    let (lines, sound) = dump(dir.path(), &[]);
    let batches: Vec<_> = lines.iter().filter_map(|line| line.get("batch")).collect();
    assert!(sound && batches.len() == 4, "{lines:?}");
    assert!(batches.iter().all(|batch| batch["compression"] == "lz4"), "{batches:?}");
}

#[test]
fn a_log_is_printed_while_the_broker_runs_and_damage_is_an_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    http.post("/v1/topics", r#"{"name":"red","partitions":1}"#.to_owned()).json();
    http.post("/produce/red", r#"[{"key":"a","value":"one"},{"value":"two"}]"#.to_owned()).json();

    let (lines, sound) = dump(dir.path(), &["--records"]);
    assert!(sound, "{lines:?}");
    assert_eq!(lines[0]["batch"]["records"], 2);
    assert_eq!(
        (&lines[1]["record"]["key"], &lines[1]["record"]["value"]),
        (&"a".into(), &"one".into())
    );
    assert_eq!(
        (&lines[2]["record"]["key"], &lines[2]["record"]["offset"]),
        (&Value::Null, &1.into())
    );
    let sum = lines.last().unwrap();
    assert_eq!(sum["sum"], serde_json::json!({ "batches": 1, "records": 2, "damages": 0 }));
    drop(tidelog);

    let log = partition(dir.path()).join("00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let (lines, sound) = dump(dir.path(), &["--verify"]);
    assert!(!sound);
    assert_eq!(lines[0]["damage"]["position"], 0);
    assert_eq!(lines.last().unwrap()["sum"]["damages"], 1);
}

#[test]
fn what_a_kill_left_in_the_commit_journal_alone_is_shown_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let unexpected = Box::new(|error: &tidelog_storage::Error| panic!("{error}"));
    let options = VolumeOptions { flush: Flush::Manual };
    let volume = Volume::open(Arc::new(Disk), dir.path(), options, unexpected).unwrap();
    let log = |n: usize| {
        let (name, options) = (format!("accounts/acct/red-{n}"), PartitionOptions::default());
        volume.open_partition(Path::new(&name), [1; 16], options, Box::new(|_| {})).unwrap().0
    };
    let logs: Vec<_> = (0..8).map(log).collect();
    for value in ["one", "two"] {
        let mut batch = BatchBuilder::new(Compression::None, 1 << 16);
        batch.append(0, None, Some(value.as_bytes()), &[]).unwrap();
        let batch = batch.finish().unwrap();
        logs.iter().for_each(|log| _ = log.append(&batch, 0).unwrap());
        volume.sync().unwrap();
    }
    // Not closed, as by a kill.
    drop((logs, volume));
    let (lines, sound) = dump(dir.path(), &["--records"]);
    assert!(sound, "{lines:?}");
    for (n, value) in ["one", "two"].into_iter().enumerate() {
        assert_eq!(lines[2 * n]["journaled"], true, "{lines:?}");
        assert_eq!(lines[2 * n + 1]["record"]["value"], value);
    }
    // Also for who is in the account's directory, and in words.
    let mut command = command(dir.path());
    command.current_dir(dir.path().join("accounts/acct")).args(["dump-log", "red-0"]);
    let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let lines: Vec<_> = told.lines().filter(|it| it.contains("offsets")).collect();
    assert!(lines.iter().all(|it| it.ends_with(", in the commit journal only")), "{told}");
    assert_eq!(lines.len(), 2, "{told}");
}

#[test]
fn a_directory_without_a_log_is_refused_with_the_partitions_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let topic = r#"{"name":"red","partitions":1}"#;
    Http::dev(&tidelog.ready).post("/v1/topics", topic.to_owned()).json();
    let partition = partition(dir.path());
    for given in [dir.path(), partition.parent().unwrap()] {
        let output =
            command(dir.path()).args(["dump-log", "--verify"]).arg(given).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
        assert!(told.contains(&format!("\n  {}", partition.display())), "{told}");
    }
    assert!(dump(dir.path(), &["--verify"]).1, "an empty log is sound");
}

/// The lines that `tidelog log repair` prints about the whole directory, or why it does not.
fn repair(dir: &Path, options: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = command(dir);
    command.args(["log", "repair"]).arg(dir).args(["--output", "json"]).args(options);
    let output = command.output().unwrap();
    match output.status.success() {
        true => {
            let lines = String::from_utf8(output.stdout).unwrap();
            Ok(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
        }
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[test]
fn damage_is_taken_out_while_the_broker_is_stopped_and_the_rest_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    http.post("/v1/topics", r#"{"name":"red","partitions":1}"#.to_owned()).json();
    for value in ["one", "two", "three"] {
        http.post("/produce/red", format!(r#"[{{"value":"{value}"}}]"#)).json();
    }
    let in_use = repair(dir.path(), &[]).unwrap_err();
    assert!(in_use.contains("in use by another process"), "{in_use}");
    drop(tidelog);

    let log = partition(dir.path()).join("00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let two = bytes.windows(3).position(|window| window == b"two").unwrap();
    bytes[two] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let planned = repair(dir.path(), &["--dry-run"]).unwrap();
    assert_eq!(std::fs::read(&log).unwrap(), bytes);
    let done = repair(dir.path(), &[]).unwrap();
    let (damage, sum) = (&done[0]["damage"], &done[1]["sum"]);
    assert_eq!((damage, planned.len()), (&planned[0]["damage"], 2));
    assert_eq!((&damage["first_offset"], &damage["next_offset"]), (&1.into(), &2.into()));
    assert_eq!((&sum["damages"], &sum["dry_run"]), (&1.into(), &false.into()));
    let saved = std::fs::read(dir.path().join(damage["saved"].as_str().unwrap())).unwrap();
    assert!(saved.windows(3).any(|window| window == [b't' ^ 1, b'w', b'o']));

    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    http.post("/produce/red", r#"[{"value":"four"}]"#.to_owned()).json();
    let (lines, sound) = dump(dir.path(), &["--records"]);
    assert!(sound, "{lines:?}");
    let records = lines.iter().filter(|line| line["record"].is_object());
    let left: Vec<_> =
        records.map(|it| (&it["record"]["offset"], &it["record"]["value"])).collect();
    let expected = [(0, "one"), (2, "three"), (3, "four")].map(|(n, it)| (n.into(), it.into()));
    assert!(left.iter().copied().eq(expected.iter().map(|(n, it): &(Value, Value)| (n, it))));
}
