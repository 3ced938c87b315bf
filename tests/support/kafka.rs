//! librdkafka as the stock client.

use super::process::Ready;
use super::wait;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
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

/// What is in a topic when this is called, sorted by partition and offset; checks that offsets are
/// dense. Others may go on writing.
pub(crate) fn read_all(config: &ClientConfig, topic: &str) -> Vec<Record> {
    read_from(config, topic, &[])
}

/// The same from these offsets on, one a partition, or from the start.
pub(crate) fn read_from(config: &ClientConfig, topic: &str, starts: &[i64]) -> Vec<Record> {
    let mut config = config.clone();
    config.set("group.id", "reads-all").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), wait::DEADLINE).unwrap();
    let mut assignment = TopicPartitionList::new();
    let (mut next, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), wait::DEADLINE).unwrap();
        assert_eq!(low, 0, "{topic}-{} starts at its first record", partition.id());
        let start = starts.get(partition.id() as usize).copied().unwrap_or(0);
        assert!(start <= high, "{topic}-{} has lost records", partition.id());
        let offset = Offset::Offset(start);
        assignment.add_partition_offset(topic, partition.id(), offset).unwrap();
        next.insert(partition.id(), start);
        ends.insert(partition.id(), high);
    }
    assert!(!ends.is_empty(), "{topic} has no partitions");
    consumer.assign(&assignment).unwrap();
    let mut records = Vec::new();
    wait::until(&format!("the ends of {topic}: {ends:?}"), || {
        while next.iter().any(|(partition, next)| *next < ends[partition]) {
            let record = Record::from(&consumer.poll(POLL)?.unwrap());
            let next = next.get_mut(&record.partition).unwrap();
            assert_eq!(record.offset, *next, "{topic}-{} is dense", record.partition);
            *next += 1;
            if record.offset < ends[&record.partition] {
                records.push(record);
            }
        }
        Some(())
    });
    records.sort_by_key(|record: &Record| (record.partition, record.offset));
    records
}
