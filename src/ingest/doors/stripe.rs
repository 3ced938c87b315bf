//! Stripe's webhook events (docs.stripe.com/api/events/object): the object of an event is the
//! record, its `object` the collection.
//!
//! An event's `created` is the change's version. It counts seconds, and a subscription is often
//! created and updated within one. So **within a second a creation comes first and a deletion
//! last**, which nanoseconds of the version say; which of two updates came first, their
//! `previous_attributes` do ([`order`](crate::ingest::order)); one that arrives again is known by
//! its id.
//!
//! A capability's id is its name, the same for every account that is connected to one's own, and
//! some ids are chosen by whoever makes the object: a coupon's may be `SUMMER` in two accounts
//! whose events come to one endpoint. So the account's id goes before such ids. All others are
//! Stripe's, and no two objects have the same.
//!
//! An event that was lost in between is no harm: each has the whole object, and is compared with
//! the record's last state.

use super::{Change, NoChange, Read, record_id};
use crate::http::ApiError;
use crate::ingest::mutation::Operation;
use crate::ingest::version::Version;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What calls itself an event and only names its object (docs.stripe.com/event-destinations).
const THIN: &str = "v2.core.event";

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    object: Cow<'a, str>,
}

/// Objects whose ids may be chosen. A price has that of the plan it is.
const CHOSEN: [&str; 5] = ["coupon", "plan", "price", "product", "sku"];

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    /// The connected account it happened in, if it was not one's own.
    #[serde(borrow, default)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow)]
    object: Cow<'a, str>,
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    created: i64,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    object: &'a RawValue,
    #[serde(borrow, default)]
    previous_attributes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    object: Cow<'a, str>,
    #[serde(borrow, default)]
    account: Option<&'a RawValue>,
}

impl Object<'_> {
    /// What tells it from all others of its kind; `id` is what it has, and `connected` the account
    /// of its event.
    fn id(&self, id: &str, connected: Option<&str>) -> String {
        let its = || serde_json::from_str::<Cow<'_, str>>(self.account?.get()).ok();
        let account = match &*self.object {
            "capability" => its(),
            kind if CHOSEN.contains(&kind) => connected.map(Cow::Borrowed),
            _ => None,
        };
        account.map_or_else(|| id.to_owned(), |account| format!("{account}/{id}"))
    }
}

/// The change an event is about.
pub(super) fn read(body: &[u8]) -> Read {
    let invalid = |what: &str, error: serde_json::Error| {
        ApiError::bad_request(format!("expected a Stripe event; {what}: {error}"))
    };
    let kind: Kind<'_> =
        serde_json::from_slice(body).map_err(|error| invalid("the body", error))?;
    if kind.object == THIN {
        let text = "a thin event (v2.core.event) does not carry its object: have the endpoint's events be of the snapshot payload style";
        return Err(ApiError::bad_request(text).into());
    }
    let event: Event<'_> =
        serde_json::from_slice(body).map_err(|error| invalid("the body", error))?;
    if event.object != "event" {
        let text = format!("expected a Stripe event, found object '{}'", event.object);
        return Err(ApiError::bad_request(text).into());
    }
    let text = event.data.object.get();
    let object: Object<'_> =
        serde_json::from_str(text).map_err(|error| invalid("data.object", error))?;
    let Some(id) = object.id.as_deref().filter(|id| !id.is_empty()) else {
        let text = format!("a '{}' has no id, so it is no record", object.object);
        return Err(NoChange::Passed(text));
    };
    let id = record_id("data.object.id", &object.id(id, event.account.as_deref()))?;
    let is_deletion = event.kind.ends_with(".deleted");
    Ok(Change {
        collection: object.object.into_owned(),
        id,
        operation: if is_deletion { Operation::Delete } else { Operation::Upsert },
        data: (!is_deletion).then(|| text.to_owned()),
        // Without it nothing is said of what was before, and whether the event came is still asked.
        follows: Some(event.data.previous_attributes.map_or("{}", RawValue::get).to_owned()),
        keeps: Vec::new(),
        revives: false,
        is_reading: false,
        version: Some(version(event.created, &event.kind)?),
        key: Some(event.id.into_owned()),
    })
}

