//! `POST /v1/mutations/run`, in the shape that Sequin's API had: mutations of one collection, which
//! `sync_id` and `collection_id` name. They are carried out and answered as a
//! [`batch`](super::batch) is.
//!
//! `create` puts the whole record, `update` merges columns into it (RFC 7396), `delete` removes it,
//! by `upstream_ids` or by records that have an `upstream_id` only. Unlike Sequin, which wrote to
//! the API and got an id from there, every record brings its `upstream_id`. Of more items than a
//! batch may have, enough is read for the batch to say so.

use super::Ingest;
use super::batch::{self, Batch, ITEMS_MAX, Options};
use super::first::First;
use super::target::Target;
use crate::http::{self, Account, ApiError};
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Create,
    Update,
    Delete,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutations<'a> {
    kind: Kind,
    sync_id: String,
    collection_id: String,
    #[serde(borrow, default)]
    records: First<Record<'a>, ITEMS_MAX>,
    #[serde(borrow, default)]
    upstream_ids: First<Id<'a>, ITEMS_MAX>,
}

/// Kept as a slice of the body where it can be.
#[derive(Deserialize)]
struct Id<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<'a> {
    #[serde(borrow, default)]
    upstream_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// An item of a batch.
#[derive(Serialize)]
struct Item<'a> {
    op: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// `POST /v1/mutations/run`
pub(super) async fn run(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let body = http::Body::from_request(Request::from_parts(parts.clone(), body), &()).await?.0;
    let mutations: Mutations<'_> = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("invalid JSON body: {error}")))?;
    let items = serde_json::to_vec(&mutations.items()?).map_err(ApiError::internal)?;
    let (sync, collection) = (mutations.sync_id, mutations.collection_id);
    // The batch takes memory of its own: nobody may wait for that who has some.
    drop(body);
    Target::find(&ingest, &principal.cluster, &sync, &collection).await?;
    // A key is for one request, which other batches' paths tell from one for another collection.
    let place = format!("{}/{sync}/{collection}", parts.uri.path());
    parts.uri = place.parse().map_err(ApiError::internal)?;
    let (cluster, collection) = (principal.cluster, Some(collection));
    let batch = Batch { ingest, cluster, sync, collection, _page: None };
    let request = Request::from_parts(parts, Body::from(items));
    batch::stream(batch, Options::default(), request).await
}

impl Mutations<'_> {
    /// The items of a batch that does the same.
    fn items(&self) -> Result<Vec<Item<'_>>, ApiError> {
        let op = match self.kind {
            Kind::Create => "upsert",
            Kind::Update => "patch",
            Kind::Delete => "delete",
        };
        if op != "delete" && !self.upstream_ids.0.is_empty() {
            let text = "upstream_ids go with kind 'delete'; other kinds have records";
            return Err(ApiError::bad_request(text));
        }
        let records = self.records.0.iter().enumerate().map(|(at, record)| {
            let missing = || format!("records[{at}]: upstream_id is missing");
            let id = record.upstream_id.as_deref();
            let id = id.ok_or_else(|| ApiError::bad_request(missing()))?;
            Ok(Item { op, id, data: record.data })
        });
        let ids = self.upstream_ids.0.iter().map(|Id(id)| Ok(Item { op, id, data: None }));
        let items = records.chain(ids).collect::<Result<Vec<_>, ApiError>>()?;
        match items.is_empty() {
            true => Err(ApiError::bad_request("no mutations: 'records' has none")),
            false => Ok(items),
        }
    }
}
