//! `tidelog ingest`: a file of records, one JSON object a line, into a collection.
//!
//! Lines go in chunks, one after the other, so that lines about one record keep their order. A
//! chunk that got no answer is sent again under the same `Idempotency-Key`. **How far it came is
//! kept beside the file** (`FILE.tidelog-ingest`) until it is done: the next run goes on there, and
//! is the same run to the broker. One that begins anew is another, and what it sends is applied.

mod chunk;
mod resume;

use super::Output;
use super::api::{Api, Error, segment};
use super::print::{note, say};
use crate::id;
use anyhow::{Context, Result, bail};
use chunk::{Chunk, Chunks};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use resume::{Kept, Progress};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::time::Duration;

/// Put the records of a file into a collection
#[derive(Debug, Args)]
pub(super) struct Ingest {
    /// One JSON object a line; `-` is standard input
    file: String,
    /// The sync
    #[arg(long, value_name = "ID")]
    sync: String,
    /// The collection
    #[arg(long, value_name = "SLUG")]
    collection: String,
    /// The field of each record that is its id
    #[arg(long, value_name = "FIELD", default_value = "id")]
    id_field: String,
    /// What each line does to its record
    #[arg(long, value_enum, default_value_t)]
    op: Operation,
    /// Begin at the first line, wherever an earlier run came to
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    api: Api,
}

/// What each line does to its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Operation {
    /// It is the whole record
    #[default]
    Upsert,
    /// It is merged into the record (RFC 7396)
    Patch,
    /// It deletes the record
    Delete,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// How often a chunk is sent before the run is given up, and the pauses between.
const ATTEMPTS_MAX: u32 = 8;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Refused lines that are printed; the others are counted.
const REFUSALS_PRINTED_MAX: u64 = 100;

/// See [`Ingest::open`].
type Opened = (BufReader<File>, u64, Option<(Progress, Sha256)>);

impl Ingest {
    pub(super) async fn run(self) -> Result<()> {
        let target = self.target();
        let begin = || (Progress::new(id::prefixed("run")), Sha256::new());
        let (input, total, kept, (mut progress, digest)): (Box<dyn BufRead>, _, _, _) =
            match self.file.as_str() {
                "-" => (Box::new(BufReader::new(std::io::stdin())), None, None, begin()),
                path => {
                    let (file, total, found) =
                        self.open(path, &target).with_context(|| format!("cannot read {path}"))?;
                    (Box::new(file), Some(total), Some(path), found.unwrap_or_else(begin))
                }
            };
        if progress.lines > 0 {
            note!("going on after line {}, where an earlier run came to", progress.lines);
        }
        let bar = bar(total)?;
        let client = crate::http_client::new()?;
        let done = (progress.lines, digest);
        let mut chunks = Chunks::new(input, &self.id_field, self.op.as_str(), done);
        if let Some(path) = kept {
            // From its first request on, what the run sends has a name that is not forgotten.
            resume::save(path, &target, &progress, &chunks.digest());
        }
        while let Some(chunk) =
            chunks.next().with_context(|| format!("cannot read {}", self.file))?
        {
            let answer = match chunk.lines.is_empty() {
                true => json!({ "results": [] }),
                false => self.send(&client, &target, &progress, &chunk, &bar).await?,
            };
            self.take(&chunk, &answer, &mut progress, &bar);
            if let Some(path) = kept {
                resume::save(path, &target, &progress, &chunks.digest());
            }
            bar.set_position(progress.bytes);
            bar.set_message(format!("{} records, {} events", progress.records, progress.events));
        }
        bar.finish_and_clear();
        if let Some(path) = kept {
            resume::remove(path);
        }
        self.finish(&progress)
    }

    /// Where a run goes, and how: only the same goes on where it stopped.
    fn target(&self) -> String {
        let to = self.api.place();
        json!([to, self.sync, self.collection, self.op.as_str(), self.id_field]).to_string()
    }

