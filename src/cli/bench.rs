//! `tidelog bench`: what a Kafka-compatible broker can do, seen from a client that costs little.
//!
//! The load is made with our own codec, by threads that block: one a connection for throughput,
//! so that the client leaves as much of the machine as it can to the broker beside it.

mod client;
mod fetch;
mod latency;
mod load;
mod produce;
mod report;
mod target;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Measure a broker, this one or any other that speaks Kafka's protocol
#[derive(Debug, Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Produce as fast as the answers come
    Produce(produce::Produce),
    /// Read a topic from its start, once or over and over
    Fetch(fetch::Fetch),
    /// Produce at a fixed rate, and time each record to its answer and to its consumers
    ///
    /// The loop is open: a record's time counts from when it was due, whether or not the broker
    /// kept up, so that a stall shows in every record that was due meanwhile.
    Latency(latency::Latency),
}

impl Bench {
    pub(super) fn run(self) -> Result<()> {
        match self.command {
            Command::Produce(produce) => produce.run(),
            Command::Fetch(fetch) => fetch.run(),
            Command::Latency(latency) => latency.run(),
        }
    }
}
