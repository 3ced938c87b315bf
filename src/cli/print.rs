//! What commands print, in one place.
//!
//! **Who closes the pipe has read enough**: the command ends there and then, quietly and with the
//! status of one that SIGPIPE ended. The signal itself is off in every Rust program.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::exit;

/// What a shell says of a process that SIGPIPE ended: 128, and the signal's number.
const PIPE_CLOSED: i32 = 141;
const FAILURE: i32 = 1;

/// Prints a line to standard output, in the way of `println!`.
macro_rules! say {
    ($($text:tt)+) => { $crate::cli::print::line(format_args!($($text)+)) };
}

/// Prints a line to standard error, in the way of `eprintln!`.
macro_rules! note {
    ($($text:tt)+) => { $crate::cli::print::aside(format_args!($($text)+)) };
}

pub(super) use {note, say};

/// See [`say!`]; ends the process if it cannot be printed.
pub(super) fn line(text: Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}") {
        end(&error);
    }
}

/// Ends a command whose output cannot be written.
fn end(error: &io::Error) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        exit(PIPE_CLOSED);
    }
    aside(format_args!("tidelog: cannot write to standard output: {error}"));
    exit(FAILURE)
}

/// See [`note!`]. That nobody can read it is no reason to stop.
pub fn aside(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
