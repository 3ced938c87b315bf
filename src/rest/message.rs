//! Records as JSON, in and out.
//!
//! Out: keys, values and headers are strings; bytes that are no UTF-8 become U+FFFD, and what is
//! absent is the empty string, never null: clients rely on the strings being there.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use tidelog_protocol::records::{Record, RecordHeader};

/// A record as it is answered.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Cow<'a, str>,
    value: Cow<'a, str>,
    headers: Vec<Header<'a>>,
}

#[derive(Serialize)]
struct Header<'a> {
    key: &'a str,
    value: Cow<'a, str>,
}

impl<'a> Message<'a> {
    pub(super) fn new(topic: &'a str, partition: i32, record: &'a Record) -> Self {
        let header = |it: &'a RecordHeader| Header { key: &it.key, value: text(&it.value) };
        Self {
            topic,
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: text(&record.key),
            value: text(&record.value),
            headers: record.headers.iter().map(header).collect(),
        }
    }
}

fn text(bytes: &Option<Bytes>) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.as_deref().unwrap_or_default())
}

/// A record as it is asked to be produced.
#[derive(Debug, Default, Deserialize)]
pub(super) struct NewMessage {
    /// Only where the path does not say.
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    /// In ms since 1970.
    pub(super) timestamp: Option<i64>,
    pub(super) key: Option<String>,
    #[serde(deserialize_with = "string_or_json")]
    pub(super) value: Bytes,
    #[serde(default, deserialize_with = "headers")]
    pub(super) headers: Vec<RecordHeader>,
}

/// A string as it is; anything else as its JSON text without white space, digit for digit.
fn string_or_json<'de, D: Deserializer<'de>>(input: D) -> Result<Bytes, D::Error> {
    let raw = Box::<RawValue>::deserialize(input)?;
    let text = match raw.get().starts_with('"') {
        true => serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?,
        false => compact(raw.get()),
    };
    Ok(text.into())
}

/// Valid JSON without the white space between its tokens.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |char: &char| {
        if !in_string {
            in_string = *char == '"';
            return !char.is_ascii_whitespace();
        }
        in_string = escaped || *char != '"';
        escaped = !escaped && *char == '\\';
        true
    };
    json.chars().filter(keep).collect()
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "headers must be an array of {key, value} or an object of strings")]
enum Headers {
    Array(Vec<NewHeader>),
    Object(BTreeMap<String, Option<String>>),
}

#[derive(Deserialize)]
struct NewHeader {
    key: String,
    value: Option<String>,
}

fn headers<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<RecordHeader>, D::Error> {
    let header = |key: String, value: Option<String>| RecordHeader {
        key: key.into(),
        value: value.map(Bytes::from),
    };
    Ok(match Option::<Headers>::deserialize(input)? {
        None => Vec::new(),
        Some(Headers::Array(list)) => list.into_iter().map(|it| header(it.key, it.value)).collect(),
        Some(Headers::Object(map)) => map.into_iter().map(|(key, it)| header(key, it)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<NewMessage, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_value_that_is_no_string_is_kept_as_json_digit_for_digit() {
        for (json, value) in [
            (r#"{"value":"a \"b\" \n"}"#, "a \"b\" \n"),
            (r#"{"value":12345678901234567890.50}"#, "12345678901234567890.50"),
            (r#"{"value": null}"#, "null"),
            (r#"{"value": { "a b" : [ 1, "x \" y\\" ] } }"#, r#"{"a b":[1,"x \" y\\"]}"#),
        ] {
            assert_eq!(parse(json).unwrap().value, value, "{json}");
        }
        let error = parse(r#"{"key":"k"}"#).unwrap_err().to_string();
        assert!(error.contains("value"), "{error}");
    }

    #[test]
    fn headers_are_an_array_or_an_object() {
        let of = |json: &str| parse(json).unwrap().headers;
        let array =
            of(r#"{"value":"","headers":[{"key":"a","value":"1"},{"key":"a","value":"2"}]}"#);
        assert_eq!(array.len(), 2);
        assert_eq!(of(r#"{"value":"","headers":{"a":"1"}}"#), array[..1]);
        assert_eq!(of(r#"{"value":"","headers":null}"#), []);
        parse(r#"{"value":"","headers":"a"}"#).unwrap_err();
    }

    #[test]
    fn what_is_absent_or_no_text_is_answered_as_a_string() {
        let record = Record {
            offset: 3,
            timestamp: 9,
            value: Some(Bytes::from_static(b"\xffok")),
            headers: vec![RecordHeader { key: "h".into(), value: None }],
            ..Record::default()
        };
        let json = serde_json::to_string(&Message::new("red", 1, &record)).unwrap();
        let want = r#"{"topic":"red","partition":1,"offset":3,"timestamp":9,"key":"","#.to_owned()
            + "\"value\":\"\u{fffd}ok\",\"headers\":[{\"key\":\"h\",\"value\":\"\"}]}";
        assert_eq!(json, want);
    }
}
