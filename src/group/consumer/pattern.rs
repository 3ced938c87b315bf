//! Subscriptions by regular expression, in RE2's syntax (KIP-848).

use regex::{Regex, RegexBuilder};
use tidelog_protocol::Str;

/// A regular expression that a topic's whole name must match.
#[derive(Clone, Debug)]
pub(in crate::group) struct Pattern(Regex);

/// Bytes that a compiled expression may take, and as many again while it matches.
const COMPILED_BYTES_MAX: usize = 256 << 10;
/// How deep an expression may nest.
const DEPTH_MAX: u32 = 50;

impl Pattern {
    /// Reads an expression. It matches in time linear in the name, as RE2 does.
    ///
    /// # Errors
    /// When the expression is not one, or would be too large; the text tells which, and where.
    pub(in crate::group) fn new(text: &str) -> Result<Self, String> {
        // Alone first, so that it cannot close the group that it is put in, and so that an error
        // shows it as it was sent.
        let text = unquoted(text);
        build(&text)?;
        build(&format!(r"\A(?:{text})\z")).map(Self)
    }

    /// Whether the topic is one of those subscribed to.
    pub(in crate::group) fn matches(&self, topic: &Str) -> bool {
        self.0.is_match(topic)
    }
}

fn build(text: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX);
    builder.nest_limit(DEPTH_MAX);
    builder.build().map_err(|error| error.to_string())
}

/// With what stands between `\Q` and `\E`, RE2's quotes, escaped one by one.
fn unquoted(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = quote(rest) {
        out += &rest[..at];
        let quoted = &rest[at + 2..];
        let end = quoted.find(r"\E").unwrap_or(quoted.len());
        out += &regex::escape(&quoted[..end]);
        rest = quoted.get(end + 2..).unwrap_or_default();
    }
    out + rest
}

/// Where the first `\Q` is whose backslash is not itself escaped.
fn quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().enumerate().find_map(|(at, byte)| {
        let found = escaped && byte == b'Q';
        escaped = byte == b'\\' && !escaped;
        found.then(|| at - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_and_quotes_are_taken_literally() {
        let matches = |pattern, topic| Pattern::new(pattern).unwrap().matches(&Str::from(topic));
        assert!(matches("red|blue.*", "blues"));
        assert!(!matches("red|blue", "reds"));
        assert!(matches("^red.+$", "redder"));
        assert!(matches(r"(?i)RED\d{1,2}", "red42"));
        assert!(matches(r"\Qa.b\E.*", "a.bc"));
        assert!(!matches(r"\Qa.b\E.*", "axbc"));
        assert!(matches(r"\Qa.b", "a.b"));
        assert!(Pattern::new(r"\\Q").unwrap().matches(&Str::from(r"\Q")));
    }

    #[test]
    fn what_is_no_pattern_or_too_large_a_one_is_refused_with_the_reason() {
        for bad in ["(", "a)(b", "*", r"(a)\1", "(?=a)", "a{1000}{1000}", &"(".repeat(100)] {
            assert!(!Pattern::new(bad).unwrap_err().is_empty(), "{bad}");
        }
    }
}
