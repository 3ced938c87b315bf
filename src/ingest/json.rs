//! A JSON object as columns over the text it came in.
//!
//! The values stay text ([`Raw`]); only the names are decoded. **Names are unique and in the
//! order of their first appearance; of a repeated name the last value counts**, which is what
//! `JSON.parse` and Python's `json.loads` make of it.
//!
//! Bounds: nesting is at most [`DEPTH_MAX`], the object itself counted. Events wrap a record in one
//! more object, and readers that follow serde_json stop at 128. There are at most
//! [`COLUMNS_READ_MAX`] members. Size is bounded by the caller.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use super::scan::{Scan, plain, unquote};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// How deep objects and arrays may nest, the outermost object included.
pub const DEPTH_MAX: usize = 100;

/// The text of a JSON value, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// The name of a column, decoded, and the text of its value.
pub type Column<'a> = (Cow<'a, str>, Raw<'a>);

/// A JSON object: its columns in order, each name once.
#[derive(Clone, Debug, Default)]
pub struct Object<'a> {
    /// The text it was read from, if that is what [`Object::text`] would write.
    source: Option<&'a str>,
    columns: Vec<Column<'a>>,
    /// Sorted, so that lookups in large objects stay logarithmic.
    by_name: Vec<Place>,
}

/// Where a column is: the hash of its name, which is compared before the name, and its index.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u32,
    at: u32,
}

/// What is wrong with a text that should be a JSON object, and where (both counted from 1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line} column {column}")]
pub struct Error {
    pub reason: String,
    pub line: usize,
    pub column: usize,
}

impl Raw<'_> {
    /// What a column is that is not there.
    pub const NULL: Raw<'static> = Raw("null");
}

impl<'a> Raw<'a> {
    /// The text.
    pub fn get(self) -> &'a str {
        self.0
    }
}

impl<'a> From<&'a RawValue> for Raw<'a> {
    fn from(value: &'a RawValue) -> Self {
        Raw(value.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Raw::from)
    }
}

