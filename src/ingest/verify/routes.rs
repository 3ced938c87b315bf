//! `GET /v1/syncs/{sync}/verify?collection=`: one JSON object a line while it goes on.
//!
//! `{"progress":{..}}` says how far the log of a partition was read, `{"difference":{..}}` what is
//! not as it should be and what to do, and the last line is `{"summary":{..}}`, or the error that
//! kept it from coming to an end. Without `collection` it is about all of the sync's.
//!
//! Few go on at a time, so none waits for long for a client that reads a few bytes at a time.

use super::{Difference, Failed, Kind, Report, Told};
use crate::clock;
use crate::http::{Account, ApiError, Query, Segments};
use crate::ingest::Ingest;
use crate::ingest::mutation::Error;
use crate::ingest::target::{Target, find_sync};
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{once, poll_fn};
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::{Semaphore, oneshot};

/// Verifications at a time, of all accounts: each reads all of a sync's logs.
const AT_A_TIME_MAX: usize = 2;
static AT_A_TIME: Semaphore = Semaphore::const_new(AT_A_TIME_MAX);
/// Lines that wait for the client.
const LINES_MAX: usize = 64;
/// How long a verification waits for its client, all lines together.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::ingest) struct Asked {
    collection: Option<String>,
}

/// `GET /v1/syncs/{sync}/verify`
pub(in crate::ingest) async fn verify(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments(id): Segments<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let cluster = principal.cluster;
    let sync = find_sync(&ingest, &cluster, &id)?;
    let targets = match &asked.collection {
        Some(collection) => vec![Target::known(&ingest, &cluster, &id, collection)?],
        None => {
            let collections = sync.collections.keys();
            // One without a topic has no records yet.
            collections.flat_map(|it| Target::known(&ingest, &cluster, &id, it)).collect()
        }
    };
    let Ok(permit) = AT_A_TIME.try_acquire() else {
        let text = "other verifications are going on; ask again when they have ended";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text));
    };
    let (lines, mut told) = channel(LINES_MAX);
    let (end, last) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut lines = Lines { lines, patience: PATIENCE };
        let last = verify_all(&targets, &mut lines).unwrap_or_else(refusal);
        // Whoever asked may be gone. It needs no place among the lines, so it waits for nobody.
        let _ = end.send(last);
    });
    let lines = poll_fn(move |context| told.poll_recv(context));
    let last = once(last).filter_map(async |last| last.ok());
    let body = lines.chain(last).map(|line| Ok::<Bytes, Infallible>(format!("{line}\n").into()));
    let json_lines = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((json_lines, Body::from_stream(body)).into_response())
}

/// Lines on their way to the client.
struct Lines {
    lines: Sender<Value>,
    /// How long they may still wait.
    patience: Duration,
}

impl Lines {
    /// Whether there was room for a line before patience came to an end. Waits: not for an async
    /// worker.
    fn send(&mut self, line: Value) -> bool {
        let began = clock::now();
        let sent = Handle::current().block_on(self.lines.send_timeout(line, self.patience));
        self.patience = self.patience.saturating_sub(clock::now().saturating_sub(began));
        sent.is_ok()
    }
}

fn verify_all(targets: &[Target], lines: &mut Lines) -> Result<Value, Failed> {
    let mut all = Report::default();
    for target in targets {
        let collection = target.defined.collection.as_str();
        let mut tell = |told| lines.send(line(collection, &told));
        let report = super::verify(&target.stream, &mut tell)?;
        all.events += report.events;
        all.records += report.records;
        all.unverified += report.unverified;
        all.differences += report.differences;
    }
    let Report { events, records, unverified, differences } = all;
    Ok(json!({ "summary": {
        "collections": targets.len(), "events": events, "records": records,
        "unverified": unverified, "differences": differences,
    } }))
}

fn line(collection: &str, told: &Told) -> Value {
    match told {
        Told::Progress { partition, offset, start, end } => json!({ "progress": {
            "collection": collection, "partition": partition, "offset": offset, "start": start,
            "end": end,
        } }),
        Told::Difference(Difference { partition, id, offset, kind }) => {
            let (what, advice) = explain(*kind);
            json!({ "difference": {
                "collection": collection, "partition": partition, "id": id, "offset": offset,
                "kind": kind, "text": what, "advice": advice,
            } })
        }
    }
}

/// What is wrong, and what to do.
fn explain(kind: Kind) -> (&'static str, &'static str) {
    let send = "PUT the record as its source has it, or take a snapshot of the collection";
    let publish =
        "publish the state anew with tidelog sync backfill, or PUT the record as its source has it";
    match kind {
        Kind::Missing => ("the log has the record, and the state does not", send),
        Kind::Stale => ("the state is that of an earlier event", send),
        Kind::Differs => ("the state is not what its last event says", publish),
        Kind::Phantom => ("the state has a record whose event is not in the log", publish),
    }
}

fn refusal(error: Failed) -> Value {
    let error = match error {
        Failed::Mutation(error @ Error::Damaged(_)) => {
            let text = format!("{error}; take the damage out with tidelog log repair");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "log_damaged", text)
        }
        Failed::Mutation(error) => error.into(),
        Failed::Unwanted => {
            let text = format!("what was found waited for {PATIENCE:?} to be read; read it faster");
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", text)
        }
        error @ Failed::Log(..) => ApiError::internal(error),
    };
    json!({ "error": error.message, "code": error.code })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use crate::task::blocking;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_waited_for_once_and_not_for_each_line() {
        let (lines, mut told) = channel(2);
        let patience = Duration::from_millis(20);
        let mut lines = Lines { lines, patience };
        let (sent, mut lines) = blocking(move || {
            let sent: Vec<_> = (0..5).map(|at| lines.send(json!(at))).collect();
            (sent, lines)
        })
        .await;
        assert_eq!(sent, [true, true, false, false, false]);
        assert_eq!(lines.patience, Duration::ZERO);
        // What is read at once needs none.
        assert_eq!(told.recv().await.unwrap(), json!(0));
        assert!(blocking(move || lines.send(json!(5))).await);
    }
}
