//! The scenarios with rdkafka, which is librdkafka.

use anyhow::{Context, Result};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;
use tidelog_client_matrix::*;

type Config<'a> = &'a [(&'a str, &'a str)];

fn block<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(call)
}

fn client(config: Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &*BOOTSTRAP)
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", &*USERNAME)
        .set("sasl.password", &*PASSWORD);
    for (name, value) in config {
        client.set(*name, *value);
    }
    client
}

fn admin() -> Result<AdminClient<DefaultClientContext>> {
    Ok(client(&[]).create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(WAIT))
}

fn create_topic(name: &str, partitions: i32) -> Result<()> {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let created = block(admin()?.create_topics([&topic], &options()))?;
    created[0].clone().map(drop).map_err(|(_, code)| KafkaError::AdminOp(code).into())
}

/// The code that a call fails with.
fn code_of(call: Result<()>) -> Option<Code> {
    match call.err()?.downcast_ref()? {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

fn produce(topic: &str, records: &[Record], config: Config) -> Result<()> {
    let producer: FutureProducer = client(config).create()?;
    for it in records {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &it.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record =
            FutureRecord::<[u8], [u8]>::to(topic).partition(it.partition).headers(headers);
        (record.key, record.payload) = (it.key.as_deref(), it.value.as_deref());
        block(producer.send(record, WAIT)).map_err(|(error, _)| error)?;
    }
    Ok(())
}

fn consumer(group: &str, config: Config) -> Result<BaseConsumer> {
    let mut client = client(&[
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "false"),
    ]);
    // In the consumer protocol the broker has the timeouts, and clients may not.
    match std::env::var("TIDELOG_GROUP_PROTOCOL") {
        Ok(protocol) => client.set("group.protocol", protocol),
        Err(_) => client.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500"),
    };
    for (name, value) in config {
        client.set(*name, *value);
    }
    Ok(client.create()?)
}

fn member(group: &str) -> Result<BaseConsumer> {
    let member = consumer(group, &[])?;
    member.subscribe(&[group])?;
    Ok(member)
}

fn poll(reader: &BaseConsumer, count: usize, wait: Duration) -> Result<Vec<Record>> {
    let (mut records, deadline) = (Vec::new(), Deadline::after(wait));
    while records.len() < count && !deadline.is_past() {
        let Some(message) = reader.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        let mut headers: Vec<(String, Vec<u8>)> = message
            .headers()
            .into_iter()
            .flat_map(Headers::iter)
            .map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec()))
            .collect();
        headers.sort();
        records.push(Record {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        });
    }
    Ok(records)
}

fn assign(reader: &BaseConsumer, topic: &str, offset: Offset) -> Result<()> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, offset)?;
    Ok(reader.assign(&list)?)
}

fn read(topic: &str, count: usize) -> Result<Vec<Record>> {
    let reader = consumer("unused", &[])?;
    assign(&reader, topic, Offset::Beginning)?;
    poll(&reader, count, WAIT)
}

/// Polls the members until each owns so many partitions.
fn until_owned(members: &[&BaseConsumer], each: usize) -> Result<()> {
    let owned = || {
        let counts = members.iter().map(|member| {
            drop(member.poll(Duration::from_millis(50)));
            Ok(member.assignment()?.count())
        });
        counts.collect::<Result<Vec<_>>>()
    };
    until("partitions owned", owned, vec![each; members.len()])
}

fn create() -> Result<()> {
    create_topic("create", 3)?;
    expect("the same again", code_of(create_topic("create", 3)), Some(Code::TopicAlreadyExists))
}

fn sample(topic: &str, config: Config) -> Result<()> {
    create_topic(topic, 1)?;
    produce(topic, &samples(), config)?;
    expect("records", read(topic, 7)?, samples())
}

