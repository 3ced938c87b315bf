//! `tidelog dump-log`: what is in the files of a partition, and whether it holds. Reads only, and
//! takes no lock: fit for a broker that runs, for what a kill left, and for a directory that a
//! Kafka broker wrote.

use super::{Common, Output};
use anyhow::{Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use tidelog_protocol::records::{Batch, Compression, Record};
use tidelog_storage::fs::Disk;
use tidelog_storage::{AbortedTxn, Found, inspect, segment_bytes};

/// Print and check the files of a partition
#[derive(Debug, Args)]
pub(super) struct DumpLog {
    /// The partition's directory
    dir: PathBuf,
    /// Print the records of each batch too
    #[arg(long)]
    records: bool,
    /// Print only what is damaged, and the sum
    #[arg(long, conflicts_with = "records")]
    verify: bool,
    #[command(flatten)]
    common: Common,
}

/// Bytes one batch may decompress to.
const RECORDS_BYTES_MAX: usize = 256 << 20;
/// Directories larger than this take long enough for a progress bar.
const PROGRESS_FROM_BYTES: u64 = 64 << 20;

impl DumpLog {
    pub(super) fn run(self) -> Result<()> {
        // The data directory above it has the commit journal.
        let dir = std::path::absolute(&self.dir)?;
        let total = segment_bytes(&Disk, &dir)?;
        if !has_log(&self.dir) {
            bail!("{}", no_log(&self.dir));
        }
        let prints = !self.verify && std::io::stdout().is_terminal();
        let progress = if total < PROGRESS_FROM_BYTES || prints {
            ProgressBar::hidden()
        } else {
            let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {eta}")?;
            ProgressBar::new(total).with_style(style)
        };
        let mut dump = Dump {
            out: BufWriter::new(std::io::stdout().lock()),
            options: &self,
            failed: None,
            batches: 0,
            records: 0,
            damages: 0,
        };
        inspect(&Disk, &dir, &mut |file, found| {
            if let Found::Batch { batch, .. } = &found {
                progress.inc(batch.bytes().len() as u64);
            }
            if dump.failed.is_none() {
                dump.failed = dump.take(file, found).err();
            }
        })?;
        progress.finish_and_clear();
        dump.finish()
    }
}

/// Partitions that are told to who named what is above them.
const HINTS_MAX: usize = 20;
/// From a data directory down to what holds partitions: `accounts`, and an account's id.
const HINTS_DEPTH: u32 = 2;

/// Why a directory is no partition's, and which are below it.
fn no_log(dir: &Path) -> String {
    let mut text = format!("{} holds no log: expected a partition's directory", dir.display());
    for hint in partitions(dir, HINTS_DEPTH) {
        text.push_str(&format!("\n  {}", hint.display()));
    }
    text
}

/// Partitions below a directory: those right in it, or else one of each directory that has some.
fn partitions(dir: &Path, depth: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut inside: Vec<_> = entries.map(|it| it.path()).filter(|it| it.is_dir()).collect();
    inside.sort_unstable();
    let max = if depth == HINTS_DEPTH { HINTS_MAX } else { 1 };
    let found: Vec<_> = inside.iter().filter(|it| has_log(it)).take(max).cloned().collect();
    if depth == 0 || !found.is_empty() {
        return found;
    }
    inside.iter().flat_map(|it| partitions(it, depth - 1)).take(HINTS_MAX).collect()
}

/// Whether a directory has a segment, named by 20 digits.
fn has_log(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|it| it.path()).any(|it| {
        let stem = it.file_stem().unwrap_or_default().as_encoded_bytes();
        let is_number = stem.len() == 20 && stem.iter().all(u8::is_ascii_digit);
        is_number && it.extension().is_some_and(|it| it == "log")
    })
}

/// Where a batch is.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    position: u64,
    /// Whether the file is to get it from the commit journal, at the next start.
    journaled: bool,
}

struct Dump<'a, W: Write> {
    out: W,
    options: &'a DumpLog,
    /// Why nothing more can be printed.
    failed: Option<std::io::Error>,
    batches: u64,
    records: u64,
    damages: u64,
}

