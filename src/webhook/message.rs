//! One record as one HTTP request.
//!
//! The body is the record's value, byte for byte. A record without a value (a tombstone: its key
//! was deleted) has the body `null`, so that receivers that parse what they get still can, and the
//! header `tidelog-tombstone: true`.
//!
//! ```text
//! webhook-id            msg_ and 32 hex digits: the same in every attempt, after restarts too
//! webhook-timestamp     when this attempt began, in seconds since 1970
//! webhook-signature     v1,<base64>
//! tidelog-topic, tidelog-partition, tidelog-offset, tidelog-attempt
//! tidelog-key           the record's key, if a header can hold it
//! tidelog-event, tidelog-sync-id, tidelog-collection, tidelog-idempotency-key
//!                       the record's own headers of these names, if a header can hold them
//! ```

use super::delivery::Source;
use super::signature::Secret;
use super::subscription::TopicPartition;
use super::window::{Share, Window};
use crate::id;
use crate::topic::Topic;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tidelog_protocol::records::Record;

/// A record to be delivered, in memory of its own.
pub(super) struct Message {
    pub(super) topic: Arc<Topic>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<Bytes>,
    value: Option<Bytes>,
    /// Those of the record's headers that are passed on.
    headers: Vec<(&'static str, HeaderValue)>,
    share: Option<Share>,
}

/// The record headers that are passed on, and as what.
const PASSED_ON: [(&str, &str); 4] = [
    ("event", "tidelog-event"),
    ("sync_id", "tidelog-sync-id"),
    ("collection", "tidelog-collection"),
    ("idempotency_key", "tidelog-idempotency-key"),
];
/// Longer keys and header values are left out: servers refuse requests with long headers.
const HEADER_BYTES_MAX: usize = 1024;

impl Message {
    /// Copies what is to be sent: a record as read holds on to all it was read with.
    pub(super) fn new(at: &TopicPartition, record: &Record) -> Self {
        let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
        let passed_on = PASSED_ON.iter().filter_map(|(name, header)| {
            let found = record.headers.iter().find(|it| *it.key == **name)?;
            Some((*header, header_value(found.value.as_ref()?)?))
        });
        Self {
            topic: at.topic.clone(),
            partition: at.index,
            offset: record.offset,
            key: record.key.as_ref().map(copy),
            value: record.value.as_ref().map(copy),
            headers: passed_on.collect(),
            share: None,
        }
    }

    /// Counts the message as held of `source` until it is dropped.
    pub(super) fn held_in(mut self, window: &Arc<Window>, source: Source) -> Self {
        self.share = Some(window.take(source, self.size_bytes()));
        self
    }

    /// What the message counts for in memory.
    pub(super) fn size_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(_, value)| value.len()).sum();
        size_of::<Self>() + length(&self.key) + length(&self.value) + headers
    }

    /// What is sent.
    pub(super) fn body(&self) -> Bytes {
        self.value.clone().unwrap_or(Bytes::from_static(b"null"))
    }

    /// The message's id at one webhook. It is made of the topic's id and not its name: under the
    /// same name another topic may come, whose messages are not repetitions of the first one's.
    pub(super) fn id(&self, webhook: &str) -> String {
        let digest = Sha256::new()
            .chain_update(webhook)
            .chain_update(self.topic.id)
            .chain_update(self.partition.to_be_bytes())
            .chain_update(self.offset.to_be_bytes())
            .finalize();
        format!("msg_{}", id::hex(&digest[..16]))
    }

    /// The headers of one attempt; `timestamp` is its time in seconds since 1970.
    pub(super) fn headers(
        &self,
        webhook: &str,
        secret: &Secret,
        timestamp: i64,
        attempt: u32,
    ) -> HeaderMap {
        let id = self.id(webhook);
        let signature = secret.sign(&id, timestamp, &self.body());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut insert = |name: &'static str, value: Option<HeaderValue>| {
            value.and_then(|value| headers.insert(HeaderName::from_static(name), value));
        };
        insert("webhook-id", header_value(id.as_bytes()));
        insert("webhook-timestamp", Some(timestamp.into()));
        insert("webhook-signature", header_value(signature.as_bytes()));
        insert("tidelog-topic", header_value(self.topic.name.as_bytes()));
        insert("tidelog-partition", Some(self.partition.into()));
        insert("tidelog-offset", Some(self.offset.into()));
        insert("tidelog-attempt", Some(attempt.into()));
        insert("tidelog-key", self.key.as_deref().and_then(header_value));
        let tombstone = self.value.is_none();
        insert("tidelog-tombstone", tombstone.then(|| HeaderValue::from_static("true")));
        for (name, value) in &self.headers {
            insert(name, Some(value.clone()));
        }
        headers
    }
}

