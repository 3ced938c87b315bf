//! Finding aborted transactions in the batches, for segments that have no file that says them.
//!
//! An abort marker says whose transaction it ends, not where that began, which may be segments ago.
//! So the walk begins at a producer snapshot, or at the start of the log, unless the segments that
//! do not know have no such marker: the usual case, which takes a look at them alone.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::Durability;
use crate::log::Log;
use crate::partition::Inner;
use crate::segment::Segment;
use crate::snapshot::Snapshots;
use crate::txn_index::is_abort;

impl Log {
    /// Sees that all segments know their aborted transactions.
    pub(crate) fn find_aborted(&self, home: &Inner, snapshots: &Snapshots) -> Result<()> {
        let segments = home.segments();
        let unknown: Vec<_> = segments.iter().filter(|it| !it.knows_aborted()).collect();
        let mut last = None;
        for segment in &unknown {
            if has_abort(home, segment)? {
                last = Some(segment.base_offset);
            } else {
                segment.set_aborted(&[]);
            }
        }
        if let (Some(first), Some(last)) = (unknown.first(), last) {
            walk(home, snapshots, (first.base_offset, last), &segments)?;
        }
        self.store_found(home, unknown.into_iter())
    }

    /// Writes the indexes of those that are sealed, so that the next start finds them.
    fn store_found<'a>(
        &self,
        home: &Inner,
        found: impl Iterator<Item = &'a Arc<Segment>>,
    ) -> Result<()> {
        let mut sealed = found.filter(|it| it.base_offset < self.durable.segment).peekable();
        // Files may be on their way out; then they stay in memory.
        let (Some(_), Some(_alone)) = (sealed.peek(), home.maintenance.try_lock()) else {
            return Ok(());
        };
        let files = &home.shared.files;
        for segment in sealed {
            segment.load_index(files)?;
            home.shared.heed(segment.store_index(files, Durability::Now))?;
        }
        home.sync_dir()
    }
}

fn has_abort(home: &Inner, segment: &Segment) -> Result<bool> {
    let mut found = false;
    let walked = segment.each_from(&home.shared.files, segment.base_offset, |_, marker| {
        found |= marker.as_ref().is_some_and(is_abort);
    });
    skip_damage(walked).map(|()| found)
}

/// Fills in those from the segment at `first` to the one at `last` that do not know.
fn walk(
    home: &Inner,
    snapshots: &Snapshots,
    (first, last): (i64, i64),
    segments: &[Arc<Segment>],
) -> Result<()> {
    let (from, mut producers) = snapshots.before(home, first);
    let start = segments.partition_point(|it| it.base_offset <= from).saturating_sub(1);
    for segment in segments[start..].iter().filter(|it| it.base_offset <= last) {
        let mut found = Vec::new();
        let walked = segment.each_from(&home.shared.files, from, |batch, marker| {
            found.extend(producers.aborted_by(batch, marker.as_ref()));
            producers.note(batch, marker.as_ref());
        });
        skip_damage(walked)?;
        if !segment.knows_aborted() {
            segment.set_aborted(&found);
        }
    }
    Ok(())
}

/// Damage is told to who reads it; the walk goes around.
fn skip_damage(walked: Result<()>) -> Result<()> {
    match walked {
        Err(Error::Corrupt { .. }) => Ok(()),
        walked => walked,
    }
}
