//! A change event: the record value and headers that go to the topic, and the way back.
//!
//! The value is one JSON object, its keys always in this order:
//! ```text
//! {"collection":"contact","created_at":"2024-11-10T18:39:00.070453Z","data":{..},
//!  "event":"updated","id":"003","task":"contacts","table_db_name":"contacts","changes":{..}}
//! ```
//! `data` and `changes` hold the columns' text as it came. **`changes` is there exactly when
//! `event` is `updated`.**

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::diff::Change;
use super::json::{write_members, write_string};
use super::name::{Collection, RecordId, SyncId};

/// What an event says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Inserted,
    Updated,
    Deleted,
}

/// The header that says what happened.
pub const EVENT: &str = "event";
/// The header that names a mutation.
pub const IDEMPOTENCY_KEY: &str = "idempotency_key";
/// The header with the version of a record, if it has one.
pub const VERSION: &str = "version";
/// The header with the id of the backfill that published an event.
pub const BACKFILL: &str = "backfill";
/// The header with the version of the mapping that named the columns, if it is not the first.
pub const MAPPING: &str = "mapping";

/// An event about to be published.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent<'a> {
    pub collection: &'a Collection,
    /// When the event is put into the stream.
    pub created_at: Timestamp,
    pub change: &'a Change<'a>,
    /// The record as it is now, or as it last was if it is deleted, under its database names: a
    /// JSON object.
    pub data: &'a str,
    pub id: &'a RecordId,
    /// The destination table.
    pub table: &'a str,
}

/// The parts of a published event that rebuild a record's state.
#[derive(Clone, Debug, Deserialize)]
pub struct Event<'a> {
    #[serde(rename = "event")]
    pub kind: Kind,
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The record, a JSON object.
    #[serde(borrow)]
    pub data: &'a RawValue,
}

impl Kind {
    /// The word in the event and its header.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Inserted => "inserted",
            Kind::Updated => "updated",
            Kind::Deleted => "deleted",
        }
    }
}

impl Change<'_> {
    /// What an event of this change says happened.
    pub fn kind(&self) -> Kind {
        match self {
            Change::Inserted => Kind::Inserted,
            Change::Updated { .. } => Kind::Updated,
            Change::Deleted => Kind::Deleted,
        }
    }
}

/// Bytes of a value beside its data, changes and names, or a little more.
const VALUE_BYTES: usize = 192;

impl NewEvent<'_> {
    /// Writes the record's value to `out`, in place of what it holds.
    pub fn write(&self, out: &mut String) {
        let changes = match self.change {
            Change::Updated { changes } => &changes[..],
            _ => &[],
        };
        let lengths = changes.iter().map(|(name, value)| name.len() + value.get().len() + 4);
        let names = self.id.as_str().len() + 2 * self.table.len() + self.collection.as_str().len();
        out.clear();
        out.reserve(VALUE_BYTES + self.data.len() + names + lengths.sum::<usize>());
        let mut string = |name: &str, value: &str| {
            out.push_str(name);
            write_string(value, out);
        };
        string("{\"collection\":", self.collection.as_str());
        string(",\"created_at\":", &format_timestamp(self.created_at));
        out.push_str(",\"data\":");
        out.push_str(self.data);
        let mut string = |name: &str, value: &str| {
            out.push_str(name);
            write_string(value, out);
        };
        string(",\"event\":", self.change.kind().as_str());
        string(",\"id\":", self.id.as_str());
        string(",\"task\":", self.table);
        string(",\"table_db_name\":", self.table);
        if let Change::Updated { .. } = self.change {
            out.push_str(",\"changes\":");
            write_members(changes.iter().map(|(name, value)| (&**name, value.get())), out);
        }
        out.push('}');
    }

    /// The record's headers, in their order. A redelivered mutation brings the `idempotency_key`
    /// it had before; `version` is there if the record has one.
    pub fn headers<'h>(
        &'h self,
        sync_id: &'h SyncId,
        idempotency_key: &'h str,
        version: Option<&'h str>,
    ) -> impl Iterator<Item = (&'static str, &'h str)> {
        let always = [
            (EVENT, self.change.kind().as_str()),
            ("sync_id", sync_id.as_str()),
            ("collection", self.collection.as_str()),
            (IDEMPOTENCY_KEY, idempotency_key),
        ];
        always.into_iter().chain(version.map(|version| (VERSION, version)))
    }
}

