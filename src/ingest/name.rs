//! The names an event goes by: sync ids, collections, record ids, and the topic they give.
//!
//! **Two streams never share a topic.** A sync id has no dot, so `sequin.<sync_id>.<collection>`
//! splits in one way only, and every valid pair is a valid Kafka topic name (at most
//! [`TOPIC_BYTES_MAX`] bytes of `A-Z a-z 0-9 . _ -`). A name starts with a letter or a digit,
//! because a path segment of dots would not reach us: HTTP clients fold it away.

use std::fmt;

/// Kafka's limit on a topic's name.
pub const TOPIC_BYTES_MAX: usize = 249;

const TOPIC_PREFIX: &str = "sequin.";
pub(super) const SYNC_ID_BYTES_MAX: usize = 64;
pub(super) const COLLECTION_BYTES_MAX: usize = 128;
pub(super) const RECORD_ID_BYTES_MAX: usize = 1024;
const _: () =
    assert!(TOPIC_PREFIX.len() + SYNC_ID_BYTES_MAX + 1 + COLLECTION_BYTES_MAX <= TOPIC_BYTES_MAX);

/// The id of a sync: `sync_` and eight hex digits, or what the user named it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(String);

/// The slug of an API object, such as `subscription`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Collection(String);

/// A record's id, as the API assigned it: any text that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(String);

/// Why a text is no name of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("expected a {what}, found nothing")]
    Empty { what: &'static str },
    #[error("expected a {what} of at most {max} bytes, found {found}")]
    Long { what: &'static str, max: usize, found: usize },
    #[error("expected a {what} that starts with a letter or a digit, found {found:?}")]
    Start { what: &'static str, found: String },
    #[error("expected letters, digits and {allowed} in a {what}, found {found:?}")]
    Character { what: &'static str, allowed: &'static str, found: char },
}

impl SyncId {
    /// Takes letters, digits, `_` and `-`, at most 64 of them.
    pub fn parse(text: &str) -> Result<SyncId, Error> {
        check_slug("sync id", text, SYNC_ID_BYTES_MAX, "_ -")?;
        Ok(SyncId(text.to_owned()))
    }

    /// The id of a sync that the user did not name, from four random bytes.
    pub fn from_random(bytes: [u8; 4]) -> SyncId {
        SyncId(format!("sync_{:08x}", u32::from_be_bytes(bytes)))
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Collection {
    /// Takes letters, digits, `_`, `-` and `.`, at most 128 of them.
    pub fn parse(text: &str) -> Result<Collection, Error> {
        check_slug("collection", text, COLLECTION_BYTES_MAX, "_ - .")?;
        Ok(Collection(text.to_owned()))
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RecordId {
    /// Takes any text of 1 to 1024 bytes.
    pub fn parse(text: &str) -> Result<RecordId, Error> {
        check_length("record id", text, RECORD_ID_BYTES_MAX)?;
        Ok(RecordId(text.to_owned()))
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The topic of a collection's events.
pub fn topic_name(sync_id: &SyncId, collection: &Collection) -> String {
    format!("{TOPIC_PREFIX}{sync_id}.{collection}")
}

fn check_slug(
    what: &'static str,
    text: &str,
    max: usize,
    allowed: &'static str,
) -> Result<(), Error> {
    check_length(what, text, max)?;
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(Error::Start { what, found: text.to_owned() });
    }
    let wrong = |c: char| !c.is_ascii_alphanumeric() && (c == ' ' || !allowed.contains(c));
    match text.chars().find(|&c| wrong(c)) {
        Some(found) => Err(Error::Character { what, allowed, found }),
        None => Ok(()),
    }
}

fn check_length(what: &'static str, text: &str, max: usize) -> Result<(), Error> {
    match text.len() {
        0 => Err(Error::Empty { what }),
        found if found > max => Err(Error::Long { what, max, found }),
        _ => Ok(()),
    }
}

impl fmt::Display for SyncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_the_topic_follows() {
        let sync_id = SyncId::from_random([0x1a, 0x10, 0x7d, 0x79]);
        assert_eq!(SyncId::parse("sync_1a107d79").unwrap(), sync_id);
        let collection = Collection::parse("contact").unwrap();
        assert_eq!(topic_name(&sync_id, &collection), "sequin.sync_1a107d79.contact");

        let long = "x".repeat(2000);
        let sync = |text: &str| SyncId::parse(text).map_err(|it| it.to_string()).unwrap_err();
        assert_eq!(sync(""), "expected a sync id, found nothing");
        assert_eq!(sync(&long), "expected a sync id of at most 64 bytes, found 2000");
        assert_eq!(sync("a.b"), "expected letters, digits and _ - in a sync id, found '.'");
        assert_eq!(sync("a b"), "expected letters, digits and _ - in a sync id, found ' '");
        assert_eq!(
            sync("é"),
            "expected a sync id that starts with a letter or a digit, found \"é\""
        );

        for good in ["customer.subscription", "My_Object__c", "0", "a..b"] {
            assert!(Collection::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a:b", "a\u{0}", &long] {
            assert!(Collection::parse(bad).is_err(), "{bad}");
        }

        for good in ["003Dn00000X", " ", "a/b", "é😀", "{\"a\":1}", &long[..1024]] {
            assert_eq!(RecordId::parse(good).unwrap().as_str(), good);
        }
        assert!(RecordId::parse("").is_err());
        assert!(RecordId::parse(&long[..1025]).is_err());
    }

    #[test]
    fn the_longest_names_give_a_topic_within_kafkas_limit() {
        let sync_id = SyncId::parse(&"s".repeat(SYNC_ID_BYTES_MAX)).unwrap();
        let collection = Collection::parse(&"c".repeat(COLLECTION_BYTES_MAX)).unwrap();
        assert!(topic_name(&sync_id, &collection).len() <= TOPIC_BYTES_MAX);
    }
}
