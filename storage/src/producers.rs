//! What idempotent producers appended last: retries are answered with the offsets they got, and
//! gaps are refused.
//!
//! Kept in memory from the first append on; on disk as Kafka's `<offset>.snapshot`, written when a
//! segment is sealed and when the log is closed: all batches before that offset.
//!
//! ```text
//! version i16 = 1 | crc-32c u32 of what follows | count i32, and each:
//! producer_id i64 | epoch i16 | last_sequence i32 | last_offset i64 | offset_delta i32
//! timestamp i64 | coordinator_epoch i32 | current_txn_first_offset i64, or -1
//! ```
//!
//! **A snapshot that does not hold counts as absent**; the batches since the one before are walked
//! instead. A snapshot keeps only the last batch of each producer, as Kafka's does; unlike Kafka,
//! the end of the log is walked for the ones before, since all five may be sent again after a
//! restart.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tidelog_protocol::records::{EndTxnMarker, Header};

use crate::error::{Error, Result};
use crate::transactions::Transactions;
use crate::txn_index::{AbortedTxn, is_abort};

/// The producers of one log.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    states: HashMap<i64, State>,
    /// Those that are not decided.
    pub transactions: Transactions,
}

/// What a log remembers of an idempotent producer, for people to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// The producer.
    pub id: i64,
    /// Its newest epoch.
    pub epoch: i16,
    /// The sequence number of its last record, -1 for none.
    pub last_sequence: i32,
    /// The largest timestamp of its last batch, in ms since 1970.
    pub last_timestamp_ms: i64,
    /// Epoch of the coordinator that last ended a transaction of it, -1 for none.
    pub coordinator_epoch: i32,
    /// Where its open transaction starts.
    pub current_txn_first_offset: Option<i64>,
}

/// A producer has at most this many batches in flight (`max.in.flight.requests.per.connection`).
const BATCHES_KEPT: usize = 5;
/// Producers of one log that are remembered; the ones that appended longest ago are forgotten.
const PRODUCERS_MAX: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    epoch: i16,
    batches: VecDeque<Kept>,
    timestamp: i64,
    coordinator_epoch: i32,
    current_txn_first_offset: Option<i64>,
    /// When it was first looked for idle ones after its last batch; `None` until then, and so it
    /// is for those read at start.
    idle_since: Option<Duration>,
}

/// Where a batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub base_offset: i64,
    pub last_offset: i64,
    /// As it was stored, in ms since 1970.
    pub max_timestamp: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    last_sequence: i32,
    last_offset: i64,
    offset_delta: i32,
    /// Of one read from a snapshot the producer's.
    max_timestamp: i64,
}

impl Kept {
    fn of(batch: &Header) -> Self {
        Self {
            last_sequence: add(batch.base_sequence, batch.last_offset_delta),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            max_timestamp: batch.max_timestamp,
        }
    }

    fn place(&self) -> Place {
        Place {
            base_offset: self.last_offset - i64::from(self.offset_delta),
            last_offset: self.last_offset,
            max_timestamp: self.max_timestamp,
        }
    }

    /// What a snapshot tells exactly.
    fn end(&self) -> (i64, i32, i32) {
        (self.last_offset, self.offset_delta, self.last_sequence)
    }

    fn has_sequences_of(&self, batch: &Header) -> bool {
        let sent = Self::of(batch);
        (self.last_sequence, self.offset_delta) == (sent.last_sequence, sent.offset_delta)
    }
}

impl Producers {
    /// Checks a batch before it is appended: where it is when it was.
    ///
    /// # Errors
    /// [`Error::OutOfOrderSequence`], [`Error::InvalidProducerEpoch`].
    pub(crate) fn check(&self, batch: &Header) -> Result<Option<Place>> {
        let Some(state) = self.states.get(&batch.producer_id) else { return Ok(None) };
        let (producer_id, epoch) = (batch.producer_id, batch.producer_epoch);
        if epoch < state.epoch {
            return Err(Error::InvalidProducerEpoch { producer_id, epoch, current: state.epoch });
        }
        if batch.attributes.is_control() {
            return Ok(None);
        }
        let expected = match state.batches.back() {
            Some(last) if epoch == state.epoch => add(last.last_sequence, 1),
            _ if epoch > state.epoch => 0,
            // After a marker nothing is known of the sequence.
            _ => return Ok(None),
        };
        let duplicate = state.batches.iter().find(|kept| kept.has_sequences_of(batch));
        if epoch == state.epoch
            && let Some(kept) = duplicate
        {
            return Ok(Some(kept.place()));
        }
        match batch.base_sequence {
            sequence if sequence == expected => Ok(None),
            sequence => Err(Error::OutOfOrderSequence { producer_id, sequence, expected }),
        }
    }

