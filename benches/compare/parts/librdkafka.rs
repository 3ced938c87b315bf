//! librdkafka as a load: what most clients outside of Java do.

use clap::Args;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use tidelog::clock;

#[derive(Args)]
pub(crate) struct Produce {
    bootstrap_server: String,
    topic: String,
    #[arg(long)]
    partitions: i32,
    #[arg(long)]
    record_size: usize,
    #[arg(long)]
    seconds: f64,
    /// librdkafka settings, `name=value`
    #[arg(long, value_parser = setting)]
    set: Vec<(String, String)>,
}

#[derive(Args)]
pub(crate) struct Consume {
    bootstrap_server: String,
    topic: String,
    #[arg(long)]
    partitions: i32,
    #[arg(long)]
    records: u64,
    /// Consumers that share the partitions as members of a group; without it, one takes them all
    #[arg(long)]
    members: Option<usize>,
    #[arg(long, value_parser = setting)]
    set: Vec<(String, String)>,
}

const PATIENCE: Duration = Duration::from_secs(60);
/// A member looks this often whether the others have read the rest.
const POLL: Duration = Duration::from_millis(50);
/// How long to wait for room in the client's queue.
const BACKOFF: Duration = Duration::from_millis(1);

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("say name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn config(server: &str, set: Vec<(String, String)>) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server);
    config.extend(set);
    config
}

/// Counts what was delivered, and what was not.
#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone, Default)]
struct Counting(Arc<Deliveries>);

impl ClientContext for Counting {}

impl ProducerContext<NoCustomPartitioner> for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.0.delivered } else { &self.0.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Produce {
    pub(crate) fn run(self) {
        let counting = Counting::default();
        let config = config(&self.bootstrap_server, self.set);
        let producer: ThreadedProducer<Counting> =
            config.create_with_context(counting.clone()).unwrap();
        let value = vec![b'x'; self.record_size];
        let mut sent = 0_i64;
        let started = clock::now();
        while (clock::now() - started).as_secs_f64() < self.seconds {
            let partition = (sent % i64::from(self.partitions)) as i32;
            let record = BaseRecord::<(), [u8]>::to(&self.topic).payload(&value);
            match producer.send(record.partition(partition)) {
                Ok(()) => sent += 1,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    thread::park_timeout(BACKOFF);
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
        producer.flush(PATIENCE).unwrap();
        let seconds = (clock::now() - started).as_secs_f64();
        let records = counting.0.delivered.load(Ordering::Relaxed);
        let failed = counting.0.failed.load(Ordering::Relaxed);
        assert_eq!((failed, records), (0, sent as u64), "failed and delivered");
        report(records, records * self.record_size as u64, seconds);
    }
}

impl Consume {
    pub(crate) fn run(self) {
        let config = config(&self.bootstrap_server, self.set);
        if let Some(members) = self.members {
            return consume_in_group(&config, &self.topic, self.records, members);
        }
        let consumer: BaseConsumer = config.create().unwrap();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..self.partitions {
            assignment.add_partition_offset(&self.topic, partition, Offset::Beginning).unwrap();
        }
        let started = clock::now();
        consumer.assign(&assignment).unwrap();
        let (mut records, mut bytes) = (0, 0);
        while records < self.records {
            let message = consumer.poll(PATIENCE).expect("a record within a minute").unwrap();
            records += 1;
            bytes += message.payload_len() as u64;
        }
        report(records, bytes, (clock::now() - started).as_secs_f64());
    }
}

/// Counts from the first record that one of them gets, and says how long that took.
fn consume_in_group(config: &ClientConfig, topic: &str, wanted: u64, members: usize) {
    let (records, bytes, first) = (AtomicU64::new(0), AtomicU64::new(0), OnceLock::new());
    let started = clock::now();
    let consume = || {
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        while records.load(Ordering::Relaxed) < wanted {
            let Some(message) = consumer.poll(POLL) else {
                assert!(clock::now() - started < PATIENCE, "{wanted} records within a minute");
                continue;
            };
            first.get_or_init(clock::now);
            bytes.fetch_add(message.unwrap().payload_len() as u64, Ordering::Relaxed);
            records.fetch_add(1, Ordering::Relaxed);
        }
        clock::now()
    };
    let ended = thread::scope(|scope| {
        let threads: Vec<_> = (0..members).map(|_| scope.spawn(consume)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).max().unwrap()
    });
    let first = *first.get().unwrap();
    let seconds = (ended - first).as_secs_f64();
    let mut found = summary(records.into_inner(), bytes.into_inner(), seconds);
    found["first_record_ms"] = json!((first - started).as_secs_f64() * 1e3);
    println!("{found}");
}

fn report(records: u64, bytes: u64, seconds: f64) {
    println!("{}", summary(records, bytes, seconds));
}

fn summary(records: u64, bytes: u64, seconds: f64) -> Value {
    json!({
        "records": records, "bytes": bytes, "seconds": seconds,
        "records_per_second": records as f64 / seconds,
        "bytes_per_second": bytes as f64 / seconds,
    })
}
