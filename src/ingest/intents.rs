//! What an atomic batch promised before it wrote to several logs.
//!
//! A record batch is in a log whole or not at all, but two logs can be torn apart by a crash
//! between their appends. So **before the first append, all of them are written down here and
//! synced**, each with the offset it will have; the next start appends what is missing before
//! anything else is appended there. Readers may see one partition's events before the other's.
//!
//! ```text
//! key    15 zero bytes, 1 | 16 random bytes
//! value  1 | (topic id | partition i32 | offset i64 | bytes u32 | record batch)*
//! ```
//!
//! The partitions are locked from before the batches are made until they are appended, and durable
//! up to there before the intent is: a log ends at an intent's offset, or has its batch.

use super::replay::Partitions;
use crate::broker::Broker;
use crate::clock;
use crate::state::{Changes, State};
use crate::topic::{Absent, Partition, Topic};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;
use tidelog_protocol::Uuid;
use tidelog_protocol::records::Batch;
use tokio::runtime::Handle;

const LAYOUT: u8 = 1;
const PREFIX: Uuid = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A promise that is written down.
#[derive(Debug)]
pub(super) struct Intent {
    key: Vec<u8>,
}

/// A batch that was promised.
struct Promised {
    topic: Uuid,
    partition: i32,
    offset: i64,
    batch: Batch,
}

impl Intent {
    /// Writes down, durably, what is to be appended. Blocks: not for an async worker.
    pub(super) fn write<'a>(
        state: &State,
        batches: impl Iterator<Item = (Uuid, i32, &'a [(i64, Batch)])>,
    ) -> Self {
        let key = [PREFIX, clock::random()].concat();
        let mut value = vec![LAYOUT];
        for (topic, partition, batches) in batches {
            for (offset, batch) in batches {
                value.extend_from_slice(&topic);
                value.extend_from_slice(&partition.to_be_bytes());
                value.extend_from_slice(&offset.to_be_bytes());
                let bytes = u32::try_from(batch.bytes().len()).expect("Kafka bounds it to an i32");
                value.extend_from_slice(&bytes.to_be_bytes());
                value.extend_from_slice(batch.bytes());
            }
        }
        let changes = vec![(key.clone(), Some(value))];
        state.commit_blocking(&state.records, changes);
        Self { key }
    }

    /// Forgets it, once all of it is durable.
    pub(super) fn forget(self, state: &State) {
        // If it stays, the next start finds that nothing is missing.
        if let Err(error) = state.apply(&state.records, vec![(self.key, None)]) {
            tracing::warn!("an intent that was kept stays: {error}");
        }
    }
}

/// Appends what a crash left out, and gives the partitions where that is not possible: they must
/// take no mutations. Blocks: not for an async worker.
///
/// # Errors
/// When the state store fails.
pub(super) fn complete(broker: &Broker) -> fjall::Result<Partitions> {
    let mut unkept = Partitions::new();
    let state = &broker.shared.state;
    let mut changes = Changes::new();
    for row in state.records.prefix(PREFIX) {
        let (key, value) = row.into_inner()?;
        let broken = keep(broker, &value);
        if broken.is_empty() {
            changes.push((key.to_vec(), None));
        }
        unkept.extend(broken);
    }
    state.apply(&state.records, changes)?;
    Ok(unkept)
}

/// Keeps one promise.
fn keep(broker: &Broker, value: &[u8]) -> BTreeSet<(Uuid, i32)> {
    let mut broken = BTreeSet::new();
    for promised in read(value) {
        let place = (promised.topic, promised.partition);
        // A topic that was deleted meanwhile took its part of the promise with it.
        let Some(topic) = find(broker, &promised.topic) else { continue };
        let appended = match topic.partition(promised.partition) {
            _ if broken.contains(&place) => continue,
            Ok(partition) => append(partition, &promised),
            Err(Absent::Unknown) => continue,
            Err(offline) => Err(offline.to_string()),
        };
        match appended {
            Ok(()) => {}
            Err(reason) => {
                tracing::error!(
                    "{}-{} takes no mutations: what an atomic batch promised at offset {} cannot \
                     be appended: {reason}",
                    topic.name,
                    promised.partition,
                    promised.offset,
                );
                broken.insert(place);
            }
        }
    }
    broken
}

/// Appends what was promised, if it is not there, and waits until it is durable.
fn append(partition: &Partition, promised: &Promised) -> Result<(), String> {
    let end = partition.log().log_end_offset();
    match end.cmp(&promised.offset) {
        Ordering::Greater => {}
        Ordering::Equal => {
            partition.append(&promised.batch).map_err(|error| error.to_string())?;
        }
        Ordering::Less => return Err(format!("its log ends at {end}")),
    }
    let end = partition.log().log_end_offset();
    Handle::current().block_on(partition.past(end));
    Ok(())
}

fn find(broker: &Broker, topic: &Uuid) -> Option<Arc<Topic>> {
    broker.clusters().iter().find_map(|cluster| cluster.topics.by_id(topic))
}

/// The batches of a promise. It was written whole or not at all.
fn read(value: &[u8]) -> Vec<Promised> {
    let mut promised = Vec::new();
    let mut rest = value.strip_prefix(&[LAYOUT]).unwrap_or_default();
    while let Some((next, left)) = read_one(rest) {
        promised.push(next);
        rest = left;
    }
    promised
}

fn read_one(bytes: &[u8]) -> Option<(Promised, &[u8])> {
    let (topic, rest) = bytes.split_first_chunk()?;
    let (partition, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (batch, rest) =
        rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let batch = Batch::split_from(&mut Bytes::copy_from_slice(batch)).ok()?;
    let (partition, offset) = (i32::from_be_bytes(*partition), i64::from_be_bytes(*offset));
    Some((Promised { topic: *topic, partition, offset, batch }, rest))
}
