//! What ingest costs, over HTTP, against a server of its own whose every answer is durable.
//!
//! `cargo bench --bench ingest -- [--records N] [--snapshot]` fills a collection with N records
//! (100,000 unless said otherwise) of Stripe's shapes, about 1.5 KiB each, in batches of 500 on one
//! connection. At 10,000 records, and whenever there are ten times as many, and at the end, it
//! measures upserts of records chosen at random of which half change something, and what the server
//! has in memory. Then come upserts that change nothing, and single PUTs at a rate of 1,000 a
//! second, each timed from when it was due. With `--snapshot` a snapshot of the collection follows,
//! nine of ten records of it unchanged in pages of 500, whose closing deletes the others.
//! `serde_json` parsing the same bytes is the floor beside it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a failed benchmark panics")]

use base64::Engine;
use hdrhistogram::Histogram;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const RECORDS: usize = 100_000;
const BATCH: usize = 500;
/// Batches of one measurement: some 300 MB of records, so that the store has to merge them too.
const ROUNDS: usize = 600;
/// A server with nothing to do takes less processor time than this in that long.
const IDLE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Single PUTs a second, for how long, and from how many connections.
const PUTS_PER_SECOND: u64 = 1_000;
const PUTS_SECONDS: u64 = 10;
const CONNECTIONS: u64 = 8;
const SHAPES: [&str; 4] = ["payment_intent", "quote", "dispute", "treasury.outbound_payment"];

fn main() {
    let records = asked().max(10_000);
    let dir = tempfile::tempdir().unwrap();
    let _zeros = fill_memory();
    let server = Server::start(dir.path());
    let mut records = Records::new(records);
    println!(
        "a record is {} bytes on average; batches of {BATCH}, one connection",
        records.bytes()
    );
    println!("\n   records  upserts/s  us a record  its CPU, us  memory, MiB");
    let mut connection = server.connect();
    let mut next = 10_000;
    let mut filled = Duration::ZERO;
    for first in (0..records.revisions.len()).step_by(BATCH) {
        let ids = first..records.revisions.len().min(first + BATCH);
        let body = records.body(ids.clone(), |_| false);
        let began = tokio::time::Instant::now();
        assert_eq!(connection.batch(&body), ids.len(), "each is inserted");
        filled += began.elapsed();
        if ids.end == next || ids.end == records.revisions.len() {
            next *= 10;
            half_of_them(ids.end, &mut records, &mut connection, &server);
        }
    }
    let count = records.revisions.len() as u32;
    println!("filled at {:.0} inserts/s", 1.0 / (filled / count).as_secs_f64());
    nothing_changes(&mut records, &mut connection);
    single_puts(&server, &records);
    if std::env::args().any(|it| it == "--snapshot") {
        snapshot(&mut records, &mut connection, &server);
    }
    floor(&mut records);
}

/// Has the page cache take the memory that is free, with files of zeros that take no disk: on a
/// virtual machine it may have been given back to the host, and fetching it again costs whoever
/// writes into it first far more than the write.
fn fill_memory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["zeros-0", "zeros-1"] {
        let Ok(memory) = std::fs::read_to_string("/proc/meminfo") else { break };
        let free = memory.lines().find_map(|line| line.strip_prefix("MemFree:")).unwrap();
        let free: u64 = free.trim().trim_end_matches(" kB").parse().unwrap();
        let path = dir.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(free << 10).unwrap();
        let mut zeros = std::fs::File::open(&path).unwrap();
        std::io::copy(&mut zeros, &mut std::io::sink()).unwrap();
    }
    dir
}

/// `--records N`; what cargo adds is passed over.
fn asked() -> usize {
    let arguments: Vec<_> = std::env::args().collect();
    let at = arguments.iter().position(|it| it == "--records");
    at.map_or(RECORDS, |at| arguments[at + 1].replace(['_', ','], "").parse().unwrap())
}

/// Upserts of records chosen at random among the first `filled`; every other one changes.
fn half_of_them(filled: usize, records: &mut Records, connection: &mut Http, server: &Server) {
    // What the inserts before have left to the store is not what these upserts cost.
    server.until_idle();
    let (mut took, cpu) = (Duration::ZERO, server.cpu());
    for _ in 0..ROUNDS {
        let ids = records.some(filled);
        let body = records.body(ids, |at| at % 2 == 0);
        let began = tokio::time::Instant::now();
        assert_eq!(connection.batch(&body), BATCH / 2);
        took += began.elapsed();
    }
    // And what they have left is.
    server.until_idle();
    let each = took / (ROUNDS * BATCH) as u32;
    let cpu = (server.cpu() - cpu) / (ROUNDS * BATCH) as u32;
    let (memory, mapped) = server.memory();
    println!(
        "{filled:>10}  {:>9.0}  {:>11.2}  {:>11.2}  {memory:>6} + {mapped} of files",
        1.0 / each.as_secs_f64(),
        each.as_secs_f64() * 1e6,
        cpu.as_secs_f64() * 1e6,
    );
}

