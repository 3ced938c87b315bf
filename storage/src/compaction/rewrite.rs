//! Writing segments anew, without the records that a later one replaced.

use std::collections::HashSet;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use tidelog_protocol::records::Batch;

use super::keys::Keys;
use super::transactions::Transactions;
use super::{CLEANED_SUFFIX, Compaction, Io, RECORDS_BYTES_MAX, Sealed, readable};
use crate::error::{Context, Result};
use crate::fs::{File, read_exact_at, remove_if_there, write_all_at};
use crate::index::Index;
use crate::partition::Inner;
use crate::segment::{Aborted, Segment, Setup, file_name};
use crate::txn_index::{AbortedTxn, ENTRIES_MAX, Entry, marker_of};

/// Bytes written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Positions in an index have 31 bits. In tests of this module no file is that long.
const SEGMENT_BYTES_MAX: u64 = if cfg!(test) { 64 << 10 } else { i32::MAX as u64 };

/// One pass over a log.
pub(super) struct Pass<'a> {
    pub io: Io<'a>,
    pub keys: Keys,
    /// When the first of the tombstones that were met may go.
    pub horizon: Option<i64>,
    now_ms: i64,
    compaction: Compaction,
    /// Whether something was left whole: with older values, so no tombstone after it goes.
    left: bool,
    /// Whether no batch may grow, since the segment would be too long then: what goes goes, but
    /// nothing gets a delete horizon, for which every record of its batch is written longer.
    tight: bool,
    /// Whether a batch of the group got its delete horizon.
    marked: bool,
    /// Whether a record of the group goes.
    dropped: bool,
    transactions: Transactions,
    /// Producers in the middle of a transaction before each segment of the group, and after.
    met: Vec<HashSet<i64>>,
    /// Whether records that were to go had to stay. The next pass has to know their keys again, or
    /// it would take the tombstones after them for the last of their keys.
    pub undone: bool,
}

/// What became of a new segment.
enum Written {
    /// It holds this many of the old ones.
    Whole(usize),
    /// It is not worth having, or cannot be; it would hold this many of the old ones.
    Same(usize),
    /// The old one at this place is damaged.
    Damaged(usize),
}

/// What becomes of a batch.
enum Kept {
    Whole,
    Part(Batch),
    Nothing,
}

impl<'a> Pass<'a> {
    pub(super) fn new(io: Io<'a>, keys: Keys, now_ms: i64, compaction: Compaction) -> Self {
        Self {
            io,
            keys,
            horizon: None,
            now_ms,
            compaction,
            left: false,
            tight: false,
            marked: false,
            dropped: false,
            transactions: Transactions::default(),
            met: Vec::new(),
            undone: false,
        }
    }

    /// Writes the first of `sealed` anew, and with it its neighbours as far as they fit one
    /// segment, if there are several or it gets smaller. Returns how many were looked at, and the
    /// bytes saved if they were written.
    pub(super) fn rewrite(&mut self, sealed: &[Sealed]) -> Result<(usize, Option<u64>)> {
        let mut new = NewSegment::of(self.io.inner, &sealed[0]);
        match self.write(sealed, &mut new) {
            Ok(Written::Whole(several)) => Ok((several, self.replace(&sealed[..several], new)?)),
            Ok(Written::Same(several)) => {
                new.discard()?;
                match (self.dropped, several) {
                    (false, _) => {
                        self.go_back_to(1);
                        Ok((1, None))
                    }
                    (true, 2..) => {
                        self.go_back_to(0);
                        self.rewrite(&sealed[..1])
                    }
                    (true, _) if !self.tight => {
                        self.go_back_to(0);
                        self.tight = true;
                        let rewritten = self.rewrite(&sealed[..1]);
                        self.tight = false;
                        rewritten
                    }
                    (true, _) => {
                        self.leave();
                        Ok((1, None))
                    }
                }
            }
            // It keeps those before it from nothing but its company.
            Ok(Written::Damaged(0)) => new.discard().map(|()| (1, None)),
            Ok(Written::Damaged(sound)) => {
                new.discard()?;
                self.go_back_to(0);
                self.rewrite(&sealed[..sound])
            }
            Err(error) => {
                // What is left is removed when the log is opened, if not now.
                let _the_first_error_counts = new.discard();
                Err(error)
            }
        }
    }

    /// Is again before this one of the group's segments.
    fn go_back_to(&mut self, segment: usize) {
        if let Some(met) = self.met.get(segment) {
            self.transactions.go_back(met.clone());
        }
    }

