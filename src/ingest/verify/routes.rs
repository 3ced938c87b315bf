//! `GET /v1/syncs/{sync}/verify?collection=`: one JSON object a line while it goes on.
//!
//! `{"progress":{..}}` says how far the log of a partition was read, `{"difference":{..}}` what is
//! not as it should be and what to do, and the last line is `{"summary":{..}}`, or the error that
//! kept it from coming to an end. Without `collection` it is about all of the sync's.

use super::{Difference, Failed, Kind, Report, Told};
use crate::http::{Account, ApiError, Query, Segments};
use crate::ingest::Ingest;
use crate::ingest::mutation::Error;
use crate::ingest::target::{Target, find_sync};
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, channel};

/// Verifications at a time, of all accounts: each reads all of a sync's logs.
const AT_A_TIME_MAX: usize = 2;
static AT_A_TIME: Semaphore = Semaphore::const_new(AT_A_TIME_MAX);
/// Lines that wait for the client.
const LINES_MAX: usize = 64;

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
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let last = match verify_all(&targets, &lines) {
            Ok(summary) => summary,
            Err(Failed::Unwanted) => return,
            Err(error) => refusal(error),
        };
        send(&lines, &last);
    });
    let body = futures_util::stream::poll_fn(move |context| told.poll_recv(context));
    let json_lines = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((json_lines, Body::from_stream(body)).into_response())
}

type Line = Result<Bytes, Infallible>;

fn send(lines: &Sender<Line>, line: &Value) -> bool {
    lines.blocking_send(Ok(format!("{line}\n").into())).is_ok()
}

fn verify_all(targets: &[Target], lines: &Sender<Line>) -> Result<Value, Failed> {
    let mut all = Report::default();
    for target in targets {
        let collection = target.defined.collection.as_str();
        let mut tell = |told| send(lines, &line(collection, &told));
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
        error => ApiError::internal(error),
    };
    json!({ "error": error.message, "code": error.code })
}