impl<'a> Object<'a> {
    /// Reads `text`, which must be one JSON object in UTF-8 and nothing after it.
    pub fn parse(text: &'a [u8]) -> Result<Object<'a>, Error> {
        let text = std::str::from_utf8(text)
            .map_err(|error| Error::at(text, error.valid_up_to(), "expected UTF-8".to_owned()))?;
        check_is_object(text)?;
        check_depth(text)?;
        Object::parse_checked(text)
    }

    /// Reads an object whose nesting has been checked as part of a larger one.
    pub(super) fn parse_checked(text: &'a str) -> Result<Object<'a>, Error> {
        let mut scan = Scan::new(text);
        let object = Object::scan(&mut scan).filter(|_| scan.is_at_end());
        object.ok_or_else(|| Error::in_object(text))
    }

    /// Reads the object that comes next; nothing if there is anything to be said of it.
    pub(super) fn scan(scan: &mut Scan<'a>) -> Option<Object<'a>> {
        let mut columns = Vec::with_capacity(COLUMNS_USUAL);
        // What would be written: braces, and of each member quotes, colon and comma.
        let mut written = 2;
        let text = scan.object(|scan, name| {
            let value = scan.value()?;
            written += name.len() + value.len() + 2;
            columns.push((unquote(name)?, Raw(value)));
            (columns.len() <= COLUMNS_READ_MAX).then_some(())
        })?;
        let count = columns.len();
        let plain = columns.iter().all(|(name, _)| matches!(name, Cow::Borrowed(_)));
        let mut object = Object::from_columns(columns);
        let as_written = text.len() + usize::from(count > 0) == written;
        if plain && as_written && object.columns.len() == count {
            object.source = Some(text);
        }
        Some(object)
    }

    /// Reads members as they stand between braces, with nothing after them.
    pub(super) fn parse_members(text: &'a str) -> Option<Object<'a>> {
        let mut columns = Vec::new();
        let mut scan = Scan::new(text);
        if !scan.is_at_end() {
            scan.members(&mut |scan, name| {
                columns.push((unquote(name)?, Raw(scan.value()?)));
                Some(())
            })?;
        }
        scan.is_at_end().then(|| Object::from_columns(columns))
    }

    /// An object of these columns. Of a repeated name the last value counts, at its first place.
    pub fn from_columns(mut columns: Vec<Column<'a>>) -> Object<'a> {
        let mut by_name = sorted(&columns);
        let same = |pair: &[Place]| {
            pair[0].hash == pair[1].hash && columns[pair[0].at()].0 == columns[pair[1].at()].0
        };
        if by_name.windows(2).any(same) {
            let mut repeated = vec![false; columns.len()];
            // Backwards, so that the last value of a name travels to its first place.
            for pair in by_name.windows(2).rev() {
                let (first, next) = (pair[0].at(), pair[1].at());
                if columns[first].0 == columns[next].0 {
                    columns[first].1 = columns[next].1;
                    repeated[next] = true;
                }
            }
            let mut at = 0;
            columns.retain(|_| {
                at += 1;
                !repeated[at - 1]
            });
            by_name = sorted(&columns);
        }
        Object { source: None, columns, by_name }
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column<'a>] {
        &self.columns
    }

    /// The columns, in order, taken out.
    pub fn into_columns(self) -> Vec<Column<'a>> {
        self.columns
    }

    /// The text of the column `name`.
    pub fn get(&self, name: &str) -> Option<Raw<'a>> {
        let hash = hash(name);
        let order =
            |it: &Place| it.hash.cmp(&hash).then_with(|| (*self.columns[it.at()].0).cmp(name));
        let found = self.by_name.binary_search_by(order).ok()?;
        Some(self.columns[self.by_name[found].at()].1)
    }

    /// The same as [`Object::get`], fast if the column is where it is in an object of that shape.
    pub fn get_near(&self, at: usize, name: &str) -> Option<Raw<'a>> {
        match self.columns.get(at) {
            Some((there, value)) if there == name => Some(*value),
            _ => self.get(name),
        }
    }

    /// The object as JSON: names escaped anew, values as they came.
    pub fn text(&self) -> Cow<'a, str> {
        if let Some(source) = self.source {
            return Cow::Borrowed(source);
        }
        let lengths = self.columns.iter().map(|(name, value)| name.len() + value.get().len() + 4);
        let mut text = String::with_capacity(lengths.sum::<usize>() + 2);
        write_members(self.columns.iter().map(|(name, value)| (&**name, value.get())), &mut text);
        Cow::Owned(text)
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Error {
    fn at(text: &[u8], position: usize, reason: String) -> Error {
        let before = &text[..position.min(text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
        Error { reason, line, column }
    }

    /// What is wrong with an object that was not read.
    fn in_object(text: &str) -> Error {
        let (mut scan, mut count) = (Scan::new(text), 0);
        // Where it ends early, what came before is counted.
        let _ = scan.object(|scan, _| {
            count += 1;
            scan.value().map(drop)
        });
        if count > COLUMNS_READ_MAX {
            let reason = format!("the object has more than {COLUMNS_READ_MAX} members");
            return Error::at(text.as_bytes(), 0, reason);
        }
        // Half a surrogate pair is wrong in a name only, so names are read and values are not.
        type Members<'a> = HashMap<String, &'a RawValue>;
        match serde_json::from_str::<Members<'_>>(text) {
            Ok(_) => Error::at(text.as_bytes(), 0, "expected a JSON object".to_owned()),
            Err(error) => Error::from_serde(&error),
        }
    }

    fn from_serde(error: &serde_json::Error) -> Error {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let place = format!(" at line {line} column {column}");
        let reason = text.strip_suffix(&place).unwrap_or(&text).to_owned();
        Error { reason, line, column }
    }
}

/// Writes `{"name":value,..}`, the values being JSON text already.
pub(super) fn write_members<'m>(
    members: impl Iterator<Item = (&'m str, &'m str)>,
    out: &mut String,
) {
    out.push('{');
    for (at, (name, value)) in members.enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
}

/// Writes `text` as a JSON string.
pub(super) fn write_string(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).expect("a string is always valid JSON"));
    }
}

