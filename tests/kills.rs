//! SIGKILL under load of every kind. What plain producers were acknowledged is there, at its
//! offset, with its bytes, in order; an idempotent producer's records are there once; and who reads
//! them, as a group, over REST and as a webhook, is given all of them, with no committed offset
//! going back.

mod readers;

use crate::support::http::Http;
use crate::support::kafka;
use crate::support::process::{Tidelog, fixed_address};
use crate::support::receiver::Receiver;
use crate::support::{iterations, wait};
use fastrand::Rng;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use readers::Readers;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Of plain producers, which try nothing again.
const PLAIN: &str = "plain";
/// Of one idempotent producer, which tries everything again.
const ONCE: &str = "once";
const PARTITIONS: usize = 3;
const PLAIN_PRODUCERS: u64 = 3;
const KILLS: u64 = 10;
/// Between two records of a producer: a steady load, which readers can follow.
const PLAIN_PACE: Duration = Duration::from_millis(2);
const ONCE_PACE: Duration = Duration::from_millis(5);

/// What was acknowledged and is not checked yet, by partition and offset.
#[derive(Clone, Default)]
struct Acknowledged {
    records: Arc<Mutex<BTreeMap<(i32, i64), String>>>,
    count: Arc<AtomicU64>,
    /// Whether a record that is given up is a failure.
    keeps_all: bool,
}

impl ClientContext for Acknowledged {
    // Connections that a kill cuts are what this test is about.
    fn error(&self, _: KafkaError, _: &str) {}
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let message = match result {
            Ok(message) => message,
            Err((error, _)) => return assert!(!self.keeps_all, "{error}"),
        };
        let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        let at = (message.partition(), message.offset());
        let twice = self.records.lock().unwrap().insert(at, value);
        assert_eq!(twice, None, "an offset was given out twice");
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

/// What has been read of a topic so far: the values of each partition, in order.
#[derive(Default)]
struct Log {
    values: [Vec<String>; PARTITIONS],
    /// The last number of each plain producer in each partition.
    last: BTreeMap<(usize, u64), u64>,
}

impl Log {
    /// Reads what has come since; all that is acknowledged by now is among it.
    fn read_on(&mut self, address: &str, topic: &str, acknowledged: &Acknowledged, when: &str) {
        let said = acknowledged.records.lock().unwrap().clone();
        let starts = self.values.each_ref().map(|values| values.len() as i64);
        for record in kafka::read_from(&kafka::anonymous(address), topic, &starts) {
            let (partition, value) = (record.partition as usize, record.value.unwrap());
            self.check_order(partition, &value, when);
            self.values[partition].push(value);
        }
        for ((partition, offset), value) in &said {
            let found = self.values[*partition as usize].get(*offset as usize);
            assert_eq!(found, Some(value), "{when}: {topic}-{partition} at {offset}");
        }
        acknowledged.records.lock().unwrap().retain(|at, _| !said.contains_key(at));
    }

    /// What comes next is the idempotent producer's next record, or one of a plain producer that is
    /// later than its last.
    fn check_order(&mut self, partition: usize, value: &str, when: &str) {
        let (producer, number) = parse(value);
        let Some(producer) = producer else {
            let next = self.values[partition].len() * PARTITIONS + partition;
            return assert_eq!(number, next as u64, "{when}: {ONCE}-{partition}");
        };
        let last = self.last.insert((partition, producer), number);
        assert!(last < Some(number), "{when}: {PLAIN}-{partition}: {number} after {last:?}");
    }
}

/// A record's producer, if it is a plain one, and number.
fn parse(value: &str) -> (Option<u64>, u64) {
    let mut words = value.split(' ');
    let producer = words.next().unwrap().parse().ok();
    (producer, words.next().unwrap().parse().unwrap())
}

#[test]
fn what_was_acknowledged_survives_kills_under_load_of_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    let (address, http) = (fixed_address(), fixed_address());
    let start = || Tidelog::dev_at(dir.path(), &address, &http);
    let mut tidelog = start();
    let client = Http::dev(&tidelog.ready);
    for name in [PLAIN, ONCE] {
        let topic = json!({ "name": name, "partitions": PARTITIONS });
        client.post("/v1/topics", topic.to_string()).json();
    }
    let mut receiver = Receiver::new(fixed_address());
    receiver.up(200);
    let webhook = json!({ "url": receiver.url(), "topics": [ONCE], "start": "beginning",
        "retry": { "schedule": ["100ms"] } });
    client.post("/v1/webhooks", webhook.to_string()).json();

