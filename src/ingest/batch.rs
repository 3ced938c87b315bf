//! Many mutations in one request: a JSON array, or one JSON object a line.
//!
//! Every item has its own outcome; one bad item does not sink the others.

use super::json::Object;
use super::mutation::{Done, Hold, Key, Mutation, Operation};
use super::name::RecordId;
use super::records::{RecordAnswer, idempotency_key};
use super::routes::Routes;
use super::target::Target;
use super::version::Version;
use crate::http::{Account, ApiError, Body, Json};
use crate::task::blocking;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Items of one request.
const ITEMS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    op: Operation,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    version: Option<Version>,
}

/// What each item answers, in the order of the request.
#[derive(Serialize)]
pub(super) struct BatchAnswer {
    results: Vec<ItemAnswer>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ItemAnswer {
    Done(RecordAnswer),
    Failed { error: String, code: &'static str, index: usize },
}

/// `POST .../records`
pub(super) async fn post(
    Account(principal): Account,
    State(routes): State<Routes>,
    Path((sync, collection)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BatchAnswer>, ApiError> {
    let ingest = routes.ingest();
    let target = Target::find(ingest, &principal.cluster, &sync, &collection).await?;
    let key = idempotency_key(&headers)?;
    let work = target.clone();
    let outcomes = blocking(move || mutate(&work, &body, key.as_deref())).await?;
    target.stream.confirm(outcomes.iter().flatten()).await;
    let answer = |(index, outcome): (usize, Result<Done, ApiError>)| match outcome {
        Ok(done) => ItemAnswer::Done(RecordAnswer::new(&target.stream, &done)),
        Err(error) => ItemAnswer::Failed { error: error.message, code: error.code, index },
    };
    Ok(Json(BatchAnswer { results: outcomes.into_iter().enumerate().map(answer).collect() }))
}

/// Carries out the items that are sound; the others have their error.
fn mutate(
    target: &Target,
    body: &Body,
    key: Option<&str>,
) -> Result<Vec<Result<Done, ApiError>>, ApiError> {
    let items = split(&body.0)?;
    let mut outcomes = Vec::with_capacity(items.len());
    let mut mutations = Vec::with_capacity(items.len());
    for (index, text) in items.iter().enumerate() {
        let key = key.map(|key| Key { text: format!("{key}:{index}"), hold: Hold::default() });
        match parse(text, key) {
            Ok(mutation) => {
                mutations.push(mutation);
                outcomes.push(None);
            }
            Err(error) => outcomes.push(Some(Err(error))),
        }
    }
    let mut done = target.mutate(mutations).into_iter();
    let fill = |outcome: Option<Result<Done, ApiError>>| match outcome {
        Some(refused) => refused,
        None => match done.next() {
            Some(outcome) => outcome.map_err(ApiError::from),
            None => Err(ApiError::internal("a mutation had no outcome")),
        },
    };
    Ok(outcomes.into_iter().map(fill).collect())
}

/// The items' texts.
fn split(body: &[u8]) -> Result<Vec<&[u8]>, ApiError> {
    let items: Vec<&[u8]> = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return Err(ApiError::bad_request("the body is empty, expected items")),
        Some(b'[') => {
            let array: Vec<&RawValue> = serde_json::from_slice(body)
                .map_err(|error| ApiError::bad_request(format!("invalid JSON body: {error}")))?;
            array.into_iter().map(|item| item.get().as_bytes()).collect()
        }
        Some(_) => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            lines.filter(|line| !line.is_empty()).collect()
        }
    };
    if items.len() > ITEMS_MAX {
        let text = format!("{} items are over the limit of {ITEMS_MAX} a request", items.len());
        return Err(ApiError::too_large(text));
    }
    Ok(items)
}

fn parse(text: &[u8], key: Option<Key>) -> Result<Mutation<'_>, ApiError> {
    let item: Item<'_> = serde_json::from_slice(text)
        .map_err(|error| ApiError::bad_request(format!("invalid item: {error}")))?;
    let id = RecordId::parse(&item.id)
        .map_err(|error| ApiError::bad_request(format!("invalid item: id: {error}")))?;
    let data = item.data.filter(|_| item.op != Operation::Delete);
    let data = data.map(|data| Object::parse(data.get().as_bytes())).transpose();
    let data =
        data.map_err(|error| ApiError::bad_request(format!("invalid item: data: {error}")))?;
    Ok(Mutation { version: item.version, key, ..Mutation::new(id, item.op, data) })
}
