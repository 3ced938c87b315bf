//! Debezium's envelopes (debezium.io, "Change event values"), with and without their schema: bare,
//! as Debezium Server's HTTP sink posts them, or beside their key as `{"key":..,"value":..}`.
//!
//! The source's table (MongoDB: collection) is the collection, with its schema or database before
//! it where `?collection=schema.table` says so. The id is the record's key; where
//! that does not come along, as with the HTTP sink, it is the columns that `?key=` names. The
//! version is the source's log position (`lsn`, PostgreSQL) or else its time (`ts_ms`); a source
//! gives one or the other for all its records. A transaction has one time, so a row that it deletes
//! and creates anew (MySQL's REPLACE) has one version for both: there a creation brings back what
//! was deleted with its version.
//!
//! **A row that was read (`op` `r`) says when that was, not which change it reflects**: a snapshot
//! is often of an earlier moment, and changes made meanwhile follow it. It is dropped where the
//! record has a later version, and gives it none.
//!
//! A column whose value Debezium had no access to (an unchanged TOAST column) keeps the value the
//! record has; all others are replaced.

use super::{Change, NoChange, Read, object, object_in, record_id};
use crate::http::ApiError;
use crate::ingest::json::{Object, Raw};
use crate::ingest::mutation::Operation;
use crate::ingest::name::RecordId;
use crate::ingest::version::Version;
use serde::Deserialize;
use std::borrow::Cow;

/// What stands for a value that Debezium had no access to (`unavailable.value.placeholder`), by the
/// column's type (`UnchangedToastedPlaceholder` of its PostgreSQL connector).
const UNAVAILABLE: [&str; 9] = [
    "\"__debezium_unavailable_value\"",
    // bytea: in base64, in hex.
    "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"",
    "\"5f5f646562657a69756d5f756e617661696c61626c655f76616c7565\"",
    // hstore: as a map, as JSON.
    r#"{"__debezium_unavailable_value":"__debezium_unavailable_value"}"#,
    r#""{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}""#,
    // Arrays: of texts, of bytea, of UUIDs (that of the name), of numbers (its bytes).
    r#"["__debezium_unavailable_value"]"#,
    r#"["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="]"#,
    r#"["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]"#,
    "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]",
];

/// What is said of where a transaction begins and ends (`provide.transaction.metadata`).
const TRANSACTION: [&str; 5] = ["status", "id", "ts_ms", "event_count", "data_collections"];

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

/// What a table's collection is called.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) enum Naming {
    /// The same.
    #[default]
    #[serde(rename = "table")]
    Table,
    /// With the schema before it, or the database where there are no schemas.
    #[serde(rename = "schema.table")]
    SchemaTable,
}

#[derive(Default, Deserialize)]
struct Source<'a> {
    #[serde(borrow, default)]
    db: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    schema: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    table: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    collection: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    lsn: Option<Raw<'a>>,
    #[serde(default)]
    ts_ms: Option<i64>,
}

impl Source<'_> {
    /// The collection of its table.
    fn collection(&self, naming: Naming) -> Result<String, ApiError> {
        let table = self.table.as_ref().or(self.collection.as_ref()).ok_or_else(|| {
            let text = "source has neither table nor collection to name the collection by";
            ApiError::bad_request(text)
        })?;
        match naming {
            Naming::Table => Ok(table.to_string()),
            Naming::SchemaTable => {
                let schema = self.schema.as_ref().or(self.db.as_ref()).ok_or_else(|| {
                    let text = "source has neither schema nor db, which ?collection=schema.table names the collection by";
                    ApiError::bad_request(text)
                })?;
                Ok(format!("{schema}.{table}"))
            }
        }
    }
}

