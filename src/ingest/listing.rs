//! `GET .../records?after=&limit=`: a collection's records, by id, a page at a time.
//!
//! Every record that was acknowledged before the request is in its page as it is then, or later.

use super::Ingest;
use super::mutation::{Done, Error};
use super::page;
use super::stream::Stream;
use super::target::Target;
use crate::http::{Account, ApiError, Json, Query, Segments};
use crate::task::blocking;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Bytes of a page's records; one record may be more.
const BYTES_MAX: usize = 8 << 20;

#[derive(Serialize)]
struct PageAnswer {
    records: Vec<Listed>,
    /// Where the next page is, if there may be one.
    next: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    data: Box<RawValue>,
}

/// Records, and where to go on.
struct Page {
    records: Vec<Listed>,
    /// The last id that was looked at, if there may be more.
    last: Option<String>,
    /// What it tells.
    told: Vec<Done>,
}

/// A page of a collection.
pub(super) async fn list(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, collection)): Segments<(String, String)>,
    Query(asked): Query<page::Asked>,
) -> Result<Response, ApiError> {
    let limit = asked.limit()?;
    let target = Target::known(&ingest, &principal.cluster, &sync, &collection)?;
    let stream = target.stream.clone();
    let page = blocking(move || read(&stream, asked.after(), limit)).await?;
    target.stream.tell(page.told.iter()).await;
    let path = format!("/v1/syncs/{sync}/collections/{collection}/records");
    let next = page.last.map(|last| page::next(&path, &last, limit));
    let link = next.as_deref().map(page::link);
    Ok((link, Json(PageAnswer { records: page.records, next })).into_response())
}

fn read(stream: &Stream, after: &str, limit: usize) -> Result<Page, Error> {
    let (known, is_all) = stream.known_after(after, limit)?;
    let mut page = Page { records: Vec::new(), last: None, told: Vec::new() };
    let mut bytes = 0;
    let mut rest = known.into_iter().peekable();
    while let Some((id, known)) = rest.next() {
        page.told.push(Done::unchanged(stream.partition_of_id(&id), &known));
        let more = rest.peek().is_some() || !is_all;
        if let Some(data) = &known.row.data {
            let data = serde_json::from_slice(data).map_err(|error| {
                Error::Unreadable(super::json::Error {
                    reason: error.to_string(),
                    line: error.line(),
                    column: error.column(),
                })
            })?;
            let data: Box<RawValue> = data;
            bytes += data.get().len();
            let version = known.row.version.map(|version| version.to_string());
            page.records.push(Listed { id: id.clone(), version, data });
        }
        if more && (page.records.len() == limit || bytes >= BYTES_MAX || rest.peek().is_none()) {
            page.last = Some(id);
            break;
        }
    }
    Ok(page)
}