impl<'a> Event<'a> {
    /// Reads an event's value. Keys we do not know are passed over.
    pub fn parse(value: &'a [u8]) -> Result<Event<'a>, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

/// RFC 3339 in UTC with microseconds, always six digits.
pub fn format_timestamp(timestamp: Timestamp) -> String {
    DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&timestamp)
}

/// What an event's `idempotency_key` is when its mutation had none.
pub(super) fn own_key(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}-{partition}-{offset}")
}

#[cfg(test)]
mod tests {
    use super::super::diff::diff;
    use super::super::json::Object;
    use super::*;

    fn event(prior: Option<&str>, next: Option<&str>) -> String {
        let prior = prior.map(|text| Object::parse(text.as_bytes()).unwrap());
        let next = next.map(|text| Object::parse(text.as_bytes()).unwrap());
        let change = diff(prior.as_ref(), next.as_ref()).unwrap();
        let event = NewEvent {
            collection: &Collection::parse("contact").unwrap(),
            created_at: "2024-11-10T18:39:00.070453Z".parse().unwrap(),
            change: &change,
            data: &next.as_ref().or(prior.as_ref()).unwrap().text(),
            id: &RecordId::parse("0\"é").unwrap(),
            table: "contacts",
        };
        let mut value = "of the event before".to_owned();
        event.write(&mut value);
        value
    }

    #[test]
    fn values_hold_the_contracts_keys_in_order_and_the_columns_text() {
        let inserted =
            event(None, Some(r#"{"n":1.50, "big":12345678901234567890.10,"o":{ "z" :1}}"#));
        assert_eq!(
            inserted,
            r#"{"collection":"contact","created_at":"2024-11-10T18:39:00.070453Z","data":{"n":1.50,"big":12345678901234567890.10,"o":{ "z" :1}},"event":"inserted","id":"0\"é","task":"contacts","table_db_name":"contacts"}"#
        );
        let updated = event(Some(r#"{"a":1.0,"b":2}"#), Some(r#"{"a":2,"b":2,"c":3}"#));
        assert_eq!(
            updated,
            r#"{"collection":"contact","created_at":"2024-11-10T18:39:00.070453Z","data":{"a":2,"b":2,"c":3},"event":"updated","id":"0\"é","task":"contacts","table_db_name":"contacts","changes":{"a":1.0,"c":null}}"#
        );
        let deleted = event(Some(r#"{"a":1}"#), None);
        assert_eq!(
            deleted,
            r#"{"collection":"contact","created_at":"2024-11-10T18:39:00.070453Z","data":{"a":1},"event":"deleted","id":"0\"é","task":"contacts","table_db_name":"contacts"}"#
        );
    }

    #[test]
    fn an_event_is_read_back() {
        let value = event(Some(r#"{"a":1}"#), Some(r#"{"a": 2.0}"#));
        let read = Event::parse(value.as_bytes()).unwrap();
        assert_eq!((read.kind, &*read.id), (Kind::Updated, "0\"é"));
        assert_eq!(read.data.get(), r#"{"a":2.0}"#);
        assert!(Event::parse(b"{\"event\":\"renamed\",\"id\":\"1\",\"data\":{}}").is_err());
        assert!(Event::parse(b"{\"event\":\"deleted\",\"id\":\"1\"}").is_err());
        assert!(Event::parse(b"").is_err());
    }

    #[test]
    fn headers_name_the_event_and_where_it_is_from() {
        let sync_id = SyncId::parse("sync_1a107d79").unwrap();
        let event = NewEvent {
            collection: &Collection::parse("contact").unwrap(),
            created_at: Timestamp::UNIX_EPOCH,
            change: &Change::Deleted,
            data: "{}",
            id: &RecordId::parse("1").unwrap(),
            table: "contacts",
        };
        let want = [
            ("event", "deleted"),
            ("sync_id", "sync_1a107d79"),
            ("collection", "contact"),
            ("idempotency_key", "k1"),
        ];
        assert!(event.headers(&sync_id, "k1", None).eq(want));
        let versioned = want.into_iter().chain([("version", "7")]);
        assert!(event.headers(&sync_id, "k1", Some("7")).eq(versioned));
    }

    #[test]
    fn timestamps_always_have_six_digits() {
        let table = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_731_263_940_070_453_000, "2024-11-10T18:39:00.070453Z"),
            (1_731_263_940_070_453_999, "2024-11-10T18:39:00.070453Z"),
            (1_731_263_940_500_000_000, "2024-11-10T18:39:00.500000Z"),
        ];
        for (nanoseconds, want) in table {
            let timestamp = Timestamp::from_nanosecond(nanoseconds).unwrap();
            assert_eq!(format_timestamp(timestamp), want);
        }
    }
}
