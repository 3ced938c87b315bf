//! Events put into record batches, each with the offset it will have: while its partition is
//! locked, nobody else writes to it.

use super::event::{self, Kind, NewEvent};
use super::mutation::Error;
use super::run::Destination;
use super::version::Version;
use crate::consumer::DECOMPRESSED_BYTES_MAX;
use crate::topic::Topic;
use bytes::Bytes;
use std::sync::Arc;
use tidelog_protocol::Str;
use tidelog_protocol::records::{Batch, BatchBuilder, RecordHeader};

/// What is to be appended to a partition.
pub(super) struct Batches {
    pub topic: Arc<Topic>,
    pub partition: i32,
    /// The offset of the next event.
    pub next: i64,
    batch: BatchBuilder,
    /// An event's value while it is put into the batch: one buffer for all of them.
    value: String,
    /// Bytes of the values so far.
    bytes: usize,
    /// Each with the offset it will have.
    full: Vec<(i64, Batch)>,
}

/// What an event says in its headers beside what happened.
pub(super) struct Headers<'a> {
    pub key: Option<&'a str>,
    pub version: Option<Version>,
    pub backfill: Option<&'a str>,
}

impl Batches {
    /// Nothing yet, from an offset on.
    pub(super) fn new(topic: Arc<Topic>, partition: i32, next: i64) -> Self {
        let batch = builder(&topic);
        let (value, full) = (String::new(), Vec::new());
        Self { topic, partition, next, batch, value, bytes: 0, full }
    }

    /// Bytes of the events so far, without what their batches save by compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of a batch before it is compressed: no more than the next start reads.
    pub(super) fn bytes_max(&self) -> usize {
        bytes_max(&self.topic)
    }

    /// Puts an event into the batch, or a new one where it does not fit, and gives its offset.
    pub(super) fn publish(
        &mut self,
        destination: Destination<'_>,
        event: &NewEvent<'_>,
        Headers { key, version, backfill }: Headers<'_>,
    ) -> Result<i64, Error> {
        let offset = self.next;
        // A mutation that its sender did not name publishes nothing when it is sent again, so the
        // event's place in the log is name enough.
        let own = || event::own_key(&self.topic.name, self.partition, offset);
        let key = key.map_or_else(own, str::to_owned);
        let version = version.map(|it| it.to_string());
        let headers = event.headers(&destination.sync.id, &key, version.as_deref());
        let mapping = destination.defined.version();
        let mapping = (mapping > 1).then(|| mapping.to_string());
        let headers = headers.chain(mapping.as_deref().map(|it| (event::MAPPING, it)));
        let headers = headers.chain(backfill.map(|it| (event::BACKFILL, it)));
        let headers: Vec<_> = headers
            .map(|(name, text)| RecordHeader {
                key: Str::from_static(name),
                value: Some(Bytes::copy_from_slice(text.as_bytes())),
            })
            .collect();
        let (at, id) = (event.created_at.as_millisecond(), event.id.as_str().as_bytes());
        event.write(&mut self.value);
        self.bytes += self.value.len();
        if self.batch.append(at, Some(id), Some(self.value.as_bytes()), &headers).is_err() {
            self.close();
            let value = self.value.as_bytes();
            let appended = self.batch.append(at, Some(id), Some(value), &headers);
            appended.map_err(|it| Error::TooLarge { needed: it.needed, max: it.bytes_max })?;
        }
        self.next += 1;
        if event.change.kind() == Kind::Deleted && destination.defined.definition.has_tombstones() {
            self.publish_tombstone(at, id);
        }
        Ok(offset)
    }

    /// Puts a null value after a deleted event, for compaction.
    fn publish_tombstone(&mut self, at_ms: i64, id: &[u8]) {
        let mut appended = self.batch.append(at_ms, Some(id), None, &[]).is_ok();
        if !appended {
            self.close();
            // A key and nothing else fits where the event with the same key did.
            appended = self.batch.append(at_ms, Some(id), None, &[]).is_ok();
        }
        self.next += i64::from(appended);
    }

    /// All batches, each with its offset.
    pub(super) fn all(&mut self) -> &[(i64, Batch)] {
        self.close();
        &self.full
    }

    /// The same, taken out.
    pub(super) fn take(&mut self) -> Vec<(i64, Batch)> {
        self.close();
        std::mem::take(&mut self.full)
    }

    fn close(&mut self) {
        let batch = std::mem::replace(&mut self.batch, builder(&self.topic));
        let base = self.next - i64::try_from(batch.len()).unwrap_or(0);
        self.full.extend(batch.finish().map(|batch| (base, batch)));
    }
}

fn builder(topic: &Topic) -> BatchBuilder {
    let compression = topic.config.compression().unwrap_or_default();
    let level = topic.config.compression_level();
    BatchBuilder::new(compression, bytes_max(topic)).level(level)
}

fn bytes_max(topic: &Topic) -> usize {
    topic.config.max_message_bytes().min(DECOMPRESSED_BYTES_MAX)
}
