//! The items of a batch's body as it arrives: a JSON array, or one JSON object a line.
//!
//! A [`Splitter`] is fed bytes and gives [`Part`]s, whole items that are carried out together. It
//! looks only for where items end; what is in them is for others to read. **Where a part ends
//! depends on the body alone**, not on how it came in pieces, so that a batch sent again has the
//! same parts.

use bytes::{Bytes, BytesMut};
use std::ops::Range;

/// Bytes of one item.
pub(super) const ITEM_BYTES_MAX: usize = 16 << 20;

/// When a part is full.
#[derive(Clone, Copy)]
pub(super) struct Full {
    /// It has this many items.
    pub items: usize,
    /// Its items have this many bytes, or there is as much beside them.
    pub bytes: usize,
}

/// Items that follow each other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    bytes: Bytes,
    items: Vec<Range<usize>>,
}

impl Part {
    /// The bytes they came in.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same part, of the bytes that `held` makes of its.
    pub(super) fn held(self, held: impl FnOnce(Bytes) -> Bytes) -> Self {
        Self { bytes: held(self.bytes), ..self }
    }

    /// The items' texts.
    pub(super) fn items(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.items.iter().map(|item| &self.bytes[item.clone()])
    }
}

/// Where a body stops being a list of items.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line} column {column} of the body")]
pub(super) struct Broken {
    reason: &'static str,
    line: usize,
    column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    Start,
    /// In lines.
    Lines,
    /// In an array, `nested` in so many brackets of an item.
    Array { nested: usize, string: bool, escaped: bool },
    /// After the array.
    End,
}

/// Finds items in a body.
pub(super) struct Splitter {
    full: Full,
    state: State,
    /// What was fed and is in no part yet.
    buffer: BytesMut,
    /// Up to where the buffer was looked at.
    at: usize,
    /// Where the item begins that has not ended.
    item: usize,
    /// The items in the buffer, and their bytes.
    items: Vec<Range<usize>>,
    items_bytes: usize,
    /// Whether the array has had an item or a comma.
    begun: bool,
    /// Line and column of the buffer's first byte, from 0.
    line: usize,
    column: usize,
}

impl Splitter {
    /// A splitter that has seen nothing.
    pub(super) fn new(full: Full) -> Self {
        Self {
            full,
            state: State::Start,
            buffer: BytesMut::new(),
            at: 0,
            item: 0,
            items: Vec::new(),
            items_bytes: 0,
            begun: false,
            line: 0,
            column: 0,
        }
    }

    /// Bytes that are in no part yet.
    pub(super) fn kept(&self) -> usize {
        self.buffer.len()
    }

    /// Takes in more of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next full part, if the bytes fed so far have one.
    pub(super) fn next(&mut self) -> Result<Option<Part>, Broken> {
        while self.at < self.buffer.len() {
            match self.state {
                State::Start => self.start()?,
                State::Lines => self.lines(),
                State::Array { .. } => self.array(),
                State::End => self.end()?,
            }
            // White space between items is no reason to keep more of a body than a part's bytes.
            let space = self.item - self.items_bytes;
            let Full { items, bytes } = self.full;
            if self.items.len() >= items || self.items_bytes >= bytes || space >= bytes {
                return Ok(Some(self.take()));
            }
        }
        if self.at - self.item > ITEM_BYTES_MAX {
            return Err(self.broken("an item is over the limit of 16777216 bytes"));
        }
        Ok(None)
    }

    /// The last part, which may be empty, when the body has ended.
    pub(super) fn finish(&mut self) -> Result<Part, Broken> {
        match self.state {
            State::Start => return Err(self.broken("the body is empty, expected items")),
            State::Array { .. } => {
                return Err(self.broken("the body ends before the array does, expected ',' or ']'"));
            }
            State::Lines => self.close(self.buffer.len()),
            State::End => {}
        }
        Ok(self.take())
    }