    /// A file, its length in bytes, and where an earlier run came to, to which it is read.
    fn open(&self, path: &str, target: &str) -> std::io::Result<Opened> {
        let mut file = BufReader::new(File::open(path)?);
        let total = file.get_ref().metadata()?.len();
        let Some(kept) = Kept::of(path, target).filter(|_| !self.restart) else {
            return Ok((file, total, None));
        };
        let found = kept.progress(&mut file)?;
        if found.is_none() {
            note!("{path} is not what an earlier run read; beginning at its first line");
            file.rewind()?;
        }
        Ok((file, total, found))
    }

    /// Sends a chunk until it is answered, or there is no hope.
    async fn send(
        &self,
        client: &reqwest::Client,
        target: &str,
        progress: &Progress,
        chunk: &Chunk,
        bar: &ProgressBar,
    ) -> Result<Value> {
        let (sync, collection) = (segment(&self.sync), segment(&self.collection));
        let path = format!("/v1/syncs/{sync}/collections/{collection}/records");
        let key = chunk.key(&progress.run, target, progress.bytes);
        let mut pause = PAUSE_FIRST;
        for attempt in 1.. {
            let request = self.api.request(client, Method::POST, &path);
            let request = request.header("idempotency-key", &key).body(chunk.body.clone());
            match self.api.send(request).await {
                Ok(answer) => return self.complete(chunk, answer),
                Err(error) if error.is_passing() && attempt < ATTEMPTS_MAX => {
                    let wait = humantime::format_duration(pause);
                    bar.suspend(|| note!("{error}; trying again in {wait}"));
                    tokio::time::sleep(pause).await;
                    pause = PAUSE_MAX.min(pause * 2);
                }
                Err(error @ Error::Refused { .. }) => {
                    let (first, last) = chunk.range();
                    return Err(error).context(format!("lines {first} to {last} were refused"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        bail!("the chunk was not sent")
    }

    /// An answer, if it tells of every line.
    fn complete(&self, chunk: &Chunk, answer: Value) -> Result<Value> {
        let results = answer["results"].as_array().ok_or_else(|| self.api.foreign(&answer))?;
        if results.len() == chunk.lines.len() {
            return Ok(answer);
        }
        // The last result says why a batch broke off.
        let why = results.last().and_then(|it| it["error"].as_str()).unwrap_or("it says no more");
        let ((first, last), found) = (chunk.range(), results.len());
        bail!("lines {first} to {last}: the answer is of {found} lines: {why}")
    }

    /// Counts what became of a chunk's lines, and tells which were refused.
    fn take(&self, chunk: &Chunk, answer: &Value, progress: &mut Progress, bar: &ProgressBar) {
        let answered = answer["results"].as_array().into_iter().flatten().zip(&chunk.lines);
        let refused = answered.filter_map(|(result, line)| {
            progress.records += 1;
            progress.events += u64::from(result["event"].is_string());
            Some((*line, result["error"].as_str()?.to_owned()))
        });
        let mut refused: Vec<_> = refused.chain(chunk.refused.iter().cloned()).collect();
        refused.sort_unstable();
        for (line, error) in refused {
            progress.refused += 1;
            if progress.refused <= REFUSALS_PRINTED_MAX {
                bar.suspend(|| note!("line {line}: {error}"));
            }
        }
        progress.bytes += chunk.bytes;
        progress.lines = chunk.last_line;
    }

    fn finish(&self, progress: &Progress) -> Result<()> {
        let Progress { lines, records, events, refused, .. } = progress;
        match self.api.output() {
            Output::Json => say!(
                "{}",
                json!({ "lines": lines, "records": records, "events": events, "refused": refused })
            ),
            Output::Table => {
                say!("{records} records, {events} events, {refused} lines refused");
            }
        }
        match refused {
            0 => Ok(()),
            _ => bail!("{refused} of {lines} lines were refused; the others are in"),
        }
    }
}

fn bar(total: Option<u64>) -> Result<ProgressBar> {
    let Some(total) = total else {
        let style = ProgressStyle::with_template("{bytes}, {bytes_per_sec}, {msg}")?;
        return Ok(ProgressBar::no_length().with_style(style));
    };
    let style = "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {msg}, {eta}";
    Ok(ProgressBar::new(total).with_style(ProgressStyle::with_template(style)?))
}
