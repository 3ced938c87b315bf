//! Debezium's envelopes (debezium.io, "Change event values"), with and without their schema: bare,
//! as Debezium Server's HTTP sink posts them, or beside their key as `{"key":..,"value":..}`.
//!
//! The source's table (MongoDB: collection) is the collection. The id is the record's key; where
//! that does not come along, as with the HTTP sink, it is the columns that `?key=` names. The
//! version is the source's log position (`lsn`, PostgreSQL) or else its time (`ts_ms`); a source
//! gives one or the other for all its records.
//!
//! A column whose value Debezium had no access to (an unchanged TOAST column) keeps the value the
//! record has.

use super::{Change, NoChange, Read, object, object_in, record_id};
use crate::http::ApiError;
use crate::ingest::json::{Object, Raw, write_members};
use crate::ingest::mutation::Operation;
use crate::ingest::version::Version;
use serde::Deserialize;
use std::borrow::Cow;

/// What stands for a value that Debezium had no access to (`unavailable.value.placeholder`).
const UNAVAILABLE: &str = "\"__debezium_unavailable_value\"";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    before: Option<Raw<'a>>,
    #[serde(borrow, default)]
    after: Option<Raw<'a>>,
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, default)]
    source: Source<'a>,
}

#[derive(Default, Deserialize)]
struct Source<'a> {
    #[serde(borrow, default)]
    table: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    collection: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    lsn: Option<Raw<'a>>,
    #[serde(default)]
    ts_ms: Option<i64>,
}

/// The change an envelope is about; `key` are the columns that make up the id where the envelope
/// comes without its key.
pub(super) fn read(item: Raw<'_>, key: &[&str]) -> Read {
    let (record_key, value) = split(item)?;
    let Some(value) = value else {
        return Err(NoChange::Passed("a tombstone follows a deletion and says no more".to_owned()));
    };
    let envelope: Envelope<'_> = serde_json::from_str(value.get()).map_err(|error| {
        ApiError::bad_request(format!("expected a Debezium envelope with op and source: {error}"))
    })?;
    let operation = match &*envelope.op {
        "c" | "r" | "u" => Operation::Upsert,
        "d" => Operation::Delete,
        "m" => return Err(NoChange::Passed("a message is no record".to_owned())),
        "t" => {
            let text = "op 't' truncates a table without naming its records: open a snapshot of the collection and close it with what is left";
            return Err(ApiError::bad_request(text).into());
        }
        other => {
            let text = format!("op '{other}' is none of c, r, u, d, t and m");
            return Err(ApiError::bad_request(text).into());
        }
    };
    let collection = envelope.source.table.or(envelope.source.collection).ok_or_else(|| {
        ApiError::bad_request("source has neither table nor collection to name the collection by")
    })?;
    let (field, row) = match operation {
        Operation::Delete => ("before", envelope.before),
        _ => ("after", envelope.after),
    };
    // MongoDB's documents are text inside a string.
    let text: Option<String> = row.and_then(|row| serde_json::from_str(row.get()).ok());
    let row = match (&text, row) {
        (Some(text), _) => Some(object_in(field, text)?),
        (None, row) => row.map(|row| object(field, row)).transpose()?,
    };
    let id = match (record_key, &row) {
        (Some(record_key), _) => id_of_key(record_key)?,
        (None, Some(row)) => id_of_row(field, row, key)?,
        (None, None) => {
            return Err(
                ApiError::bad_request(format!("op '{}' needs '{field}'", envelope.op)).into()
            );
        }
    };
    let lsn = envelope.source.lsn.and_then(|lsn| lsn.get().parse().ok());
    let mut change = Change {
        collection: collection.into_owned(),
        id,
        operation,
        data: None,
        follows: None,
        version: lsn.or(envelope.source.ts_ms).map(Version::Number),
        key: None,
    };
    if operation == Operation::Upsert {
        let row = row.ok_or_else(|| {
            ApiError::bad_request(format!("op '{}' needs '{field}'", envelope.op))
        })?;
        (change.operation, change.data) = known_columns(&row);
    }
    Ok(change)
}

