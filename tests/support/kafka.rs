//! librdkafka as the stock client.

use super::process::Ready;
use super::wait;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long one call into librdkafka may take before the test looks at its own deadline again.
const POLL: Duration = Duration::from_millis(200);

/// A record as a consumer saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl From<&BorrowedMessage<'_>> for Record {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: Option<&[u8]>| bytes.map(|it| String::from_utf8(it.to_vec()).unwrap());
        let headers = message.headers().map(|headers| {
            let pair = |it: rdkafka::message::Header<'_, &[u8]>| {
                (it.key.to_owned(), text(it.value).unwrap_or_default())
            };
            headers.iter().map(pair).collect()
        });
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: text(message.key()),
            value: text(message.payload()),
            headers: headers.unwrap_or_default(),
        }
    }
}

/// A client without security settings: in `dev`, the dev account.
pub(crate) fn anonymous(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    config
}

/// A client with SASL/PLAIN.
pub(crate) fn sasl(bootstrap: &str, username: &str, password: &str) -> ClientConfig {
    let mut config = anonymous(bootstrap);
    config
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanisms", "PLAIN")
        .set("sasl.username", username)
        .set("sasl.password", password);
    config
}

/// The client of the account that `tidelog dev` printed.
pub(crate) fn dev(ready: &Ready) -> ClientConfig {
    sasl(&ready.kafka, &ready.username, &ready.password)
}

/// The topics a client sees, each with its number of partitions.
pub(crate) fn topics(config: &ClientConfig) -> Vec<(String, usize)> {
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(None, wait::DEADLINE).unwrap();
    let topics = metadata.topics().iter();
    topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
}

/// Everything in a topic, sorted by partition and offset. Checks that offsets are dense from 0.
pub(crate) fn read_all(config: &ClientConfig, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = config
        .clone()
        .set("group.id", "reads-all")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), wait::DEADLINE).unwrap();
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|it| it.id()).collect();
    assert!(!partitions.is_empty(), "{topic} has no partitions");
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut records, mut ended) = (Vec::new(), BTreeSet::new());
    wait::until(&format!("the ends of {topic}"), || {
        match consumer.poll(POLL) {
            Some(Ok(message)) => records.push(Record::from(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => {}
        }
        (ended.len() == partitions.len()).then_some(())
    });
    records.sort_by_key(|record: &Record| (record.partition, record.offset));
    for partition in partitions {
        let of = records.iter().filter(|record| record.partition == partition);
        assert!(of.map(|record| record.offset).eq(0..of_len(&records, partition)), "dense offsets");
    }
    records
}

fn of_len(records: &[Record], partition: i32) -> i64 {
    records.iter().filter(|record| record.partition == partition).count() as i64
}
