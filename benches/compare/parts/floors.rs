//! What the machine gives without a broker: the loopback, the disk, and `sendfile`.

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use tidelog::clock;

#[derive(Args)]
pub(crate) struct Floors {
    /// A directory on the disk that the brokers use
    dir: PathBuf,
    /// How long each floor is measured, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// What a message of a ping takes, about as an acknowledgement does.
const PING_BYTES: usize = 100;
const CHUNK_BYTES: usize = 256 << 10;
const SENDFILE_BYTES: u64 = 256 << 20;

impl Floors {
    pub(crate) fn run(self) {
        std::fs::create_dir_all(&self.dir).unwrap();
        println!(
            "{}",
            json!({
                "tcp": self.tcp(),
                "sendfile": self.sendfile(),
                "round_trip": self.round_trips(),
                "fdatasync_4_kib": self.syncs(4 << 10),
                "fdatasync_1_mib": self.syncs(1 << 20),
            })
        );
    }

    fn lasts(&self, started: Duration) -> bool {
        (clock::now() - started).as_secs_f64() < self.seconds
    }

    fn tcp(&self) -> Value {
        let (mut sender, receiver) = pair();
        let drain = thread::spawn(move || drain(receiver));
        let (chunk, started, cpu) = (vec![7; CHUNK_BYTES], clock::now(), on_cpu_s());
        let mut sent = 0_u64;
        while self.lasts(started) {
            sender.write_all(&chunk).unwrap();
            sent += chunk.len() as u64;
        }
        let cpu = on_cpu_s() - cpu;
        drop(sender);
        drain.join().unwrap();
        rate(sent, started, cpu)
    }

    /// A file that the page cache has, to a socket, by `io::copy`: that is `sendfile`.
    fn sendfile(&self) -> Value {
        let path = self.dir.join("sendfile");
        let mut file = File::create(&path).unwrap();
        io::copy(&mut io::repeat(7).take(SENDFILE_BYTES), &mut file).unwrap();
        let (mut sender, receiver) = pair();
        let drain = thread::spawn(move || drain(receiver));
        let (started, cpu) = (clock::now(), on_cpu_s());
        let mut sent = 0;
        while self.lasts(started) {
            sent += io::copy(&mut File::open(&path).unwrap(), &mut sender).unwrap();
        }
        let cpu = on_cpu_s() - cpu;
        drop(sender);
        drain.join().unwrap();
        std::fs::remove_file(path).unwrap();
        rate(sent, started, cpu)
    }

    fn round_trips(&self) -> Value {
        let (mut client, mut server) = pair();
        let echo = thread::spawn(move || {
            let mut message = [0; PING_BYTES];
            while server.read_exact(&mut message).is_ok() {
                server.write_all(&message).unwrap();
            }
        });
        let mut times = Histogram::<u64>::new(3).unwrap();
        let (mut message, started) = ([7; PING_BYTES], clock::now());
        while self.lasts(started) {
            let at = clock::now();
            client.write_all(&message).unwrap();
            client.read_exact(&mut message).unwrap();
            times.record((clock::now() - at).as_nanos() as u64).unwrap();
        }
        drop(client);
        echo.join().unwrap();
        quantiles(&times).into()
    }

    /// Appends to a growing file, synced one by one.
    fn syncs(&self, bytes: usize) -> Value {
        let path = self.dir.join("fdatasync");
        let file = File::create(&path).unwrap();
        let mut times = Histogram::<u64>::new(3).unwrap();
        let (chunk, started, cpu) = (vec![7; bytes], clock::now(), on_cpu_s());
        let mut written = 0;
        while self.lasts(started) {
            let at = clock::now();
            file.write_all_at(&chunk, written).unwrap();
            file.sync_data().unwrap();
            times.record((clock::now() - at).as_nanos() as u64).unwrap();
            written += bytes as u64;
        }
        let mut found = rate(written, started, on_cpu_s() - cpu);
        std::fs::remove_file(path).unwrap();
        found.as_object_mut().unwrap().extend(quantiles(&times));
        found
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

fn drain(mut stream: TcpStream) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while stream.read(&mut chunk).unwrap() > 0 {}
}

/// What came of `bytes` on which this thread spent `cpu_s`.
fn rate(bytes: u64, since: Duration, cpu_s: f64) -> Value {
    let seconds = (clock::now() - since).as_secs_f64();
    let cpu_s_per_gb = cpu_s / (bytes as f64 / 1e9);
    json!({ "bytes_per_second": bytes as f64 / seconds, "cpu_s_per_gb": cpu_s_per_gb })
}

/// Processor seconds of this thread, which is the one that would be the broker's.
fn on_cpu_s() -> f64 {
    let found = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let ns = found.split_whitespace().next().unwrap();
    ns.parse::<f64>().unwrap() / 1e9
}

fn quantiles(times: &Histogram<u64>) -> Map<String, Value> {
    let ms = |quantile| json!(times.value_at_quantile(quantile) as f64 / 1e6);
    let names = [("p50_ms", 0.5), ("p99_ms", 0.99), ("p99.9_ms", 0.999)];
    names.into_iter().map(|(name, quantile)| (name.to_owned(), ms(quantile))).collect()
}
