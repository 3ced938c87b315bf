//! Reads JSON text without making anything of it: where values begin and end, and that they are
//! JSON (RFC 8259).
//!
//! Whoever finds a text wanting here reads it again with `serde_json`, which says why: the answer
//! is `None` for whatever is not plainly right, and everything that is `Some` would be accepted
//! there too.

use super::json::DEPTH_MAX;
use std::borrow::Cow;

/// A place in a text.
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

/// A byte eight times, and the highest bit of each byte.
const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

impl<'a> Scan<'a> {
    /// Before the first byte.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The byte that comes next after white space, if one does.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match *bytes.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Nothing but white space is left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Passes over a value, and gives its text.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let from = self.at;
        match first {
            b'"' => self.string().map(drop),
            b'{' => self.object(|scan, _| scan.value().map(drop)).map(drop),
            b'[' => self.array(),
            b'n' => self.literal("null"),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            _ => self.number(),
        }?;
        self.text.get(from..self.at)
    }

    /// Reads an object, and gives its text; `member` is given each name in its quotes, and passes
    /// over its value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<&'a str> {
        self.open(b'{')?;
        let from = self.at - 1;
        if self.peek()? != b'}' {
            self.members(&mut member)?;
            self.peek().filter(|byte| *byte == b'}')?;
        }
        self.close()?;
        self.text.get(from..self.at)
    }

    /// Reads members up to what is not a comma. A name is given in its quotes.
    pub(super) fn members(
        &mut self,
        member: &mut impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        loop {
            self.peek().filter(|byte| *byte == b'"')?;
            let name = self.string()?;
            self.peek().filter(|byte| *byte == b':')?;
            self.at += 1;
            member(self, name)?;
            if self.peek() != Some(b',') {
                return Some(());
            }
            self.at += 1;
        }
    }

    fn array(&mut self) -> Option<()> {
        self.open(b'[')?;
        if self.peek()? == b']' {
            return self.close();
        }
        loop {
            self.value()?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => return self.close(),
                _ => return None,
            }
        }
    }

    fn open(&mut self, bracket: u8) -> Option<()> {
        self.peek().filter(|byte| *byte == bracket && self.depth < DEPTH_MAX)?;
        self.depth += 1;
        self.at += 1;
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        self.depth -= 1;
        self.at += 1;
        Some(())
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(literal.as_bytes()).then(|| self.at += literal.len())
    }

    /// A string with its quotes, the first of which is where this stands.
    fn string(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let from = self.at;
        let mut at = from + 1;
        loop {
            at += plain(bytes.get(at..)?);
            match *bytes.get(at)? {
                b'"' => break,
                b'\\' => at += escape(bytes.get(at + 1..)?)?,
                _ => return None,
            }
        }
        self.at = at + 1;
        self.text.get(from..self.at)
    }

    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.next() == Some(b'-'));
        match self.next()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.next() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.next(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.next(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Some(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.next().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// What a string in its quotes says. Half a surrogate pair is not Unicode.
pub(super) fn unquote(string: &str) -> Option<Cow<'_, str>> {
    let inside = string.get(1..string.len().checked_sub(1)?)?;
    if !inside.contains('\\') {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str(string).ok().map(Cow::Owned)
}

/// How many bytes of a string's inside come before a quote, a backslash or a control character.
pub(super) fn plain(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let special = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    words.len() * 8 + rest.iter().position(special).unwrap_or(rest.len())
}

/// The highest bit of the first byte that is not plain; of bytes after it anything.
fn special(word: u64) -> u64 {
    let is_zero = |word: u64| word.wrapping_sub(EACH) & !word;
    let quote = is_zero(word ^ (EACH * b'"' as u64));
    let backslash = is_zero(word ^ (EACH * b'\\' as u64));
    let control = word.wrapping_sub(EACH * b' ' as u64) & !word;
    (quote | backslash | control) & HIGH
}

/// The length of an escape, its backslash included, from what comes after that.
fn escape(rest: &[u8]) -> Option<usize> {
    match rest.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => rest.get(1..5)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn scan(text: &str) -> Option<&str> {
        let mut scan = Scan::new(text);
        let value = scan.value()?;
        scan.is_at_end().then_some(value)
    }

    #[test]
    fn what_is_json_is_what_serde_says() {
        let mut texts: Vec<String> = [
            "null",
            "true",
            "false",
            " 0 ",
            "-0",
            "-",
            "01",
            "1.",
            ".5",
            "1.5e+10",
            "1e",
            "1E-2",
            "[]",
            "[1,]",
            "[,1]",
            "{}",
            "{\"a\":1,}",
            "{\"a\" :\t1}",
            "{a:1}",
            "\"\\u00e9\\n\"",
            "\"\\x\"",
            "\"\\u00g0\"",
            "\"\u{1}\"",
            "\"\u{7f}é\"",
            "\"12345678\\\"\"",
            "\"1234567",
            "nul",
            "",
            "[[",
            "{\"\\ud800\":[{\"b\":\"\\ud800\"}]}",
        ]
        .map(str::to_owned)
        .into();
        let whole = r#"{"id":"pi_1","a b":[1,-2.50e3,{"x":null,"\u0041":[]}],"t":true,"s":"a\\\"é 😀 long enough"}"#;
        let mut random = fastrand::Rng::with_seed(0x5eed);
        for _ in 0..50_000 {
            let mut bytes = whole.as_bytes().to_vec();
            for _ in 0..random.usize(..3) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => drop(bytes.remove(at)),
                    1 => bytes.insert(at, *random.choice(b"\"\\{}[],:0e-. \nut").unwrap()),
                    _ => bytes[at] = *random.choice(b"\"\\{}[],:0e-. \nut\x01").unwrap(),
                }
            }
            texts.extend(String::from_utf8(bytes));
        }
        let mut good = 0;
        for text in &texts {
            let serde = serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get);
            assert_eq!(scan(text), serde, "{text}");
            good += usize::from(serde.is_some());
        }
        assert!(good > 10_000 && texts.len() - good > 10_000, "{good} of {}", texts.len());
    }

    #[test]
    fn nesting_ends_at_the_bound() {
        let nested = |levels| "[".repeat(levels) + &"]".repeat(levels);
        assert!(scan(&nested(DEPTH_MAX)).is_some());
        assert!(scan(&nested(DEPTH_MAX + 1)).is_none());
    }
}