    /// Every producer, by id.
    pub(crate) fn active(&self) -> Vec<ActiveProducer> {
        let active = |(id, state): (&i64, &State)| ActiveProducer {
            id: *id,
            epoch: state.epoch,
            last_sequence: state.batches.back().map_or(-1, |kept| kept.last_sequence),
            last_timestamp_ms: state.timestamp,
            coordinator_epoch: state.coordinator_epoch,
            current_txn_first_offset: state.current_txn_first_offset,
        };
        let mut producers: Vec<_> = self.states.iter().map(active).collect();
        producers.sort_unstable_by_key(|producer| producer.id);
        producers
    }

    /// The transaction that a batch makes void, if it is such a marker and there is one.
    pub(crate) fn aborted_by(
        &self,
        batch: &Header,
        marker: Option<&EndTxnMarker>,
    ) -> Option<AbortedTxn> {
        marker.filter(|marker| is_abort(marker))?;
        let (producer_id, last_offset) = (batch.producer_id, batch.last_offset());
        let first_offset = self.states.get(&producer_id)?.current_txn_first_offset?;
        let last_stable_offset = self.transactions.stable_without(first_offset, last_offset);
        Some(AbortedTxn { producer_id, first_offset, last_offset, last_stable_offset })
    }

    /// Notes a batch that was appended, and the marker in it if it is one.
    pub(crate) fn note(&mut self, batch: &Header, marker: Option<&EndTxnMarker>) {
        if !batch.has_producer() {
            return;
        }
        let state = self.states.entry(batch.producer_id).or_insert_with(|| State {
            epoch: batch.producer_epoch,
            batches: VecDeque::new(),
            timestamp: -1,
            coordinator_epoch: -1,
            current_txn_first_offset: None,
            idle_since: None,
        });
        if batch.producer_epoch != state.epoch {
            state.epoch = batch.producer_epoch;
            state.batches.clear();
        }
        state.timestamp = batch.max_timestamp;
        state.idle_since = None;
        if batch.attributes.is_control() {
            let Some(marker) = marker else { return };
            state.coordinator_epoch = marker.coordinator_epoch;
            if let Some(first_offset) = state.current_txn_first_offset.take() {
                self.transactions.end(first_offset, batch.last_offset());
            }
            return;
        }
        // One that compaction has emptied only keeps offsets: the marker may be gone by now.
        let begins = batch.attributes.is_transactional() && batch.record_count > 0;
        if begins && state.current_txn_first_offset.is_none() {
            state.current_txn_first_offset = Some(batch.base_offset);
            self.transactions.begin(batch.base_offset, batch.producer_id);
        }
        if state.batches.len() == BATCHES_KEPT {
            state.batches.pop_front();
        }
        state.batches.push_back(Kept::of(batch));
        self.forget_oldest();
    }

    /// Takes over the earlier batches of producers whose last one is the same.
    pub(crate) fn adopt(&mut self, recent: Self) {
        for (id, recent) in recent.states {
            if let Some(state) = self.states.get_mut(&id)
                && state.epoch == recent.epoch
                && state.batches.back().map(Kept::end) == recent.batches.back().map(Kept::end)
            {
                state.batches = recent.batches;
            }
        }
    }

    /// Forgets producers that have appended nothing for `idle` and have no open transaction:
    /// Kafka's `producer.id.expiration.ms`.
    ///
    /// Unlike Kafka: the records' timestamps do not count. One who sends old records would be
    /// forgotten at once, and his retry appended again.
    pub(crate) fn expire(&mut self, now: Duration, idle: Duration) {
        self.states.retain(|_, state| {
            let since = *state.idle_since.get_or_insert(now);
            now.saturating_sub(since) < idle || state.current_txn_first_offset.is_some()
        });
    }

