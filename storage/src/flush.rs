//! When appended batches are made durable, and with it when they may be seen.

use std::time::Duration;

use crate::partition::PartitionOptions;

/// When the batches of a volume's partitions are made durable. A partition may have it otherwise:
/// see [`PartitionOptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flush {
    /// At once, as many as there are by one sync. The high watermark waits for it.
    #[default]
    Commit,
    /// This often. The high watermark does not wait: a power cut may take back what was seen.
    Interval(Duration),
    /// When a segment is sealed, at close, and when so many logs wait for it that their files take
    /// a quarter of the process's descriptors. The high watermark does not wait, as above.
    Never,
    /// When [`Volume::sync`](crate::Volume::sync) is called, and there is no thread: for
    /// simulations. The high watermark waits for it.
    Manual,
}

/// When the batches of one partition are made durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// As soon as there are this many records.
    records: u64,
    /// At most this long after the first of them.
    pub interval: Option<Duration>,
}

impl Policy {
    pub(crate) fn new(volume: Flush, options: &PartitionOptions) -> Self {
        let (records, interval) = match volume {
            Flush::Commit | Flush::Manual => (1, None),
            Flush::Interval(interval) => (u64::MAX, Some(interval)),
            Flush::Never => (u64::MAX, None),
        };
        Self {
            records: options.flush_messages.unwrap_or(records),
            interval: options.flush_interval.or(interval),
        }
    }

    /// Whether the high watermark waits for the sync: where every record is due at once.
    pub(crate) fn waits(self) -> bool {
        self.records <= 1
    }

    /// Whether a sync is due with this many records that none covers.
    pub(crate) fn is_due(self, records: u64) -> bool {
        self.waits() || records >= self.records
    }
}
