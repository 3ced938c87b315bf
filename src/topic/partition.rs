//! A partition as the broker sees it: its log, and a way to wait for it.

use crate::task::{blocking, in_place};
use tidelog_protocol::ErrorCode;
use tidelog_protocol::records::Batch;
use tidelog_storage as storage;
use tokio::sync::watch;

/// One partition of a topic; cheap to clone.
#[derive(Clone)]
pub struct Partition {
    log: storage::Partition,
    high_watermark: watch::Receiver<i64>,
    /// See [`Partition::released`].
    released: watch::Sender<i64>,
}

/// Why there is no log to write to or to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The topic has no such partition.
    #[error("there is no such partition")]
    Unknown,
    /// Its log could not be opened when the broker started, which the broker's own log tells more
    /// of. Its files are left alone until a start that can.
    #[error("the partition is offline: its log could not be opened")]
    Offline,
}

impl Absent {
    /// The error code for a Kafka client.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Self::Offline => ErrorCode::KAFKA_STORAGE_ERROR,
        }
    }
}

/// Single broker: the leader never changes, and neither does its epoch.
pub const LEADER_EPOCH: i32 = 0;

impl Partition {
    /// Opens the partition in `dir` of the volume, creating it if it is not there.
    pub fn open(
        volume: &storage::Volume,
        dir: &std::path::Path,
        topic_id: [u8; 16],
        options: storage::PartitionOptions,
    ) -> storage::Result<Self> {
        let (sender, high_watermark) = watch::channel(0);
        let advance = sender.clone();
        let on_advance = Box::new(move |offset| {
            advance.send_replace(offset);
        });
        let (log, recovered) = volume.open_partition(dir, topic_id, options, on_advance)?;
        for repair in &recovered.repairs {
            tracing::warn!(partition = %dir.display(), "recovered: {repair}");
        }
        sender.send_replace(log.high_watermark());
        Ok(Self { log, high_watermark, released: watch::Sender::new(i64::MAX) })
    }

    /// The log itself.
    pub fn log(&self) -> &storage::Partition {
        &self.log
    }

    /// Appends a batch; it is neither durable nor visible before [`Partition::durable`].
    pub fn append(&self, batch: &Batch) -> storage::Result<storage::Appended> {
        self.append_stamped(batch, None)
    }

    /// The same; with an append time, in ms since 1970, all records get it.
    pub fn append_stamped(
        &self,
        batch: &Batch,
        append_time_ms: Option<i64>,
    ) -> storage::Result<storage::Appended> {
        if !self.log.is_prepared() {
            in_place(|| self.log.prepare())?;
        }
        let stamp = storage::Stamp { leader_epoch: LEADER_EPOCH, append_time_ms };
        let appended = self.log.append_stamped(batch, stamp)?;
        if appended.is_behind {
            in_place(|| self.log.catch_up())?;
        }
        Ok(appended)
    }

    /// Waits until everything up to and including `offset` is durable. Pends for ever if the disk
    /// fails before that, since the process then ends without acknowledging anything more.
    pub async fn durable(&self, offset: i64) {
        self.past(offset.saturating_add(1)).await;
    }

    /// Waits until the high watermark is at least `offset`.
    pub async fn past(&self, offset: i64) {
        let mut high_watermark = self.high_watermark.clone();
        if high_watermark.wait_for(|now| *now >= offset).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the last stable offset is at least `offset`: see
    /// [`tidelog_storage::Partition::last_stable_offset`]. It moves with the high watermark.
    pub async fn stable_past(&self, offset: i64) {
        let mut high_watermark = self.high_watermark.clone();
        loop {
            high_watermark.mark_unchanged();
            let stable = match self.log.known_last_stable_offset() {
                Some(stable) => stable,
                None => {
                    let log = self.log.clone();
                    // Who reads there is told what is wrong.
                    blocking(move || log.last_stable_offset()).await.unwrap_or(i64::MAX)
                }
            };
            if stable >= offset {
                return;
            }
            if high_watermark.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Up to where committed records may be read, as far as that is known without reading: until
    /// then, the high watermark.
    pub fn stable_end(&self) -> i64 {
        self.log.known_last_stable_offset().unwrap_or_else(|| self.high_watermark())
    }

    /// Says that the records from `offset` on are still needed: retention, DeleteRecords and
    /// compaction leave them alone until this moves on.
    pub fn release(&self, offset: i64) {
        self.released.send_if_modified(|now| std::mem::replace(now, offset) != offset);
    }

    /// The first record that is still needed; what is before it may go. Nobody needs any unless
    /// [`Partition::release`] said so.
    pub fn released(&self) -> i64 {
        *self.released.borrow()
    }

    /// Waits until nobody needs the records before `offset` any more.
    pub async fn released_past(&self, offset: i64) {
        // Fails when the sender is gone, and here it is.
        let _ = self.released.subscribe().wait_for(|now| *now >= offset).await;
    }

    /// Where new records will appear to consumers.
    pub fn high_watermark(&self) -> i64 {
        self.log.high_watermark()
    }

    /// A receiver that sees every advance of the high watermark.
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.high_watermark.clone()
    }
}
