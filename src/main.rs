//! The `tidelog` program: arguments in, exit code out.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = tidelog::cli::Cli::parse();
    match command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidelog: {error:#}");
            ExitCode::FAILURE
        }
    }
}
