//! Opening a partition: creating what is absent, and recovering what a crash left.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

use parking_lot::{Mutex, RwLock};

use crate::checkpoint::{
    End, LeaderEpochs, RecoveryPoint, format_topic_id, read_topic_id, write_topic_id,
};
use crate::compaction::{CLEANED_SUFFIX, finish_merges};
use crate::error::{Context, Error, Result};
use crate::fs::{Durability, Entry, TEMPORARY, create_dirs, remove_if_there};
use crate::index::Index;
use crate::log::Log;
use crate::mistake::Mistake;
use crate::partition::{Inner, OnAdvance, PartitionOptions};
use crate::recovery::{Action, Recovered, Tail};
use crate::scan::Window;
use crate::seal::NEXT;
use crate::segment::{Aborted, Segment, Setup, base_offset_of, file_name};
use crate::stable::UNKNOWN;
use crate::volume::Shared;

/// A partition to open.
pub(crate) struct Opening<'a> {
    pub shared: &'a Arc<Shared>,
    pub name: &'a Path,
    pub topic_id: [u8; 16],
    pub options: PartitionOptions,
    /// The recovery point, and whether the log was closed in order there.
    pub point: Option<RecoveryPoint>,
    pub clean: bool,
}

impl Opening<'_> {
    pub(crate) fn open(self, on_advance: OnAdvance) -> Result<(Arc<Inner>, Recovered)> {
        let dir: Arc<Path> = self.shared.root.join(self.name).into();
        let (mut sealed, begun) = self.shared.heed(self.prepare(&dir))?;
        let Some(last) = sealed.pop() else {
            unreachable!("a prepared directory has a segment");
        };
        let files = &self.shared.files;
        let mut segments: Vec<_> = sealed
            .into_iter()
            .map(|it| Arc::new(Segment::new(files, &dir, self.setup(&it, it.aborted()))))
            .collect();
        let (active, mut end, mut recovered) = self.open_last(&dir, &last)?;
        segments.push(Arc::new(active));
        if begun {
            // So this log was not closed in order, though the volume may have been since.
            recovered.clean = false;
            self.take_up_next(&dir, &mut segments, &mut end, &mut recovered)?;
        }
        let active = segments[segments.len() - 1].clone();
        let missing = self.report_missing(&active, &mut end, &mut recovered);
        let mut log = Log::new(self.options, active, end);
        log.untidy = !recovered.clean && end.position > 0;
        let stored_start = self.point.as_ref().map_or(0, |point| point.log_start_offset);
        let log_start_offset = stored_start.clamp(segments[0].base_offset, end.offset);
        let inner = Inner {
            shared: self.shared.clone(),
            name: PathBuf::from(self.name),
            topic_id: self.topic_id,
            log: Mutex::new(log),
            unwritten: Mutex::default(),
            deferred: AtomicBool::new(false),
            maintenance: Mutex::new(()),
            compacting: Mutex::new(()),
            cleaned: Mutex::new(self.point.as_ref().map(|point| point.cleaned).unwrap_or_default()),
            stopped_at: AtomicI64::new(-1),
            log_start_offset: AtomicI64::new(log_start_offset),
            segments: RwLock::new(Arc::new(segments)),
            log_end_offset: AtomicI64::new(end.offset),
            high_watermark: AtomicI64::new(end.offset),
            unstable_from: AtomicI64::new(UNKNOWN),
            queued: AtomicBool::new(false),
            scheduled: AtomicBool::new(false),
            round: AtomicU64::new(0),
            journaled: AtomicBool::new(false),
            prepared: AtomicBool::new(false),
            on_advance,
            dir,
        };
        if missing {
            // A gap inside of a segment would look like damage.
            inner.log.lock().roll(&inner)?;
        }
        let inner = Arc::new(inner);
        if missing {
            self.shared.commit(vec![inner.clone()])?;
        }
        Ok((inner, recovered))
    }

    /// Goes on with segments that were begun and have no name yet, as far as the log before each
    /// is whole. None of what they hold was acknowledged before its sync.
    fn take_up_next(
        &self,
        dir: &Arc<Path>,
        segments: &mut Vec<Arc<Segment>>,
        end: &mut End,
        recovered: &mut Recovered,
    ) -> Result<()> {
        let (files, fs) = (&self.shared.files, &*self.shared.files.fs);
        let entries = fs.list(dir).context("list", dir)?;
        let base_offset = |name: &str| base_offset_of(name.strip_suffix(".next")?);
        let next = entries.iter().filter_map(|entry| Some((base_offset(&entry.name)?, entry.len)));
        let mut next: Vec<_> = next.collect();
        next.sort_unstable();
        for (base_offset, size) in next {
            let from = dir.join(file_name(base_offset, NEXT));
            let to = dir.join(file_name(base_offset, "log"));
            let last = &segments[segments.len() - 1];
            if base_offset == end.offset && base_offset > last.base_offset {
                // Zeros that were cut off and come back would be damage once it is not the last.
                last.file(files)?.sync_data().context("sync", &last.path())?;
                // So that no index of another time is the last one's then.
                last.store_index(files, Durability::Now)?;
                fs.sync_dir(dir).context("sync", dir)?;
                fs.rename(&from, &to).context("rename", &from)?;
                fs.sync_dir(dir).context("sync", dir)?;
                let (segment, its_end, found) =
                    self.open_last(dir, &Listed::of_log(base_offset, size))?;
                segments.push(Arc::new(segment));
                *end = its_end;
                recovered.repairs.extend(found.repairs);
                recovered.scanned_bytes += found.scanned_bytes;
                continue;
            }
            let file = fs.open(&from).context("open", &from)?;
            let written = Window::new(file, size).data_end(0).context("read", &from)?;
            if written == 0 || base_offset <= last.base_offset {
                remove_if_there(fs, &from).context("remove", &from)?;
                continue;
            }
            let aside = to.with_added_extension("torn-0");
            fs.rename(&from, &aside).context("rename", &from)?;
            fs.sync_dir(dir).context("sync", dir)?;
            let reason = format!("starts at {base_offset}, but the log ends at {}", end.offset);
            recovered.report(&to, (0, written), reason, Action::Cut);
        }
        Ok(())
    }

    /// Whether acknowledged records are gone without a trace. Their offsets are not reused.
    fn report_missing(&self, last: &Segment, end: &mut End, recovered: &mut Recovered) -> bool {
        let Some(point) = self.point.as_ref().map(|point| point.end) else { return false };
        let missing = end.offset < point.offset;
        if missing {
            let same = point.segment == end.segment;
            let bytes = if same { point.position.saturating_sub(end.position) } else { 0 };
            let reason = format!("offsets {} to {} are gone", end.offset, point.offset - 1);
            recovered.report(&last.path(), (end.position, bytes), reason, Action::Missing);
            end.offset = point.offset;
        }
        missing
    }

    /// Sees that the directory is there with its metadata and a segment; returns the segments, in
    /// order, and whether there are some that were begun and have no name yet.
    fn prepare(&self, dir: &Path) -> Result<(Vec<Listed>, bool)> {
        let fs = &*self.shared.files.fs;
        {
            // Logs are opened side by side: what several lie in is there for good before any is.
            let _alone = self.shared.creating.lock();
            dir.parent().map_or(Ok(()), |parent| create_dirs(fs, parent))?;
        }
        create_dirs(fs, dir)?;
        let expected = format_topic_id(&self.topic_id);
        let mut created = false;
        match read_topic_id(fs, dir)? {
            Some(found) if found != expected => {
                return Err(Error::WrongTopic { path: dir.to_path_buf(), found, expected });
            }
            Some(_) => {}
            None => {
                write_topic_id(fs, dir, &self.topic_id)?;
                created = true;
            }
        }
        let mut entries = fs.list(dir).context("list", dir)?;
        if finish_merges(fs, dir, &entries)? {
            entries = fs.list(dir).context("list", dir)?;
        }
        let is_temporary =
            |entry: &&Entry| Path::new(&entry.name).extension().is_some_and(|it| it == TEMPORARY);
        let is_cleaned = |entry: &&Entry| entry.name.ends_with(CLEANED_SUFFIX);
        for entry in entries.iter().filter(|it| is_cleaned(it) || is_temporary(it)) {
            // What a crash interrupted, such as compaction, starts again.
            let path = dir.join(&entry.name);
            remove_if_there(fs, &path).context("remove", &path)?;
        }
        let mut segments = list_segments(&entries);
        let begun = entries.iter().any(|entry| entry.name.ends_with(NEXT));
        if segments.is_empty() {
            let base_offset = self.point.as_ref().map_or(0, |point| point.log_start_offset);
            let path = dir.join(file_name(base_offset, "log"));
            fs.create(&path).context("create", &path)?;
            if !LeaderEpochs::read(fs, dir, base_offset)?.knows(0) {
                LeaderEpochs::first(base_offset).write(fs, dir)?;
            }
            segments.push(Listed::of_log(base_offset, 0));
            created = true;
        }
        if created && !self.shared.files.mistakes.made(Mistake::SkipsDirectorySync) {
            fs.sync_dir(dir).context("sync", dir)?;
        }
        Ok((segments, begun))
    }

    fn open_last(&self, dir: &Arc<Path>, last: &Listed) -> Result<(Segment, End, Recovered)> {
        let Listed { base_offset, size, .. } = *last;
        let files = &self.shared.files;
        let point = self.point.as_ref().map(|point| point.end);
        let known = point.filter(|end| end.segment == base_offset);
        if let Some(end) = known.filter(|end| self.clean && end.position == size) {
            let recovered = Recovered { clean: true, ..Recovered::default() };
            let setup = match size {
                0 => self.empty(last),
                _ => self.setup(last, last.aborted()),
            };
            return Ok((Segment::new(files, dir, setup), end, recovered));
        }
        if size == 0 && known.is_none_or(|end| end.position == 0) {
            // Nothing to scan: a partition just created, or one that rolled last of all.
            let end = End { segment: base_offset, position: 0, offset: base_offset };
            let segment = Segment::new(files, dir, self.empty(last));
            return Ok((segment, end, Recovered { clean: self.clean, ..Recovered::default() }));
        }
        let path = dir.join(file_name(base_offset, "log"));
        let trusted = known.map_or(0, |end| end.position);
        let offset = point.map_or(base_offset, |end| end.offset);
        let interval = self.options.index_interval_bytes;
        let (trusted_end, swept) = ((trusted, offset), self.shared.swept);
        let tail = Tail { path: &path, base_offset, interval, trusted: trusted_end, swept };
        let outcome = tail.recover(files, &files.fs.open(&path).context("open", &path)?)?;
        let end =
            End { segment: base_offset, position: outcome.position, offset: outcome.next_offset };
        let aborted = match outcome.has_markers {
            true => Aborted::Unknown,
            false => Aborted::Memory(Vec::new()),
        };
        let mut setup = self.setup(&Listed { size: outcome.position, ..*last }, aborted);
        setup.index = outcome.index;
        if outcome.recovered.repairs.is_empty() {
            setup.checked_from = trusted.min(outcome.position);
        }
        Ok((Segment::new(files, dir, setup), end, outcome.recovered))
    }

    fn setup(&self, listed: &Listed, aborted: Aborted) -> Setup {
        Setup {
            base_offset: listed.base_offset,
            published: listed.size,
            checked_from: listed.size,
            index: None,
            interval: self.options.index_interval_bytes,
            aborted,
            has_txn_index: listed.has_txn_index,
        }
    }

    /// The same for one without batches.
    fn empty(&self, listed: &Listed) -> Setup {
        let index = Index::new(listed.base_offset, self.options.index_interval_bytes);
        Setup { index: Some(index), ..self.setup(listed, Aborted::Memory(Vec::new())) }
    }
}