/// The record, or what is known of it.
fn known_columns(row: &Object<'_>) -> (Operation, Option<String>) {
    let columns = row.columns().iter();
    let known = columns.filter(|(_, value)| value.get() != UNAVAILABLE);
    let known: Vec<_> = known.map(|(name, value)| (&**name, value.get())).collect();
    let whole = known.len() == row.columns().len();
    let mut data = String::new();
    write_members(known.into_iter(), &mut data);
    (if whole { Operation::Upsert } else { Operation::Patch }, Some(data))
}

/// The key and the value of a record, without their schemas.
fn split(item: Raw<'_>) -> Result<(Option<Raw<'_>>, Option<Raw<'_>>), ApiError> {
    let object = object("an item", item)?;
    match (object.get("key"), object.get("value")) {
        (Some(key), Some(value)) => {
            let value = unwrap("value", value)?;
            Ok((Some(unwrap("key", key)?), (value.get() != "null").then_some(value)))
        }
        _ => {
            let value = unwrap("an item", item)?;
            Ok((None, (value.get() != "null").then_some(value)))
        }
    }
}

/// The payload of a value that has its schema beside it; any other value as it is.
fn unwrap<'a>(what: &str, value: Raw<'a>) -> Result<Raw<'a>, ApiError> {
    if !value.get().starts_with('{') {
        return Ok(value);
    }
    let object = object(what, value)?;
    match (object.get("schema"), object.get("payload")) {
        (Some(_), Some(payload)) => Ok(payload),
        _ => Ok(value),
    }
}

/// The id of a record's key: its one column's text, or a JSON array of several columns' values.
fn id_of_key(key: Raw<'_>) -> Result<crate::ingest::name::RecordId, ApiError> {
    if !key.get().starts_with('{') {
        return record_id("key", &text(key));
    }
    let key = object("key", key)?;
    let values: Vec<_> = key.columns().iter().map(|(_, value)| *value).collect();
    record_id("key", &id(&values))
}

fn id_of_row(
    field: &str,
    row: &Object<'_>,
    key: &[&str],
) -> Result<crate::ingest::name::RecordId, ApiError> {
    let value = |name: &&str| {
        row.get(name).filter(|value| value.get() != "null").ok_or_else(|| {
            let text = format!(
                "'{field}' has no column '{name}' to tell the record by: name its primary key with ?key=, several columns with a comma between them"
            );
            ApiError::bad_request(text)
        })
    };
    let values: Vec<_> = key.iter().map(value).collect::<Result<_, _>>()?;
    record_id(field, &id(&values))
}

