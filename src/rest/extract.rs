//! Parts of a request, with refusals in this API's own form.

use crate::clock;
use crate::cluster::Cluster;
use crate::http::{ApiError, Body};
use crate::topic::{Absent, Partition, Topic};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The query, by name, in order. A pair is split at its first `=`.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}

impl Params {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// How long to wait: as the body says, else the query, else `default`; never longer than
    /// [`WAIT_MAX`].
    pub(super) fn timeout(
        &self,
        body_ms: Option<i64>,
        default: Duration,
    ) -> Result<Wait, ApiError> {
        let text = self.get("timeout").map(|text| {
            let invalid = |_| format!("timeout '{text}' is not a number of milliseconds");
            text.parse::<i64>().map_err(invalid).map_err(ApiError::bad_request)
        });
        let Some(ms) = body_ms.map(Ok).or(text).transpose()? else { return Ok(Wait(default)) };
        match u64::try_from(ms) {
            Ok(ms) => Ok(Wait(Duration::from_millis(ms).min(WAIT_MAX))),
            Err(_) => Err(ApiError::bad_request(format!("timeout {ms} is negative"))),
        }
    }
}

/// The longest any request waits, whatever it asks: proxies give up after a minute.
const WAIT_MAX: Duration = Duration::from_secs(55);

/// A bounded time to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait(pub(super) Duration);

impl Wait {
    /// When it is over, on [`clock::now`].
    pub(super) fn deadline(self) -> Duration {
        clock::now() + self.0
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicPartition {
    pub(super) topic: String,
    pub(super) partition: i32,
}

/// A place in a partition.
#[derive(Clone, Debug, Deserialize, serde::Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicPartitionOffset {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// Items of one request: each takes far more memory than the few bytes it may have in the body.
pub(super) const ITEMS_MAX: usize = 10_000;

/// An array of at most [`ITEMS_MAX`]; a longer one is refused where it goes over.
struct Items<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_seq(Items(Vec::new())).map(Items)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut input: A) -> Result<Vec<T>, A::Error> {
        while let Some(item) = input.next_element()? {
            if self.0.len() == ITEMS_MAX {
                let text = format_args!("more than {ITEMS_MAX} items in one request");
                return Err(A::Error::custom(text));
            }
            self.0.push(item);
        }
        Ok(self.0)
    }
}

impl Body {
    /// One object, an array of at most [`ITEMS_MAX`] of them, or nothing at all.
    pub(super) fn one_or_many<T: DeserializeOwned>(&self) -> Result<Vec<T>, ApiError> {
        match self.first() {
            None => Ok(Vec::new()),
            Some(b'[') => self.json().map(|Items(items)| items),
            Some(_) => self.json().map(|one| vec![one]),
        }
    }

    /// An object; a missing body is one without properties. The body's room is given back: such
    /// requests may wait long.
    pub(super) fn object_or_default<T: DeserializeOwned + Default>(self) -> Result<T, ApiError> {
        match self.first() {
            None => Ok(T::default()),
            Some(_) => self.json(),
        }
    }

    fn first(&self) -> Option<u8> {
        self.0.iter().copied().find(|byte| !byte.is_ascii_whitespace())
    }
}

/// The topic, which must exist.
pub(super) fn topic(cluster: &Cluster, name: &str) -> Result<Arc<Topic>, ApiError> {
    let unknown = || crate::topic::Error::Unknown(name.to_owned()).into();
    cluster.topics.get(name).ok_or_else(unknown)
}

/// The partition, which the topic must have.
pub(super) fn partition(topic: &Topic, index: i32) -> Result<&Partition, ApiError> {
    topic.partition(index).map_err(|absent| match absent {
        Absent::Unknown => {
            let (name, last) = (&topic.name, topic.count().saturating_sub(1));
            let text = format!("topic '{name}' has no partition {index}, only 0 to {last}");
            ApiError::not_found(text)
        }
        Absent::Offline => ApiError::partition_offline(&topic.name, index),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    #[test]
    fn a_wait_is_the_bodys_or_the_querys_and_bounded() {
        let wait = |query, body| {
            params(query).timeout(body, Duration::from_secs(1)).map(|wait| wait.0.as_millis())
        };
        assert_eq!(wait("", None).unwrap(), 1000);
        assert_eq!(wait("timeout=250", None).unwrap(), 250);
        assert_eq!(wait("timeout=250", Some(0)).unwrap(), 0);
        assert_eq!(wait("timeout=99999999", None).unwrap(), WAIT_MAX.as_millis());
        wait("timeout=soon", None).unwrap_err();
        wait("", Some(-1)).unwrap_err();
    }

    #[test]
    fn a_pair_of_the_query_is_split_at_its_first_equals_sign() {
        assert_eq!(params("user=a%40b&pass=abc==").get("pass"), Some("abc=="));
        assert_eq!(params("user=a%40b&pass=abc==").get("user"), Some("a@b"));
    }
}
