//! At start: brings the state of records up to the log, which is its write-ahead log.

use super::event::{Event, Kind};
use super::state::{self, Rows};
use crate::broker::Broker;
use crate::consumer;
use crate::topic::{Partition, Topic};
use std::collections::BTreeSet;
use tidelog_protocol::Uuid;

/// Bytes and records of one step.
const BYTES_MAX: usize = 8 << 20;
const RECORDS_MAX: usize = 10_000;

/// Partitions, by topic id and index.
pub(super) type Partitions = BTreeSet<(Uuid, i32)>;

/// Applies every event that is in the log and not in the store yet, and gives the partitions where
/// the log is damaged, so that their records' state is not known. They do not keep the others from
/// starting.
///
/// # Errors
/// When the state store fails.
pub(super) fn replay(broker: &Broker) -> Result<Partitions, state::Error> {
    let mut stale = Partitions::new();
    for cluster in broker.clusters() {
        for topic in cluster.topics.all() {
            if topic.sync.is_none() {
                continue;
            }
            let rows = Rows::new(broker.shared.state.clone(), topic.id);
            for (index, partition) in (0..).zip(&topic.partitions) {
                if let Err(reason) = replay_partition(&topic, index, partition, &rows)? {
                    let name = &topic.name;
                    tracing::error!("{name}-{index} takes no mutations: {reason}");
                    stale.insert((topic.id, index));
                }
            }
        }
    }
    Ok(stale)
}

/// The inner result says why the rest of the log cannot be read.
fn replay_partition(
    topic: &Topic,
    index: i32,
    partition: &Partition,
    rows: &Rows,
) -> Result<Result<(), String>, state::Error> {
    let start = partition.log().log_start_offset();
    let mut next = rows.applied(index)?.unwrap_or(start).max(start);
    while next < partition.high_watermark() {
        let read = match consumer::read(partition, next, BYTES_MAX, RECORDS_MAX) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut changes = Vec::with_capacity(read.records.len());
        for record in &read.records {
            let event = record.value.as_deref().map(Event::parse);
            match event {
                Some(Ok(event)) => {
                    let data = (event.kind != Kind::Deleted).then(|| event.data.get().as_bytes());
                    changes.push((event.id, data));
                }
                _ => {
                    let (name, offset) = (&topic.name, record.offset);
                    tracing::warn!("{name}-{index} has no event at offset {offset}; passed over");
                }
            }
        }
        let rows_changed = changes.iter().map(|(id, data)| (&**id, *data));
        rows.apply(index, read.next, rows_changed)?;
        if read.next == next {
            return Ok(Err(format!("what is at offset {next} is no batch")));
        }
        next = read.next;
    }
    Ok(Ok(()))
}