    fn write(&mut self, sealed: &[Sealed], new: &mut NewSegment<'_>) -> Result<Written> {
        (self.marked, self.dropped) = (false, false);
        self.met.clear();
        let limit = self.io.inner.log.lock().options.segment_bytes.min(SEGMENT_BYTES_MAX);
        for (n, next) in sealed.iter().enumerate() {
            let Sealed { segment, end } = next;
            self.met.push(self.transactions.met());
            self.transactions.enter(self.io.inner, next)?;
            let offsets = end.saturating_sub(new.old.base_offset);
            let fits = new.position + segment.published() <= limit
                && offsets <= i64::from(i32::MAX)
                && new.aborted.len() + self.transactions.len() <= ENTRIES_MAX;
            if n > 0 {
                if !fits {
                    return self.complete(&sealed[..n], new);
                }
                new.begin(&mut self.io)?;
            }
            if !self.add(segment, new)? {
                return Ok(Written::Damaged(n));
            }
        }
        self.complete(sealed, new)
    }

    /// Adds what stays of a segment; false if it is damaged.
    fn add(&mut self, segment: &Segment, new: &mut NewSegment<'_>) -> Result<bool> {
        let (mut at, size) = (0, segment.published());
        new.placeholder = None;
        segment.each_batch(&self.io.inner.shared.files, |batch| {
            at += batch.bytes().len() as u64;
            self.io.took(batch.bytes().len())?;
            let kept = match batch.header().attributes.is_control() {
                true => self.retain_marker(&batch, new),
                false => self.retain(&batch),
            };
            let stands_for_its_last = at == size && batch.header().record_count == 0;
            if !matches!(kept, Kept::Whole) && !stands_for_its_last {
                new.begin(&mut self.io)?;
            }
            match kept {
                Kept::Whole => new.append(&mut self.io, &batch),
                Kept::Part(part) => new.append(&mut self.io, &part),
                Kept::Nothing => {
                    new.placeholder = (at == size).then(|| batch.retaining(&[], None));
                    Ok(())
                }
            }
        })
    }

    fn complete(&mut self, group: &[Sealed], new: &mut NewSegment<'_>) -> Result<Written> {
        if let Some(last) = new.placeholder.take() {
            new.append(&mut self.io, &last)?;
        }
        // A file that grew is worth it for what happens once: records that go, or else the next
        // pass, which does not know that they were to, would keep them and drop the tombstones
        // after them; and a new horizon, without which tombstones would stay for ever.
        let grew = new.position > bytes_of(group) && !self.marked && !self.dropped;
        // Of several, a crash could not tell the first from a new one of its length.
        let worth_it = match group {
            [_] => !grew,
            several => new.position != several[0].segment.published(),
        };
        if new.file.is_none() || !worth_it || new.position > SEGMENT_BYTES_MAX {
            return Ok(Written::Same(group.len()));
        }
        new.complete(&mut self.io)?;
        Ok(Written::Whole(group.len()))
    }

    fn replace(&mut self, group: &[Sealed], new: NewSegment<'_>) -> Result<Option<u64>> {
        let saved = bytes_of(group).saturating_sub(new.position);
        let inner = self.io.inner;
        let setup = Setup {
            base_offset: new.index.base_offset(),
            published: new.position,
            checked_from: 0,
            index: Some(new.index),
            interval: inner.log.lock().options.index_interval_bytes,
            aborted: Aborted::Memory(new.aborted),
            has_txn_index: group[0].segment.has_txn_index(),
        };
        let segment = Segment::new(&inner.shared.files, &inner.dir, setup);
        let swapped = inner.swap(group, Arc::new(segment), &new.path)?;
        if !swapped {
            self.try_again();
        }
        Ok(swapped.then_some(saved))
    }

    /// Notes that some of the group was removed meanwhile, and the rest is as it was: what was to
    /// go from it is still there. The next pass, which is due at once, takes it as it is then.
    fn try_again(&mut self) {
        self.leave();
        self.horizon = Some(self.horizon.map_or(self.now_ms, |first| first.min(self.now_ms)));
    }

    /// Notes that records stay which were to go.
    fn leave(&mut self) {
        (self.left, self.undone) = (true, true);
    }

