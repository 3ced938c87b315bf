//! What ten thousand partitions cost: to start, to hold, and to sync.
//!
//! `cargo bench --bench partitions` prints how long a start takes after a clean stop and after a
//! kill, what the process holds then, with one segment each and with several; and a commit of a
//! thousand dirty partitions as a multiple of one partition's, with one batch and with the same
//! bytes. `-- <path>` measures another build of the program.

#![allow(clippy::unwrap_used, missing_docs, reason = "a failed benchmark panics")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the time")]

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidelog_protocol::records::{Batch, BatchBuilder, Compression};
use tidelog_storage::fs::Disk;
use tidelog_storage::{Flush, Partition, PartitionOptions, Volume, VolumeOptions};

const TOPICS: usize = 10;
const PARTITIONS_OF_TOPIC: i32 = 1_000;
const PARTITIONS: usize = TOPICS * PARTITIONS_OF_TOPIC as usize;
const ROUNDS: usize = 9;
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let program = given.unwrap_or_else(|| env!("CARGO_BIN_EXE_tidelog").to_owned());
    // The HTTP client asks for one although it speaks to us in plaintext.
    rustls::crypto::ring::default_provider().install_default().unwrap();
    commits();
    starts(&program, false);
    starts(&program, true);
}

/// Syncs of one dirty partition, of many, and of one with as many bytes, in turns.
fn commits() {
    let root = tempfile::tempdir().unwrap();
    let failed = Box::new(|error: &tidelog_storage::Error| panic!("{error}"));
    let options = VolumeOptions { flush: Flush::Manual };
    let volume = Volume::open(Arc::new(Disk), root.path(), options, failed).unwrap();
    let open = |n: usize| {
        let (name, options) = (PathBuf::from(format!("red-{n}")), PartitionOptions::default());
        volume.open_partition(&name, [1; 16], options, Box::new(|_| {})).unwrap().0
    };
    let partitions: Vec<Partition> = (0..1_000).map(open).collect();
    let batch = batch();
    // The commit, and with it the appends before, since these have the disk begin.
    let time = |partitions: &[&Partition]| {
        let start = Instant::now();
        for partition in partitions {
            partition.append(&batch, 0).unwrap();
        }
        let appended = Instant::now();
        volume.sync().unwrap();
        [appended.elapsed(), start.elapsed()]
    };
    let all: Vec<_> = partitions.iter().collect();
    time(&all);
    for many in [10, 100, 1_000] {
        // As many bytes in one partition tell what of it the bytes cost, and not the partitions.
        let same_bytes = vec![&partitions[0]; many];
        let rounds = (0..ROUNDS).map(|_| [&all[..1], &all[..many], &same_bytes[..]].map(&time));
        let rounds: Vec<_> = rounds.collect();
        let [one, many_dirty, one_with_all] = [0, 1, 2].map(|of| {
            [0, 1].map(|part| {
                let mut values: Vec<Duration> = rounds.iter().map(|it| it[of][part]).collect();
                values.sort();
                values[ROUNDS / 2]
            })
        });
        let row = |what: &str, [commit, appended]: [Duration; 2]| {
            let ratio = commit.as_secs_f64() / one[0].as_secs_f64();
            println!(
                "{what:<38}: {commit:>10.1?}, of one batch {:.1?}: {ratio:.1} x; with the appends \
                 before, {appended:.1?}",
                one[0]
            );
        };
        row(&format!("commit of {many:>5} dirty partitions"), many_dirty);
        row(&format!("commit of {many:>5} batches in one of them"), one_with_all);
    }
    volume.close().unwrap();
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    builder.append(0, Some(b"key"), Some(&[b'x'; 1000]), &[]).unwrap();
    builder.finish().unwrap()
}

/// Starts of a broker with all the partitions, each with data, and each with `sealed` segments
/// before its last one or without.
fn starts(program: &str, sealed: bool) {
    println!("{}:", if sealed { "several segments each" } else { "one segment each" });
    let dir = tempfile::tempdir().unwrap();
    let empty = Broker::start(program, dir.path());
    let empty_kib = empty.resident_kib();
    println!("empty: ready in {:.0?}, {} MiB resident", empty.took, empty_kib / 1024);
    for topic in 0..TOPICS {
        empty.create(&format!("topic{topic}"), sealed);
    }
    empty.produce(3);
    if sealed {
        empty.produce(3);
    }
    empty.stop("TERM");

    let clean = Broker::start(program, dir.path());
    clean.report("after a clean stop", empty_kib);
    clean.produce(1);
    clean.report("with all written to", empty_kib);
    clean.stop("KILL");
    let killed = Broker::start(program, dir.path());
    killed.report("after a kill", empty_kib);
    killed.stop("TERM");
}

/// Killed when dropped.
struct Broker {
    child: Child,
    ready: Value,
    took: Duration,
}

impl Broker {
    fn start(program: &str, dir: &Path) -> Self {
        let start = Instant::now();
        let mut command = Command::new(program);
        command.args(["dev", "--output", "json", "--kafka-listen", "127.0.0.1:0"]);
        command.args(["--http-listen", "127.0.0.1:0", "--data-dir"]).arg(dir);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap(), took: start.elapsed() }
    }

    fn text(&self, field: &str) -> &str {
        self.ready[field].as_str().unwrap()
    }

    /// With `sealed`, whatever comes later than what is there begins a segment.
    fn create(&self, topic: &str, sealed: bool) {
        let url = format!("{}/v1/topics", self.text("http"));
        let configs = if sealed { json!({ "segment.ms": "1" }) } else { json!({}) };
        let body = json!({ "name": topic, "partitions": PARTITIONS_OF_TOPIC, "configs": configs });
        let request = reqwest::Client::new().post(url).body(body.to_string());
        let request = request.basic_auth(self.text("username"), Some(self.text("password")));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(request.send()).unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Some records to every partition, in one batch each.
    fn produce(&self, records: usize) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.text("kafka")).set("linger.ms", "50");
        config.set("queue.buffering.max.messages", "1000000");
        let producer: BaseProducer = config.create().unwrap();
        for topic in (0..TOPICS).map(|topic| format!("topic{topic}")) {
            for partition in
                (0..PARTITIONS_OF_TOPIC).flat_map(|it| std::iter::repeat_n(it, records))
            {
                let payload = [b'x'; 300];
                let record = || {
                    let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&topic);
                    record.partition(partition).payload(&payload)
                };
                while let Err((error, _)) = producer.send(record()) {
                    let full = RDKafkaErrorCode::QueueFull;
                    assert!(matches!(error, KafkaError::MessageProduction(code) if code == full));
                    producer.poll(Duration::from_millis(10));
                }
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    fn resident_kib(&self) -> usize {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    fn report(&self, when: &str, empty_kib: usize) {
        let resident = self.resident_kib();
        let each = resident.saturating_sub(empty_kib) as f64 / PARTITIONS as f64;
        let files = std::fs::read_dir(self.proc("fd")).unwrap().count();
        let maps = std::fs::read_to_string(self.proc("maps")).unwrap().lines().count();
        println!(
            "{PARTITIONS} partitions {when}: ready in {:.2?}, {} MiB resident, \
             {each:.1} KiB a partition, {files} files, {maps} maps",
            self.took,
            resident / 1024,
        );
    }

    fn stop(mut self, signal: &str) {
        let start = Instant::now();
        let id = self.child.id().to_string();
        Command::new("kill").args(["-s", signal, &id]).status().unwrap();
        self.child.wait().unwrap();
        println!("  ended by SIG{signal} in {:.0?}", start.elapsed());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
