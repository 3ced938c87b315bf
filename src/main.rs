//! The `tidelog` program: arguments in, exit code out.

use clap::Parser;
use std::process::ExitCode;
use tidelog::cli::{Cli, aside};

fn main() -> ExitCode {
    let command = Cli::parse();
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            aside(format_args!("tidelog: {}", sentence(&error)));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, without those that it tells of itself.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match (told.is_empty(), cause.to_string()) {
        (true, cause) => cause,
        (false, cause) if told.contains(&cause) => told,
        (false, cause) => format!("{told}: {cause}"),
    })
}