fn by_offset() -> Result<()> {
    create_topic("offsets", 1)?;
    produce("offsets", &numbers(1, 0, 5), &[])?;
    let middle = now_ms() + 5;
    pause(Duration::from_millis(10));
    produce("offsets", &numbers(1, 5, 10), &[])?;
    expect("earliest", offsets(&read("offsets", 10)?), (0..10).collect())?;
    let reader = consumer("unused", &[])?;
    expect("watermarks", reader.fetch_watermarks("offsets", 0, WAIT)?, (0, 10))?;
    let mut times = TopicPartitionList::new();
    times.add_partition_offset("offsets", 0, Offset::Offset(middle))?;
    let found = reader.offsets_for_times(times, WAIT)?.elements()[0].offset();
    expect("offset at a time", found, Offset::Offset(5))?;
    assign(&reader, "offsets", found)?;
    expect("at a time", offsets(&poll(&reader, 5, WAIT)?), (5..10).collect())?;
    assign(&reader, "offsets", Offset::End)?;
    expect("before a write", poll(&reader, 1, Duration::from_secs(1))?, Vec::new())?;
    produce("offsets", &numbers(1, 10, 11), &[])?;
    expect("latest", offsets(&poll(&reader, 1, WAIT)?), vec![10])
}

fn group() -> Result<()> {
    create_topic("group", 3)?;
    produce("group", &numbers(3, 0, 5), &[])?;
    let mut got = poll(&member("group")?, 15, WAIT)?;
    got.sort_by_key(|it| (it.partition, it.offset));
    expect("records", got, numbers(3, 0, 5))
}

fn rebalance() -> Result<()> {
    create_topic("rebalance", 4)?;
    let (stays, leaves) = (member("rebalance")?, member("rebalance")?);
    until_owned(&[&stays, &leaves], 2)?;
    drop(leaves);
    until_owned(&[&stays], 4)
}

fn crash() -> Result<()> {
    create_topic("crash", 4)?;
    let (stays, mut crashes) = (member("crash")?, start_member()?);
    let shared = until_owned(&[&stays], 2);
    crashes.kill()?;
    crashes.wait()?;
    shared?;
    until_owned(&[&stays], 4)
}

fn resume() -> Result<()> {
    create_topic("resume", 1)?;
    produce("resume", &numbers(1, 0, 10), &[])?;
    let first = member("resume")?;
    expect("first", offsets(&poll(&first, 5, WAIT)?), (0..5).collect())?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("resume", 0, Offset::Offset(5))?;
    first.commit(&list, CommitMode::Sync)?;
    drop(first);
    let second = member("resume")?;
    expect("resumed", offsets(&poll(&second, 5, WAIT)?), (5..10).collect())?;
    let committed = second.committed(WAIT)?.elements()[0].offset();
    expect("committed", committed, Offset::Offset(5))
}

fn partitions_of(topic: &str) -> Result<usize> {
    let metadata = admin()?.inner().fetch_metadata(Some(topic), WAIT)?;
    Ok(metadata.topics()[0].partitions().len())
}

fn is_listed(topic: &str) -> Result<bool> {
    let metadata = admin()?.inner().fetch_metadata(None, WAIT)?;
    Ok(metadata.topics().iter().any(|it| it.name() == topic))
}

fn topics() -> Result<()> {
    create_topic("topics", 3)?;
    expect("listed", is_listed("topics")?, true)?;
    expect("partitions", partitions_of("topics")?, 3)
}

fn configs() -> Result<()> {
    create_topic("configs", 1)?;
    let topic = ResourceSpecifier::Topic("configs");
    let retention = || {
        let described = block(admin()?.describe_configs([&topic], &options()))?;
        let described = described[0].as_ref().map_err(|code| KafkaError::AdminOp(*code))?;
        let entry = described.get("retention.ms").context("no such config")?;
        anyhow::Ok(entry.value.clone())
    };
    expect("before", retention()?.as_deref(), Some("604800000"))?;
    let change = AlterConfig::new(topic).set("retention.ms", "60000");
    let altered = block(admin()?.alter_configs([&change], &options()))?;
    altered[0].as_ref().map_err(|(_, code)| KafkaError::AdminOp(*code))?;
    expect("after", retention()?.as_deref(), Some("60000"))
}