fn nothing_changes(records: &mut Records, connection: &mut Http) {
    let filled = records.revisions.len();
    let mut took = Duration::ZERO;
    for _ in 0..ROUNDS {
        let ids = records.some(filled);
        let body = records.body(ids, |_| false);
        let began = tokio::time::Instant::now();
        assert_eq!(connection.batch(&body), 0, "nothing is written to the log");
        took += began.elapsed();
    }
    let each = took / (ROUNDS * BATCH) as u32;
    println!("no-op upserts: {:.0}/s, none of which wrote an event", 1.0 / each.as_secs_f64());
}

/// A snapshot of nine of ten records as they are; its closing deletes the others.
fn snapshot(records: &mut Records, connection: &mut Http, server: &Server) {
    let path = "/v1/syncs/bench/collections/charge/snapshots";
    let json = |answer: Vec<u8>| serde_json::from_slice::<Value>(&answer).unwrap();
    let opened = json(connection.send("POST", path, b""));
    let path = format!("{path}/{}", opened["id"].as_str().unwrap());
    let all = 0..records.revisions.len();
    let kept: Vec<usize> = all.clone().filter(|id| id % 10 != 0).collect();
    let (mut took, mut peak) = (Duration::ZERO, 0);
    for ids in kept.chunks(BATCH) {
        let body = records.body(ids.iter().copied(), |_| false);
        let began = tokio::time::Instant::now();
        connection.send("POST", &format!("{path}/records"), &body);
        took += began.elapsed();
        peak = peak.max(server.memory().0);
    }
    println!(
        "snapshot: {:.0} records/s in pages, at most {peak} MiB of memory",
        kept.len() as f64 / took.as_secs_f64()
    );
    let began = tokio::time::Instant::now();
    let mut answer = json(connection.send("POST", &format!("{path}/close"), b""));
    while answer["state"] != "closed" {
        peak = peak.max(server.memory().0);
        answer = json(connection.send("POST", &format!("{path}/close"), b""));
    }
    let gone = all.len() - kept.len();
    assert_eq!(answer["deleted"], gone);
    println!(
        "its closing: {:.1} s, {:.0} of all records/s looked at, {gone} deleted, at most {} MiB",
        began.elapsed().as_secs_f64(),
        all.len() as f64 / began.elapsed().as_secs_f64(),
        server.memory().0.max(peak)
    );
}

/// PUTs that all change something, each sent when it is due whatever became of those before.
fn single_puts(server: &Server, records: &Records) {
    let next = &AtomicU64::new(0);
    let latencies: Vec<Histogram<u64>> = std::thread::scope(|scope| {
        let began = tokio::time::Instant::now();
        let sender = |_| {
            scope.spawn(move || {
                let mut connection = server.connect();
                let mut latencies = Histogram::new(3).unwrap();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= PUTS_PER_SECOND * PUTS_SECONDS {
                        return latencies;
                    }
                    let due = began + Duration::from_secs(1) * at as u32 / PUTS_PER_SECOND as u32;
                    let now = tokio::time::Instant::now();
                    std::thread::park_timeout(due.saturating_duration_since(now));
                    let id = at as usize % records.revisions.len();
                    let body = records.record(id, 1_000_000 + at as u32);
                    connection.put(&format!("pi_{id:09}"), body.as_bytes());
                    latencies.record(due.elapsed().as_micros() as u64).unwrap();
                }
            })
        };
        let senders: Vec<_> = (0..CONNECTIONS).map(sender).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let mut all = Histogram::<u64>::new(3).unwrap();
    latencies.iter().for_each(|its| all.add(its).unwrap());
    let quantile = |quantile| all.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "single PUTs at {PUTS_PER_SECOND}/s: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
    );
}

/// What it costs to parse the same bytes, and nothing more.
fn floor(records: &mut Records) {
    let filled = records.revisions.len();
    let mut took = Duration::ZERO;
    for _ in 0..ROUNDS {
        let ids = records.some(filled);
        let body = records.body(ids, |_| false);
        let began = tokio::time::Instant::now();
        let items: Vec<Value> = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(std::hint::black_box(items).len(), BATCH);
        took += began.elapsed();
    }
    let each = took / (ROUNDS * BATCH) as u32;
    println!(
        "serde_json parses the same bytes at {:.0} records/s: {:.2} us a record",
        1.0 / each.as_secs_f64(),
        each.as_secs_f64() * 1e6
    );
}

