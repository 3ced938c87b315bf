//! A record's version, by which a mutation that arrives late is known.
//!
//! A version is a whole number (a log position, a counter, seconds since 1970) or a time in RFC
//! 3339, as the source has it; the `Tidelog-Version` header of a write brings it, or `version` in
//! an item of a batch. It is kept with the record's state and goes into its events' `version`
//! header, from which the state comes back.
//!
//! - **A mutation older than the version held is dropped**: it publishes nothing and is answered
//!   `"stale": true` with the version held.
//! - **Equal versions are applied.** Sources whose clock ticks in seconds (Stripe, Salesforce) give
//!   two changes one version, and dropping the second would lose it; sent again, the same mutation
//!   changes nothing anyway. Only a deleted record stays deleted: an upsert of the same version
//!   is the one the deletion followed, late. A source that deletes and creates a record in one tick
//!   may say otherwise ([`revives`](super::mutation::Mutation::revives)).
//! - A mutation without a version is applied, and the record keeps the version it has. So it does
//!   after one that only says when it was [read](super::mutation::Mutation::is_reading).
//! - A version that publishes nothing (the record did not change, or a deletion came before what
//!   it deletes) is held all the same: in the state store, synced before anybody is told of it. It
//!   is the one thing that the topic does not know, so a state built anew from the topic has the
//!   last version that was published.
//! - A deleted record's version is held for [`TOMBSTONE_RETENTION`](super::state). There are as
//!   many as were deleted with a version in that time: on disk, some hundred bytes each, and not
//!   in memory.

use jiff::Timestamp;
use std::cmp::Ordering;
use std::fmt;

/// Where among a record's mutations one belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// A whole number.
    Number(i64),
    /// A time.
    Time(Timestamp),
}

/// What a version may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version '{0}' is neither a whole number of 64 bits nor a time in RFC 3339")]
pub(super) struct Unreadable(String);

/// Bytes of an error's excerpt of what should be a version.
const EXCERPT_BYTES_MAX: usize = 64;

impl Version {
    /// Reads `42` or `2024-11-10T18:39:00Z`.
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let time = text.parse().map(Self::Time);
        time.map_err(|_| Unreadable(text.chars().take(EXCERPT_BYTES_MAX).collect()))
    }

    /// Which of two versions is older; `None` when one is a number and the other a time.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => Some(a.cmp(b)),
            (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

impl serde::Serialize for Version {
    /// A number as a number, a time as text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Time(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    /// A number, or text as [`Version::parse`] reads it.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a time in RFC 3339")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Version, E> {
                Ok(Version::Number(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Version, E> {
                let out = || E::invalid_value(serde::de::Unexpected::Unsigned(number), &self);
                i64::try_from(number).map(Version::Number).map_err(|_| out())
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Version, E> {
                Version::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_written_and_compared() {
        let order = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| Version::parse(text).unwrap());
            assert_eq!(Version::parse(&a.to_string()), Ok(a));
            a.compare(&b)
        };
        let table = [
            ("7", "8", Some(Ordering::Less)),
            ("-7", "-8", Some(Ordering::Greater)),
            ("9223372036854775807", "9223372036854775806", Some(Ordering::Greater)),
            ("2024-11-10T18:39:00Z", "2024-11-10T19:39:00+01:00", Some(Ordering::Equal)),
            ("2024-11-10T18:39:00.1Z", "2024-11-10T18:39:00.09Z", Some(Ordering::Greater)),
            ("2024-11-10T18:39:00.000000001Z", "2024-11-10T18:39:00Z", Some(Ordering::Greater)),
            ("1731263940", "2024-11-10T18:39:00Z", None),
        ];
        for (a, b, want) in table {
            assert_eq!(order(a, b), want, "{a} and {b}");
        }
        for text in ["", "1.5", "9223372036854775808", "2024-11-10", "2024-11-10T18:39:00", "v7"] {
            assert!(Version::parse(text).unwrap_err().to_string().contains(text), "{text}");
        }
    }
}
