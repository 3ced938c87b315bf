//! `tidelog bench produce`: batches sent as fast as answers come, a bounded number unanswered.

use super::super::Common;
use super::client::Connection;
use super::load::{Acks, Load};
use super::report::{Latencies, Report, progress};
use super::target::Target;
use crate::clock;
use anyhow::{Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use std::collections::VecDeque;
use std::thread;
use std::time::Duration;
use tidelog_protocol::records::Batch;
use tidelog_protocol::{ApiKey, Response};

/// Produce as fast as the answers come
#[derive(Debug, Args)]
pub(super) struct Produce {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
    /// Bytes of a batch before compression, at least one record
    #[arg(
        long,
        default_value_t = 16_384,
        value_parser = clap::value_parser!(u32).range(128..=32 << 20)
    )]
    batch_size: u32,
    /// Unanswered requests of a connection
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: u32,
    /// Stop after this long
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    duration: Duration,
    /// Stop after this many records instead
    #[arg(long, conflicts_with = "duration")]
    records: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// What one connection did.
struct Done {
    records: u64,
    latencies: Latencies,
}

impl Produce {
    pub(super) fn run(self) -> Result<()> {
        self.target.prepare()?;
        let connections = self.target.connect_all()?;
        // Built once: the broker is measured, and what it sees of a batch is the same.
        let bytes_max = self.batch_size.max(self.load.record_size + 128) as usize;
        let batch = self.load.batch(clock::unix_ms(), 0, usize::MAX, bytes_max)?;
        let bar = progress(self.records)?;
        let started = clock::now();
        let done: Vec<Result<Done>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(connections)
                .map(|(index, it)| {
                    scope.spawn({
                        let (produce, batch, bar) = (&self, &batch, &bar);
                        move || produce.connection(it, index, batch, started, bar)
                    })
                })
                .collect();
            threads.into_iter().map(|it| it.join().unwrap_or_else(panicked)).collect()
        });
        bar.finish_and_clear();
        let seconds = (clock::now() - started).as_secs_f64();
        let mut all = Done { records: 0, latencies: Latencies::new()? };
        for it in done {
            let it = it?;
            all.records += it.records;
            all.latencies.add(&it.latencies)?;
        }
        let bytes = all.records * u64::from(self.load.record_size);
        let latencies = vec![("acknowledged", all.latencies)];
        Report { records: all.records, bytes, seconds, latencies }.print(&self.common);
        Ok(())
    }

    /// Whether a connection that sent `batches` batches goes on.
    fn goes_on(&self, batches: u64, batch: &Batch, started: Duration) -> bool {
        match self.records {
            Some(records) => {
                let in_batch = u64::try_from(batch.header().record_count).unwrap_or(1);
                let share = records.div_ceil(u64::from(self.target.connections));
                batches * in_batch < share
            }
            None => clock::now() - started < self.duration,
        }
    }

    /// Partitions in turn, starting where the connections before this one do not.
    fn partition(&self, index: u64, batches: u64) -> i32 {
        let next = index + batches * u64::from(self.target.connections);
        i32::try_from(next % u64::from(self.target.partitions.unsigned_abs())).unwrap_or(0)
    }

    fn connection(
        &self,
        mut connection: Connection,
        index: u64,
        batch: &Batch,
        started: Duration,
        bar: &ProgressBar,
    ) -> Result<Done> {
        let in_batch = u64::try_from(batch.header().record_count)?;
        let mut done = Done { records: 0, latencies: Latencies::new()? };
        let (mut sent, mut unanswered) = (0, VecDeque::new());
        loop {
            let window = self.in_flight as usize;
            while unanswered.len() < window && self.goes_on(sent, batch, started) {
                let partition = self.partition(index, sent);
                let request = self.load.request(&self.target.topic, partition, batch);
                let at = clock::now();
                connection.sender.send(&request)?;
                sent += 1;
                match self.load.acks {
                    Acks::None => {
                        done.records += in_batch;
                        bar.inc(in_batch);
                    }
                    _ => unanswered.push_back(at),
                }
            }
            let Some(at) = unanswered.pop_front() else { break };
            connection.receiver.receive(ApiKey::Produce, |it| self.answered(it))??;
            done.latencies.record(clock::now() - at);
            done.records += in_batch;
            bar.inc(in_batch);
        }
        if self.load.acks == Acks::None {
            // What is asked behind them is answered when the broker has read them all.
            self.target.ends(&mut connection)?;
        }
        Ok(done)
    }

    fn answered(&self, response: &Response) -> Result<()> {
        check(&self.target, response)
    }
}

/// Sees that every partition of a produce was accepted.
pub(super) fn check(target: &Target, response: &Response) -> Result<()> {
    let Response::Produce(response) = response else {
        bail!("the broker answered something else than was asked");
    };
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.try_for_each(|it| target.check(it.index, it.error_code))
}

/// A thread of ours that panicked is a bug, and an error like any other.
pub(super) fn panicked<T>(_: Box<dyn std::any::Any + Send>) -> Result<T> {
    bail!("a thread of the benchmark panicked")
}