/// Whether a text stands in a JSON string as it is.
pub(super) fn is_plain(text: &str) -> bool {
    plain(text.as_bytes()) == text.len()
}

impl Place {
    fn at(self) -> usize {
        self.at as usize
    }
}

/// The places of `columns` by hash and name, and in order where names are the same. Whoever sends
/// names of one hash makes it a sort by name.
fn sorted(columns: &[Column<'_>]) -> Vec<Place> {
    // A text of 4 GiB would be needed for more.
    let place = |(at, (name, _)): (u32, &Column<'_>)| Place { hash: hash(name), at };
    let mut places: Vec<_> = (0..).zip(columns).map(place).collect();
    // Comparing one integer takes a third of what comparing names behind it does.
    places.sort_unstable_by_key(|it| u64::from(it.hash) << 32 | u64::from(it.at));
    if places.windows(2).any(|pair| pair[0].hash == pair[1].hash) {
        places.sort_unstable_by(|a, b| {
            let by_name = || columns[a.at()].0.cmp(&columns[b.at()].0).then(a.at.cmp(&b.at));
            a.hash.cmp(&b.hash).then_with(by_name)
        });
    }
    places
}

/// Eight bytes at a time, each mixed in by a multiplication.
fn hash(name: &str) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let mixed =
        words.fold(name.len() as u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(ODD));
    (mixed >> 32) as u32
}

fn check_is_object(text: &str) -> Result<(), Error> {
    let start = text.len() - text.trim_start_matches([' ', '\t', '\r', '\n']).len();
    let found = match text.as_bytes().get(start) {
        Some(b'{') => return Ok(()),
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b'0'..=b'9' | b'-') => "number",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        Some(_) => "text that is not JSON",
        None => "nothing",
    };
    let reason = format!("expected a JSON object, found {found}");
    Err(Error::at(text.as_bytes(), start, reason))
}

/// Whether a text opens enough objects and arrays to be nested deeper than [`DEPTH_MAX`]. To count
/// them is far cheaper than to follow them.
pub(super) fn may_be_deep(text: &str) -> bool {
    memchr::memchr2_iter(b'{', b'[', text.as_bytes()).nth(DEPTH_MAX).is_some()
}

/// Refuses text nested deeper than [`DEPTH_MAX`]. The text need not be valid JSON.
fn check_depth(text: &str) -> Result<(), Error> {
    if !may_be_deep(text) {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (position, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            let reason = format!("expected at most {DEPTH_MAX} levels of nesting");
            return Err(Error::at(text.as_bytes(), position, reason));
        }
    }
    Ok(())
}