/// Records of Stripe's shapes, and how often each was changed.
struct Records {
    /// What comes before the revision, and after it.
    shapes: Vec<(String, String)>,
    revisions: Vec<u32>,
    random: u64,
}

impl Records {
    fn new(count: usize) -> Self {
        let fixtures: Value =
            serde_json::from_str(include_str!("../tests/fixtures/stripe-objects.json")).unwrap();
        let shape = |name: &str| {
            let mut object = fixtures["resources"][name].clone();
            let note = "an order of the spring catalogue, to be paid within thirty days";
            object["metadata"] = serde_json::json!({ "note": note, "revision": "REVISION" });
            let text = object.to_string();
            let (before, after) = text.split_once("REVISION").unwrap();
            (before.to_owned(), after.to_owned())
        };
        Self { shapes: SHAPES.map(shape).into(), revisions: vec![0; count], random: 0x9e37_79b9 }
    }

    fn bytes(&self) -> usize {
        let all: usize = (0..SHAPES.len()).map(|id| self.record(id, 1).len()).sum();
        all / SHAPES.len()
    }

    fn record(&self, id: usize, revision: u32) -> String {
        let (before, after) = &self.shapes[id % SHAPES.len()];
        format!("{before}{revision}{after}")
    }

    /// A batch of different records among the first `filled`.
    fn some(&mut self, filled: usize) -> Vec<usize> {
        let mut ids = std::collections::BTreeSet::new();
        while ids.len() < BATCH {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            ids.insert((self.random % filled as u64) as usize);
        }
        // In no order, as they come from an API.
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_by_key(|id| id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        ids
    }

    /// A batch's body; those at which it says so are changed.
    fn body(
        &mut self,
        ids: impl IntoIterator<Item = usize>,
        changes: impl Fn(usize) -> bool,
    ) -> Vec<u8> {
        let mut body = Vec::with_capacity(BATCH * 1700);
        for (at, id) in ids.into_iter().enumerate() {
            self.revisions[id] += u32::from(changes(at));
            let data = self.record(id, self.revisions[id]);
            writeln!(body, r#"{{"op":"upsert","id":"pi_{id:09}","data":{data}}}"#).unwrap();
        }
        body
    }
}

/// The program, with its defaults.
struct Server {
    child: Child,
    address: String,
    authorization: String,
}

impl Server {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidelog"))
            .args(["dev", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--output", "json", "--data-dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        let credentials = format!("{}:{}", text("username"), text("password"));
        let token = base64::engine::general_purpose::STANDARD.encode(credentials);
        let address = text("http").trim_start_matches("http://").to_owned();
        let server = Self { child, address, authorization: format!("Basic {token}") };
        let sync = br#"{"collections":{"charge":{}}}"#;
        server.connect().send("PUT", "/v1/syncs/bench", sync);
        server
    }

    fn connect(&self) -> Http {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::with_capacity(1 << 16, stream.try_clone().unwrap());
        Http { stream, reader, authorization: self.authorization.clone() }
    }

    /// The CPU time it took so far.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        // In user and kernel mode; a tick is a hundredth of a second.
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// Waits until what was left to the background is done.
    fn until_idle(&self) {
        let (taken, wait) = IDLE;
        loop {
            let before = self.cpu();
            std::thread::park_timeout(wait);
            if self.cpu() - before < taken {
                return;
            }
        }
    }

    /// MiB of memory that is the process's own, and of files it has mapped.
    fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        (kib("RssAnon") >> 10, kib("RssFile") >> 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP/1.1 connection, as cheap as can be: the server has the same two cores.
struct Http {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    authorization: String,
}

impl Http {
    /// Sends a batch, and gives how many of its items made an event.
    fn batch(&mut self, body: &[u8]) -> usize {
        let answer = self.send("POST", "/v1/syncs/bench/collections/charge/records", body);
        let text = String::from_utf8(answer).unwrap();
        assert!(!text.contains(r#""error""#), "{text}");
        text.matches(r#""event":""#).count()
    }

    fn put(&mut self, id: &str, body: &[u8]) {
        let answer =
            self.send("PUT", &format!("/v1/syncs/bench/collections/charge/records/{id}"), body);
        assert!(answer.starts_with(br#"{"event":""#), "{}", String::from_utf8_lossy(&answer));
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.authorization,
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let (mut line, mut length, mut first) = (String::new(), 0, true);
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            if std::mem::take(&mut first) {
                assert!(line.starts_with("HTTP/1.1 20"), "{line}");
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            } else if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.reader.read_exact(&mut answer).unwrap();
        answer
    }
}
