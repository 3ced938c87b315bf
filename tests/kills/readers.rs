//! Who reads the idempotent producer's records while the process is killed.

use super::{ONCE, PARTITIONS, parse};
use crate::support::http::Http;
use crate::support::receiver::Receiver;
use crate::support::{kafka, wait};
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const GROUP: &str = "crew";
/// How long a call into a client may take before it is looked whether to stop.
const POLL: Duration = Duration::from_millis(100);

/// The numbers of the records that someone was given.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<BTreeSet<u64>>>);

impl Seen {
    /// A record at its place, which is the one its number says.
    fn note(&self, partition: i64, offset: i64, value: &str) {
        let (_, number) = parse(value);
        let place = number / PARTITIONS as u64;
        assert_eq!((partition, offset), ((number % PARTITIONS as u64) as i64, place as i64));
        self.0.lock().unwrap().insert(number);
    }

    /// Waits until it is all of the first `count` records.
    fn reaches(&self, who: &str, count: u64) {
        wait::while_it_moves(&format!("{who}: all of {count}"), || {
            let seen = self.0.lock().unwrap().len() as u64;
            (seen, seen == count)
        });
    }
}

/// A client that says nothing of the connections that a kill cuts.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, _: KafkaError, _: &str) {}
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// The group's offsets as their commits were acknowledged.
#[derive(Clone)]
pub(super) struct Committed {
    acknowledged: Arc<Mutex<BTreeMap<i32, i64>>>,
    asks: Arc<BaseConsumer<Quiet>>,
}

impl Committed {
    fn new(address: &str) -> Self {
        Self { acknowledged: Arc::default(), asks: Arc::new(client(address)) }
    }

    /// None of them has gone back.
    pub(super) fn check(&self, when: &str) {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let found = wait::until("the committed offsets", || {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_range(ONCE, 0, PARTITIONS as i32 - 1);
            self.asks.committed_offsets(asked, wait::DEADLINE).ok()
        });
        for (partition, least) in acknowledged {
            let found = found.find_partition(ONCE, partition).unwrap().offset();
            let Offset::Offset(offset) = found else { panic!("{when}: {partition}: {found:?}") };
            assert!(offset >= least, "{when}: {partition}: {offset} after {least}");
        }
    }
}

fn client(address: &str) -> BaseConsumer<Quiet> {
    let mut config = kafka::anonymous(address);
    config.set("group.id", GROUP).set("enable.auto.commit", "false");
    config.set("auto.offset.reset", "earliest");
    config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "50");
    config.create_with_context(Quiet).unwrap()
}

/// The group's member and the REST consumer, while they read.
pub(super) struct Readers {
    pub committed: Committed,
    seen: [(&'static str, Seen); 2],
    stop: Arc<AtomicBool>,
    threads: [JoinHandle<()>; 2],
}

impl Readers {
    pub(super) fn start(address: &str, http: &Http) -> Self {
        let (committed, stop) = (Committed::new(address), Arc::new(AtomicBool::new(false)));
        let seen = [("the group", Seen::default()), ("the REST consumer", Seen::default())];
        let of_group = {
            let (address, committed) = (address.to_owned(), committed.clone());
            let (seen, stop) = (seen[0].1.clone(), stop.clone());
            thread::spawn(move || read_as_group(&address, &seen, &committed, &stop))
        };
        let of_rest = {
            let (http, seen, stop) = (http.clone(), seen[1].1.clone(), stop.clone());
            thread::spawn(move || read_over_rest(&http, &seen, &stop))
        };
        Self { committed, seen, stop, threads: [of_group, of_rest] }
    }

    /// Waits until each was given all of the first `count` records, and ends them.
    pub(super) fn reach_the_end(self, count: u64) {
        self.seen.iter().for_each(|(who, seen)| seen.reaches(who, count));
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.committed.check("the end");
    }
}

/// A member of a group, which commits each time it has read some records.
fn read_as_group(address: &str, seen: &Seen, committed: &Committed, stop: &AtomicBool) {
    const COMMIT_EVERY: u32 = 7;
    let consumer = client(address);
    consumer.subscribe(&[ONCE]).unwrap();
    let mut read = 0;
    while !stop.load(Ordering::SeqCst) {
        let Some(Ok(message)) = consumer.poll(POLL) else { continue };
        let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
        seen.note(message.partition().into(), message.offset(), value);
        read += 1;
        if read % COMMIT_EVERY == 0 && consumer.commit_message(&message, CommitMode::Sync).is_ok() {
            let next = message.offset() + 1;
            committed.acknowledged.lock().unwrap().insert(message.partition(), next);
        }
    }
}

/// A consumer over REST, whose offsets are committed for it.
fn read_over_rest(http: &Http, seen: &Seen, stop: &AtomicBool) {
    let path = format!("/consume/rest/one/{ONCE}?timeout={}", POLL.as_millis());
    let earliest = [("kafka-auto-offset-reset", "earliest")];
    while !stop.load(Ordering::SeqCst) {
        // While the process is down there is no answer, or one that is cut off.
        let answer = http.try_send(reqwest::Method::GET, &path, &earliest, String::new());
        let Ok(answer) = answer else { continue };
        if answer.status != 200 {
            assert!(matches!(answer.status, 500 | 503), "{answer:?}");
            continue;
        }
        let records: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
        for record in records {
            let (partition, offset) = (record["partition"].as_i64(), record["offset"].as_i64());
            seen.note(partition.unwrap(), offset.unwrap(), record["value"].as_str().unwrap());
        }
    }
}

/// A webhook is sent each record, and each time under its one id.
pub(super) fn check_webhook(receiver: &Receiver, count: u64) {
    let by_number = || {
        let deliveries = receiver.accepted();
        deliveries.into_iter().map(|it| (parse(&it.body).1, it.id)).collect::<BTreeSet<_>>()
    };
    let numbers = || by_number().into_iter().map(|(number, _)| number).collect::<BTreeSet<_>>();
    wait::while_it_moves(&format!("the webhook: all of {count}"), || {
        let seen = numbers().len() as u64;
        (seen, seen == count)
    });
    assert_eq!(by_number().len() as u64, count, "a record has one id, also after restarts");
}