    fn forget_oldest(&mut self) {
        if self.states.len() <= PRODUCERS_MAX {
            return;
        }
        // An eighth at once, so that the sort is paid once in many appends.
        let last = |state: &State| state.batches.back().map_or(-1, |kept| kept.last_offset);
        let mut ages: Vec<_> = self
            .states
            .iter()
            .filter(|(_, state)| state.current_txn_first_offset.is_none())
            .map(|(id, state)| (last(state), *id))
            .collect();
        ages.sort_unstable();
        for (_, id) in ages.into_iter().take(PRODUCERS_MAX / 8) {
            self.states.remove(&id);
        }
    }

    /// The contents of a snapshot file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4 + self.states.len() * ENTRY_BYTES);
        let count = i32::try_from(self.states.len()).expect("a bounded number of producers");
        body.extend_from_slice(&count.to_be_bytes());
        let mut states: Vec<_> = self.states.iter().collect();
        states.sort_unstable_by_key(|(id, _)| **id);
        for (id, state) in states {
            let last = state.batches.back().map_or((-1, 0, -1), Kept::end);
            let (last_offset, offset_delta, last_sequence) = last;
            body.extend_from_slice(&id.to_be_bytes());
            body.extend_from_slice(&state.epoch.to_be_bytes());
            body.extend_from_slice(&last_sequence.to_be_bytes());
            body.extend_from_slice(&last_offset.to_be_bytes());
            body.extend_from_slice(&offset_delta.to_be_bytes());
            body.extend_from_slice(&state.timestamp.to_be_bytes());
            body.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
            let first = state.current_txn_first_offset.unwrap_or(-1);
            body.extend_from_slice(&first.to_be_bytes());
        }
        let mut bytes = SNAPSHOT_VERSION.to_be_bytes().to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads a snapshot; `None` when it does not hold.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first_chunk()?;
        let (crc, body) = rest.split_first_chunk()?;
        if i16::from_be_bytes(*version) != SNAPSHOT_VERSION
            || u32::from_be_bytes(*crc) != crc32c::crc32c(body)
        {
            return None;
        }
        let (count, entries) = body.split_first_chunk()?;
        let count = usize::try_from(i32::from_be_bytes(*count)).ok()?;
        if count.checked_mul(ENTRY_BYTES)? != entries.len() {
            return None;
        }
        let entries = entries.chunks_exact(ENTRY_BYTES);
        let states: HashMap<_, _> = entries.map(decode_state).collect::<Option<_>>()?;
        let mut transactions = Transactions::default();
        for (id, state) in &states {
            if let Some(first_offset) = state.current_txn_first_offset {
                transactions.begin(first_offset, *id);
            }
        }
        Some(Self { states, transactions })
    }
}

const SNAPSHOT_VERSION: i16 = 1;
const ENTRY_BYTES: usize = 46;

fn decode_state(entry: &[u8]) -> Option<(i64, State)> {
    let (id, entry) = entry.split_first_chunk()?;
    let (epoch, entry) = entry.split_first_chunk()?;
    let (last_sequence, entry) = entry.split_first_chunk()?;
    let (last_offset, entry) = entry.split_first_chunk()?;
    let (offset_delta, entry) = entry.split_first_chunk()?;
    let (timestamp, entry) = entry.split_first_chunk()?;
    let (coordinator_epoch, entry) = entry.split_first_chunk()?;
    let first = i64::from_be_bytes(entry.try_into().ok()?);
    let last = Kept {
        last_sequence: i32::from_be_bytes(*last_sequence),
        last_offset: i64::from_be_bytes(*last_offset),
        offset_delta: i32::from_be_bytes(*offset_delta),
        max_timestamp: i64::from_be_bytes(*timestamp),
    };
    let state = State {
        epoch: i16::from_be_bytes(*epoch),
        batches: (last.last_offset >= 0).then_some(last).into_iter().collect(),
        timestamp: i64::from_be_bytes(*timestamp),
        coordinator_epoch: i32::from_be_bytes(*coordinator_epoch),
        current_txn_first_offset: (first >= 0).then_some(first),
        idle_since: None,
    };
    Some((i64::from_be_bytes(*id), state))
}

