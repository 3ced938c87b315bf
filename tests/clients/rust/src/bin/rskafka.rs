//! The scenarios with rskafka, which reads and writes partitions and has no groups.

use anyhow::Result;
use rskafka::BackoffConfig;
use rskafka::chrono::DateTime;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use std::time::Duration;
use tidelog_client_matrix::*;

const TIMEOUT_MS: i32 = 10_000;

fn block<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(call)
}

async fn connect(password: &str) -> Result<Client> {
    let login = SaslConfig::Plain(Credentials::new(USERNAME.clone(), password.to_owned()));
    // Else it tries for ever.
    let backoff =
        BackoffConfig { deadline: Some(Duration::from_secs(1)), ..BackoffConfig::default() };
    let builder = ClientBuilder::new(vec![BOOTSTRAP.clone()]).backoff_config(backoff);
    Ok(builder.sasl_config(login).build().await?)
}

async fn create_topic(name: &str, partitions: i32) -> Result<()> {
    let controller = connect(&PASSWORD).await?.controller_client()?;
    Ok(controller.create_topic(name, partitions, 1, TIMEOUT_MS).await?)
}

async fn partition(topic: &str, partition: i32) -> Result<PartitionClient> {
    let client = connect(&PASSWORD).await?;
    Ok(client.partition_client(topic, partition, UnknownTopicHandling::Error).await?)
}

async fn produce(topic: &str, records: Vec<Record>, compression: Compression) -> Result<Vec<i64>> {
    let (client, mut offsets) = (partition(topic, 0).await?, Vec::new());
    for it in records {
        let record = rskafka::record::Record {
            key: it.key,
            value: it.value,
            headers: it.headers.into_iter().collect(),
            timestamp: DateTime::from_timestamp_millis(now_ms()).unwrap_or_default(),
        };
        offsets.extend(client.produce(vec![record], compression).await?);
    }
    Ok(offsets)
}

/// All records of a partition from an offset on.
async fn read(topic: &str, index: i32, mut from: i64) -> Result<Vec<Record>> {
    let (client, mut records) = (partition(topic, index).await?, Vec::new());
    loop {
        let (fetched, end) = client.fetch_records(from, 1..10_000_000, 1000).await?;
        for it in fetched {
            from = it.offset + 1;
            records.push(Record {
                partition: index,
                offset: it.offset,
                key: it.record.key,
                value: it.record.value,
                headers: it.record.headers.into_iter().collect(),
            });
        }
        if from >= end {
            return Ok(records);
        }
    }
}

/// What Kafka says in an error, if it says something.
fn protocol_error(error: &anyhow::Error) -> Option<ProtocolError> {
    match error.downcast_ref::<Error>()? {
        Error::ServerError { protocol_error, .. } => Some(*protocol_error),
        _ => None,
    }
}

async fn sample(topic: &str, compression: Compression) -> Result<()> {
    create_topic(topic, 1).await?;
    expect("offsets", produce(topic, samples(), compression).await?, (0..7).collect())?;
    expect("records", read(topic, 0, 0).await?, samples())
}

async fn create() -> Result<()> {
    create_topic("create", 3).await?;
    let again = create_topic("create", 3).await;
    let error = again.err().and_then(|error| protocol_error(&error));
    expect("the same again", error, Some(ProtocolError::TopicAlreadyExists))
}

async fn by_offset() -> Result<()> {
    create_topic("offsets", 1).await?;
    produce("offsets", numbers(1, 0, 5), Compression::NoCompression).await?;
    let middle = DateTime::from_timestamp_millis(now_ms() + 5).unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(10)).await;
    produce("offsets", numbers(1, 5, 10), Compression::NoCompression).await?;
    let client = partition("offsets", 0).await?;
    let mut found = Vec::new();
    for at in [OffsetAt::Earliest, OffsetAt::Latest, OffsetAt::Timestamp(middle)] {
        found.push(client.get_offset(at).await?);
    }
    expect("offsets", found, vec![0, 10, 5])?;
    expect("earliest", offsets(&read("offsets", 0, 0).await?), (0..10).collect())?;
    expect("at a time", offsets(&read("offsets", 0, 5).await?), (5..10).collect())?;
    // The latest: waits for what is written meanwhile.
    let waits = client.fetch_records(10, 1..1_000_000, TIMEOUT_MS);
    let writes = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        produce("offsets", numbers(1, 10, 11), Compression::NoCompression).await
    };
    let (read, written) = tokio::join!(waits, writes);
    expect("written", written?, vec![10])?;
    expect("latest", read?.0.iter().map(|it| it.offset).collect(), vec![10])
}

async fn partitions_of(topic: &str) -> Result<Option<usize>> {
    let topics = connect(&PASSWORD).await?.list_topics().await?;
    Ok(topics.iter().find(|it| it.name == topic).map(|it| it.partitions.len()))
}

async fn topics() -> Result<()> {
    create_topic("topics", 3).await?;
    expect("partitions", partitions_of("topics").await?, Some(3))
}

async fn delete() -> Result<()> {
    create_topic("delete", 1).await?;
    let controller = connect(&PASSWORD).await?.controller_client()?;
    controller.delete_topic("delete", TIMEOUT_MS).await?;
    expect("listed", partitions_of("delete").await?, None)
}

async fn password() -> Result<()> {
    let refused = connect("wrong").await.err().map(|error| format!("{error:#} {error:?}"));
    let told = refused.as_ref().is_some_and(|text| text.contains("SaslAuthenticationFailed"));
    expect(&format!("told in {refused:?}"), told, true)
}

async fn over_limit() -> Result<()> {
    create_topic("too-large", 1).await?;
    let record = Record { value: Some(too_large()), ..Record::default() };
    let sent = produce("too-large", vec![record], Compression::NoCompression).await;
    let error = sent.err().and_then(|error| protocol_error(&error));
    expect("error", error, Some(ProtocolError::MessageTooLarge))
}

const NO_GROUPS: &str = "no groups";

fn main() -> Result<()> {
    let scenarios: &[Scenario] = &[
        ("create", || block(create())),
        ("none", || block(sample("none", Compression::NoCompression))),
        ("gzip", || block(sample("gzip", Compression::Gzip))),
        ("snappy", || block(sample("snappy", Compression::Snappy))),
        ("lz4", || block(sample("lz4", Compression::Lz4))),
        ("zstd", || block(sample("zstd", Compression::Zstd))),
        ("offsets", || block(by_offset())),
        ("group", || absent(NO_GROUPS)),
        ("rebalance", || absent(NO_GROUPS)),
        ("crash", || absent(NO_GROUPS)),
        ("resume", || absent(NO_GROUPS)),
        ("topics", || block(topics())),
        ("configs", || absent("no call about configs")),
        ("partitions", || absent("no call that adds partitions")),
        ("groups", || absent(NO_GROUPS)),
        ("delete", || block(delete())),
        ("password", || block(password())),
        ("too-large", || block(over_limit())),
        ("idempotent", || absent("no idempotent producer")),
    ];
    run(scenarios, || absent(NO_GROUPS))
}