    /// What stays of a batch of records.
    fn retain(&mut self, batch: &Batch) -> Kept {
        let header = batch.header();
        self.transactions.meet(header);
        if header.base_offset < self.keys.end && self.transactions.is_void(header) {
            self.dropped |= header.record_count > 0;
            return Kept::Nothing;
        }
        let Some(mut records) = readable(batch) else {
            self.left = true;
            return Kept::Whole;
        };
        if header.base_offset >= self.keys.end {
            return Kept::Whole;
        }
        let before = records.len();
        let known = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        let expired = !self.left && known.is_some_and(|horizon| horizon <= self.now_ms);
        records.retain(|record| !(self.keys.replaced(record) || expired && record.value.is_none()));
        self.dropped |= records.len() < before;
        let has_tombstones = records.iter().any(|record| record.value.is_none());
        let marks = has_tombstones && (known.is_some() || !self.tight);
        let horizon = marks.then(|| self.horizon_of(known));
        if records.is_empty() {
            return Kept::Nothing;
        }
        if records.len() == before && (horizon.is_none() || horizon == known) {
            return Kept::Whole;
        }
        let part = batch.retaining(&records, horizon.or(known));
        if self.tight && part.bytes().len() > batch.bytes().len() {
            // Its producer compressed it better than is done here.
            self.leave();
            return Kept::Whole;
        }
        Kept::Part(part)
    }

    /// What stays of a control batch.
    fn retain_marker(&mut self, batch: &Batch, new: &mut NewSegment<'_>) -> Kept {
        let header = batch.header();
        if header.record_count == 0 {
            return Kept::Nothing;
        }
        if marker_of(batch).is_none() {
            return Kept::Whole;
        }
        if self.transactions.end(header) || header.base_offset >= self.keys.end {
            new.aborted.extend(self.transactions.around(header).map(AbortedTxn::encode));
            return Kept::Whole;
        }
        let known = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        if known.is_some_and(|horizon| horizon <= self.now_ms) {
            self.dropped = true;
            return Kept::Nothing;
        }
        if self.tight && known.is_none() {
            return Kept::Whole;
        }
        let horizon = self.horizon_of(known);
        let records: std::result::Result<Vec<_>, _> = match batch.records(RECORDS_BYTES_MAX) {
            Ok(records) if known.is_none() => records.collect(),
            _ => return Kept::Whole,
        };
        records.map_or(Kept::Whole, |it| Kept::Part(batch.retaining(&it, Some(horizon))))
    }

    /// When something goes that readers have to see before: as the batch says, or from now on.
    fn horizon_of(&mut self, known: Option<i64>) -> i64 {
        let fresh = self.now_ms.saturating_add(self.compaction.delete_retention_ms);
        let horizon = known.unwrap_or(fresh);
        // What has to stay past its time, for what was left before it, is no reason for a pass: the
        // next one would find the same, and read all of the log for it.
        if known.is_none_or(|known| known > self.now_ms) {
            self.horizon = Some(self.horizon.map_or(horizon, |first| first.min(horizon)));
        }
        self.marked |= known.is_none();
        horizon
    }
}

fn bytes_of(group: &[Sealed]) -> u64 {
    group.iter().map(|it| it.segment.published()).sum()
}

/// A segment being written. **There is no file until something differs from the old one.**
struct NewSegment<'a> {
    inner: &'a Inner,
    /// The first of the segments that it is to replace.
    old: &'a Segment,
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    out: Vec<u8>,
    written: u64,
    position: u64,
    index: Index,
    aborted: Vec<Entry>,
    /// Stands for the last batch if nothing stays of it, so that no reader waits at a gap.
    placeholder: Option<Batch>,
}

impl<'a> NewSegment<'a> {
    fn of(inner: &'a Inner, first: &'a Sealed) -> Self {
        let old = &*first.segment;
        let name = file_name(old.base_offset, CLEANED_SUFFIX.trim_start_matches('.'));
        let index = Index::new(old.base_offset, inner.log.lock().options.index_interval_bytes);
        let path = inner.dir.join(name);
        Self {
            inner,
            old,
            path,
            file: None,
            out: Vec::new(),
            written: 0,
            position: 0,
            index,
            aborted: Vec::new(),
            placeholder: None,
        }
    }

