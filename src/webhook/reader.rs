//! Reads a partition for a webhook: waits until there is something, and reads on.

use super::delivery::{Record, Source};
use super::message::Message;
use super::subscription::TopicPartition;
use super::window::{Room, Window};
use crate::consumer;
use crate::topic::Partition;
use std::sync::Arc;
use std::time::Duration;
use tidelog_storage as storage;
use tokio::sync::{Semaphore, SemaphorePermit};

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

/// Reads of all webhooks that run at once: each may decompress a large batch.
static READS: Semaphore = Semaphore::const_new(4);
/// How long a partition that cannot be read is left alone.
const PAUSE: Duration = Duration::from_secs(30);
/// Bytes read at once: enough to be quick, little enough for many partitions.
const READ_BYTES_MAX: usize = 1 << 20;

/// Waits for records and reads them. Damage does not end it: an operator may repair the partition,
/// and nothing may be left out before that.
pub(super) async fn fetch(from: TopicPartition, fetch: Fetch, window: Arc<Window>) -> Fetched {
    let mut told = false;
    loop {
        let Some(partition) = from.partition() else { std::future::pending().await };
        partition.stable_past(fetch.from.saturating_add(1)).await;
        let (permit, records) = room(&fetch, &window).await;
        match read(partition, &fetch, records).await {
            Ok(read) if !read.records.is_empty() || read.next > fetch.from => {
                return fetched(&from, &fetch, read, &window);
            }
            // Told once, and not each time as long as the damage is there.
            _ if told => {}
            Ok(_) => {
                let (topic, at) = (&from.topic.name, fetch.from);
                tracing::warn!("{topic}-{}: nothing can be read at offset {at}", from.index);
            }
            Err(error) => {
                let topic = &from.topic.name;
                tracing::warn!("{topic}-{}: a webhook cannot read it: {error}", from.index);
            }
        }
        told = true;
        // Others read meanwhile.
        drop(permit);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the webhook may hold more, and says how many records.
async fn room(fetch: &Fetch, window: &Window) -> (SemaphorePermit<'static>, usize) {
    loop {
        window.room(fetch.source).await;
        let permit = READS.acquire().await.expect("the semaphore is never closed");
        match window.room_now(fetch.source) {
            Some(Room::Many) => return (permit, fetch.records),
            Some(Room::One) => return (permit, 1),
            None => {}
        }
    }
}

async fn read(
    partition: &Partition,
    fetch: &Fetch,
    records: usize,
) -> storage::Result<consumer::Read> {
    let bytes = fetch.bytes.min(READ_BYTES_MAX);
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
