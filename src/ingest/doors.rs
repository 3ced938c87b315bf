//! Doors for what people already have: Stripe's webhooks, Debezium's envelopes and Salesforce's
//! change events, as their senders write them. `doors/README.md` says how to use them.
//!
//! A reader ([`stripe`], [`debezium`], [`salesforce`]) makes [`Change`]s of a body and does no IO;
//! [`publish`] carries them out like any other mutation. **Order is the source's**: every change
//! has a version, so one that arrives late is dropped, and one that arrives twice changes nothing.
//!
//! Senders look at the status and throw the answer away, so **a change that was not carried out is
//! never answered 2xx**: sent again with its neighbours, those change nothing.

mod debezium;
mod publish;
mod routes;
mod salesforce;
mod secrets;
mod signature;
mod stripe;

pub(super) use routes::router;

use super::first::First;
use super::json::{Object, Raw};
use super::mutation::Operation;
use super::name::RecordId;
use super::version::Version;
use crate::http::ApiError;

/// What a delivery says of one record.
#[derive(Debug, PartialEq)]
struct Change {
    /// The collection's slug.
    collection: String,
    /// The record.
    id: RecordId,
    /// What is done to it.
    operation: Operation,
    /// The record, or the columns that change: a JSON object.
    data: Option<String>,
    /// What the source says some columns were before: a JSON object.
    follows: Option<String>,
    /// Columns of it of which only the names are known.
    keeps: Vec<String>,
    /// Whether it brings a record back that was deleted with the same version.
    revives: bool,
    /// Whether its version only says when the record was read.
    is_reading: bool,
    /// Where it belongs among the record's changes.
    version: Option<Version>,
    /// What the sender calls this event.
    key: Option<String>,
}

/// What becomes of a part of a delivery.
type Read = Result<Change, NoChange>;

/// Why a part of a delivery is no change.
#[derive(Debug)]
enum NoChange {
    /// It says nothing about a record; the sender has done its part.
    Passed(String),
    /// It cannot be carried out.
    Refused(ApiError),
}

impl From<ApiError> for NoChange {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

/// Items of one delivery.
const ITEMS_MAX: usize = 10_000;

/// The items of a body: a JSON array, or one JSON value or more after each other.
fn items(body: &[u8]) -> Result<Vec<Raw<'_>>, ApiError> {
    let invalid = |error| ApiError::bad_request(format!("invalid JSON body: {error}"));
    let items: Vec<Raw<'_>> = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => return Err(ApiError::bad_request("the body is empty, expected JSON")),
        Some(b'[') => serde_json::from_slice::<First<_, ITEMS_MAX>>(body).map_err(invalid)?.0,
        Some(_) => {
            let values = serde_json::Deserializer::from_slice(body).into_iter::<Raw<'_>>();
            values.take(ITEMS_MAX + 1).collect::<Result<_, _>>().map_err(invalid)?
        }
    };
    match items.len() > ITEMS_MAX {
        true => Err(ApiError::too_large(format!("more than {ITEMS_MAX} items in one request"))),
        false => Ok(items),
    }
}

/// A value that must be an object, which the error calls `what`.
fn object<'a>(what: &str, value: Raw<'a>) -> Result<Object<'a>, ApiError> {
    object_in(what, value.get())
}

/// The same of a text.
fn object_in<'a>(what: &str, text: &'a str) -> Result<Object<'a>, ApiError> {
    Object::parse(text.as_bytes())
        .map_err(|error| ApiError::bad_request(format!("{what}: {error}")))
}

/// A record's id, which the field `from` brought.
fn record_id(from: &str, text: &str) -> Result<RecordId, ApiError> {
    RecordId::parse(text).map_err(|error| ApiError::bad_request(format!("{from}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_more_items_than_there_may_be_is_too_large_in_each_form() {
        let refused = |count: usize| {
            let lines = "{}\n".repeat(count);
            let array = format!("[{}]", vec!["{}"; count].join(","));
            [lines, array].map(|body| items(body.as_bytes()).err().map(|it| it.status.as_u16()))
        };
        assert_eq!(refused(ITEMS_MAX), [None, None]);
        assert_eq!(refused(ITEMS_MAX + 1), [Some(413), Some(413)]);
        assert_eq!(refused(ITEMS_MAX * 3), [Some(413), Some(413)]);
    }
}
