//! `tidelog bench fetch`: a topic read from its start, once or over and over.

use super::super::Common;
use super::client::Connection;
use super::produce::panicked;
use super::report::{Latencies, Report, progress};
use super::target::Target;
use crate::clock;
use anyhow::{Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use std::thread;
use std::time::Duration;
use tidelog_protocol::messages::{FetchPartition, FetchRequest, FetchTopic};
use tidelog_protocol::records::batches;
use tidelog_protocol::{ApiKey, Request, Response};

/// Read a topic from its start, or over and over
#[derive(Debug, Args)]
pub(super) struct Fetch {
    #[command(flatten)]
    target: Target,
    /// Read over and over for this long, instead of once
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Bytes of an answer
    #[arg(long, default_value_t = 50 << 20, value_parser = clap::value_parser!(i32).range(1..))]
    max_bytes: i32,
    /// Bytes of a partition in an answer
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(i32).range(1..))]
    max_partition_bytes: i32,
    #[command(flatten)]
    common: Common,
}

/// What one connection read, and where it stands.
pub(super) struct Reading {
    pub positions: Vec<i64>,
    pub records: u64,
    pub bytes: u64,
}

const MAX_WAIT_MS: i32 = 500;

impl Fetch {
    pub(super) fn run(self) -> Result<()> {
        self.target.prepare()?;
        let mut connections = self.target.connect_all()?;
        let Some(first) = connections.first_mut() else { return Ok(()) };
        let ends = self.target.ends(first)?;
        let total: i64 = ends.iter().sum();
        if total == 0 {
            bail!("{} is empty; produce to it first", self.target.topic);
        }
        let total = u64::try_from(total)? * u64::from(self.target.connections);
        let bar = progress(self.duration.is_none().then_some(total))?;
        let started = clock::now();
        let done: Vec<Result<(Reading, Latencies)>> = thread::scope(|scope| {
            let threads: Vec<_> = connections
                .into_iter()
                .map(|it| scope.spawn(|| self.connection(it, &ends, started, &bar)))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap_or_else(panicked)).collect()
        });
        bar.finish_and_clear();
        let seconds = (clock::now() - started).as_secs_f64();
        let (mut records, mut bytes, mut all) = (0, 0, Latencies::new()?);
        for it in done {
            let (reading, latencies) = it?;
            records += reading.records;
            bytes += reading.bytes;
            all.add(&latencies)?;
        }
        Report { records, bytes, seconds, latencies: vec![("answered", all)] }.print(&self.common);
        Ok(())
    }

    fn connection(
        &self,
        mut connection: Connection,
        ends: &[i64],
        started: Duration,
        bar: &ProgressBar,
    ) -> Result<(Reading, Latencies)> {
        let mut latencies = Latencies::new()?;
        let mut reading = Reading { positions: vec![0; ends.len()], records: 0, bytes: 0 };
        loop {
            let behind = |(at, end): (&i64, &i64)| at < end;
            if !reading.positions.iter().zip(ends).any(behind) {
                match self.duration {
                    Some(_) => reading.positions.fill(0),
                    None => break,
                }
            }
            let at = clock::now();
            if self.duration.is_some_and(|it| at - started >= it) {
                break;
            }
            let request = self.request(&reading.positions, ends);
            connection.sender.send(&request)?;
            let records = reading.records;
            let answer = |it: &Response| reading.take(&self.target, it);
            connection.receiver.receive(ApiKey::Fetch, answer)??;
            latencies.record(clock::now() - at);
            bar.inc(reading.records - records);
        }
        Ok((reading, latencies))
    }

    /// Asks for the partitions that have not been read to their end.
    fn request(&self, positions: &[i64], ends: &[i64]) -> Request {
        let open = positions.iter().zip(ends).map(|(at, end)| (at < end).then_some(*at));
        request(&self.target.topic, open, self.max_bytes, self.max_partition_bytes)
    }
}

/// Asks for the partitions that have a position.
pub(super) fn request(
    topic: &str,
    positions: impl Iterator<Item = Option<i64>>,
    max_bytes: i32,
    partition_max_bytes: i32,
) -> Request {
    let partition = |(partition, at): (i32, Option<i64>)| {
        let fetch_offset = at?;
        Some(FetchPartition { partition, fetch_offset, partition_max_bytes, ..Default::default() })
    };
    let partitions = (0..).zip(positions).filter_map(partition).collect();
    let topic = FetchTopic { topic: topic.into(), partitions, ..Default::default() };
    FetchRequest {
        max_wait_ms: MAX_WAIT_MS,
        min_bytes: 1,
        max_bytes,
        topics: vec![topic],
        ..Default::default()
    }
    .into()
}

impl Reading {
    /// Counts what an answer holds, by its batches' headers, and goes past it.
    fn take(&mut self, target: &Target, response: &Response) -> Result<()> {
        let Response::Fetch(response) = response else {
            bail!("the broker answered something else than was asked");
        };
        target.check(-1, response.error_code)?;
        for it in response.responses.iter().flat_map(|topic| &topic.partitions) {
            target.check(it.partition_index, it.error_code)?;
            let Some(at) = self.positions.get_mut(usize::try_from(it.partition_index)?) else {
                bail!("the broker answered partition {}, unasked", it.partition_index);
            };
            for batch in batches(it.records.clone().unwrap_or_default()) {
                let batch = batch?;
                let header = batch.header();
                // The first batch may begin before the offset that was asked for.
                let skipped = (*at - header.base_offset).max(0);
                let records = i64::from(header.record_count) - skipped;
                self.records += u64::try_from(records).unwrap_or(0);
                self.bytes += batch.bytes().len() as u64;
                *at = header.last_offset() + 1;
            }
        }
        Ok(())
    }
}
