//! What the Rust programs share: the sample records, and how a program tells of its scenarios.

mod clock;

pub use clock::{Deadline, now_ms, pause};

use anyhow::{Result, bail};
use std::fmt::Debug;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::time::Duration;

pub static BOOTSTRAP: LazyLock<String> = LazyLock::new(|| env("TIDELOG_BOOTSTRAP"));
pub static USERNAME: LazyLock<String> = LazyLock::new(|| env("TIDELOG_USERNAME"));
pub static PASSWORD: LazyLock<String> = LazyLock::new(|| env("TIDELOG_PASSWORD"));
pub const WAIT: Duration = Duration::from_secs(30);

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// A record as it was read, or is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// By name.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Six tiny batches, and one of about 900 KB.
pub fn samples() -> Vec<Record> {
    let record = |key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &str)]| Record {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect(),
        ..Record::default()
    };
    let every_byte: Vec<u8> = (0..=255).collect();
    let large = b"0123456789abcdef".repeat(56_250);
    let records = [
        record(Some(b"plain"), Some(b"hello"), &[("empty", ""), ("trace", "abc")]),
        record(None, Some(b"no key"), &[]),
        record(Some(b"gone"), None, &[]),
        record(Some("ключ".as_bytes()), Some("naïve ☃ 東京".as_bytes()), &[("naïve", "☃")]),
        record(Some(b"empty"), Some(b""), &[]),
        record(Some(b"\0\xff"), Some(&every_byte), &[]),
        record(Some(b"large"), Some(&large), &[]),
    ];
    let numbered = (0..).zip(records).map(|(offset, record)| Record { offset, ..record });
    numbered.collect()
}

/// Over any topic's limit.
pub fn too_large() -> Vec<u8> {
    vec![b'x'; 2_000_000]
}

/// Numbered records, `from` up to and without `to`, for each of the partitions.
pub fn numbers(partitions: i32, from: i64, to: i64) -> Vec<Record> {
    let record = |partition, number: i64| Record {
        partition,
        offset: number,
        value: Some(number.to_string().into_bytes()),
        ..Record::default()
    };
    (0..partitions).flat_map(|it| (from..to).map(move |number| record(it, number))).collect()
}

pub fn offsets(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.offset).collect()
}

/// Fails unless it got what it wanted.
pub fn expect<T: Debug + PartialEq>(what: &str, got: T, wanted: T) -> Result<()> {
    if got == wanted {
        return Ok(());
    }
    let shown = |value: T| format!("{value:?}").chars().take(300).collect::<String>();
    bail!("{what}: {}, not {}", shown(got), shown(wanted))
}

/// Asks until it gets what it wants, or has waited too long.
pub fn until<T: Debug + PartialEq>(
    what: &str,
    mut state: impl FnMut() -> Result<T>,
    wanted: T,
) -> Result<()> {
    let deadline = Deadline::after(WAIT);
    loop {
        let got = state()?;
        if got == wanted || deadline.is_past() {
            return expect(what, got, wanted);
        }
        pause(Duration::from_millis(20));
    }
}

/// This program again, as the member of the group `crash` that is to be killed.
pub fn start_member() -> Result<Child> {
    Ok(Command::new(std::env::current_exe()?).arg("member").spawn()?)
}

/// This client has no such thing.
#[derive(Debug)]
struct Absent(&'static str);

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Absent {}

/// Fails because this client has no such thing.
pub fn absent(reason: &'static str) -> Result<()> {
    Err(Absent(reason).into())
}

pub type Scenario = (&'static str, fn() -> Result<()>);

/// Runs the scenarios named on the command line, or all, and prints a line for each.
pub fn run(scenarios: &[Scenario], member: fn() -> Result<()>) -> Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names == ["member"] {
        return member();
    }
    for (name, scenario) in scenarios {
        if !names.is_empty() && !names.iter().any(|it| it == name) {
            continue;
        }
        let (ok, detail) = match scenario() {
            Ok(()) => (Some(true), String::new()),
            Err(error) if error.is::<Absent>() => (None, error.to_string()),
            Err(error) => (Some(false), format!("{error:#}")),
        };
        let (name, ok) = (serde_json::to_string(name)?, serde_json::to_string(&ok)?);
        let detail = serde_json::to_string(&detail)?;
        println!(r#"{{"scenario": {name}, "ok": {ok}, "detail": {detail}}}"#);
    }
    Ok(())
}