/// Where an event belongs among those of its object.
fn version(created: i64, kind: &str) -> Result<Version, ApiError> {
    let rank = match kind.rsplit('.').next() {
        Some("created") => 0,
        Some("deleted") => 2,
        _ => 1,
    };
    let time = Timestamp::new(created, rank).map(Version::Time);
    time.map_err(|_| ApiError::bad_request(format!("created: {created} is no time in seconds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_of_stripes_fixtures_is_read_as_it_is() {
        #[derive(Deserialize)]
        struct Fixtures<'a> {
            #[serde(borrow)]
            resources: std::collections::BTreeMap<String, &'a RawValue>,
        }
        let text = include_str!("../../../tests/fixtures/stripe-objects.json");
        let fixtures: Fixtures<'_> = serde_json::from_str(text).unwrap();
        let mut records = 0;
        for (name, object) in fixtures.resources {
            let event = |kind: &str| {
                format!(
                    r#"{{"id":"evt_1","object":"event","created":7,"type":"{kind}","data":{{"object":{object},"previous_attributes":{{"a":1}}}}}}"#,
                )
            };
            match read(event("x.updated").as_bytes()) {
                Ok(change) => {
                    assert_eq!(change.data.as_deref(), Some(object.get()), "{name}");
                    assert_eq!(change.operation, Operation::Upsert);
                    assert_eq!(change.key.as_deref(), Some("evt_1"));
                    let deleted = read(event("x.deleted").as_bytes()).unwrap();
                    assert_eq!((deleted.operation, deleted.data), (Operation::Delete, None));
                    assert_eq!((deleted.collection, deleted.id), (change.collection, change.id));
                    records += 1;
                }
                Err(NoChange::Passed(why)) => assert!(why.ends_with("it is no record"), "{why}"),
                // Parts of other objects that Stripe's API never sends as an event.
                Err(NoChange::Refused(error)) => {
                    assert!(error.message.contains("missing field `object`"), "{name}: {error:?}");
                }
            }
        }
        assert!(records > 100, "{records}");
    }

    #[test]
    fn what_is_not_told_apart_by_its_id_is_by_its_account_and_nothing_else_is() {
        let of = |account: &str, object: &str| {
            let event = format!(
                r#"{{"id":"evt_1","object":"event","created":7,"type":"x.updated","account":{account},"data":{{"object":{object}}}}}"#
            );
            read(event.as_bytes()).unwrap().id.as_str().to_owned()
        };
        let id = |object: &str| of(r#""acct_9""#, object);
        for kind in CHOSEN {
            let object = format!(r#"{{"id":"SUMMER","object":"{kind}"}}"#);
            assert_eq!(id(&object), "acct_9/SUMMER");
            assert_eq!(of("null", &object), "SUMMER", "of one's own account");
        }
        let capability = |account: &str| {
            id(&format!(r#"{{"id":"transfers","object":"capability","account":{account}}}"#))
        };
        assert_eq!(capability(r#""acct_1""#), "acct_1/transfers");
        assert_eq!(capability(r#""acct_2""#), "acct_2/transfers");
        assert_eq!(capability("null"), "transfers");
        assert_eq!(id(r#"{"id":"ba_1","object":"bank_account","account":"acct_1"}"#), "ba_1");
        assert_eq!(id(r#"{"id":"ch_1","object":"charge","account":{"a":1}}"#), "ch_1");
    }

    #[test]
    fn within_a_second_a_creation_comes_first_and_a_deletion_last() {
        let kinds = ["customer.created", "customer.updated", "customer.deleted"];
        let versions = [7, 8].map(|second| kinds.map(|kind| version(second, kind).unwrap()));
        let in_order = versions.concat();
        for pair in in_order.windows(2) {
            assert_eq!(pair[0].compare(&pair[1]), Some(std::cmp::Ordering::Less), "{pair:?}");
        }
        assert_eq!(in_order[0].to_string(), "1970-01-01T00:00:07Z");
        assert_eq!(version(7, "invoice.paid").unwrap(), in_order[1]);
        assert!(version(i64::MAX, "x").unwrap_err().message.contains("is no time in seconds"));
    }

    #[test]
    fn what_is_no_event_is_refused_by_name() {
        let table = [
            ("", "EOF"),
            ("[]", "invalid length 0"),
            (r#"{"object":"event"}"#, "missing field `id`"),
            (
                r#"{"id":"a","object":"v2.core.event","type":"v2.money.created","related_object":{}}"#,
                "a thin event (v2.core.event) does not carry its object",
            ),
            (
                r#"{"id":"a","object":"customer","type":"b","created":1,"data":{"object":{}}}"#,
                "expected a Stripe event, found object 'customer'",
            ),
            (
                r#"{"id":"a","object":"event","type":"b","created":1,"data":{"object":[]}}"#,
                "data.object: ",
            ),
            (
                r#"{"id":"a","object":"event","type":"b","created":1,"data":{"object":{"id":7,"object":"c"}}}"#,
                "data.object: invalid type: integer `7`, expected a string",
            ),
        ];
        for (body, want) in table {
            match read(body.as_bytes()) {
                Err(NoChange::Refused(error)) => {
                    assert!(error.message.contains(want), "{body}: {}", error.message);
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
