//! What a webhook is to do: the body of `POST /v1/webhooks`, and the same as it is stored.

use super::retry::Schedule;
use super::target::{self, Policy};
use crate::topic::is_valid_name;
use serde::{Deserialize, Serialize};

/// Where events go, which, and how often one is tried.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    pub(super) url: String,
    pub(super) topics: Vec<Pattern>,
    #[serde(default)]
    pub(super) start: Start,
    #[serde(default)]
    pub(super) retry: Retry,
}

/// Where delivery starts in the topics there are when the webhook is created. Topics that come
/// later are delivered whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Start {
    /// At the first record there is.
    Beginning,
    /// At the first record after the webhook was created.
    #[default]
    End,
}

/// How often a failed record is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    #[serde(default)]
    pub(super) schedule: Schedule,
}

/// Names topics: one by its name, or with a final `*` all that begin alike.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum Pattern {
    Name(String),
    Prefix(String),
}

/// Why a definition is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("url: {0}")]
    Url(#[from] target::Error),
    #[error("topics: expected 1 to {PATTERNS_MAX} names, found {0}")]
    Count(usize),
}

/// Names and patterns of one webhook.
const PATTERNS_MAX: usize = 100;

impl Definition {
    /// Refuses what could never be delivered.
    pub(super) fn check(&self, policy: Policy) -> Result<(), Error> {
        policy.check_url(&self.url)?;
        match self.topics.len() {
            1..=PATTERNS_MAX => Ok(()),
            count => Err(Error::Count(count)),
        }
    }

    /// Whether the webhook delivers the topic of this name.
    pub(super) fn matches(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| match pattern {
            Pattern::Name(name) => name == topic,
            Pattern::Prefix(prefix) => topic.starts_with(prefix.as_str()),
        })
    }
}

/// Why a text names no topics.
#[derive(Debug, thiserror::Error)]
#[error(
    "topics: expected a topic's name, or the start of names and '*' (\"sequin.*\"), found {0:?}"
)]
pub(super) struct PatternError(String);

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        match text.strip_suffix('*') {
            // What a name may start with is what the name and any letter after it would be.
            Some(prefix) if is_valid_name(&format!("{prefix}x")) => {
                Ok(Self::Prefix(prefix.to_owned()))
            }
            None if is_valid_name(&text) => Ok(Self::Name(text)),
            _ => Err(PatternError(text)),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        match pattern {
            Pattern::Name(name) => name,
            Pattern::Prefix(prefix) => prefix + "*",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: Policy = Policy { allow_private: true, https_only: false };

    fn read(text: &str) -> Result<Definition, String> {
        let read: Definition = serde_json::from_str(text).map_err(|error| error.to_string())?;
        read.check(DEV).map_err(|error| error.to_string())?;
        Ok(read)
    }

    #[test]
    fn a_definition_is_read_with_defaults_and_stored_whole() {
        let read = read(r#"{"url":"http://127.0.0.1/","topics":["a","sequin.*","*"]}"#).unwrap();
        let stored = serde_json::to_string(&read).unwrap();
        assert_eq!(
            stored,
            r#"{"url":"http://127.0.0.1/","topics":["a","sequin.*","*"],"start":"end","retry":{"schedule":["5s","5m","30m","2h","5h","10h","10h"]}}"#
        );
        assert_eq!(serde_json::from_str::<Definition>(&stored).unwrap(), read);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = format!(r#"{{"url":"http://a/","topics":[{}"a"]}}"#, r#""a","#.repeat(100));
        let table = [
            (r#"{"topics":["a"]}"#, "missing field `url`"),
            (r#"{"url":"http://a/"}"#, "missing field `topics`"),
            (r#"{"url":"http://a/","topics":["a"],"topcs":1}"#, "unknown field `topcs`"),
            (r#"{"url":"http://a/","topics":["a"],"retry":{"max":1}}"#, "unknown field `max`"),
            (r#"{"url":"http://a/","topics":["a"],"start":"now"}"#, "unknown variant `now`"),
            (r#"{"url":"http://a/","topics":["a*b"]}"#, r#"topics: expected a topic's name, or"#),
            (r#"{"url":"http://a/","topics":[""]}"#, "topics: expected a topic's name"),
            (r#"{"url":"http://a/","topics":["a","b c"]}"#, r#"found "b c""#),
            (r#"{"url":"http://a/","topics":[]}"#, "topics: expected 1 to 100 names, found 0"),
            (&many, "topics: expected 1 to 100 names, found 101"),
            (r#"{"url":"ftp://a/","topics":["a"]}"#, "url: expected \"https\" or \"http\""),
            (
                r#"{"url":"http://a/","topics":["a"],"retry":{"schedule":["1"]}}"#,
                "expected a duration such as",
            ),
        ];
        for (text, want) in table {
            let error = read(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_the_start_of_names() {
        let definition = read(r#"{"url":"http://a/","topics":["a.*","b"]}"#).unwrap();
        for (topic, want) in [("a.", true), ("a.b", true), ("a", false), ("b", true), ("bb", false)]
        {
            assert_eq!(definition.matches(topic), want, "{topic}");
        }
    }
}
