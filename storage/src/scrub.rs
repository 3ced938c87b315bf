//! Reading again what is stored, so that damage is known before somebody needs the bytes.
//!
//! A *round* goes over all logs, by name and by offset, a step at a time; how fast is the caller's
//! to say. The last segment of each counts too, as far as its file is synced: a log that takes no
//! more records has it for ever, and a start looks at no more than its end. Batches are read from
//! the disk and not from the page cache, and are checked as recovery checks them. **Damage is
//! quarantined, never cut**: it is told once, and reads around it go on, checking every checksum of
//! that segment from then on.
//!
//! Where a round is stands in the recovery checkpoint, so that a restart does not begin it again.
//! Between two rounds nothing is done at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::partition::Inner;
use crate::recovery::{Action, Repair};
use crate::scan::Window;
use crate::segment::Segment;
use crate::volume::{Shared, Volume};

/// Where the rounds are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// When the last one began, in ms since 1970; 0 before the first.
    pub began_ms: i64,
    /// The log and the offset to go on at; `None` when it is complete.
    pub next: Option<(PathBuf, i64)>,
}

/// What a step found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// Damage that was not known before.
    pub damage: Vec<Repair>,
}

/// Damage that is remembered, so that it is told once.
const KNOWN_MAX: usize = 100_000;

impl Volume {
    /// Checks about `max_bytes` more of what is stored, at least a batch; `None` when there is
    /// nothing to do, since a round is complete that began less than `period_ms` before `now_ms`.
    ///
    /// # Errors
    /// [`Error::Poisoned`] after a failed sync. Damage is no error, nor are bytes that the disk
    /// does not give.
    pub fn scrub(&self, now_ms: i64, period_ms: i64, max_bytes: u64) -> Result<Option<Scrubbed>> {
        let shared = self.shared();
        shared.check_healthy()?;
        let _alone = shared.scrubbing.lock();
        let mut round = shared.round.lock().clone();
        let (name, offset) = match round.next.take() {
            Some(next) => next,
            None if (0..period_ms).contains(&(now_ms - round.began_ms)) => return Ok(None),
            None => {
                round.began_ms = now_ms;
                (PathBuf::new(), 0)
            }
        };
        let mut step = Step { shared, left: max_bytes, found: Scrubbed::default() };
        let is_left = |inner: &&Arc<Inner>| inner.name.as_os_str() >= name.as_os_str();
        for inner in shared.open_partitions().iter().filter(is_left) {
            let from = if inner.name == name { offset } else { 0 };
            if let Some(offset) = step.log(inner, from)? {
                round.next = Some((inner.name.clone(), offset));
                break;
            }
        }
        shared.counters.scrubbed_bytes.add(step.found.bytes);
        shared.counters.scrub_rounds.add(u64::from(round.next.is_none()));
        *shared.round.lock() = round;
        shared.checkpointer.note_change();
        Ok(Some(step.found))
    }
}

struct Step<'a> {
    shared: &'a Shared,
    left: u64,
    found: Scrubbed,
}

impl Step<'_> {
    /// Checks the segments of a log from `from` on; where to go on, unless all are done.
    fn log(&mut self, inner: &Inner, from: i64) -> Result<Option<i64>> {
        let synced = inner.log.lock().recovery_point;
        let segments = inner.segments();
        let first = segments.partition_point(|it| it.base_offset <= from).saturating_sub(1);
        for segment in segments[first..].iter().filter(|it| it.base_offset <= synced.segment) {
            let is_last = segment.base_offset == synced.segment;
            let end = if is_last { synced.position } else { segment.published() };
            let from = from.max(segment.base_offset);
            if self.left == 0 {
                return Ok(Some(from));
            }
            let (next, damage) = self.segment(segment, from, end)?;
            // A file that was removed or replaced meanwhile says nothing of the log.
            let is_there = inner.segments().iter().any(|it| Arc::ptr_eq(it, segment));
            if !damage.is_empty() && is_there {
                segment.suspect();
                self.report(damage);
            }
            if next.is_some() {
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// Checks a segment from the batch of `from` on up to the position `end`, as far as `left`
    /// goes; gives the offset to go on at, unless that is its end, and the damage.
    fn segment(
        &mut self,
        segment: &Segment,
        from: i64,
        end: u64,
    ) -> Result<(Option<i64>, Vec<Repair>)> {
        let path = segment.path();
        let mut damage = Vec::new();
        let mut walk = Walk { next_offset: segment.base_offset, position: 0, end, from, bytes: 0 };
        let walked = self.walk(segment, &mut walk, &mut damage);
        self.left = self.left.saturating_sub(walk.bytes);
        self.found.bytes += walk.bytes;
        match walked {
            Ok(next) => Ok((next, damage)),
            Err(Error::Io { source, .. }) => {
                let reason = format!("cannot be read: {source}");
                damage.push(quarantined(&path, (walk.position, end), reason));
                Ok((None, damage))
            }
            Err(error) => Err(error),
        }
    }

    fn walk(
        &self,
        segment: &Segment,
        walk: &mut Walk,
        damage: &mut Vec<Repair>,
    ) -> Result<Option<i64>> {
        let (path, files) = (segment.path(), &self.shared.files);
        walk.position = segment.floor(files, walk.from)?;
        let most = self.left.min(walk.end.saturating_sub(walk.position));
        let file = segment.file_past_cache(files, walk.position, most)?;
        let mut window = Window::new(file, walk.end);
        while walk.position < window.end() {
            if walk.bytes >= self.left {
                return Ok(Some(walk.next_offset));
            }
            let position = walk.position;
            let header = window.header(position, walk.next_offset).context("read", &path)?;
            let reason = match header {
                Ok(header)
                    if window.checksum_holds(&header, position).context("read", &path)? =>
                {
                    walk.pass(header.last_offset() + 1, position + header.total_bytes() as u64);
                    continue;
                }
                Ok(_) => "the checksum does not match".to_owned(),
                Err(reason) => reason,
            };
            let found = window.resync(position, walk.next_offset).context("read", &path)?;
            let (end, offset) = match found {
                Some((end, header)) => (end, header.base_offset),
                None => (window.end(), i64::MAX),
            };
            damage.push(quarantined(&path, (position, end), reason));
            walk.pass(offset, end);
        }
        Ok(None)
    }

    /// Notes damage, unless it is known: what it reaches to is the same wherever one comes from.
    fn report(&mut self, damage: Vec<Repair>) {
        let mut known = self.shared.known_damage.lock();
        for repair in damage {
            let key = (repair.file.clone(), repair.position + repair.bytes);
            if known.len() < KNOWN_MAX && known.insert(key) {
                self.shared.counters.scrub_damage.add(1);
                self.found.damage.push(repair);
            }
        }
    }
}

/// Where a walk over a segment is.
struct Walk {
    position: u64,
    next_offset: i64,
    /// The position to end at.
    end: u64,
    /// The offset to begin at: what the index leads to may lie before.
    from: i64,
    /// Read from there on.
    bytes: u64,
}

impl Walk {
    fn pass(&mut self, next_offset: i64, position: u64) {
        if next_offset > self.from {
            self.bytes += position - self.position;
        }
        (self.next_offset, self.position) = (next_offset, position);
    }
}

fn quarantined(path: &Path, (position, end): (u64, u64), reason: String) -> Repair {
    let (file, action) = (path.to_path_buf(), Action::Quarantined);
    Repair { file, position, bytes: end - position, reason, action }
}
