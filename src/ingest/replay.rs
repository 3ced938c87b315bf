//! At start: brings the state of records up to the log, which is its write-ahead log.

use super::event::{Event, Kind};
use super::state::Rows;
use crate::broker::Broker;
use crate::consumer;
use crate::topic::{Partition, Topic};
use anyhow::{Context, Result};

/// Bytes and records of one step.
const BYTES_MAX: usize = 8 << 20;
const RECORDS_MAX: usize = 10_000;

/// Applies every event that is in the log and not in the store yet.
pub(super) fn replay(broker: &Broker) -> Result<()> {
    for cluster in broker.clusters() {
        for topic in cluster.topics.all() {
            if topic.sync.is_none() {
                continue;
            }
            let rows = Rows::new(broker.shared.state.clone(), topic.id);
            for (index, partition) in (0..).zip(&topic.partitions) {
                replay_partition(&topic, index, partition, &rows)
                    .with_context(|| format!("replaying {}-{index}", topic.name))?;
            }
        }
    }
    Ok(())
}

fn replay_partition(topic: &Topic, index: i32, partition: &Partition, rows: &Rows) -> Result<()> {
    let start = partition.log().log_start_offset();
    let mut next = rows.applied(index)?.unwrap_or(start).max(start);
    while next < partition.high_watermark() {
        let read = consumer::read(partition, next, BYTES_MAX, RECORDS_MAX)?;
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
        // A batch that is no batch any more ends the read without moving it.
        if read.next == next {
            break;
        }
        next = read.next;
    }
    Ok(())
}