/// A segment as the directory has it.
struct Listed {
    base_offset: i64,
    size: u64,
    has_index: bool,
    has_txn_index: bool,
}

impl Listed {
    /// One whose index files do not count.
    fn of_log(base_offset: i64, size: u64) -> Self {
        Self { base_offset, size, has_index: false, has_txn_index: false }
    }

    /// What its files say; they belong to it if there is an index.
    fn aborted(&self) -> Aborted {
        match (self.has_index, self.has_txn_index) {
            (false, _) => Aborted::Unknown,
            (true, true) => Aborted::File,
            (true, false) => Aborted::Memory(Vec::new()),
        }
    }
}

/// The segments in a directory, in order.
fn list_segments(entries: &[Entry]) -> Vec<Listed> {
    let bases = |extension: &str| -> HashSet<i64> {
        let of =
            |entry: &Entry| base_offset_of(&format!("{}.log", entry.name.strip_suffix(extension)?));
        entries.iter().filter_map(of).collect()
    };
    let (indexes, txn_indexes) = (bases(".index"), bases(".txnindex"));
    let listed = |entry: &Entry| {
        let base_offset = base_offset_of(&entry.name)?;
        let has_index = indexes.contains(&base_offset);
        let has_txn_index = txn_indexes.contains(&base_offset);
        Some(Listed { base_offset, size: entry.len, has_index, has_txn_index })
    };
    let mut segments: Vec<_> = entries.iter().filter_map(listed).collect();
    segments.sort_unstable_by_key(|segment| segment.base_offset);
    segments
}
