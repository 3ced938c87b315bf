//! What a volume has done since it was opened, counted for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::recovery::{Action, Recovered};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How often values up to each of some bounds were met.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    counts: [Counter; BOUNDS_MAX + 1],
    sum: Counter,
}

const BOUNDS_MAX: usize = 10;
/// A commit's duration, in µs.
const COMMIT_MICROS: &[u64] =
    &[250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000];
/// A commit's partitions.
const COMMIT_PARTITIONS: &[u64] = &[1, 2, 4, 8, 16, 64, 256, 1_024, 4_096, 16_384];

impl Histogram {
    const fn new(bounds: &'static [u64]) -> Self {
        assert!(bounds.len() <= BOUNDS_MAX, "room for each bound");
        let counts = [const { Counter(AtomicU64::new(0)) }; BOUNDS_MAX + 1];
        Self { bounds, counts, sum: Counter(AtomicU64::new(0)) }
    }

    pub(crate) fn observe(&self, value: u64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)].add(1);
        self.sum.add(value);
    }

    fn get(&self) -> Distribution {
        let counts = self.counts[..=self.bounds.len()].iter().map(Counter::get).collect();
        Distribution { bounds: self.bounds, counts, sum: self.sum.get() }
    }
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Counters {
    pub commit_micros: Histogram,
    pub commit_partitions: Histogram,
    pub committed_records: Counter,
    pub journaled_bytes: Counter,
    pub redone_bytes: Counter,
    pub refused_for_room: Counter,
    pub failed_appends: Counter,
    clean_logs: Counter,
    recovered_logs: Counter,
    recovery_bytes: Counter,
    torn_tails: Counter,
    torn_bytes: Counter,
    quarantined: Counter,
    missing: Counter,
    pub scrubbed_bytes: Counter,
    pub scrub_rounds: Counter,
    pub scrub_damage: Counter,
}

impl Default for Counters {
    fn default() -> Self {
        let none = Counter::default;
        Self {
            commit_micros: Histogram::new(COMMIT_MICROS),
            commit_partitions: Histogram::new(COMMIT_PARTITIONS),
            committed_records: none(),
            journaled_bytes: none(),
            redone_bytes: none(),
            refused_for_room: none(),
            failed_appends: none(),
            clean_logs: none(),
            recovered_logs: none(),
            recovery_bytes: none(),
            torn_tails: none(),
            torn_bytes: none(),
            quarantined: none(),
            missing: none(),
            scrubbed_bytes: none(),
            scrub_rounds: none(),
            scrub_damage: none(),
        }
    }
}

impl Counters {
    pub(crate) fn opened(&self, recovered: &Recovered) {
        if recovered.clean { &self.clean_logs } else { &self.recovered_logs }.add(1);
        self.recovery_bytes.add(recovered.scanned_bytes);
        for repair in &recovered.repairs {
            match repair.action {
                Action::Cut => {
                    self.torn_tails.add(1);
                    self.torn_bytes.add(repair.bytes);
                }
                Action::Quarantined => self.quarantined.add(1),
                Action::Missing => self.missing.add(1),
            }
        }
    }

    pub(crate) fn get(&self) -> Statistics {
        Statistics {
            commit_micros: self.commit_micros.get(),
            commit_partitions: self.commit_partitions.get(),
            committed_records: self.committed_records.get(),
            journaled_bytes: self.journaled_bytes.get(),
            redone_bytes: self.redone_bytes.get(),
            refused_for_room: self.refused_for_room.get(),
            failed_appends: self.failed_appends.get(),
            clean_logs: self.clean_logs.get(),
            recovered_logs: self.recovered_logs.get(),
            recovery_bytes: self.recovery_bytes.get(),
            torn_tails: self.torn_tails.get(),
            torn_bytes: self.torn_bytes.get(),
            quarantined: self.quarantined.get(),
            missing: self.missing.get(),
            scrubbed_bytes: self.scrubbed_bytes.get(),
            scrub_rounds: self.scrub_rounds.get(),
            scrub_damage: self.scrub_damage.get(),
            ..Statistics::default()
        }
    }
}

/// Values that were met, by bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// The bounds, ascending and inclusive.
    pub bounds: &'static [u64],
    /// Values up to each bound and above the one before, and last those above all.
    pub counts: Vec<u64>,
    /// Their sum.
    pub sum: u64,
}

/// What a volume has done since it was opened, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// How long each commit took, in µs.
    pub commit_micros: Distribution,
    /// How many partitions each one synced.
    pub commit_partitions: Distribution,
    /// Records that commits made durable.
    pub committed_records: u64,
    /// Bytes written to the journal.
    pub journaled_bytes: u64,
    /// Bytes of batches that the start wrote into the logs again, from the journal.
    pub redone_bytes: u64,
    /// Appends that were refused for want of room.
    pub refused_for_room: u64,
    /// Appends that the operating system failed otherwise.
    pub failed_appends: u64,
    /// Logs that had been closed in order.
    pub clean_logs: u64,
    /// Logs that had not.
    pub recovered_logs: u64,
    /// Bytes read to recover them.
    pub recovery_bytes: u64,
    /// Torn tails cut off.
    pub torn_tails: u64,
    /// Their bytes.
    pub torn_bytes: u64,
    /// Stretches that recovery quarantined.
    pub quarantined: u64,
    /// Logs that lacked acknowledged records.
    pub missing: u64,
    /// Bytes read again in the background.
    pub scrubbed_bytes: u64,
    /// Rounds over everything that were completed.
    pub scrub_rounds: u64,
    /// Stretches of damage found by that.
    pub scrub_damage: u64,
    /// Partitions that are open.
    pub partitions: u64,
    /// Log files kept open.
    pub open_files: u64,
    /// Files mapped.
    pub maps: u64,
    /// Whether records are refused for want of room.
    pub is_full: bool,
}
