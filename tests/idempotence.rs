//! An idempotent producer behind a network that loses answers and cuts connections, and a broker
//! that is killed: every record is there once, in the order it was sent.

use crate::support::kafka;
use crate::support::process::{Tidelog, fixed_address};
use crate::support::proxy::Proxy;
use crate::support::{iterations, wait};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOPIC: &str = "once";
const PARTITIONS: i32 = 3;
const KILLS: u64 = 3;
/// Faults of the network between two kills.
const FAULTS: usize = 8;
/// Between two records, so that what was sent can be read in the end.
const PACE: Duration = Duration::from_micros(200);

/// What became of the records.
#[derive(Clone, Default)]
struct Outcomes {
    delivered: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl ClientContext for Outcomes {
    // Cut connections are what this test is about.
    fn error(&self, _: KafkaError, _: &str) {}
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => drop(self.delivered.fetch_add(1, Ordering::SeqCst)),
            Err((error, _)) => self.failed.lock().unwrap().push(error.to_string()),
        }
    }
}

#[test]
fn an_idempotent_producers_records_are_there_once_and_in_order_whatever_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (address, http) = (fixed_address(), fixed_address());
    let proxy = Proxy::start(&address, 0x7f4a_7c15);
    let start = || Tidelog::dev_behind(dir.path(), &address, &http, &proxy.address);
    let mut tidelog = start();
    let topic = format!("{{\"name\":\"{TOPIC}\",\"partitions\":{PARTITIONS}}}");
    crate::support::http::Http::dev(&tidelog.ready).post("/v1/topics", topic).json();

    let outcomes = Outcomes::default();
    let producer = producer(&proxy.address, &outcomes);
    let mut sent = 0;
    for _ in 0..iterations(KILLS) {
        let (faults, delivered) = (proxy.faults(), outcomes.delivered.load(Ordering::SeqCst));
        wait::until("faults between two kills, and records that get through them", || {
            send(&producer, sent);
            sent += 1;
            wait::run_for(PACE);
            let enough = outcomes.delivered.load(Ordering::SeqCst) > delivered + 100;
            (proxy.faults() >= faults + FAULTS && enough).then_some(())
        });
        tidelog.kill();
        tidelog = start();
    }
    proxy.heal();
    producer.flush(wait::DEADLINE).unwrap();
    assert_eq!(*outcomes.failed.lock().unwrap(), Vec::<String>::new());
    assert_eq!(outcomes.delivered.load(Ordering::SeqCst), sent, "all were acknowledged");

    let records = kafka::read_all(&kafka::anonymous(&proxy.address), TOPIC);
    let at = |partition: i32| records.iter().filter(move |it| it.partition == partition);
    for partition in 0..PARTITIONS {
        let found: Vec<usize> =
            at(partition).map(|it| it.value.as_deref().unwrap().parse().unwrap()).collect();
        let wanted: Vec<usize> =
            (0..sent).filter(|number| partition_of(*number) == partition).collect();
        assert_eq!(found, wanted, "partition {partition}");
    }
    println!("{sent} records, {} faults, {} kills", proxy.faults(), iterations(KILLS));
    assert!(tidelog.stop().success());
}

fn producer(address: &str, outcomes: &Outcomes) -> ThreadedProducer<Outcomes> {
    kafka::anonymous(address)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("batch.num.messages", "20")
        .set("retry.backoff.ms", "10")
        .set("retry.backoff.max.ms", "50")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .create_with_context(outcomes.clone())
        .unwrap()
}

fn partition_of(number: usize) -> i32 {
    (number % PARTITIONS as usize) as i32
}

fn send(producer: &ThreadedProducer<Outcomes>, number: usize) {
    let value = number.to_string();
    let partition = partition_of(number);
    wait::until("room in the producer's queue", || {
        let record = BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(&value);
        match producer.send(record) {
            Ok(()) => Some(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => None,
            Err((error, _)) => panic!("{error}"),
        }
    });
}