fn id(values: &[Raw<'_>]) -> String {
    match values {
        [value] => text(*value),
        values => {
            let values: Vec<_> = values.iter().map(|value| value.get()).collect();
            format!("[{}]", values.join(","))
        }
    }
}

/// A string's text, any other value's JSON.
fn text(value: Raw<'_>) -> String {
    serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(item: &str, key: &[&str]) -> String {
        let item: Raw<'_> = serde_json::from_str(item).unwrap();
        match super::read(item, key) {
            Ok(Change { collection, id, operation, data, version, key: None, follows: None }) => {
                let version = version.map(|it| it.to_string()).unwrap_or_default();
                let data = data.unwrap_or_default();
                format!("{operation:?} {collection} {} {data} @{version}", id.as_str())
            }
            Ok(change) => panic!("{change:?}"),
            Err(NoChange::Passed(why)) => format!("passed: {why}"),
            Err(NoChange::Refused(error)) => format!("refused: {}", error.message),
        }
    }

    #[test]
    fn envelopes_are_read_in_every_shape_they_come_in() {
        let pg = r#""source":{"connector":"postgresql","table":"orders","lsn":33,"ts_ms":5}"#;
        let mysql = r#""source":{"table":"orders","pos":4,"ts_ms":5}"#;
        let sql_server = r#""source":{"table":"orders","lsn":"0000:07","ts_ms":5}"#;
        let mongo = r#""source":{"collection":"orders","ts_ms":5}"#;
        let table = [
            (
                format!(r#"{{"before":null,"after":{{"id":1,"n":1.50}},{pg},"op":"c","ts_ms":9}}"#),
                r#"Upsert orders 1 {"id":1,"n":1.50} @33"#,
            ),
            (
                format!(r#"{{"before":null,"after":{{"id":"a"}},{mysql},"op":"r"}}"#),
                r#"Upsert orders a {"id":"a"} @5"#,
            ),
            (
                format!(
                    r#"{{"before":{{"id":1}},"after":{{"id":1,"n":2}},{sql_server},"op":"u"}}"#
                ),
                r#"Upsert orders 1 {"id":1,"n":2} @5"#,
            ),
            (
                format!(r#"{{"before":{{"id":1,"n":2}},"after":null,{mongo},"op":"d"}}"#),
                "Delete orders 1  @5",
            ),
            (
                format!(
                    r#"{{"schema":{{"type":"struct"}},"payload":{{"after":{{"id":1}},{pg},"op":"c"}}}}"#
                ),
                r#"Upsert orders 1 {"id":1} @33"#,
            ),
            (
                format!(r#"{{"key":{{"no":7}},"value":{{"after":{{"id":1}},{pg},"op":"c"}}}}"#),
                r#"Upsert orders 7 {"id":1} @33"#,
            ),
            (
                format!(
                    r#"{{"key":{{"schema":{{}},"payload":{{"a":1,"b":"x"}}}},"value":{{"schema":{{}},"payload":{{"before":null,{pg},"op":"d"}}}}}}"#
                ),
                r#"Delete orders [1,"x"]  @33"#,
            ),
            (
                format!(r#"{{"key":"k","value":{{"after":{{}},{pg},"op":"c"}}}}"#),
                r#"Upsert orders k {} @33"#,
            ),
            (
                format!(
                    r#"{{"after":"{{\"_id\":7,\"id\":{{\"$oid\":\"5f\"}}}}",{mongo},"op":"u"}}"#
                ),
                r#"Upsert orders {"$oid":"5f"} {"_id":7,"id":{"$oid":"5f"}} @5"#,
            ),
            (
                format!(
                    r#"{{"after":{{"id":1,"big":"__debezium_unavailable_value","n":3}},{pg},"op":"u"}}"#
                ),
                r#"Patch orders 1 {"id":1,"n":3} @33"#,
            ),
        ];
        for (item, want) in table {
            assert_eq!(read(&item, &["id"]), want, "{item}");
        }
        let two = format!(r#"{{"after":{{"a":1,"b":"x,y"}},{pg},"op":"c"}}"#);
        assert_eq!(read(&two, &["a", "b"]), r#"Upsert orders [1,"x,y"] {"a":1,"b":"x,y"} @33"#);
    }

    #[test]
    fn what_is_no_change_says_why() {
        let source = r#""source":{"table":"orders","ts_ms":5}"#;
        let table = [
            (r#"{"key":{"id":1},"value":null}"#.to_owned(), "passed: a tombstone"),
            (r#"{"schema":null,"payload":null}"#.to_owned(), "passed: a tombstone"),
            (format!(r#"{{"op":"m",{source}}}"#), "passed: a message"),
            (format!(r#"{{"op":"t",{source}}}"#), "refused: op 't' truncates"),
            (format!(r#"{{"op":"x",{source}}}"#), "refused: op 'x' is none of"),
            (format!(r#"{{"op":"c",{source}}}"#), "refused: op 'c' needs 'after'"),
            (format!(r#"{{"op":"d","before":null,{source}}}"#), "refused: op 'd' needs 'before'"),
            (r#"{"op":"c","after":{"id":1}}"#.to_owned(), "refused: source has neither"),
            (
                format!(r#"{{"op":"c","after":{{"no":1}},{source}}}"#),
                "refused: 'after' has no column 'id'",
            ),
            (
                format!(r#"{{"op":"c","after":{{"id":null}},{source}}}"#),
                "refused: 'after' has no column 'id'",
            ),
            (
                format!(r#"{{"op":"c","after":[1],{source}}}"#),
                "refused: after: expected a JSON object",
            ),
            (r#"{"id":1}"#.to_owned(), "refused: expected a Debezium envelope"),
            ("7".to_owned(), "refused: an item: expected a JSON object"),
        ];
        for (item, want) in table {
            let found = read(&item, &["id"]);
            assert!(found.starts_with(want), "{item}: {found}");
        }
    }
}