/// Bytes as a header's value, if they arrive as they are: printable ASCII, not too long, and
/// without the spaces at either end that a receiver strips.
fn header_value(bytes: &[u8]) -> Option<HeaderValue> {
    let printable = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let stripped = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    let fits = (1..=HEADER_BYTES_MAX).contains(&bytes.len());
    (printable && !stripped && fits).then(|| HeaderValue::from_bytes(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Config;
    use tidelog_protocol::records::RecordHeader;

    fn topic(id: u8) -> Arc<Topic> {
        let (name, config) = ("orders".to_owned(), Config::default());
        Arc::new(Topic { name, id: [id; 16], partitions: Vec::new(), config, sync: None })
    }

    fn message(key: &'static str, value: Option<&'static str>) -> Message {
        let header = |key: &str, value: &'static str| RecordHeader {
            key: key.into(),
            value: Some(Bytes::from_static(value.as_bytes())),
        };
        let record = Record {
            offset: 7,
            timestamp: 0,
            key: Some(Bytes::from_static(key.as_bytes())),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
            headers: vec![header("sync_id", "sync_1"), header("event", "a\r\nb"), header("x", "y")],
        };
        Message::new(&TopicPartition { topic: topic(1), index: 2 }, &record)
    }

    fn lines(message: &Message) -> String {
        let secret = Secret::from_bytes(&[1; 32]).unwrap();
        let headers = message.headers("wh_1", &secret, 1_700_000_000, 3);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\n", value.to_str().unwrap())
        };
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines.concat()
    }

    #[test]
    fn a_request_says_what_it_carries_and_is_signed() {
        let message = message("k 1", Some("{\"a\":1}"));
        let secret = Secret::from_bytes(&[1; 32]).unwrap();
        let (id, body) = (message.id("wh_1"), message.body());
        assert_eq!(body, "{\"a\":1}");
        let signature = secret.sign(&id, 1_700_000_000, &body);
        let want = format!(
            "content-type: application/json\ntidelog-attempt: 3\ntidelog-key: k 1\n\
             tidelog-offset: 7\ntidelog-partition: 2\ntidelog-sync-id: sync_1\n\
             tidelog-topic: orders\nwebhook-id: {id}\nwebhook-signature: {signature}\n\
             webhook-timestamp: 1700000000\n"
        );
        assert_eq!(lines(&message), want);
    }

    #[test]
    fn a_tombstone_is_null_and_says_so() {
        let message = message("k", None);
        assert_eq!(message.body(), "null");
        assert!(lines(&message).contains("tidelog-tombstone: true\n"));
    }

    #[test]
    fn a_key_that_no_header_can_hold_is_left_out() {
        for key in ["a\nb", "ä", "", " a", "a ", "\u{7f}"] {
            assert!(!lines(&message(key, None)).contains("tidelog-key"), "{key:?}");
        }
        assert!(header_value(&[b'x'; HEADER_BYTES_MAX]).is_some());
        assert!(header_value(&[b'x'; HEADER_BYTES_MAX + 1]).is_none());
    }

    #[test]
    fn an_id_stands_for_one_record_at_one_webhook() {
        let one = message("a", Some("1"));
        let next = Message { offset: 8, ..message("a", Some("1")) };
        let beside = Message { partition: 3, ..message("a", Some("1")) };
        let recreated = Message { topic: topic(2), ..message("a", Some("1")) };
        let ids = [&one, &next, &beside, &recreated].map(|it| it.id("wh_1"));
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert_ne!(one.id("wh_2"), ids[0]);
        assert_eq!(one.id("wh_1"), message("a", Some("1")).id("wh_1"));
    }
}
