//! Equality of JSON texts by what they mean.
//!
//! Numbers are equal as exact decimals, strings by their decoded characters, arrays element by
//! element, objects whatever the order of their members (of a repeated name the last counts).
//!
//! Texts that differ are read once each into a tree whose objects are sorted, so the cost is
//! `n log n` in the length of the text, whatever the text; the tree takes at most about thirty
//! times its bytes. Two texts that are alike are equal without being read.

use std::borrow::Cow;

use super::json::{DEPTH_MAX, Raw};
use super::number::Number;

/// Whether `a` and `b` mean the same JSON value.
///
/// Values nested deeper than [`DEPTH_MAX`], which no [`super::json::Object`] holds, are equal only
/// if their texts are.
pub fn equal(a: Raw<'_>, b: Raw<'_>) -> bool {
    let (a, b) = (a.get(), b.get());
    a == b || matches!((read(a), read(b)), (Some(a), Some(b)) if a == b)
}

/// Whether `whole` has what `part` says: like [`equal`], but members of objects that `part` does
/// not mention may be anything, and one that `whole` does not have is null.
pub fn covers(whole: Raw<'_>, part: Raw<'_>) -> bool {
    let (whole, part) = (read(whole.get()), read(part.get()));
    matches!((whole, part), (Some(whole), Some(part)) if has(&whole, &part))
}

fn has(whole: &Node<'_>, part: &Node<'_>) -> bool {
    let (Node::Object(whole), Node::Object(part)) = (whole, part) else { return whole == part };
    part.iter().all(|(name, part)| {
        let found = whole.binary_search_by(|(it, _)| it.cmp(name));
        has(found.map_or(&Node::Null, |at| &whole[at].1), part)
    })
}

/// A value ready to compare.
#[derive(PartialEq)]
enum Node<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    String(Characters<'a>),
    Array(Vec<Node<'a>>),
    /// Sorted by name, each name once.
    Object(Vec<(Characters<'a>, Node<'a>)>),
}

/// Decoded characters in UTF-8; half a surrogate pair, which JSON allows, is encoded likewise.
type Characters<'a> = Cow<'a, [u8]>;

fn read(text: &str) -> Option<Node<'_>> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.node(0)
}

/// A place in text that is valid JSON; `None` answers anything else.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn node(&mut self, depth: usize) -> Option<Node<'a>> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => Some(Node::String(self.string()?)),
            _ => match self.scalar() {
                "null" => Some(Node::Null),
                "true" => Some(Node::Bool(true)),
                "false" => Some(Node::Bool(false)),
                number => Some(Node::Number(Number(number))),
            },
        }
    }

    fn object(&mut self, depth: usize) -> Option<Node<'a>> {
        let mut members = Vec::new();
        self.at += 1;
        while self.peek()? != b'}' {
            self.skip(b',');
            self.peek()?;
            let name = self.string()?;
            self.peek()?;
            self.skip(b':');
            members.push((name, self.node(depth + 1)?));
        }
        self.at += 1;
        // Reversed, a stable sort leads each run of a repeated name with its last member, and
        // `dedup` keeps the leader.
        members.reverse();
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        members.dedup_by(|(a, _), (b, _)| a == b);
        Some(Node::Object(members))
    }

    fn array(&mut self, depth: usize) -> Option<Node<'a>> {
        let mut elements = Vec::new();
        self.at += 1;
        while self.peek()? != b']' {
            self.skip(b',');
            elements.push(self.node(depth + 1)?);
        }
        self.at += 1;
        Some(Node::Array(elements))
    }

    /// A string's characters, the cursor standing on its opening quote.
    fn string(&mut self) -> Option<Characters<'a>> {
        let rest = self.text.get(self.at..)?.strip_prefix('"')?;
        let bytes = rest.as_bytes();
        let mut end = 0;
        let mut escapes = false;
        while *bytes.get(end)? != b'"' {
            let escape = bytes[end] == b'\\';
            escapes |= escape;
            end += 1 + usize::from(escape);
        }
        self.at += end + 2;
        let inner = &rest[..end];
        if escapes { Some(Cow::Owned(unescape(inner)?)) } else { Some(inner.as_bytes().into()) }
    }

    /// The text of a number or a literal.
    fn scalar(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// The next byte that is not whitespace, where the cursor then stands.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at)?, b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
        Some(bytes[self.at])
    }

    fn skip(&mut self, byte: u8) {
        if self.text.as_bytes().get(self.at) == Some(&byte) {
            self.at += 1;
        }
    }
}

