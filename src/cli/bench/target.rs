//! Which broker and topic are measured, and the topic made ready.

use super::client::{Connection, Login};
use crate::clock;
use anyhow::{Result, bail};
use clap::Args;
use std::thread;
use std::time::Duration;
use tidelog_protocol::messages::{
    CreatableTopic, CreateTopicsRequest, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsTopic, MetadataRequest, MetadataRequestTopic,
};
use tidelog_protocol::{ErrorCode, Response, Str};

/// The broker and the topic.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The broker's Kafka address
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    bootstrap_server: String,
    /// The topic, created if it is not there
    #[arg(long, default_value = "tidelog-bench")]
    pub topic: String,
    /// The topic's partitions
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,
    /// Connections, each with a thread of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Wait this long for the broker to come up
    #[arg(long, value_parser = humantime::parse_duration, default_value = "0s")]
    wait: Duration,
    /// Log in with SASL/PLAIN
    #[arg(long, requires = "password")]
    username: Option<String>,
    /// The password for it
    #[arg(long, env = "TIDELOG_PASSWORD", hide_env_values = true, allow_hyphen_values = true)]
    password: Option<String>,
}

/// How long a topic may take from being created to being led.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(1);
/// A ListOffsets timestamp that stands for the end of the log.
const LATEST: i64 = -1;

impl Target {
    /// A new connection, logged in.
    pub(super) fn connect(&self) -> Result<Connection> {
        let login = match (&self.username, &self.password) {
            (Some(username), Some(password)) => Some(Login { username, password }),
            _ => None,
        };
        Connection::open(&self.bootstrap_server, login.as_ref())
    }

    /// All connections of the measurement.
    pub(super) fn connect_all(&self) -> Result<Vec<Connection>> {
        (0..self.connections).map(|_| self.connect()).collect()
    }

    /// Waits for the broker, creates the topic unless it is there, and waits until each of its
    /// partitions is led.
    pub(super) fn prepare(&self) -> Result<()> {
        let deadline = clock::now() + self.wait;
        let mut connection = loop {
            match self.connect() {
                Err(_) if clock::now() < deadline => thread::park_timeout(POLL),
                connected => break connected?,
            }
        };
        let deadline = clock::now() + READY_TIMEOUT;
        while !(self.is_created(&mut connection)?
            && self.is_led(&mut connection)?
            && self.is_serving(&mut connection)?)
        {
            if clock::now() > deadline {
                bail!("{} is not ready after {READY_TIMEOUT:?}", self.topic);
            }
            thread::park_timeout(POLL);
        }
        Ok(())
    }

    fn is_created(&self, connection: &mut Connection) -> Result<bool> {
        let topic = CreatableTopic {
            name: self.topic.as_str().into(),
            num_partitions: self.partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let Response::CreateTopics(created) = connection.call(request)? else {
            bail!("the broker answered something else than was asked");
        };
        match created.topics.first().map(|it| it.error_code) {
            Some(ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS) => Ok(true),
            // A broker that has just come up may not know its controller yet.
            Some(code) if code.is_retriable() => Ok(false),
            Some(code) => bail!("cannot create {}: {code}: {}", self.topic, code.message()),
            None => bail!("the broker answered nothing about {}", self.topic),
        }
    }

    fn is_led(&self, connection: &mut Connection) -> Result<bool> {
        let name = Some(Str::from(self.topic.as_str()));
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { name, ..Default::default() }]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let Response::Metadata(metadata) = connection.call(request)? else {
            bail!("the broker answered something else than was asked");
        };
        if metadata.brokers.len() > 1 {
            let brokers = metadata.brokers.len();
            bail!("this is a cluster of {brokers} brokers; one broker can be measured");
        }
        let Some(topic) = metadata.topics.first() else { return Ok(false) };
        let found = topic.partitions.len();
        let led = topic.error_code.is_none() && topic.partitions.iter().all(|it| it.leader_id >= 0);
        let wanted = usize::try_from(self.partitions)?;
        if led && found > 0 && found != wanted {
            bail!(
                "{} is there and has {found} partitions, not {wanted}; say --partitions {found} \
                 or name another --topic",
                self.topic
            );
        }
        Ok(led && found == wanted)
    }

    /// Kafka tells who leads a partition a while before that broker knows it.
    fn is_serving(&self, connection: &mut Connection) -> Result<bool> {
        Ok(self.list_ends(connection)?.iter().all(|it| !it.error_code.is_retriable()))
    }

    /// Where each partition ends.
    pub(super) fn ends(&self, connection: &mut Connection) -> Result<Vec<i64>> {
        let mut ends = vec![0; usize::try_from(self.partitions)?];
        for it in self.list_ends(connection)? {
            self.check(it.partition_index, it.error_code)?;
            if let Some(end) = ends.get_mut(usize::try_from(it.partition_index)?) {
                *end = it.offset;
            }
        }
        Ok(ends)
    }

    fn list_ends(&self, connection: &mut Connection) -> Result<Vec<ListOffsetsPartitionResponse>> {
        let partition = |partition_index| ListOffsetsPartition {
            partition_index,
            timestamp: LATEST,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name: self.topic.as_str().into(),
            partitions: (0..self.partitions).map(partition).collect(),
        };
        let request =
            ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let Response::ListOffsets(listed) = connection.call(request)? else {
            bail!("the broker answered something else than was asked");
        };
        Ok(listed.topics.into_iter().flat_map(|topic| topic.partitions).collect())
    }

    /// Turns a partition's error into one that names it.
    pub(super) fn check(&self, partition: i32, code: ErrorCode) -> Result<()> {
        match code {
            ErrorCode::NONE => Ok(()),
            code => bail!("{}-{partition}: {code}: {}", self.topic, code.message()),
        }
    }
}