    let (plain, once) =
        (Acknowledged::default(), Acknowledged { keeps_all: true, ..Default::default() });
    let done = Arc::new(AtomicBool::new(false));
    let writers = writers(&address, [&plain, &once], &done);
    let readers = Readers::start(&address, &client);

    let mut random = Rng::with_seed(1);
    let (mut plain_log, mut once_log) = (Log::default(), Log::default());
    for round in 0..iterations(KILLS) {
        let counts = || [&plain, &once].map(|it| it.count.load(Ordering::SeqCst));
        let before = counts();
        wait::until(&format!("acknowledgements before kill {round}"), || {
            let now = counts();
            (now[0] > before[0] + 50 && now[1] > before[1] + 10).then_some(())
        });
        // At some moment of a sync, a write, an answer.
        wait::run_for(Duration::from_micros(random.u64(..1 << 16)));
        tidelog.kill();
        tidelog = start();
        let when = format!("kill {round}");
        plain_log.read_on(&address, PLAIN, &plain, &when);
        once_log.read_on(&address, ONCE, &once, &when);
        readers.committed.check(&when);
    }
    done.store(true, Ordering::SeqCst);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    plain_log.read_on(&address, PLAIN, &plain, "the end");
    once_log.read_on(&address, ONCE, &once, "the end");
    let sent = once.count.load(Ordering::SeqCst);
    assert_eq!(once_log.values.each_ref().map(Vec::len).iter().sum::<usize>() as u64, sent);
    // What was read between the kills is there still, and everybody gets to the end of it.
    for (topic, log) in [(PLAIN, &plain_log), (ONCE, &once_log)] {
        let again = kafka::read_all(&kafka::anonymous(&address), topic);
        let again = again.into_iter().map(|it| it.value.unwrap());
        assert!(again.eq(log.values.iter().flatten().cloned()), "{topic}");
    }
    readers.reach_the_end(sent);
    readers::check_webhook(&receiver, sent);
    assert!(tidelog.stop().success());
    let count = plain.count.load(Ordering::SeqCst);
    println!("{count} and {sent} records acknowledged over {} kills", iterations(KILLS));
}

/// Starts every producer.
fn writers(
    address: &str,
    [plain, once]: [&Acknowledged; 2],
    done: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let start = |write: fn(u64, &str, &Acknowledged, &AtomicBool), producer, context| {
        let (address, done, context) =
            (address.to_owned(), done.clone(), Acknowledged::clone(context));
        thread::spawn(move || write(producer, &address, &context, &done))
    };
    let of_plain = (0..PLAIN_PRODUCERS).map(|producer| start(write_plain, producer, plain));
    of_plain.chain([start(write_once, 0, once)]).collect()
}

/// Writes numbered records to every partition. Nothing is tried again: a record whose connection
/// was cut may be there or not, but never twice.
fn write_plain(producer: u64, address: &str, context: &Acknowledged, done: &AtomicBool) {
    let mut config = kafka::anonymous(address);
    config.set("acks", "all").set("message.send.max.retries", "0");
    config.set("queue.buffering.max.messages", "500").set("linger.ms", "1");
    let value = |number: u64| format!("{producer} {number} {}", "x".repeat(number as usize % 500));
    write(PLAIN, &mut config, context, PLAIN_PACE, value, done);
}

/// The same of which everything is tried again until it is acknowledged.
fn write_once(_: u64, address: &str, context: &Acknowledged, done: &AtomicBool) {
    let mut config = kafka::anonymous(address);
    config.set("enable.idempotence", "true").set("message.timeout.ms", "0");
    config.set("linger.ms", "2").set("batch.num.messages", "20");
    config.set("retry.backoff.ms", "10").set("retry.backoff.max.ms", "50");
    let value = |number: u64| format!("once {number} {}", "x".repeat(number as usize % 500));
    write(ONCE, &mut config, context, ONCE_PACE, value, done);
}

fn write(
    topic: &str,
    config: &mut rdkafka::ClientConfig,
    context: &Acknowledged,
    pace: Duration,
    value: impl Fn(u64) -> String,
    done: &AtomicBool,
) {
    config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "50");
    let writer: ThreadedProducer<Acknowledged> =
        config.create_with_context(context.clone()).unwrap();
    for number in 0_u64.. {
        let value = value(number);
        let partition = (number % PARTITIONS as u64) as i32;
        wait::until("room in the producer's queue", || {
            let record = BaseRecord::<(), str>::to(topic).partition(partition).payload(&value);
            match writer.send(record) {
                Ok(()) => Some(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => None,
                Err((error, _)) => panic!("{error}"),
            }
        });
        if done.load(Ordering::SeqCst) {
            break;
        }
        wait::run_for(pace);
    }
    writer.flush(wait::DEADLINE).unwrap();
}