/// The change an envelope is about; `key` are the columns that make up the id where the envelope
/// comes without its key.
pub(super) fn read(item: Raw<'_>, key: &[&str], naming: Naming) -> Read {
    let (record_key, value) = split(item)?;
    let Some(value) = value else {
        return Err(NoChange::Passed("a tombstone follows a deletion and says no more".to_owned()));
    };
    let envelope: Envelope<'_> =
        serde_json::from_str(value.get()).map_err(|error| match about_no_record(value) {
            Some(why) => NoChange::Passed(why.to_owned()),
            None => {
                let text = format!("expected a Debezium envelope with op and source: {error}");
                ApiError::bad_request(text).into()
            }
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
    let collection = envelope.source.collection(naming)?;
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
    let id = match (record_key.map(id_of_key).transpose()?.flatten(), &row) {
        (Some(id), _) => id,
        (None, Some(row)) => id_of_row(field, row, key)?,
        (None, None) => {
            return Err(
                ApiError::bad_request(format!("op '{}' needs '{field}'", envelope.op)).into()
            );
        }
    };
    let lsn = envelope.source.lsn.and_then(|lsn| lsn.get().parse().ok());
    let mut change = Change {
        collection,
        id,
        operation,
        data: None,
        follows: None,
        keeps: Vec::new(),
        revives: envelope.op == "c" && lsn.is_none(),
        is_reading: envelope.op == "r",
        version: lsn.or(envelope.source.ts_ms).map(Version::Number),
        key: None,
    };
    if operation == Operation::Upsert {
        let row = row.ok_or_else(|| {
            ApiError::bad_request(format!("op '{}' needs '{field}'", envelope.op))
        })?;
        let unavailable = row.columns().iter().filter(|(_, value)| is_unavailable(*value));
        change.keeps = unavailable.map(|(name, _)| name.to_string()).collect();
        change.data = Some(row.text().into_owned());
    }
    Ok(change)
}

/// Whether a value stands for one that Debezium had no access to.
fn is_unavailable(value: Raw<'_>) -> bool {
    // No placeholder has white space in it, and who passes it on may have put some between.
    let written = || value.get().bytes().filter(|byte| !byte.is_ascii_whitespace());
    UNAVAILABLE.iter().any(|placeholder| written().eq(placeholder.bytes()))
}

/// What a message without `op` is that Debezium sends beside its envelopes; nothing if it is none
/// of them, such as a row without its envelope.
fn about_no_record(message: Raw<'_>) -> Option<&'static str> {
    let message = object("a message", message).ok()?;
    let has = |name: &str| message.get(name).is_some();
    let has_only = |names: &[&str]| message.columns().iter().all(|(it, _)| names.contains(&&**it));
    let says = |name: &str, text: &str| message.get(name).is_some_and(|it| it.get() == text);
    let is_boundary = says("status", "\"BEGIN\"") || says("status", "\"END\"");
    if has("op") {
        None
    } else if has("source") && (has("ddl") || has("tableChanges")) {
        Some("a change of the schema is no record")
    } else if has("ts_ms") && has_only(&["ts_ms"]) {
        Some("a heartbeat is no record")
    } else if is_boundary && has("id") && has_only(&TRANSACTION) {
        Some("where a transaction begins or ends is no record")
    } else {
        None
    }
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

/// The id of a record's key: its one column's text, or a JSON array of several columns' values;
/// nothing if it says nothing, as that of a table without a primary key.
fn id_of_key(key: Raw<'_>) -> Result<Option<RecordId>, ApiError> {
    let values = match key.get().starts_with('{') {
        true => object("key", key)?.into_columns().into_iter().map(|(_, value)| value).collect(),
        false => vec![key],
    };
    match values.iter().all(|value| *value == Raw::NULL) {
        true => Ok(None),
        false => record_id("key", &id(&values)).map(Some),
    }
}

fn id_of_row(field: &str, row: &Object<'_>, key: &[&str]) -> Result<RecordId, ApiError> {
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
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn read(item: &str, key: &[&str]) -> String {
        read_as(item, key, Naming::Table)
    }

    fn read_as(item: &str, key: &[&str], naming: Naming) -> String {
        let item: Raw<'_> = serde_json::from_str(item).unwrap();
        match super::read(item, key, naming) {
            Ok(change) => {
                let Change { collection, id, operation, data, version, keeps, .. } = change;
                let version = version.map(|it| it.to_string()).unwrap_or_default();
                let data = data.unwrap_or_default();
                let keeps = keeps.iter().map(|name| format!(" keeps {name}"));
                let revives = change.revives.then(|| " revives".to_owned());
                let is_reading = change.is_reading.then(|| " read".to_owned());
                let marks: String = keeps.chain(revives).chain(is_reading).collect();
                format!("{operation:?} {collection} {} {data} @{version}{marks}", id.as_str())
            }
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
                r#"Upsert orders a {"id":"a"} @5 read"#,
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
                r#"Upsert orders 1 {"id":1,"big":"__debezium_unavailable_value","n":3} @33 keeps big"#,
            ),
        ];
        for (item, want) in table {
            assert_eq!(read(&item, &["id"]), want, "{item}");
        }
        let two = format!(r#"{{"after":{{"a":1,"b":"x,y"}},{pg},"op":"c"}}"#);
        assert_eq!(read(&two, &["a", "b"]), r#"Upsert orders [1,"x,y"] {"a":1,"b":"x,y"} @33"#);
    }

    #[test]
    fn tables_of_one_name_are_told_apart_by_their_schema_or_else_their_database() {
        let of = |source: &str| {
            let item = format!(r#"{{"after":{{"id":1}},"source":{{{source}"lsn":3}},"op":"c"}}"#);
            read_as(&item, &["id"], Naming::SchemaTable)
        };
        let table = [
            (r#""db":"d","schema":"s","table":"t","#, "Upsert s.t 1 "),
            (r#""db":"d","schema":null,"table":"t","#, "Upsert d.t 1 "),
            (r#""db":"d","collection":"c","#, "Upsert d.c 1 "),
            (r#""table":"t","#, "refused: source has neither schema nor db"),
            (r#""db":"d","#, "refused: source has neither table nor collection"),
        ];
        for (source, want) in table {
            let found = of(source);
            assert!(found.starts_with(want), "{source}: {found}");
        }
    }

    #[test]
    fn a_key_that_says_nothing_counts_as_absent_and_only_a_time_lets_a_creation_revive() {
        let pg = r#""source":{"table":"orders","lsn":33,"ts_ms":5}"#;
        let mysql = r#""source":{"table":"orders","pos":4,"ts_ms":5}"#;
        let table = [
            (
                format!(r#"{{"after":{{"id":1}},{mysql},"op":"c"}}"#),
                r#"Upsert orders 1 {"id":1} @5 revives"#,
            ),
            (
                format!(r#"{{"key":null,"value":{{"after":{{"id":1}},{pg},"op":"c"}}}}"#),
                r#"Upsert orders 1 {"id":1} @33"#,
            ),
            (
                format!(r#"{{"key":{{}},"value":{{"before":{{"id":1}},{pg},"op":"d"}}}}"#),
                "Delete orders 1  @33",
            ),
            (
                format!(
                    r#"{{"key":{{"schema":{{}},"payload":{{"no":null}}}},"value":{{"after":{{"id":1}},{pg},"op":"c"}}}}"#
                ),
                r#"Upsert orders 1 {"id":1} @33"#,
            ),
        ];
        for (item, want) in table {
            assert_eq!(read(&item, &["id"]), want, "{item}");
        }
    }

    #[test]
    fn a_value_that_debezium_had_no_access_to_is_known_in_every_type() {
        for placeholder in UNAVAILABLE {
            let spaced = placeholder.replace(',', ", ").replace(':', ": ");
            for value in [placeholder, &spaced] {
                let value: Raw<'_> = serde_json::from_str(value).unwrap();
                assert!(is_unavailable(value), "{value:?}");
            }
        }
        let bytes = STANDARD.encode("__debezium_unavailable_value");
        assert_eq!(UNAVAILABLE[1], format!("\"{bytes}\""));
        for value in [r#""__debezium_unavailable_value2""#, "[95]", "[]", "{}", "null", "\"\""] {
            assert!(!is_unavailable(serde_json::from_str(value).unwrap()), "{value}");
        }
    }

    #[test]
    fn what_is_no_change_says_why() {
        let source = r#""source":{"table":"orders","ts_ms":5}"#;
        let table = [
            (r#"{"key":{"id":1},"value":null}"#.to_owned(), "passed: a tombstone"),
            (r#"{"schema":null,"payload":null}"#.to_owned(), "passed: a tombstone"),
            (format!(r#"{{"op":"m",{source}}}"#), "passed: a message"),
            (
                r#"{"source":{"table":"orders","file":"b.1","pos":4},"ts_ms":1,"databaseName":"d","schemaName":null,"ddl":"CREATE TABLE t","tableChanges":[]}"#.to_owned(),
                "passed: a change of the schema",
            ),
            (
                r#"{"key":{"databaseName":"d"},"value":{"schema":{},"payload":{"source":{},"tableChanges":[]}}}"#.to_owned(),
                "passed: a change of the schema",
            ),
            (r#"{"ts_ms":1486500577691}"#.to_owned(), "passed: a heartbeat"),
            (
                r#"{"status":"BEGIN","id":"571:5","ts_ms":1,"event_count":null,"data_collections":null}"#.to_owned(),
                "passed: where a transaction begins or ends",
            ),
            (
                r#"{"status":"END","id":"571:5","ts_ms":1,"event_count":2,"data_collections":[{"data_collection":"s.a","event_count":2}]}"#.to_owned(),
                "passed: where a transaction begins or ends",
            ),
            // A row without its envelope.
            (r#"{"id":1,"status":"END","n":1}"#.to_owned(), "refused: expected a Debezium"),
            (r#"{"id":1,"status":"open"}"#.to_owned(), "refused: expected a Debezium"),
            (r#"{"id":1,"ts_ms":5}"#.to_owned(), "refused: expected a Debezium"),
            (
                format!(r#"{{"key":null,"value":{{"op":"c","after":{{"no":1}},{source}}}}}"#),
                "refused: 'after' has no column 'id'",
            ),
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
