//! The command line: noun, then verb.

// What is printed goes through `print`, which knows what a closed pipe means.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod account;
mod api;
mod bench;
mod dev;
mod dump_log;
mod ingest;
mod log;
mod print;
mod serve;
mod sync;

pub use print::aside;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::time::Duration;

/// How long work on other threads may take to end once the command has.
const LAST_THREADS: Duration = Duration::from_secs(5);

/// Record mutations in, change events out, through Kafka, REST and webhooks
#[derive(Debug, Parser)]
#[command(name = "tidelog", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker for development: everything on, credentials printed
    Dev(dev::Dev),
    /// Run a broker
    Serve(serve::Serve),
    /// Accounts of a running broker
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Credentials of an account
    #[command(subcommand)]
    Credential(account::CredentialCommand),
    /// Syncs of an account
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    /// Put the records of a file into a collection
    Ingest(ingest::Ingest),
    /// Print and check the files of a partition
    DumpLog(dump_log::DumpLog),
    /// The files of a stopped broker's logs
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Measure a broker, this one or any other that speaks Kafka's protocol
    Bench(bench::Bench),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// JSON, a value a line
    Json,
}

/// What every command has.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// How results are printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// Whatever ended it, with what to do about it.
    pub fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            match self.command {
                Command::Dev(dev) => dev.run().await,
                Command::Serve(serve) => serve.run().await,
                Command::Account(command) => command.run().await,
                Command::Credential(command) => command.run().await,
                Command::Sync(command) => command.run().await,
                Command::Ingest(ingest) => ingest.run().await,
                Command::DumpLog(dump) => dump.run(),
                Command::Log(command) => command.run(),
                Command::Bench(bench) => bench.run(),
            }
        });
        // After a failed sync some wait for ever for theirs: nobody may be told that it came.
        runtime.shutdown_timeout(LAST_THREADS);
        ended
    }
}

/// Log lines go to stderr; `TIDELOG_LOG` filters them.
fn start_logging(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDELOG_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

/// Resolves at SIGINT or SIGTERM. A second one ends the process at once: to the logs that is a
/// crash, and the next start recovers.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let [Ok(mut interrupt), Ok(mut terminate)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => kinds[0],
            _ = terminate.recv() => kinds[1],
        }
    };
    next().await;
    tokio::spawn(async move {
        // What a shell says of a program that a signal ended.
        std::process::exit(128 + next().await.as_raw_value());
    });
}