impl<W: Write> Dump<'_, W> {
    fn take(&mut self, file: &Path, found: Found) -> std::io::Result<()> {
        let file = file.file_name().unwrap_or_default().display();
        match found {
            Found::Batch { position, batch, journaled } => {
                let place = Place { file: &file.to_string(), position, journaled };
                self.batch(place, &batch)
            }
            Found::Reserved { position, bytes } if !self.options.verify => match self.is_json() {
                true => {
                    let reserved = json!({ "position": position, "bytes": bytes });
                    self.line(&json!({ "file": file.to_string(), "reserved": reserved }))
                }
                false => writeln!(self.out, "{file} {position}: {bytes} bytes reserved"),
            },
            Found::Aborted { position, transaction } if !self.options.verify => {
                self.aborted(&file.to_string(), position, &transaction)
            }
            Found::Reserved { .. } | Found::Aborted { .. } => Ok(()),
            Found::Damage { position, bytes, reason } => {
                self.damage(&file.to_string(), position, bytes, &reason)
            }
        }
    }

    fn is_json(&self) -> bool {
        self.options.common.output == Output::Json
    }

    fn line(&mut self, value: &Value) -> std::io::Result<()> {
        writeln!(self.out, "{value}")
    }

    fn damage(&mut self, file: &str, at: u64, bytes: u64, reason: &str) -> std::io::Result<()> {
        self.damages += 1;
        if self.is_json() {
            let damage = json!({ "position": at, "bytes": bytes, "reason": reason });
            return self.line(&json!({ "file": file, "damage": damage }));
        }
        writeln!(self.out, "{file} {at}: DAMAGED, {bytes} bytes: {reason}")
    }

    fn aborted(&mut self, file: &str, at: u64, it: &AbortedTxn) -> std::io::Result<()> {
        let AbortedTxn { producer_id: id, first_offset: first, last_offset: last, .. } = it;
        let stable = it.last_stable_offset;
        match self.is_json() {
            true => self.line(&json!({ "file": file, "position": at, "aborted": {
                "producer_id": id, "first_offset": first, "last_offset": last,
                "last_stable_offset": stable,
            } })),
            false => writeln!(
                self.out,
                "{file} {at}: producer {id} aborted offsets {first} to {last}, stable to {stable}"
            ),
        }
    }

    fn batch(&mut self, place: Place<'_>, batch: &Batch) -> std::io::Result<()> {
        let Place { file, position, journaled } = place;
        self.batches += 1;
        self.records += u64::try_from(batch.header().record_count).unwrap_or(0);
        if !self.options.verify {
            match self.is_json() {
                true => self.line(&json!({
                    "file": file, "position": position, "journaled": journaled,
                    "batch": describe(batch),
                }))?,
                false => self.batch_line(place, batch)?,
            }
        }
        let records = match batch.records(RECORDS_BYTES_MAX) {
            Ok(records) => records,
            Err(error) => {
                let bytes = batch.bytes().len() as u64;
                return self.damage(file, position, bytes, &error.to_string());
            }
        };
        for record in records {
            match record {
                Ok(record) if self.options.records => self.record(&record)?,
                Ok(_) => {}
                Err(error) => {
                    let bytes = batch.bytes().len() as u64;
                    return self.damage(file, position, bytes, &error.to_string());
                }
            }
        }
        Ok(())
    }

    fn batch_line(&mut self, place: Place<'_>, batch: &Batch) -> std::io::Result<()> {
        let Place { file, position, journaled } = place;
        let header = batch.header();
        let (first, last) = (header.base_offset, header.last_offset());
        let (count, bytes, codec) = (header.record_count, batch.bytes().len(), codec(batch));
        write!(self.out, "{file} {position}: offsets {first} to {last}, {count} records, ")?;
        write!(self.out, "{bytes} bytes, {codec}, {} {}", time_type(batch), header.max_timestamp)?;
        if header.has_producer() {
            let (id, epoch, sequence) =
                (header.producer_id, header.producer_epoch, header.base_sequence);
            write!(self.out, ", producer {id} epoch {epoch} sequence {sequence}")?;
        }
        let flags = header.attributes;
        for (set, name) in
            [(flags.is_transactional(), "transactional"), (flags.is_control(), "control")]
        {
            if set {
                write!(self.out, ", {name}")?;
            }
        }
        if journaled {
            write!(self.out, ", in the commit journal only")?;
        }
        writeln!(self.out)
    }

    fn record(&mut self, record: &Record) -> std::io::Result<()> {
        let blob = |bytes: &Option<bytes::Bytes>| bytes.as_deref().map_or(Value::Null, text);
        let (key, value) = (blob(&record.key), blob(&record.value));
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|header| json!({ "key": &*header.key, "value": blob(&header.value) }))
            .collect();
        let (offset, timestamp) = (record.offset, record.timestamp);
        if self.is_json() {
            return self.line(&json!({ "record": {
                "offset": offset, "timestamp": timestamp, "key": key, "value": value,
                "headers": headers,
            } }));
        }
        write!(self.out, "  {offset} {timestamp} {key} {value}")?;
        match headers.is_empty() {
            true => writeln!(self.out),
            false => writeln!(self.out, " {}", Value::from(headers)),
        }
    }

    fn finish(mut self) -> Result<()> {
        let (batches, records, damages) = (self.batches, self.records, self.damages);
        let printed = match (self.failed.take(), self.is_json()) {
            (Some(error), _) => Err(error),
            (None, true) => self.line(&json!({ "sum": {
                "batches": batches, "records": records, "damages": damages,
            } })),
            (None, false) => {
                writeln!(self.out, "{batches} batches, {records} records, {damages} damages")
            }
        };
        match printed.and_then(|()| self.out.flush()) {
            // Whoever read has read enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            printed => printed?,
        }
        if damages > 0 {
            bail!("{} is damaged in {damages} places", self.options.dir.display());
        }
        Ok(())
    }
}

fn codec(batch: &Batch) -> &'static str {
    Compression::from_codec(batch.header().attributes.codec()).map_or("unknown", Compression::name)
}

fn time_type(batch: &Batch) -> &'static str {
    if batch.header().attributes.is_log_append_time() { "LogAppendTime" } else { "CreateTime" }
}

fn describe(batch: &Batch) -> Value {
    let header = batch.header();
    json!({
        "base_offset": header.base_offset,
        "last_offset": header.last_offset(),
        "records": header.record_count,
        "bytes": batch.bytes().len(),
        "leader_epoch": header.leader_epoch,
        "compression": codec(batch),
        "timestamp_type": time_type(batch),
        "base_timestamp": header.base_timestamp,
        "max_timestamp": header.max_timestamp,
        "producer_id": header.producer_id,
        "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence,
        "transactional": header.attributes.is_transactional(),
        "control": header.attributes.is_control(),
    })
}

/// Bytes as people read them: a string, or `{"base64":...}` where they are not UTF-8.
fn text(bytes: &[u8]) -> Value {
    use base64::Engine;
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}
