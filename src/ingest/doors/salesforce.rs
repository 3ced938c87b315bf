//! Salesforce's change events (Change Data Capture), as JSON: bare, or as the Streaming API, an
//! Event Relay and most clients of the Pub/Sub API wrap them.
//!
//! `ChangeEventHeader` says which records changed and how. An update carries some fields only, so
//! it is a patch: a field that is null was cleared if the header lists it, and was merely not sent
//! if it does not. The version is the transaction's `commitNumber`. The collection is the entity's
//! name in lower case.
//!
//! A `GAP_` event says that something changed and not what. A deletion needs no more; for the
//! others the record has to be read from Salesforce and put, and the answer says so. The same holds
//! for an update of a long text that says what changed of it (`diffFields`).

use super::{Change, ITEMS_MAX, NoChange, Read, object, record_id};
use crate::http::{ApiError, BODY_BYTES_MAX};
use crate::ingest::first::at_most;
use crate::ingest::json::{Object, Raw, write_members};
use crate::ingest::mutation::Operation;
use crate::ingest::target::NAMES_MAX;
use crate::ingest::version::Version;
use axum::http::StatusCode;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const HEADER: &str = "ChangeEventHeader";
/// What an event may be wrapped in.
const WRAPPERS: [&str; 3] = ["payload", "data", "detail"];
const WRAPPERS_DEEP: usize = 3;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    entity_name: String,
    #[serde(deserialize_with = "at_most::<_, _, ITEMS_MAX>")]
    record_ids: Vec<String>,
    change_type: String,
    #[serde(default, deserialize_with = "at_most::<_, _, ITEMS_MAX>")]
    changed_fields: Vec<String>,
    #[serde(default, deserialize_with = "at_most::<_, _, ITEMS_MAX>")]
    nulled_fields: Vec<String>,
    #[serde(default, deserialize_with = "at_most::<_, _, ITEMS_MAX>")]
    diff_fields: Vec<String>,
    #[serde(default)]
    commit_number: Option<i64>,
    #[serde(default)]
    commit_timestamp: Option<i64>,
}

/// What all records of an event go through alike.
struct Event {
    header: Header,
    operation: Operation,
    data: Option<String>,
}

/// The changes that events are about, one for each of their records.
///
/// # Errors
/// 413 when they are more than a delivery may have items, or have more bytes than it may: an event
/// has its data once, and each change has its own.
pub(super) fn read(items: Vec<Raw<'_>>) -> Result<Vec<Read>, ApiError> {
    let mut reads = Vec::with_capacity(items.len());
    let mut bytes = 0;
    for item in items {
        let event = match read_event(item) {
            Ok(event) => event,
            Err(refused) => {
                reads.push(Err(refused));
                continue;
            }
        };
        let records = event.header.record_ids.len();
        if reads.len() + records > ITEMS_MAX {
            let text = format!("recordIds: more than {ITEMS_MAX} changes in one request");
            return Err(ApiError::too_large(text));
        }
        bytes += event.data.as_ref().map_or(0, String::len) * records;
        if bytes > BODY_BYTES_MAX {
            let text = format!(
                "recordIds: the fields, once for each record, are over the limit of {BODY_BYTES_MAX} bytes"
            );
            return Err(ApiError::too_large(text));
        }
        reads.extend(event.header.record_ids.iter().map(|id| event.change(id)));
    }
    Ok(reads)
}

fn read_event(item: Raw<'_>) -> Result<Event, NoChange> {
    let mut event = object("a change event", item)?;
    for _ in 0..WRAPPERS_DEEP {
        if event.get(HEADER).is_some() {
            break;
        }
        let inner = WRAPPERS.iter().find_map(|name| event.get(name));
        match inner.filter(|inner| inner.get().starts_with('{')) {
            Some(inner) => event = object("a change event", inner)?,
            None => break,
        }
    }
    let header = event.get(HEADER).ok_or_else(|| {
        ApiError::bad_request(format!("expected a Salesforce change event with {HEADER}"))
    })?;
    let header: Header = serde_json::from_str(header.get())
        .map_err(|error| ApiError::bad_request(format!("{HEADER}: {error}")))?;
    let (operation, data) = match header.change_type.as_str() {
        "CREATE" | "UNDELETE" => (Operation::Upsert, Some(whole(&event))),
        "UPDATE" => {
            if let Some(field) = diff(&event, &header) {
                let (entity, ids) = (&header.entity_name, header.ids());
                let text = format!(
                    "{field} came as a diff of its text: read {entity} {ids} from Salesforce and PUT it as it is"
                );
                return Err(gap(text).into());
            }
            (Operation::Patch, Some(patch(&event, &header)?))
        }
        "DELETE" | "GAP_DELETE" => (Operation::Delete, None),
        gap if gap.starts_with("GAP_") => return Err(gap_refusal(&header).into()),
        other => {
            let text = format!(
                "{HEADER}.changeType '{other}' is none of CREATE, UPDATE, DELETE, UNDELETE and GAP_*"
            );
            return Err(ApiError::bad_request(text).into());
        }
    };
    Ok(Event { header, operation, data })
}

