//! Lines of a file, gathered into the bodies of requests.

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{BufRead, Read};

/// Lines of one request.
const LINES_MAX: usize = 500;
/// Bytes of lines of one request, unless one line is more; the broker takes 16 MiB.
const BYTES_MAX: u64 = 4 << 20;
/// Bytes of one line.
const LINE_BYTES_MAX: u64 = 15 << 20;

/// Some lines, as they are sent.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The items, one a line.
    pub body: String,
    /// The numbers of the lines that are in the body, from 1.
    pub lines: Vec<u64>,
    /// The lines that are not, and why.
    pub refused: Vec<(u64, String)>,
    /// Bytes read for it.
    pub bytes: u64,
    /// The number of the last line read.
    pub last_line: u64,
}

impl Chunk {
    /// Names the chunk among those of a run: it has the same key however often that run sends it,
    /// and another in every other run, or the broker would answer for what it did in an earlier.
    pub(super) fn key(&self, run: &str, target: &str, position: u64) -> String {
        let hash = Sha256::new()
            .chain_update(run)
            .chain_update(target)
            .chain_update(position.to_be_bytes())
            .chain_update(&self.body)
            .finalize();
        let digits: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("ingest-{digits}")
    }

    /// The first and the last line of the body.
    pub(super) fn range(&self) -> (u64, u64) {
        let first = self.lines.first().copied().unwrap_or(self.last_line);
        (first, self.lines.last().copied().unwrap_or(self.last_line))
    }
}

/// The chunks of an input.
pub(super) struct Chunks<'a, R> {
    input: R,
    id_field: &'a str,
    op: &'a str,
    line: u64,
    /// All that was read of the input.
    digest: Sha256,
}

impl<'a, R: BufRead> Chunks<'a, R> {
    /// Of what comes after so many lines, which have this digest.
    pub(super) fn new(
        input: R,
        id_field: &'a str,
        op: &'a str,
        (lines, digest): (u64, Sha256),
    ) -> Self {
        Self { input, id_field, op, line: lines, digest }
    }

    /// Of all that was read, to the end of the last chunk.
    pub(super) fn digest(&self) -> Sha256 {
        self.digest.clone()
    }

    /// The next chunk, if anything is left.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Chunk>> {
        let mut chunk = Chunk::default();
        let mut text = Vec::new();
        while chunk.lines.len() < LINES_MAX && chunk.bytes < BYTES_MAX {
            if self.read(&mut text, &mut chunk)? == 0 {
                break;
            }
            self.line += 1;
            if is_cut(&text) {
                while is_cut(&text) {
                    self.read(&mut text, &mut chunk)?;
                }
                let reason = format!("a line is at most {LINE_BYTES_MAX} bytes");
                chunk.refused.push((self.line, reason));
                continue;
            }
            let record = text.trim_ascii();
            if record.is_empty() {
                continue;
            }
            match item(record, self.id_field, self.op) {
                Ok(item) => {
                    chunk.body.push_str(&item);
                    chunk.body.push('\n');
                    chunk.lines.push(self.line);
                }
                Err(reason) => chunk.refused.push((self.line, reason)),
            }
        }
        chunk.last_line = self.line;
        Ok((chunk.bytes > 0).then_some(chunk))
    }

    /// Reads to the end of a line, or the most of it that is read at once; how much it was.
    fn read(&mut self, text: &mut Vec<u8>, chunk: &mut Chunk) -> std::io::Result<usize> {
        text.clear();
        let read = self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', text)?;
        self.digest.update(text);
        chunk.bytes += read as u64;
        Ok(read)
    }
}

/// Whether more of the line may follow.
fn is_cut(text: &[u8]) -> bool {
    text.len() as u64 == LINE_BYTES_MAX && !text.ends_with(b"\n")
}

/// A record as an item of a batch. Its text goes as it is.
fn item(record: &[u8], id_field: &str, op: &str) -> Result<String, String> {
    let record = std::str::from_utf8(record).map_err(|error| error.to_string())?;
    let fields: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(record).map_err(|error| format!("expected a JSON object: {error}"))?;
    let Some(id) = fields.get(id_field).map(|id| id.get()) else {
        return Err(format!("there is no field '{id_field}', which is to be the record's id"));
    };
    let id = match id.as_bytes().first() {
        Some(b'"') => id.to_owned(),
        Some(b'0'..=b'9' | b'-') => format!("\"{id}\""),
        _ => return Err(format!("field '{id_field}': expected a string or a number, found {id}")),
    };
    match op {
        "delete" => Ok(format!(r#"{{"op":"{op}","id":{id}}}"#)),
        _ => Ok(format!(r#"{{"op":"{op}","id":{id},"data":{record}}}"#)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_items_with_their_text_as_it_is_and_bad_ones_are_told_by_number() {
        let input = "{\"id\":7,\"n\":1.50}\n\n{\"n\":1}\r\n[1]\n{\"id\":\"a\\\"b\"}\n{\"id\":{}}";
        let mut chunks = Chunks::new(input.as_bytes(), "id", "upsert", (10, Sha256::new()));
        let chunk = chunks.next().unwrap().unwrap();
        let want = concat!(
            r#"{"op":"upsert","id":"7","data":{"id":7,"n":1.50}}"#,
            "\n",
            r#"{"op":"upsert","id":"a\"b","data":{"id":"a\"b"}}"#,
            "\n",
        );
        assert_eq!(chunk.body, want);
        assert_eq!((chunk.lines, chunk.last_line), (vec![11, 15], 16));
        assert_eq!(chunk.bytes, input.len() as u64);
        let refused: Vec<_> = chunk.refused.iter().map(|(line, _)| *line).collect();
        assert_eq!(refused, [13, 14, 16]);
        assert!(chunk.refused[0].1.contains("no field 'id'"));
        assert!(chunks.next().unwrap().is_none());
        assert_eq!(chunks.digest().finalize(), Sha256::digest(input));
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_whole_and_the_next_is_taken() {
        let long = format!("{{\"id\":\"{}\"}}\n", "x".repeat(2 * LINE_BYTES_MAX as usize));
        let input = format!("{long}{{\"id\":1}}");
        let mut chunks = Chunks::new(input.as_bytes(), "id", "upsert", (0, Sha256::new()));
        let first = chunks.next().unwrap().unwrap();
        assert_eq!((first.refused.len(), first.bytes), (1, long.len() as u64));
        let second = chunks.next().unwrap().unwrap();
        assert_eq!((second.lines, second.last_line), (vec![2], 2));
        assert_eq!(chunks.digest().finalize(), Sha256::digest(&input));
    }
}