    /// Creates the file, unless it is there, with what was kept so far: all of the old one.
    fn begin(&mut self, io: &mut Io<'_>) -> Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        {
            // Or the directory might be another log's by now.
            let _in_place = self.inner.maintenance.lock();
            self.inner.check_open()?;
            let files = &self.inner.shared.files;
            self.file = Some(files.fs.create(&self.path).context("create", &self.path)?);
        }
        let old = self.old.file(&self.inner.shared.files)?;
        while self.written < self.position {
            let left = usize::try_from(self.position - self.written).unwrap_or(WRITE_BYTES);
            self.out.resize(left.min(WRITE_BYTES), 0);
            let read = read_exact_at(&*old, &mut self.out, self.written);
            read.context("read", &self.old.path())?;
            self.flush(io)?;
        }
        Ok(())
    }

    fn append(&mut self, io: &mut Io<'_>, batch: &Batch) -> Result<()> {
        self.index.observe(batch.header(), self.position);
        self.position += batch.bytes().len() as u64;
        if self.file.is_some() {
            self.out.extend_from_slice(batch.bytes());
        }
        if self.out.len() < WRITE_BYTES { Ok(()) } else { self.flush(io) }
    }

    fn flush(&mut self, io: &mut Io<'_>) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.inner.shared.check_compaction()?;
        let parts = &mut [IoSlice::new(&self.out)];
        write_all_at(&**file, parts, self.written).context("write", &self.path)?;
        self.written += self.out.len() as u64;
        io.took(self.out.len())?;
        self.out.clear();
        Ok(())
    }

    /// Makes the file durable.
    fn complete(&mut self, io: &mut Io<'_>) -> Result<()> {
        self.flush(io)?;
        let Some(file) = &self.file else { return Ok(()) };
        file.set_len(self.position).context("cut", &self.path)?;
        self.inner.shared.sync(|| file.sync_data().context("sync", &self.path))
    }

    fn discard(&self) -> Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let _in_place = self.inner.maintenance.lock();
        self.inner.check_open()?;
        let fs = &*self.inner.shared.files.fs;
        remove_if_there(fs, &self.path).context("remove", &self.path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use tidelog_protocol::records::{Batch, BatchBuilder, Compression};

    use super::SEGMENT_BYTES_MAX;
    use crate::fs::Disk;
    use crate::{Compaction, Flush, Partition, PartitionOptions, Volume, VolumeOptions};

    const NOW_MS: i64 = 1_800_000_000_000;
    const ALL: Compaction = Compaction {
        dirty_ratio_min: 0.0,
        lag_min_ms: 0,
        lag_max_ms: i64::MAX,
        delete_retention_ms: 1,
        keys_max: 100_000,
        until: i64::MAX,
    };

    /// Fifty keys of its own, one of them deleted, and one that all batches have.
    fn batch(n: u32) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None, 1 << 16);
        for key in 0..50 {
            let (key, value) = (format!("{n}-{key}"), (key > 0).then_some(&b"value"[..]));
            builder.append(0, Some(key.as_bytes()), value, &[]).unwrap();
        }
        builder.append(0, Some(b"shared"), Some(b"value"), &[]).unwrap();
        builder.finish().unwrap()
    }

    fn keys(partition: &Partition) -> Vec<String> {
        let (mut next, mut keys) = (0, Vec::new());
        while next < partition.high_watermark() {
            let mut read = partition.read(next, 1 << 20, i64::MAX).unwrap();
            while !read.is_empty() {
                let batch = Batch::split_from(&mut read).unwrap();
                next = batch.header().last_offset() + 1;
                let records = batch.records(1 << 20).unwrap().map(|it| it.unwrap().key.unwrap());
                keys.extend(records.map(|key| String::from_utf8(key.to_vec()).unwrap()));
            }
        }
        keys
    }

    /// Each record of a batch with a tombstone takes longer once that has its delete horizon.
    #[test]
    fn a_segment_that_would_be_too_long_is_compacted_without_delete_horizons() {
        let root = tempfile::tempdir().unwrap();
        let options = VolumeOptions { flush: Flush::Manual };
        let volume = Volume::open(Arc::new(Disk), root.path(), options, Box::new(|_| {})).unwrap();
        let segment_bytes = SEGMENT_BYTES_MAX - 1000;
        let options = PartitionOptions { segment_bytes, ..PartitionOptions::default() };
        let opened = volume.open_partition(Path::new("red-0"), [1; 16], options, Box::new(|_| {}));
        let partition = opened.unwrap().0;
        let mut batches = 0;
        while partition.0.segments().len() < 3 {
            partition.append(&batch(batches), 0).unwrap();
            batches += 1;
        }
        volume.sync().unwrap();
        let sealed_end = partition.0.segments()[2].base_offset;
        let compacted = partition.compact(NOW_MS, ALL, &mut |_| {}).unwrap();
        assert_eq!(compacted.segments, 2);
        assert_eq!(partition.0.cleaned.lock().end, sealed_end, "it goes on from there");
        let left = keys(&partition);
        assert_eq!(left.iter().filter(|key| *key == "shared").count(), 2, "and the active one");
        assert_eq!(left.len() as u32, batches * 50 + 2);
        let again = partition.compact(NOW_MS, ALL, &mut |_| {}).unwrap();
        assert_eq!(again.segments, 0);
        volume.close().unwrap();
    }
}
