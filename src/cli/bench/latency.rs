//! `tidelog bench latency`: an open loop. Records are due at fixed times, and a record's latency
//! counts from when it was due.

use super::super::Common;
use super::client::{Connection, Receiver, Sender};
use super::fetch;
use super::load::{Acks, BATCH_BYTES_MAX, Load};
use super::produce::{check, panicked};
use super::report::{Latencies, Report, progress};
use super::target::Target;
use crate::clock;
use anyhow::{Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use std::num::NonZeroU64;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;
use tidelog_protocol::records::batches;
use tidelog_protocol::{ApiKey, Response};

/// Produce at a fixed rate, and time each record to its answer and to its consumers
#[derive(Debug, Args)]
pub(super) struct Latency {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
    /// Records due each second, over all connections
    #[arg(
        long,
        default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..=10_000_000)
    )]
    rate: u64,
    /// Records that are due together, and go as one batch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    batch_records: u64,
    /// Consumers, each of which reads everything
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1000))]
    consumers: u32,
    /// How long records are due
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    duration: Duration,
    /// Records due in the first moments are not counted
    #[arg(long, value_parser = humantime::parse_duration, default_value = "1s")]
    warm_up: Duration,
    #[command(flatten)]
    common: Common,
}

/// Requests that may be unanswered before the sender waits, which the latencies then show.
const IN_FLIGHT_MAX: usize = 10_000;
/// Bytes the records of one batch may decompress to.
const RECORDS_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// Records that have not come this long after the last was due are lost.
const LATE_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: i32 = 50 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;

/// When each batch is due.
#[derive(Clone, Copy)]
struct Schedule {
    started: Duration,
    interval: Duration,
    batches: u64,
    /// What is due before is not counted.
    counts_from: Duration,
}

impl Schedule {
    fn due(&self, batch: u64) -> Duration {
        self.started + Duration::from_nanos(self.interval.as_nanos() as u64 * batch)
    }
}

impl Latency {
    pub(super) fn run(self) -> Result<()> {
        if self.warm_up >= self.duration {
            let [warm_up, duration] = [self.warm_up, self.duration].map(humantime::format_duration);
            bail!("--warm-up {warm_up} leaves nothing of --duration {duration} to be counted");
        }
        self.target.prepare()?;
        let producers = self.target.connect_all()?;
        let consumers: Result<Vec<_>> = (0..self.consumers).map(|_| self.consumer()).collect();
        let schedule = self.schedule();
        let records = schedule.batches * self.batch_records;
        let bar = progress(Some(records))?;
        let (acknowledged, consumed) = thread::scope(|scope| {
            let (bar, latency) = (&bar, &self);
            let consumers: Vec<_> = consumers?
                .into_iter()
                .map(|(connection, ends)| {
                    scope.spawn(move || latency.consume(connection, ends, schedule))
                })
                .collect();
            let (mut sending, mut answered) = (Vec::new(), Vec::new());
            for (index, Connection { sender, receiver }) in (0..).zip(producers) {
                let (due, answers) = mpsc::sync_channel(IN_FLIGHT_MAX);
                sending.push(scope.spawn(move || latency.produce(sender, index, schedule, due)));
                answered
                    .push(scope.spawn(move || latency.answers(receiver, answers, schedule, bar)));
            }
            sending.into_iter().try_for_each(|it| it.join().unwrap_or_else(panicked))?;
            Ok::<_, anyhow::Error>((sum(answered)?, sum(consumers)?))
        })?;
        bar.finish_and_clear();
        let bytes = records * u64::from(self.load.record_size);
        let seconds = (clock::now() - schedule.started).as_secs_f64();
        let latencies = vec![("acknowledged", acknowledged), ("end_to_end", consumed)];
        Report { records, bytes, seconds, latencies }.print(&self.common);
        Ok(())
    }

    fn schedule(&self) -> Schedule {
        let interval = Duration::from_secs_f64(self.batch_records as f64 / self.rate as f64);
        let batches = self.duration.div_duration_f64(interval).ceil() as u64;
        // A moment for the threads to start.
        let started = clock::now() + Duration::from_millis(20);
        Schedule { started, interval, batches, counts_from: started + self.warm_up }
    }

