//! The whole broker on a file system that is really full, a small one in memory, mounted in a
//! namespace of its own: writes are refused as the documents say, reads go on, and when there is
//! room again so do writes, with all that was acknowledged in its place.

use crate::support::http::{Answer, Http};
use crate::support::process::{Tidelog, fixed_address};
use crate::support::raw::{self, Raw};
use crate::support::{kafka, wait};
use fastrand::Rng;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tidelog_protocol::messages::{JoinGroupProtocol, JoinGroupRequest};
use tidelog_protocol::{ErrorCode, Response};
use tidelog_storage::fs::{Disk, Fs};

/// Where the process that has the mount finds it.
const MOUNT_VARIABLE: &str = "TIDELOG_FULL_DISK_TEST";
const SYNC: &str = "/v1/syncs/sync_1a107d79";
const COLLECTION: &str = "/v1/syncs/sync_1a107d79/collections/deal";
const FULL: &str = "the disk is full; nothing more is stored until there is room";
const DONE: &str = "went on after each full disk";

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_and_loses_nothing() {
    if let Some(mount) = std::env::var_os(MOUNT_VARIABLE) {
        return on_a_small_disk(Path::new(&mount));
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=64m tidelog \"$1\" || exit 77; exec \"$2\" --exact \
                  full_disk::a_full_disk_refuses_writes_until_there_is_room_and_loses_nothing \
                  --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(dir.path()).arg(std::env::current_exe().unwrap()).env(MOUNT_VARIABLE, dir.path());
    let output = match command.output() {
        Ok(output) if output.status.code() != Some(77) => output,
        // Not everyone may mount, and a limit on the size of files is no full disk: it is a signal.
        refused => return println!("skipped: no tmpfs may be mounted here: {refused:?}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(DONE), "{text}{errors}");
}

fn on_a_small_disk(mount: &Path) {
    let disk = SmallDisk(mount.to_owned());
    let data = mount.join("data");
    std::fs::create_dir(&data).unwrap();
    let (address, http) = (fixed_address(), fixed_address());
    let start = || Tidelog::dev_at(&data, &address, &http);
    let mut tidelog = start();
    let http = Http::dev(&tidelog.ready);
    // The records are of 1970.
    http.post("/v1/topics", r#"{"name":"red","configs":{"retention.ms":"-1"}}"#).json();
    assert_eq!(http.put(SYNC, r#"{"collections":{"deal":{}}}"#).status, 200);
    let mut acknowledged = Acknowledged::default();
    for round in 0..3 {
        acknowledged.write(&tidelog);
        http.get("/consume/crew/me/red?timeout=0").json();

        // Another program leaves records no room; what is stored beside them has some.
        disk.fill(disk.margin() / 2);
        acknowledged.write_until_refused(&tidelog);
        let line = tidelog.wait_for_log(&["the volume of", &data.to_string_lossy(), "is full:"]);
        let free = line.split("is full: ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(free.parse::<u64>().unwrap() <= disk.margin() / 2, "{line}");
        let waiting = kafka::anonymous(&tidelog.ready.kafka);
        let waiting: ThreadedProducer<_> = waiting.create().unwrap();
        let value = format!("waits {round}");
        waiting.send(BaseRecord::<(), str>::to("red").payload(&value)).unwrap();
        refuses_records(&http);
        acknowledged.check(&tidelog);
        commit(&http, acknowledged.red.len()).json();

        // And then nothing at all.
        disk.fill(0);
        refuses_records(&http);
        refuses_members(&tidelog);
        assert_eq!(commit(&http, 0).status, 507);
        for (path, body) in [
            ("/v1/topics", r#"{"name":"blue"}"#),
            ("/v1/webhooks", r#"{"url":"http://127.0.0.1:1/","topics":["red"]}"#),
            (&format!("{COLLECTION}/snapshots"), ""),
            (&format!("{COLLECTION}/backfill"), ""),
        ] {
            assert_eq!(http.post(path, body).refusal(507), FULL, "{path}");
        }
        acknowledged.check(&tidelog);
        if round == 1 {
            tidelog.kill();
            tidelog = start();
            acknowledged.check(&tidelog);
            refuses_records(&http);
        }

        disk.empty();
        waiting.flush(wait::DEADLINE).unwrap();
        assert_eq!(waiting.in_flight_count(), 0);
        acknowledged.red.push(value);
        tidelog.wait_for_log(&["has room again"]);
        keyed(&http, &format!("round {round}")).json();
        acknowledged.deal = format!("round {round}");
        acknowledged.write(&tidelog);
        acknowledged.check(&tidelog);
    }
    // Nothing is free any more before the records' state is where it is stored once a second.
    (0..20).for_each(|_| assert_eq!(acknowledged.put(&http, 20_000).status, 200));
    disk.fill(0);
    wait::run_for(Duration::from_millis(1200));
    acknowledged.check(&tidelog);
    disk.empty();
    acknowledged.write(&tidelog);
    acknowledged.check(&tidelog);
    assert!(tidelog.stop().success());
    println!("{DONE}");
}

/// A file system, and a file on it that takes what should not be free.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// What the broker keeps free of records.
    fn margin(&self) -> u64 {
        Disk.space(&self.0).unwrap().total_bytes / 100
    }

    fn fill(&self, leave: u64) {
        let mut ballast = File::options().append(true).create(true).open(self.0.join("ballast"));
        let ballast = ballast.as_mut().unwrap();
        loop {
            let free = Disk.space(&self.0).unwrap().usable_bytes.saturating_sub(leave);
            if free < 4096 || ballast.write(&vec![1; free.min(1 << 20) as usize]).is_err() {
                return;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

/// What was acknowledged: the records of a topic in their order, and the state of a record.
#[derive(Default)]
struct Acknowledged {
    red: Vec<String>,
    deal: String,
    puts: usize,
}

impl Acknowledged {
    fn write(&mut self, tidelog: &Tidelog) {
        assert_eq!(self.produce(tidelog, 100), ErrorCode::NONE);
        assert_eq!(self.put(&Http::dev(&tidelog.ready), 100).status, 200);
    }

    /// Writes through every door until it is shut: large records, and then small ones, which what
    /// is reserved already may still do for.
    fn write_until_refused(&mut self, tidelog: &Tidelog) {
        let http = Http::dev(&tidelog.ready);
        for bytes in [20_000, 10] {
            wait::until("no more room", || {
                let code = self.produce(tidelog, bytes);
                assert!([ErrorCode::NONE, ErrorCode::KAFKA_STORAGE_ERROR].contains(&code));
                (code != ErrorCode::NONE).then_some(())
            });
            wait::until("no more room for events", || {
                let status = self.put(&http, bytes).status;
                assert!([200, 507].contains(&status));
                (status == 507).then_some(())
            });
        }
    }

    /// Puts the record in a new state.
    fn put(&mut self, http: &Http, bytes: usize) -> Answer {
        self.puts += 1;
        let name = text(self.puts, bytes);
        let body = json!({ "name": name }).to_string();
        let answer = http.put(&format!("{COLLECTION}/records/a"), body);
        if answer.status == 200 {
            self.deal = name;
        }
        answer
    }

    /// Sends a record of its own, and gives the code it is answered with.
    fn produce(&mut self, tidelog: &Tidelog, bytes: usize) -> ErrorCode {
        let value = text(self.red.len(), bytes);
        let mut raw = Raw::connect(&tidelog.ready.kafka);
        let request = raw::produce_value("red", 0, value.as_bytes());
        let Response::Produce(answer) = raw.call(request, 9) else { panic!() };
        let answer = &answer.responses[0].partition_responses[0];
        if answer.error_code == ErrorCode::NONE {
            assert_eq!(answer.base_offset, self.red.len() as i64);
            self.red.push(value);
        }
        answer.error_code
    }

    /// All of it is there, and nothing else, to whoever reads.
    fn check(&self, tidelog: &Tidelog) {
        let records = kafka::read_all(&kafka::dev(&tidelog.ready), "red");
        let values: Vec<_> = records.into_iter().map(|it| it.value.unwrap()).collect();
        assert_eq!(values, self.red);
        let http = Http::dev(&tidelog.ready);
        let last = json!({"topic": "red", "partition": 0, "offset": self.red.len() - 1});
        let fetched = http.post("/fetch", last.to_string()).json();
        assert_eq!(fetched[0]["value"], *self.red.last().unwrap());
        assert_eq!(http.get(&format!("{COLLECTION}/records/a")).json()["name"], self.deal);
        let compared = http.get(&format!("{SYNC}/verify")).body;
        let summary: Value = serde_json::from_str(compared.lines().last().unwrap()).unwrap();
        assert_eq!(summary["summary"]["differences"], 0, "{compared}");
    }
}

/// Text that nothing makes shorter.
fn text(number: usize, bytes: usize) -> String {
    let mut random = Rng::with_seed(number as u64);
    (0..bytes).map(|_| random.alphanumeric()).collect::<String>() + &number.to_string()
}

/// The same write under its key, whenever it is sent.
fn keyed(http: &Http, name: &str) -> Answer {
    let (path, body) = (format!("{COLLECTION}/records/a"), json!({ "name": name }).to_string());
    http.try_send(Method::PUT, &path, &[("idempotency-key", name)], body).unwrap()
}

fn commit(http: &Http, offset: usize) -> Answer {
    let position = json!({"topic": "red", "partition": 0, "offset": offset});
    http.post("/commit/crew/me", position.to_string())
}

/// What the doors of HTTP say of a full disk.
fn refuses_records(http: &Http) {
    let record = json!({ "value": "x".repeat(30_000) });
    let text = http.post("/produce/red", record.to_string()).refusal(507);
    assert_eq!(text, format!("{FULL}; 0 of 1 messages were stored"));
    assert_eq!(keyed(http, "unheard").refusal(507), FULL);
    let item = json!([{"op": "upsert", "id": "a", "data": {"name": "unheard"}}]);
    let batch = http.post(&format!("{COLLECTION}/records"), item.to_string()).json();
    assert_eq!(batch["results"][0]["code"], "disk_full", "{batch}");
}

/// Joining a group is refused before what there is to say of it meets the end of the disk.
fn refuses_members(tidelog: &Tidelog) {
    let protocol = JoinGroupProtocol { name: "range".into(), metadata: vec![7; 100_000].into() };
    let join = JoinGroupRequest {
        group_id: "large".into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    let mut raw = Raw::connect(&tidelog.ready.kafka);
    let Response::JoinGroup(joined) = raw.call(join, 3) else { panic!() };
    assert_eq!(joined.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE);
}