impl Event {
    /// What it says of one of its records.
    fn change(&self, id: &str) -> Read {
        let header = &self.header;
        if id.ends_with('*') {
            let text = format!(
                "recordIds '{id}' stands for every record of {}: take a snapshot of the collection",
                header.entity_name
            );
            return Err(gap(text).into());
        }
        let version = header.commit_number.or(header.commit_timestamp).map(Version::Number);
        Ok(Change {
            collection: header.entity_name.to_lowercase(),
            id: record_id("recordIds", id)?,
            operation: self.operation,
            data: self.data.clone(),
            follows: None,
            keeps: Vec::new(),
            revives: false,
            is_reading: false,
            version,
            key: None,
        })
    }
}

/// Says that an event does not say everything.
fn gap(text: String) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "gap", text)
}

fn gap_refusal(header: &Header) -> ApiError {
    let (kind, entity) = (&header.change_type, &header.entity_name);
    let text = match kind.as_str() {
        "GAP_OVERFLOW" => format!(
            "GAP_OVERFLOW: too many changes of {entity} for events; take a snapshot of the collection"
        ),
        _ => format!(
            "{kind} does not say what changed: read {entity} {} from Salesforce and PUT it as it is",
            header.ids()
        ),
    };
    gap(text)
}

impl Header {
    /// The records, as far as an error names them.
    fn ids(&self) -> String {
        let ids: Vec<_> = self.record_ids.iter().take(NAMES_MAX).map(String::as_str).collect();
        ids.join(", ")
    }
}

/// The event without its header.
fn whole(event: &Object<'_>) -> String {
    let fields = event.columns().iter().filter(|(name, _)| name != HEADER);
    let mut text = String::new();
    write_members(fields.map(|(name, value)| (&**name, value.get())), &mut text);
    text
}

/// A field that came as a diff of its text: as `{"diff":"--- .."}`, and mostly listed as such.
fn diff<'a>(event: &'a Object<'_>, header: &'a Header) -> Option<&'a str> {
    let is_diff = |value: &Raw<'_>| {
        let Ok(object) = object("a field", *value) else { return false };
        match object.columns() {
            [(name, text)] => name == "diff" && text.get().starts_with("\"--- "),
            _ => false,
        }
    };
    let came = || event.columns().iter().find(|(_, value)| is_diff(value));
    header.diff_fields.first().map(String::as_str).or_else(|| came().map(|(name, _)| &**name))
}

/// What an update changes: a merge patch.
fn patch(event: &Object<'_>, header: &Header) -> Result<String, ApiError> {
    let listed = header.changed_fields.iter().chain(&header.nulled_fields);
    if let Some(bitmap) = listed.clone().find(|field| field.starts_with("0x")) {
        let text = format!(
            "{HEADER} lists changed fields as the bitmap {bitmap}: send their names, as clients of the Pub/Sub API decode them"
        );
        return Err(ApiError::bad_request(text));
    }
    let listed: BTreeSet<&str> = listed.map(String::as_str).collect();
    // The parts of compound fields, such as an address, that were cleared.
    let mut cleared: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (field, part) in header.nulled_fields.iter().filter_map(|field| field.split_once('.')) {
        cleared.entry(field).or_default().insert(part);
    }
    let mut members: Vec<(&str, String)> = Vec::new();
    for (name, value) in event.columns().iter().filter(|(name, _)| name != HEADER) {
        let cleared = cleared.remove(&**name).unwrap_or_default();
        match value.get() {
            // Without lists, as the Streaming API has it, only what changed is there.
            "null" if listed.is_empty() || listed.contains(&**name) => {
                members.push((name, "null".to_owned()));
            }
            "null" if cleared.is_empty() => {}
            "null" => members.push((name, parts(name, &Object::default(), &listed, &cleared))),
            compound if compound.starts_with('{') => {
                members.push((name, parts(name, &object(name, *value)?, &listed, &cleared)));
            }
            value => members.push((name, value.to_owned())),
        }
    }
    // A cleared field need not be there at all.
    for field in &header.nulled_fields {
        match field.split_once('.') {
            None if event.get(field).is_none() => members.push((field, "null".to_owned())),
            Some((field, _)) if !listed.contains(field) => {
                if let Some(cleared) = cleared.remove(field) {
                    members.push((field, parts(field, &Object::default(), &listed, &cleared)));
                }
            }
            _ => {}
        }
    }
    let mut text = String::new();
    write_members(members.iter().map(|(name, value)| (*name, value.as_str())), &mut text);
    Ok(text)
}

