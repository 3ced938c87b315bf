//! The second look: rows that no event was met for.

use super::{Check, Difference, Failed, Kind, Met};
use crate::consumer;
use crate::ingest::replay::after;
use crate::topic::Partition;

impl Check<'_> {
    /// Looks at every row; `met` says by partition what was met in the log.
    pub(super) fn rows(&mut self, met: &[Met]) -> Result<(), Failed> {
        let mut rows = vec![0; met.len()];
        for row in self.view.rows() {
            let (id, row) = row?;
            if row.data.is_none() {
                continue;
            }
            self.report.records += 1;
            let at = usize::try_from(self.partition_of(&id)).unwrap_or(0);
            match row.offset {
                offset if offset < met[at].start => self.report.unverified += 1,
                // Nothing is in the store that is not durable in the log.
                offset if offset >= met[at].end => {
                    let partition = self.partition_of(&id);
                    self.differs(Difference { partition, id, offset, kind: Kind::Phantom })?;
                }
                _ => rows[at] += 1,
            }
        }
        for (index, partition) in self.stream.partitions() {
            let at = usize::try_from(index).unwrap_or(0);
            if rows[at] > met[at].rows {
                self.phantoms(index, partition, met[at])?;
            }
        }
        Ok(())
    }

    /// Finds the rows of a partition that are of no event, one by one.
    fn phantoms(&mut self, index: i32, partition: &Partition, met: Met) -> Result<(), Failed> {
        for row in self.view.rows() {
            let (id, row) = row?;
            let offset = row.offset;
            let is_within = (met.start..met.end).contains(&offset);
            if row.data.is_none() || !is_within || self.partition_of(&id) != index {
                continue;
            }
            let read = consumer::read(partition, offset, 1, 1);
            let records = read.map(|read| read.records).unwrap_or_default();
            let found = records.first().filter(|record| record.offset == offset).and_then(after);
            if found.is_none_or(|(of, _)| *of != *id) {
                self.differs(Difference { partition: index, id, offset, kind: Kind::Phantom })?;
            }
        }
        Ok(())
    }
}