fn partitions() -> Result<()> {
    create_topic("partitions", 1)?;
    let grown =
        block(admin()?.create_partitions([&NewPartitions::new("partitions", 3)], &options()))?;
    grown[0].as_ref().map_err(|(_, code)| KafkaError::AdminOp(*code))?;
    expect("partitions", partitions_of("partitions")?, 3)
}

fn group_state(name: &str) -> Result<Option<(String, usize)>> {
    let listed = member("unused")?.fetch_group_list(Some(name), WAIT)?;
    let found = listed.groups().iter().find(|it| it.name() == name && it.state() != "Dead");
    Ok(found.map(|it| (it.state().to_owned(), it.members().len())))
}

fn groups() -> Result<()> {
    create_topic("groups", 1)?;
    produce("groups", &numbers(1, 0, 1), &[])?;
    let reader = member("groups")?;
    poll(&reader, 1, WAIT)?;
    reader.commit_consumer_state(CommitMode::Sync)?;
    expect("described", group_state("groups")?, Some(("Stable".to_owned(), 1)))?;
    drop(reader);
    expect("when it has left", group_state("groups")?, Some(("Empty".to_owned(), 0)))?;
    let deleted = block(admin()?.delete_groups(&["groups"], &options()))?;
    deleted[0].as_ref().map_err(|(_, code)| KafkaError::AdminOp(*code))?;
    expect("when deleted", group_state("groups")?, None)
}

fn delete() -> Result<()> {
    create_topic("delete", 1)?;
    let deleted = block(admin()?.delete_topics(&["delete"], &options()))?;
    deleted[0].as_ref().map_err(|(_, code)| KafkaError::AdminOp(*code))?;
    expect("listed", is_listed("delete")?, false)
}

fn password() -> Result<()> {
    let wrong: BaseConsumer = client(&[
        ("sasl.password", "wrong"),
        ("reconnect.backoff.ms", "1000"),
        ("group.id", "unused"),
    ])
    .create()?;
    let deadline = Deadline::after(WAIT);
    let mut seen = None;
    while seen != Some(Code::Authentication) && !deadline.is_past() {
        if let Some(Err(error)) = wrong.poll(Duration::from_millis(100)) {
            seen = error.rdkafka_error_code();
        }
    }
    expect("error", seen, Some(Code::Authentication))
}

fn over_limit() -> Result<()> {
    create_topic("too-large", 1)?;
    let record = Record { value: Some(too_large()), ..Record::default() };
    let sent = produce("too-large", &[record], &[("message.max.bytes", "10000000")]);
    expect("error", code_of(sent), Some(Code::MessageSizeTooLarge))
}

fn main() -> Result<()> {
    let scenarios: &[Scenario] = &[
        ("create", create),
        ("none", || sample("none", &[("compression.type", "none")])),
        ("gzip", || sample("gzip", &[("compression.type", "gzip")])),
        ("snappy", || sample("snappy", &[("compression.type", "snappy")])),
        ("lz4", || sample("lz4", &[("compression.type", "lz4")])),
        ("zstd", || absent("built without libzstd")),
        ("offsets", by_offset),
        ("group", group),
        ("rebalance", rebalance),
        ("crash", crash),
        ("resume", resume),
        ("topics", topics),
        ("configs", configs),
        ("partitions", partitions),
        ("groups", groups),
        ("delete", delete),
        ("password", password),
        ("too-large", over_limit),
        ("idempotent", || sample("idempotent", &[("enable.idempotence", "true")])),
    ];
    run(scenarios, || {
        let member = member("crash")?;
        loop {
            drop(member.poll(Duration::from_secs(1)));
        }
    })
}