/// The parts of a compound field that changed: those that are there, and those that were cleared.
fn parts(
    name: &str,
    compound: &Object<'_>,
    listed: &BTreeSet<&str>,
    cleared: &BTreeSet<&str>,
) -> String {
    let changed = |part: &str, value: &Raw<'_>| {
        let all = listed.is_empty() || listed.contains(name);
        value.get() != "null" || all || listed.contains(&*format!("{name}.{part}"))
    };
    let there = compound.columns().iter().filter(|(part, value)| changed(part, value));
    let gone = cleared.iter().filter(|part| compound.get(part).is_none());
    let there = there.map(|(part, value)| (&**part, value.get()));
    let mut text = String::new();
    write_members(there.chain(gone.map(|part| (*part, "null"))), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(item: &str) -> Vec<String> {
        let item: Raw<'_> = serde_json::from_str(item).unwrap();
        let text = |read: Read| match read {
            Ok(Change { collection, id, operation, data, version, key: None, .. }) => {
                let version = version.map(|it| it.to_string()).unwrap_or_default();
                let data = data.unwrap_or_default();
                format!("{operation:?} {collection} {} {data} @{version}", id.as_str())
            }
            Ok(change) => panic!("{change:?}"),
            Err(NoChange::Passed(why)) => format!("passed: {why}"),
            Err(NoChange::Refused(error)) => format!("{}: {}", error.code, error.message),
        };
        super::read(vec![item]).unwrap().into_iter().map(text).collect()
    }

    /// An event with these fields, and these members of its header.
    fn event(kind: &str, header: &str, fields: &str) -> String {
        format!(
            r#"{{"ChangeEventHeader":{{"entityName":"Contact","recordIds":["003A","003B"],"changeType":"{kind}","changeOrigin":"com/salesforce/api/soap/60.0","transactionKey":"0001","sequenceNumber":1,"commitTimestamp":1700000000000,"commitNumber":42{header}}}{fields}}}"#
        )
    }

    #[test]
    fn each_kind_of_change_is_read_for_each_of_its_records() {
        let both = |text: &str| ["003A", "003B"].map(|id| text.replace("ID", id)).to_vec();
        let all = r#","LastName":"B","Phone":null"#;
        let whole = both(r#"Upsert contact ID {"LastName":"B","Phone":null} @42"#);
        assert_eq!(read(&event("CREATE", "", all)), whole);
        assert_eq!(read(&event("UNDELETE", "", all)), whole);
        assert_eq!(read(&event("DELETE", "", "")), both("Delete contact ID  @42"));
        assert_eq!(read(&event("GAP_DELETE", "", "")), both("Delete contact ID  @42"));
        let streaming = r#","LastName":"B","Phone":null"#;
        assert_eq!(
            read(&event("UPDATE", "", streaming)),
            both(r#"Patch contact ID {"LastName":"B","Phone":null} @42"#)
        );
        // The Pub/Sub API sends every field, null when it did not change.
        let lists = r#","changedFields":["LastName","Phone","MailingAddress.City"],"nulledFields":["Phone","Title","OtherAddress.City"]"#;
        let fields = r#","LastName":"B","Phone":null,"Email":null,"MailingAddress":{"City":"X","Street":null}"#;
        assert_eq!(
            read(&event("UPDATE", lists, fields)),
            both(
                r#"Patch contact ID {"LastName":"B","Phone":null,"MailingAddress":{"City":"X"},"Title":null,"OtherAddress":{"City":null}} @42"#
            )
        );
    }

    #[test]
    fn every_part_of_a_field_that_was_cleared_is_cleared() {
        let nulled = |fields: &str| format!(r#","changedFields":["X"],"nulledFields":[{fields}]"#);
        let table = [
            (r#""A.City","A.Zip""#, r#","A":null"#, r#"{"A":{"City":null,"Zip":null}}"#),
            (r#""A.City","T","A.Zip""#, "", r#"{"A":{"City":null,"Zip":null},"T":null}"#),
            (r#""A.Zip""#, r#","A":{"Street":"new"}"#, r#"{"A":{"Street":"new","Zip":null}}"#),
            (
                r#""A.Zip""#,
                r#","A":{"Zip":null,"City":null,"Street":"new"}"#,
                r#"{"A":{"Zip":null,"Street":"new"}}"#,
            ),
            // The whole field goes with all of its parts.
            (r#""A","A.Zip""#, r#","A":null"#, r#"{"A":null}"#),
            (r#""A.Zip","A""#, "", r#"{"A":null}"#),
            // What was cleared somewhere else clears nothing here.
            (r#""B.Zip""#, r#","A":null"#, r#"{"B":{"Zip":null}}"#),
        ];
        for (fields, sent, want) in table {
            let found = read(&event("UPDATE", &nulled(fields), sent)).remove(0);
            assert_eq!(found, format!("Patch contact 003A {want} @42"), "{fields} {sent}");
        }
    }

    #[test]
    fn an_event_for_many_records_comes_to_no_more_than_a_delivery_may() {
        let refusal = |ids: usize, bytes: usize| {
            let ids = vec![r#""a""#; ids].join(",");
            let event = event("CREATE", "", &format!(r#","a":"{}""#, "x".repeat(bytes)));
            let event = event.replace(r#""003A","003B""#, &ids);
            let item: Raw<'_> = serde_json::from_str(&event).unwrap();
            let read = super::read(vec![item, item]);
            read.map(|it| it.len()).map_err(|it| (it.status.as_u16(), it.message))
        };
        // With what is around it, 8 bytes more.
        let bytes = BODY_BYTES_MAX / ITEMS_MAX - 8;
        assert_eq!(refusal(ITEMS_MAX / 2, bytes), Ok(ITEMS_MAX));
        let (status, text) = refusal(ITEMS_MAX / 2, bytes + 1).unwrap_err();
        assert_eq!(status, 413);
        assert!(text.starts_with("recordIds: the fields, once for each record, "), "{text}");
        let (status, text) = refusal(ITEMS_MAX / 2 + 1, 0).unwrap_err();
        assert_eq!(status, 413);
        assert_eq!(text, "recordIds: more than 10000 changes in one request");
    }

    #[test]
    fn events_are_found_in_what_wraps_them() {
        let bare = event("DELETE", "", "");
        let streaming = format!(r#"{{"schema":"x","payload":{bare},"event":{{"replayId":6}}}}"#);
        let cometd = format!(r#"{{"data":{streaming},"channel":"/data/ContactChangeEvent"}}"#);
        let relay = format!(r#"{{"version":"0","detail":{streaming}}}"#);
        for wrapped in [streaming, cometd, relay] {
            assert_eq!(read(&wrapped), read(&bare), "{wrapped}");
        }
    }

    #[test]
    fn what_is_no_change_says_what_to_do() {
        let wildcard = event("UPDATE", "", "").replace("003B", "003*");
        let table = [
            (
                event("GAP_UPDATE", "", ""),
                "gap: GAP_UPDATE does not say what changed: read Contact 003A, 003B from",
            ),
            (event("GAP_OVERFLOW", "", ""), "gap: GAP_OVERFLOW: too many changes of Contact"),
            (
                event("UPDATE", r#","diffFields":["Text"]"#, r#","Text":"a""#),
                "gap: Text came as a diff of its text: read Contact 003A, 003B from Salesforce",
            ),
            (
                event("UPDATE", "", r#","A":"--- a","Text":{"diff":"--- a\n+++ b"}"#),
                "gap: Text came as a diff",
            ),
            (
                event("SNAPSHOT", "", ""),
                "bad_request: ChangeEventHeader.changeType 'SNAPSHOT' is none",
            ),
            (
                event("UPDATE", r#","changedFields":["0x20"]"#, ""),
                "bad_request: ChangeEventHeader lists changed fields as the bitmap 0x20",
            ),
            (
                r#"{"payload":{"a":1}}"#.to_owned(),
                "bad_request: expected a Salesforce change event",
            ),
            (
                r#"{"ChangeEventHeader":{}}"#.to_owned(),
                "bad_request: ChangeEventHeader: missing field",
            ),
            ("[1]".to_owned(), "bad_request: a change event: expected a JSON object"),
        ];
        for (item, want) in table {
            let found = read(&item);
            assert!(found.len() == 1 && found[0].starts_with(want), "{item}: {found:?}");
        }
        let no_diff = event("UPDATE", "", r#","A":{"diff":"-"},"B":{"diff":"--- a","C":"b"}"#);
        assert!(read(&no_diff)[0].starts_with("Patch contact 003A"));
        assert!(read(&wildcard)[1].starts_with("gap: recordIds '003*' stands for every record"));
    }
}
