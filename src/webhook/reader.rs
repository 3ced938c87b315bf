//! Reads a partition for a webhook: waits until there is something, and reads on.

use super::delivery::{Record, Source};
use super::instance::Webhook;
use super::message::Message;
use super::quota::Quota;
use super::subscription::TopicPartition;
use super::window::{Room, Window};
use crate::consumer::{self, Undecoded};
use crate::topic::Partition;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::Uuid;
use tidelog_storage as storage;
use tokio::sync::SemaphorePermit;

/// What to read.
pub(super) struct Fetch {
    pub(super) source: Source,
    pub(super) from: i64,
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// What a fetch brought.
pub(super) struct Fetched {
    pub(super) source: Source,
    pub(super) from: i64,
    pub(super) records: Vec<Record<Arc<Message>>>,
    pub(super) next: i64,
}

/// How long a partition that cannot be read is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// Bytes read at once: enough to be quick, little enough for many partitions.
const READ_BYTES_MAX: usize = 1 << 20;
/// The same, when there is little room. A batch is decompressed anew by each read of it, so not a
/// record at a time.
const LITTLE_BYTES: usize = 64 << 10;

/// Waits for records and reads them. Neither damage nor a batch that cannot be decoded ends it: an
/// operator may repair the partition, the owner may commit what is after the batch, and nothing may
/// be left out before that.
pub(super) async fn fetch(
    webhook: Arc<Webhook>,
    from: TopicPartition,
    fetch: Fetch,
    window: Arc<Window>,
    quota: Arc<Quota>,
) -> Fetched {
    let mut stuck: Option<Stuck> = None;
    loop {
        let Some(partition) = from.partition() else { std::future::pending().await };
        partition.stable_past(fetch.from.saturating_add(1)).await;
        let (permits, room) = room(fetch.source, &window, &quota).await;
        let read = read(partition, &fetch, room).await;
        match read {
            Ok(read) if read.next > fetch.from => return fetched(&from, &fetch, read, &window),
            // Told once, and not each time as long as it lasts.
            _ if stuck.is_some() => {}
            Ok(read) => {
                let why = way_past(read.undecoded, fetch.from, &webhook.group());
                stuck = Some(Stuck::new(&webhook, &from, &why, why.clone()));
            }
            Err(error) => {
                let shown = "it cannot be read; the broker's log says why".to_owned();
                stuck = Some(Stuck::new(&webhook, &from, &error.to_string(), shown));
            }
        }
        // Others read meanwhile.
        drop(permits);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why nothing came of a read, and what the owner can do.
fn way_past(undecoded: Option<Undecoded>, from: i64, group: &str) -> String {
    match undecoded {
        None => format!("nothing can be read at offset {from}"),
        Some(batch) => format!(
            "{batch}; to go on after it, commit offset {} for group '{group}' and enable the \
             webhook",
            batch.next
        ),
    }
}

/// Has the webhook's owner see why a partition is read no further, until it is dropped.
struct Stuck {
    webhook: Arc<Webhook>,
    at: (Uuid, i32),
}

impl Stuck {
    /// Tells the log `why`; the owner is `shown` it without what is the operator's.
    fn new(webhook: &Arc<Webhook>, from: &TopicPartition, why: &str, shown: String) -> Self {
        let (id, topic, index) = (&webhook.id, &from.topic.name, from.index);
        tracing::warn!("webhook {id}: {topic}-{index} is sent no further: {why}");
        let at = (from.topic.id, index);
        webhook.status.lock().stuck.insert(at, shown);
        Self { webhook: webhook.clone(), at }
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.webhook.status.lock().stuck.remove(&self.at);
    }
}

/// Waits until the webhook may hold more, and for its turn to read.
async fn room<'a>(
    source: Source,
    window: &Window,
    quota: &'a Quota,
) -> ([SemaphorePermit<'a>; 2], Room) {
    loop {
        window.room(source).await;
        let permits = quota.read_permit().await;
        if let Some(room) = window.room_now(source) {
            return (permits, room);
        }
    }
}

async fn read(partition: &Partition, fetch: &Fetch, room: Room) -> storage::Result<consumer::Read> {
    let (bytes, records) = match room {
        Room::Many => (READ_BYTES_MAX, fetch.records),
        Room::Little => (LITTLE_BYTES, fetch.records),
        Room::One => (READ_BYTES_MAX, 1),
    };
    let bytes = bytes.min(fetch.bytes);
    let read = consumer::read_or_wait(partition, fetch.from, bytes, records, Duration::ZERO);
    match read.await {
        Err(storage::Error::OffsetOutOfRange { log_start_offset, .. })
            if log_start_offset > fetch.from =>
        {
            let (from, to) = (fetch.from, log_start_offset);
            tracing::warn!("retention removed offsets {from} to {to} before a webhook read them");
            Ok(consumer::Read { next: log_start_offset, ..consumer::Read::default() })
        }
        read => read,
    }
}

fn fetched(
    from: &TopicPartition,
    fetch: &Fetch,
    read: consumer::Read,
    window: &Arc<Window>,
) -> Fetched {
    let take = |record| {
        let message = Arc::new(Message::new(from, &record).held_in(window, fetch.source));
        Record {
            offset: message.offset,
            key: message.key.clone(),
            bytes: message.size_bytes(),
            ticket: message,
        }
    };
    let records = read.records.into_iter().map(take).collect();
    Fetched { source: fetch.source, from: fetch.from, records, next: read.next }
}