    /// Sends a connection's share of the batches, each when it is due.
    fn produce(
        &self,
        mut sender: Sender,
        index: u64,
        schedule: Schedule,
        sent: SyncSender<Duration>,
    ) -> Result<()> {
        // The kernel may otherwise be 50 µs late with a timer; without it, latencies show that.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let connections = u64::from(self.target.connections);
        let partitions = u64::from(self.target.partitions.unsigned_abs());
        let count = usize::try_from(self.batch_records)?;
        let share = (index..schedule.batches).step_by(usize::try_from(connections)?);
        for number in share {
            let due = schedule.due(number);
            let mark = u64::try_from(due.as_nanos())?;
            let batch = self.load.batch(clock::unix_ms(), mark, count, BATCH_BYTES_MAX)?;
            let partition = i32::try_from(number % partitions)?;
            let request = self.load.request(&self.target.topic, partition, &batch);
            while let Some(left) = due.checked_sub(clock::now()).filter(|it| !it.is_zero()) {
                thread::park_timeout(left);
            }
            if sent.send(due).is_err() {
                // The answering half has failed, and says why.
                break;
            }
            sender.send(&request)?;
        }
        Ok(())
    }

    fn answers(
        &self,
        mut receiver: Receiver,
        sent: mpsc::Receiver<Duration>,
        schedule: Schedule,
        bar: &ProgressBar,
    ) -> Result<Latencies> {
        let mut latencies = Latencies::new()?;
        for due in sent {
            bar.inc(self.batch_records);
            if self.load.acks == Acks::None {
                continue;
            }
            receiver.receive(ApiKey::Produce, |it| check(&self.target, it))??;
            if due >= schedule.counts_from {
                latencies.record(clock::now() - due);
            }
        }
        Ok(latencies)
    }

    fn consumer(&self) -> Result<(Connection, Vec<i64>)> {
        let mut connection = self.target.connect()?;
        let ends = self.target.ends(&mut connection)?;
        Ok((connection, ends))
    }

    /// Reads from `positions` on until everything that is due has come.
    fn consume(
        &self,
        mut connection: Connection,
        mut positions: Vec<i64>,
        schedule: Schedule,
    ) -> Result<Latencies> {
        let mut latencies = Latencies::new()?;
        let mut left = schedule.batches * self.batch_records;
        let deadline = schedule.due(schedule.batches) + LATE_MAX;
        while left > 0 {
            if clock::now() > deadline {
                bail!("{left} records are still to come, {LATE_MAX:?} after the last was due");
            }
            let open = positions.iter().map(|it| Some(*it));
            let topic = &self.target.topic;
            let request = fetch::request(topic, open, ANSWER_BYTES_MAX, PARTITION_BYTES_MAX);
            connection.sender.send(&request)?;
            let taken = connection.receiver.receive(ApiKey::Fetch, |response| {
                self.take(response, &mut positions, schedule, &mut latencies)
            })??;
            left = left.saturating_sub(taken);
        }
        Ok(latencies)
    }

    /// Times the records of an answer; gives how many there were.
    fn take(
        &self,
        response: &Response,
        positions: &mut [i64],
        schedule: Schedule,
        latencies: &mut Latencies,
    ) -> Result<u64> {
        let now = clock::now();
        let Response::Fetch(response) = response else {
            bail!("the broker answered something else than was asked");
        };
        self.target.check(-1, response.error_code)?;
        let mut count = 0;
        for it in response.responses.iter().flat_map(|topic| &topic.partitions) {
            self.target.check(it.partition_index, it.error_code)?;
            for batch in batches(it.records.clone().unwrap_or_default()) {
                let batch = batch?;
                for record in batch.records(RECORDS_BYTES_MAX)? {
                    let value = record?.value.unwrap_or_default();
                    let Some(mark) = value.first_chunk() else {
                        bail!("somebody else writes to {}", self.target.topic);
                    };
                    let due = Duration::from_nanos(u64::from_be_bytes(*mark));
                    if due >= schedule.counts_from {
                        latencies.record(now.saturating_sub(due));
                    }
                    count += 1;
                }
                if let Some(at) = positions.get_mut(usize::try_from(it.partition_index)?) {
                    *at = batch.header().last_offset() + 1;
                }
            }
        }
        Ok(count)
    }
}

fn sum(threads: Vec<thread::ScopedJoinHandle<'_, Result<Latencies>>>) -> Result<Latencies> {
    let mut all = Latencies::new()?;
    for it in threads {
        all.add(&it.join().unwrap_or_else(panicked)?)?;
    }
    Ok(all)
}