/// Members of an object that is read, many times what a record may have: a rule may leave most out.
/// Each takes some 50 bytes beside the text.
pub(super) const COLUMNS_READ_MAX: usize = 1 << 16;
/// Room for columns before their number is known: most records have no more.
const COLUMNS_USUAL: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_their_order_and_their_text() {
        let text = r#" { "b" : 1.50 , "a":{ "x" : [1 , 2] }, "\u00e9\"": "\u00e9", "n":12345678901234567890123 } "#;
        let object = Object::parse(text.as_bytes()).unwrap();
        let columns: Vec<_> = object.columns().iter().map(|(n, v)| (&**n, v.get())).collect();
        let want = [
            ("b", "1.50"),
            ("a", r#"{ "x" : [1 , 2] }"#),
            ("é\"", r#""\u00e9""#),
            ("n", "12345678901234567890123"),
        ];
        assert_eq!(columns, want);
        assert_eq!(object.get("a").unwrap().get(), r#"{ "x" : [1 , 2] }"#);
        assert!(object.get("c").is_none());
        assert_eq!(
            object.to_string(),
            r#"{"b":1.50,"a":{ "x" : [1 , 2] },"é\"":"\u00e9","n":12345678901234567890123}"#
        );
    }

    #[test]
    fn an_object_of_more_members_than_are_read_is_refused_whatever_follows() {
        let object = |count: usize| format!("{{{}}}", vec!["\"\":1"; count].join(","));
        assert_eq!(Object::parse(object(COLUMNS_READ_MAX).as_bytes()).unwrap().columns().len(), 1);
        let more = object(COLUMNS_READ_MAX + 1);
        for text in [more.clone(), more.replace('}', ",nonsense")] {
            let error = Object::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("more than 65536 members"), "{error}");
        }
    }

    #[test]
    fn of_a_repeated_name_the_last_value_counts_at_the_first_place() {
        let object = Object::parse(br#"{"a":1,"b":2,"\u0061":3,"c":4,"b":5,"a":6}"#).unwrap();
        assert_eq!(object.to_string(), r#"{"a":6,"b":5,"c":4}"#);
        assert_eq!(object.get("a").unwrap().get(), "6");
        assert_eq!(object.get("c").unwrap().get(), "4");
    }

    #[test]
    fn names_of_one_hash_are_told_apart() {
        let mut names = std::collections::HashMap::new();
        let (one, other) = (0..)
            .map(|n| format!("name {n}"))
            .find_map(|name| names.insert(hash(&name), name.clone()).map(|old| (old, name)))
            .unwrap();
        let text = format!("{{{one:?}:1,{other:?}:2,\"x\":0,{one:?}:3}}");
        let object = Object::parse(text.as_bytes()).unwrap();
        let value = |name: &str| object.get(name).map(Raw::get);
        assert_eq!([value(&one), value(&other), value("x")], [Some("3"), Some("2"), Some("0")]);
        assert_eq!(object.to_string(), format!("{{{one:?}:3,{other:?}:2,\"x\":0}}"));
    }

    #[test]
    fn an_error_says_what_was_expected_and_where() {
        let deep = format!("{{\"a\":\n{}1", "[".repeat(DEPTH_MAX));
        let table: &[(&[u8], &str)] = &[
            (b"[1]", "expected a JSON object, found array at line 1 column 1"),
            (b" \n  \"x\"", "expected a JSON object, found string at line 2 column 3"),
            (b"-1", "expected a JSON object, found number at line 1 column 1"),
            (b"true", "expected a JSON object, found boolean at line 1 column 1"),
            (b"null", "expected a JSON object, found null at line 1 column 1"),
            (b"  ", "expected a JSON object, found nothing at line 1 column 3"),
            (b"<x>", "expected a JSON object, found text that is not JSON at line 1 column 1"),
            (b"{\"a\":\"\xff\"}", "expected UTF-8 at line 1 column 7"),
            (b"{\"a\":1,}", "trailing comma at line 1 column 8"),
            (b"{\"a\" 1}", "expected `:` at line 1 column 6"),
            (b"{\"a\":1} x", "trailing characters at line 1 column 9"),
            (b"{\"a\":01}", "invalid number at line 1 column 7"),
            (b"{\"a\":1", "EOF while parsing an object at line 1 column 6"),
            (b"{\"\\ud800\":1}", "unexpected end of hex escape at line 1 column 9"),
            (deep.as_bytes(), "expected at most 100 levels of nesting at line 2 column 100"),
        ];
        for (text, want) in table {
            assert_eq!(Object::parse(text).unwrap_err().to_string(), *want);
        }
    }

    #[test]
    fn nesting_is_accepted_up_to_the_bound_and_brackets_in_strings_do_not_count() {
        let nested = |levels| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(Object::parse(nested(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert!(Object::parse(nested(DEPTH_MAX).as_bytes()).is_err());
        let string = format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(1000));
        assert!(Object::parse(string.as_bytes()).is_ok());
    }
}