    /// Items that are complete although the body is broken.
    pub(super) fn rest(&mut self) -> Part {
        self.take()
    }

    fn start(&mut self) -> Result<(), Broken> {
        let byte = self.buffer[self.at];
        if byte.is_ascii_whitespace() {
            self.at += 1;
        } else if byte == b'[' {
            self.at += 1;
            self.state = State::Array { nested: 0, string: false, escaped: false };
        } else if byte == b'{' {
            self.state = State::Lines;
        } else {
            return Err(self.broken("expected a JSON array, or one JSON object a line"));
        }
        self.item = self.at;
        Ok(())
    }

    fn lines(&mut self) {
        match memchr::memchr(b'\n', &self.buffer[self.at..]) {
            Some(length) => {
                let end = self.at + length;
                self.close(end);
                self.at = end + 1;
                self.item = self.at;
            }
            None => self.at = self.buffer.len(),
        }
    }

    /// Goes on to where an item or the array ends.
    fn array(&mut self) {
        let State::Array { mut nested, mut string, mut escaped } = self.state else { return };
        let mut at = self.at;
        for byte in &self.buffer[self.at..] {
            match *byte {
                _ if escaped => escaped = false,
                b'\\' if string => escaped = true,
                b'"' => string = !string,
                _ if string => {}
                b'{' | b'[' => nested += 1,
                b',' | b']' if nested == 0 => {
                    self.close_element(at, *byte == b']');
                    return;
                }
                b'}' | b']' => nested = nested.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        self.at = at;
        self.state = State::Array { nested, string, escaped };
    }

    fn close_element(&mut self, end: usize, last: bool) {
        let empty = self.buffer[self.item..end].trim_ascii().is_empty();
        // Between two commas, or a comma and the end, there is an item that says nothing.
        if !(empty && last && !self.begun) {
            self.begun = true;
            self.items.push(trimmed(&self.buffer, self.item..end));
            self.items_bytes += end - self.item;
        }
        self.at = end + 1;
        self.item = self.at;
        self.state = match last {
            true => State::End,
            false => State::Array { nested: 0, string: false, escaped: false },
        };
    }

    fn end(&mut self) -> Result<(), Broken> {
        if !self.buffer[self.at].is_ascii_whitespace() {
            return Err(self.broken("expected nothing after the array"));
        }
        self.at += 1;
        self.item = self.at;
        Ok(())
    }

    /// Ends a line.
    fn close(&mut self, end: usize) {
        let item = trimmed(&self.buffer, self.item..end);
        if !item.is_empty() {
            self.items_bytes += item.len();
            self.items.push(item);
        }
        self.item = end;
    }

    fn take(&mut self) -> Part {
        let bytes = self.buffer.split_to(self.item).freeze();
        (self.line, self.column) = place(&bytes, (self.line, self.column));
        self.at -= self.item;
        self.item = 0;
        self.items_bytes = 0;
        Part { bytes, items: std::mem::take(&mut self.items) }
    }

    fn broken(&self, reason: &'static str) -> Broken {
        let (line, column) = place(&self.buffer[..self.at], (self.line, self.column));
        Broken { reason, line: line + 1, column: column + 1 }
    }
}

fn trimmed(buffer: &[u8], range: Range<usize>) -> Range<usize> {
    let text = &buffer[range.clone()];
    let start = range.start + (text.len() - text.trim_ascii_start().len());
    start..(start + text.trim_ascii().len())
}

/// Where one is after these bytes.
fn place(bytes: &[u8], (line, column): (usize, usize)) -> (usize, usize) {
    match memchr::memrchr(b'\n', bytes) {
        None => (line, column + bytes.len()),
        Some(last) => {
            let lines = memchr::memchr_iter(b'\n', bytes).count();
            (line + lines, bytes.len() - last - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every part's items, with what broke the body last; fed in pieces of a size.
    fn split(body: &str, piece: usize) -> Vec<Vec<String>> {
        let mut splitter = Splitter::new(Full { items: 3, bytes: 40 });
        let mut parts = Vec::new();
        let texts = |part: &Part| {
            let text = |item: &[u8]| String::from_utf8(item.to_vec()).unwrap();
            part.items().map(text).collect::<Vec<_>>()
        };
        let broken = 'fed: {
            for piece in body.as_bytes().chunks(piece) {
                splitter.feed(piece);
                loop {
                    match splitter.next() {
                        Ok(Some(part)) => parts.push(texts(&part)),
                        Ok(None) => break,
                        Err(broken) => break 'fed Some(broken),
                    }
                }
            }
            match splitter.finish() {
                Ok(part) => {
                    parts.push(texts(&part));
                    None
                }
                Err(broken) => Some(broken),
            }
        };
        if let Some(broken) = broken {
            parts.push(texts(&splitter.rest()));
            parts.push(vec![broken.to_string()]);
        }
        parts
    }

    #[test]
    fn a_body_has_the_same_parts_however_it_comes_in_pieces() {
        let ends = "the body ends before the array does, expected ',' or ']' at line 1 column ";
        let ends = |column: &str| format!("{ends}{column} of the body");
        let table: &[(&str, &[&[&str]])] = &[
            ("[]", &[&[]]),
            (" [ ] \n", &[&[]]),
            ("[1]", &[&["1"]]),
            (r#"[{"a":"],\"["} , [1,[2]],3,4]"#, &[&[r#"{"a":"],\"["}"#, "[1,[2]]", "3"], &["4"]]),
            ("[1,2,3]", &[&["1", "2", "3"], &[]]),
            ("[1,]", &[&["1", ""]]),
            ("[,1]", &[&["", "1"]]),
            ("{1}\n\n {2} \r\n{3}\n{4}", &[&["{1}", "{2}", "{3}"], &["{4}"]]),
            ("{1}\n", &[&["{1}"]]),
            (
                "[\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",1]",
                &[&["\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""], &["1"]],
            ),
            ("[1,2", &[&["1"], &[&ends("5")]]),
            ("[{\"a\":1}", &[&[], &[&ends("9")]]),
            (
                "[1]\n x",
                &[&["1"], &["expected nothing after the array at line 2 column 2 of the body"]],
            ),
            (" ", &[&[], &["the body is empty, expected items at line 1 column 2 of the body"]]),
            (
                "\n nope",
                &[
                    &[],
                    &[
                        "expected a JSON array, or one JSON object a line at line 2 column 2 of the body",
                    ],
                ],
            ),
        ];
        for (body, want) in table {
            for piece in 1..=body.len() {
                assert_eq!(split(body, piece), *want, "{body} by {piece}");
            }
        }
    }

    #[test]
    fn white_space_around_items_is_not_kept() {
        let space = " \n".repeat(1000);
        let bodies = [format!("{space}[1]"), format!("{{1}}\n{space}"), format!("[1]{space}")];
        for body in bodies {
            let mut splitter = Splitter::new(Full { items: 3, bytes: 40 });
            let mut items = 0;
            for piece in body.as_bytes().chunks(7) {
                splitter.feed(piece);
                while let Some(part) = splitter.next().unwrap() {
                    items += part.items().len();
                }
                assert!(splitter.kept() < 100, "{} bytes are kept", splitter.kept());
            }
            assert_eq!(items + splitter.finish().unwrap().items().len(), 1);
        }
    }

    #[test]
    fn an_item_that_does_not_end_is_given_up() {
        let mut splitter = Splitter::new(Full { items: 3, bytes: 40 });
        splitter.feed(b"[\"");
        splitter.feed(&vec![b'x'; ITEM_BYTES_MAX]);
        let broken = splitter.next().unwrap_err();
        assert!(broken.to_string().starts_with("an item is over the limit of 16777216 bytes"));
    }
}