/// Replaces the escapes of a JSON string's inside.
fn unescape(mut inner: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(inner.len());
    while let Some(at) = inner.find('\\') {
        out.extend_from_slice(&inner.as_bytes()[..at]);
        let escape = *inner.as_bytes().get(at + 1)?;
        inner = &inner[at + 2..];
        match escape {
            b'u' => push_unit(unit(&mut inner)?, &mut inner, &mut out),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            other => out.push(other),
        }
    }
    out.extend_from_slice(inner.as_bytes());
    Some(out)
}

/// The four hex digits at the start of `text`, which then begins after them.
fn unit(text: &mut &str) -> Option<u32> {
    let unit = u32::from_str_radix(text.get(..4)?, 16).ok()?;
    *text = &text[4..];
    Some(unit)
}

/// Writes a UTF-16 code unit, joined with the low surrogate that may follow it in `rest`.
fn push_unit(unit: u32, rest: &mut &str, out: &mut Vec<u8>) {
    let mut point = unit;
    if (0xd800..0xdc00).contains(&unit)
        && let Some(mut after) = rest.strip_prefix("\\u")
        && let Some(low @ 0xdc00..0xe000) = self::unit(&mut after)
    {
        point = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        *rest = after;
    }
    match char::from_u32(point) {
        Some(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        // Half a pair, in the three bytes its number takes in UTF-8's scheme.
        None => out.extend([
            0xe0 | (point >> 12) as u8,
            0x80 | (point >> 6 & 0x3f) as u8,
            0x80 | (point & 0x3f) as u8,
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_object_covers_what_is_said_of_some_of_its_members() {
        let whole = r#"{"a":1.0,"b":{"c":[{"d":1}],"e":null},"f":"x"}"#;
        for part in [
            "{}",
            r#"{"a":1}"#,
            r#"{"b":{"e":null,"g":null},"h":null}"#,
            r#"{"b":{"c":[{"d":1}]},"f":"\u0078"}"#,
        ] {
            assert!(covers(raw(whole), raw(part)), "{part}");
        }
        for part in [r#"{"a":2}"#, r#"{"b":{"c":[{}]}}"#, r#"{"b":null}"#, r#"{"h":{}}"#, "1"] {
            assert!(!covers(raw(whole), raw(part)), "{part}");
        }
    }

    #[test]
    fn values_are_equal_by_meaning() {
        let table = [
            ("1", "1.0", true),
            ("1", "\"1\"", false),
            ("null", "false", false),
            ("null", "0", false),
            ("true", "true ", true),
            (r#""é""#, r#""\u00e9""#, true),
            (r#""é""#, r#""\u00E9""#, true),
            (r#""é""#, r#""e\u0301""#, false),
            (r#""\/""#, r#""/""#, true),
            (r#""\b\f\n\r\t\"\\""#, r#""\u0008\u000c\u000a\u000d\u0009\u0022\u005c""#, true),
            (r#""😀""#, r#""\ud83d\ude00""#, true),
            (r#""\ud83d\ud83d\ude00""#, r#""\ud83d😀""#, true),
            (r#""\ud83d""#, r#""\uD83D""#, true),
            (r#""\ud83d""#, r#""\ud83e""#, false),
            (r#""\ud83dx""#, r#""\ud83d\u0078""#, true),
            (r#""\ude00\ud83d""#, r#""😀""#, false),
            (r#""\\u00e9""#, r#""\u00e9""#, false),
            ("[]", "[ ]", true),
            ("[]", "{}", false),
            ("[1,2]", "[1.0 , 2e0]", true),
            ("[1,2]", "[2,1]", false),
            ("[1,2]", "[1,2,3]", false),
            ("[[],[1]]", "[[1],[]]", false),
            (r#"{"a":1,"b":[true]}"#, r#"{ "b" : [ true ], "\u0061":1.0 }"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":null}"#, false),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, true),
            (r#"{"a":1,"a":2}"#, r#"{"a":1}"#, false),
            (r#"{"a":1,"b":0,"a":2}"#, r#"{"b":0,"a":1,"a":2}"#, true),
            (r#"{"a":{"b":{"c":[1,{"d":2}]}}}"#, r#"{"a":{"b":{"c":[1,{"d":2.00}]}}}"#, true),
            (r#"{"a":{"b":{"c":[1,{"d":2}]}}}"#, r#"{"a":{"b":{"c":[1,{"d":3}]}}}"#, false),
            (r#"{"a,}":"]"}"#, r#"{ "a,}" : "]" }"#, true),
        ];
        for (a, b, want) in table {
            assert_eq!(equal(raw(a), raw(b)), want, "{a} and {b}");
            assert_eq!(equal(raw(b), raw(a)), want, "{b} and {a}");
        }
    }

    #[test]
    fn a_wide_and_a_deep_value_are_compared_in_a_moment() {
        let wide = |space: &str, order: &mut dyn Iterator<Item = u32>| {
            let members: Vec<String> = order.map(|n| format!("\"k{n}\":{space}{n}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let there = wide("", &mut (0..200_000));
        let back = wide(" ", &mut (0..200_000).rev());
        assert!(equal(raw(&there), raw(&back)));

        let deep = |levels: usize, space: &str| {
            format!("{}{space}{}", "[".repeat(levels), "]".repeat(levels))
        };
        assert!(equal(raw(&deep(DEPTH_MAX, "")), raw(&deep(DEPTH_MAX, " "))));
        assert!(!equal(raw(&deep(100_000, "")), raw(&deep(100_000, " "))));
    }

    /// Values, and ways to write them.
    struct Random(fastrand::Rng);

    impl Random {
        fn value(&mut self, depth: u64) -> serde_json::Value {
            let names = ["a", "b", "é", "\n", "😀", "\""];
            match self.0.u64(..if depth == 0 { 4 } else { 6 }) {
                0 => serde_json::Value::Null,
                1 => self.0.bool().into(),
                2 => (self.0.u64(..5) as i64 - 2).into(),
                3 => names[self.0.usize(..6)].into(),
                4 => (0..self.0.u64(..4)).map(|_| self.value(depth - 1)).collect(),
                _ => (0..self.0.u64(..4))
                    .map(|_| (names[self.0.usize(..6)].to_owned(), self.value(depth - 1)))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            }
        }

        /// `value` written in one of its many spellings.
        fn spell(&mut self, value: &serde_json::Value) -> String {
            let space = [" ", "", "\n\t"][self.0.usize(..3)];
            match value {
                serde_json::Value::Number(number) => {
                    let suffix = ["", ".0", "e0", "00e-2"][self.0.usize(..4)];
                    if number.as_i64() == Some(0) {
                        "0".into()
                    } else {
                        format!("{number}{suffix}")
                    }
                }
                serde_json::Value::String(text) => self.spell_string(text),
                serde_json::Value::Array(elements) => {
                    let elements: Vec<_> = elements.iter().map(|it| self.spell(it)).collect();
                    format!("[{space}{}{space}]", elements.join(&format!("{space},")))
                }
                serde_json::Value::Object(members) => {
                    let mut members: Vec<_> = members.iter().collect();
                    self.0.shuffle(&mut members);
                    let members: Vec<_> = members
                        .into_iter()
                        .map(|(k, v)| format!("{}{space}:{}", self.spell_string(k), self.spell(v)))
                        .collect();
                    format!("{{{space}{}{space}}}", members.join(&format!(",{space}")))
                }
                other => other.to_string(),
            }
        }

        fn spell_string(&mut self, text: &str) -> String {
            if self.0.bool() {
                return serde_json::to_string(text).unwrap();
            }
            let escaped: String =
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{escaped}\"")
        }
    }

    #[test]
    fn equality_agrees_with_a_model_over_random_values_and_spellings() {
        let mut random = Random(fastrand::Rng::with_seed(0x5eed));
        let mut equals = 0;
        for _ in 0..20_000 {
            let (a, b) = (random.value(3), random.value(3));
            let (a_text, b_text) = (random.spell(&a), random.spell(&b));
            let again = random.spell(&a);
            assert!(equal(raw(&a_text), raw(&again)), "{a_text} and {again}");
            assert_eq!(equal(raw(&a_text), raw(&b_text)), a == b, "{a_text} and {b_text}");
            equals += usize::from(a == b);
        }
        assert!(equals > 100);
    }
}