/// Sequence numbers go from the largest `i32` on to 0.
fn add(sequence: i32, delta: i32) -> i32 {
    sequence.wrapping_add(delta) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_protocol::records::Attributes;

    fn batch(producer_id: i64, epoch: i16, base_sequence: i32, base_offset: i64) -> Header {
        Header {
            base_offset,
            batch_length: 100,
            leader_epoch: 0,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: 9,
            base_timestamp: base_offset,
            max_timestamp: base_offset,
            producer_id,
            producer_epoch: epoch,
            base_sequence,
            record_count: 10,
        }
    }

    fn offsets(found: Result<Option<Place>>) -> Option<(i64, i64)> {
        found.unwrap().map(|it| (it.base_offset, it.last_offset))
    }

    #[test]
    fn the_last_five_batches_are_known_again_and_gaps_are_refused() {
        let mut producers = Producers::default();
        // An unknown producer may start anywhere; its sequence wraps around.
        let start = i32::MAX - 24;
        for n in 0..7 {
            let next = batch(1, 0, add(start, n * 10), i64::from(n) * 10);
            assert_eq!(producers.check(&next).unwrap(), None, "batch {n}");
            producers.note(&next, None);
        }
        for n in 2..7 {
            let retry = batch(1, 0, add(start, n * 10), 999);
            let offset = i64::from(n) * 10;
            assert_eq!(offsets(producers.check(&retry)), Some((offset, offset + 9)));
        }
        for n in [0, 1, 8] {
            let wrong = producers.check(&batch(1, 0, add(start, n * 10), 999));
            assert!(matches!(wrong, Err(Error::OutOfOrderSequence { .. })), "batch {n}");
        }
        assert_eq!(producers.check(&batch(2, 0, 77, 999)).unwrap(), None);
    }

    #[test]
    fn a_new_epoch_starts_at_zero_and_ends_the_old_one() {
        let mut producers = Producers::default();
        producers.note(&batch(1, 3, 0, 0), None);
        let skipped = producers.check(&batch(1, 4, 10, 10));
        assert!(matches!(skipped, Err(Error::OutOfOrderSequence { expected: 0, .. })));
        assert_eq!(producers.check(&batch(1, 4, 0, 10)).unwrap(), None);
        producers.note(&batch(1, 4, 0, 10), None);
        let old = producers.check(&batch(1, 3, 10, 20));
        assert!(matches!(old, Err(Error::InvalidProducerEpoch { current: 4, .. })));
        assert_eq!(offsets(producers.check(&batch(1, 4, 0, 20))), Some((10, 19)));
    }

    #[test]
    fn a_snapshot_keeps_the_last_batches_and_any_changed_byte_voids_it() {
        let mut producers = Producers::default();
        for n in 0..3 {
            producers.note(&batch(5, 2, n * 10, i64::from(n) * 10), None);
        }
        producers.note(&batch(6, 0, 0, 30), None);
        let bytes = producers.encode();
        assert_eq!(bytes.len(), 6 + 4 + 2 * ENTRY_BYTES);
        let read = Producers::decode(&bytes).unwrap();
        assert_eq!(offsets(read.check(&batch(5, 2, 20, 99))), Some((20, 29)));
        assert_eq!(read.check(&batch(5, 2, 30, 99)).unwrap(), None);
        assert_eq!(offsets(read.check(&batch(6, 0, 0, 99))), Some((30, 39)));
        for n in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[n] ^= 1;
            assert!(Producers::decode(&changed).is_none(), "byte {n}");
            assert!(Producers::decode(&bytes[..n]).is_none(), "cut at {n}");
        }
    }

    #[test]
    fn the_producers_remembered_are_bounded_and_idle_ones_expire() {
        let mut producers = Producers::default();
        for n in 0..2 * PRODUCERS_MAX as i64 {
            producers.note(&batch(n, 0, 0, n * 10), None);
            assert!(producers.states.len() <= PRODUCERS_MAX);
        }
        let newest = 2 * PRODUCERS_MAX as i64 - 1;
        assert!(producers.check(&batch(newest, 0, 0, 0)).unwrap().is_some());
        let (remembered, hour) = (producers.states.len(), Duration::from_secs(3600));
        producers.expire(9 * hour, hour);
        producers.note(&batch(newest, 0, 10, 0), None);
        producers.expire(10 * hour - Duration::from_secs(1), hour);
        assert_eq!(producers.states.len(), remembered);
        producers.expire(10 * hour, hour);
        assert_eq!(producers.states.len(), 1);
    }
}
