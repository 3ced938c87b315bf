//! SIGKILL under load: what was acknowledged is there, at its offset, with its bytes, in order.

use crate::support::http::Http;
use crate::support::kafka;
use crate::support::process::{Tidelog, fixed_address};
use crate::support::{iterations, wait};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const TOPIC: &str = "red";
const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 3;
const KILLS: u64 = 10;

/// What was acknowledged, by partition and offset.
#[derive(Clone, Default)]
struct Acknowledged {
    records: Arc<Mutex<BTreeMap<(i32, i64), String>>>,
    count: Arc<AtomicUsize>,
}

impl ClientContext for Acknowledged {
    // Connections that a kill cuts are what this test is about.
    fn error(&self, _: KafkaError, _: &str) {}
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Ok(message) = result else { return };
        let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        let at = (message.partition(), message.offset());
        let twice = self.records.lock().unwrap().insert(at, value);
        assert_eq!(twice, None, "an offset was given out twice");
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn every_acknowledged_record_survives_kills_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let (address, http) = (fixed_address(), fixed_address());
    let start = || Tidelog::dev_at(dir.path(), &address, &http);
    let mut tidelog = start();
    let topic = format!("{{\"name\":\"{TOPIC}\",\"partitions\":{PARTITIONS}}}");
    Http::dev(&tidelog.ready).post("/v1/topics", topic).json();

    let acknowledged = Acknowledged::default();
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (address, context) = (address.clone(), acknowledged.clone());
            let done = done.clone();
            thread::spawn(move || write(producer, &address, &context, &done))
        })
        .collect();
    let mut random = Rng::with_seed(1);
    for round in 0..iterations(KILLS) {
        let before = acknowledged.count.load(Ordering::SeqCst);
        wait::until(&format!("acknowledgements before kill {round}"), || {
            (acknowledged.count.load(Ordering::SeqCst) > before + 50).then_some(())
        });
        // At some moment of a sync, a write, an answer.
        wait::run_for(Duration::from_micros(random.u64(..1 << 16)));
        tidelog.kill();
        tidelog = start();
        check(&address, &acknowledged, round);
    }
    done.store(true, Ordering::SeqCst);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let count = acknowledged.count.load(Ordering::SeqCst);
    check(&address, &acknowledged, iterations(KILLS));
    assert!(tidelog.stop().success());
    println!("{count} records acknowledged over {} kills", iterations(KILLS));
}

/// Between two records of a producer: a steady load, so that every check can read all of it.
const PACE: Duration = Duration::from_micros(200);

/// Writes numbered records to every partition. Nothing is tried again: a record whose connection
/// was cut may be there or not, but never twice.
fn write(producer: usize, address: &str, context: &Acknowledged, done: &AtomicBool) {
    let writer: ThreadedProducer<Acknowledged> = kafka::anonymous(address)
        .set("acks", "all")
        .set("message.send.max.retries", "0")
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "500")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .create_with_context(context.clone())
        .unwrap();
    for number in 0_u64.. {
        let value = format!("{producer} {number} {}", "x".repeat(number as usize % 500));
        let partition = (number % PARTITIONS as u64) as i32;
        wait::until("room in the producer's queue", || {
            let record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&value);
            match writer.send(record) {
                Ok(()) => Some(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    done.load(Ordering::SeqCst).then_some(())
                }
                Err((error, _)) => panic!("{error}"),
            }
        });
        if done.load(Ordering::SeqCst) {
            break;
        }
        wait::run_for(PACE);
    }
    writer.flush(wait::DEADLINE).unwrap();
}

/// Every acknowledged record is where it was said to be, and each producer's are in order, once.
/// That offsets are dense, [`kafka::read_all`] has seen to.
fn check(address: &str, acknowledged: &Acknowledged, round: u64) {
    let said = acknowledged.records.lock().unwrap().clone();
    let records = kafka::read_all(&kafka::anonymous(address), TOPIC);
    let at: BTreeMap<_, _> = records.iter().map(|it| ((it.partition, it.offset), it)).collect();
    for (offset, value) in &said {
        let found = at.get(offset).and_then(|record| record.value.as_deref());
        assert_eq!(found, Some(value.as_str()), "kill {round}: at {offset:?}");
    }
    let mut last: BTreeMap<(i32, String), u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in &records {
        let value = record.value.as_deref().unwrap();
        let (producer, rest) = value.split_once(' ').unwrap();
        let number: u64 = rest.split_once(' ').unwrap().0.parse().unwrap();
        assert!(seen.insert((producer.to_owned(), number)), "kill {round}: {value} twice");
        let last = last.entry((record.partition, producer.to_owned())).or_insert(number);
        assert!(*last <= number, "kill {round}: {producer} {number} after {last}");
        *last = number;
    }
}

#[test]
fn an_answer_that_a_stop_cuts_off_comes_again() {
    // Together more than the kernel takes before the client reads.
    let (partitions, value) = (8, "x".repeat(1_000_000));
    let dir = tempfile::tempdir().unwrap();
    let mut tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    let topic = json!({"name": "large", "partitions": partitions});
    http.post("/v1/topics", topic.to_string()).json();
    for partition in 0..partitions {
        let message = json!({"partition": partition, "value": value});
        http.post("/produce/large", message.to_string()).json();
    }
    let ready = &tidelog.ready;
    let token = STANDARD.encode(format!("{}:{}", ready.username, ready.password));
    let mut client = TcpStream::connect(ready.http.strip_prefix("http://").unwrap()).unwrap();
    let request = format!(
        "GET /consume/g/i/large HTTP/1.1\r\nhost: a\r\nauthorization: Basic {token}\r\n\
         kafka-auto-offset-reset: earliest\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    client.read_exact(&mut [0; 80]).unwrap();
    assert!(tidelog.stop().success());

    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    let committed = http.post("/committed/g/i", "").json();
    assert!(committed.as_array().unwrap().iter().all(|it| it["offset"] == 0), "{committed}");
    let again = http.get("/consume/g/i/large?timeout=10000").json();
    assert_eq!(again.as_array().unwrap().len(), partitions);
}
