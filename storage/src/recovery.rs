//! What is done to the last segment of a log that was not closed in order.
//!
//! Segments before the last are durable, since the last got its name after them (see the `seal`
//! module); only the last one is walked, and those that have no name yet after it: up
//! to the *trusted* position (the recovery point) header by header, and from there on with
//! checksums. Of a long segment the walk begins at the last batch before that position, so a start
//! takes no longer the more the logs hold: index and aborted transactions are then found at the
//! first use, and damage before by readers and by the scrubber. The first batch that does not hold
//! decides:
//!
//! 1. **Only zeros follow**: preallocated space, cut off.
//! 2. **Below the trusted position, or a good batch follows**: acknowledged bytes are damaged. They
//!    are kept, reported, and stepped over.
//! 3. **Nothing good follows, or a block in between was never written**: a torn tail. Writes that
//!    no sync covered reach the disk in any order, so what follows a hole cannot have been
//!    acknowledged. The bytes are saved to `<segment>.log.torn-<position>`, then cut off.
//!
//! **What is inside of a batch does not follow on it.** A payload may hold whole batches, and of a
//! torn one just these may have reached the disk. A batch that begins where its offset is due ends
//! where its length says, unless its checksum shows that the length is what is damaged.
//!
//! Unlike Kafka: a broker there cuts at any damage and deletes the segments behind it, since a
//! replica has them.
//!
//! Not told apart from a torn tail: damage to the very last batch, or one that blanks a block,
//! when the recovery point is older than the batch (a second at most). Not told apart from a
//! damaged length: a torn batch that was made so that its checksum holds for a part of it too, and
//! a batch of the right offset follows on that part. The log then goes on with the latter.

use std::fmt;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_protocol::records::Header;

use crate::error::{Context, Result};
use crate::files::Files;
use crate::fs::{File, read_full_at, write_all_at};
use crate::index::Index;
use crate::mistake::Mistake;
use crate::scan::{MAGIC_AT, Window, follows};

/// What opening a partition found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// What was wrong, first to last; empty after an ordinary crash too.
    pub repairs: Vec<Repair>,
    /// Bytes that had to be read; 0 after an orderly close.
    pub scanned_bytes: u64,
    /// Whether the log was closed in order.
    pub clean: bool,
}

/// A stretch of a log that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The segment's file.
    pub file: PathBuf,
    /// Where the stretch starts.
    pub position: u64,
    /// Its length.
    pub bytes: u64,
    /// What is wrong.
    pub reason: String,
    /// What was done about it.
    pub action: Action,
}

/// What was done about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A torn tail, never acknowledged, was saved aside and cut off.
    Cut,
    /// Damaged bytes that may have been acknowledged were kept; reading them is an error.
    Quarantined,
    /// Acknowledged bytes are gone; their offsets are not given out again.
    Missing,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position, bytes, reason, action } = self;
        let file = file.display();
        match action {
            Action::Cut => write!(
                f,
                "{file} ended in {bytes} bytes that no sync covered, at {position} ({reason}): \
                 saved beside it and cut off"
            ),
            Action::Quarantined => write!(
                f,
                "{file} is damaged at {position}, {bytes} bytes ({reason}): kept, and an error to \
                 who reads there; `tidelog log repair` takes it out while the broker is stopped"
            ),
            Action::Missing => {
                write!(f, "{file} lacks {bytes} bytes that were acknowledged: {reason}")
            }
        }
    }
}

/// Bytes of a torn tail that are saved.
const TORN_BYTES_MAX: u64 = 64 << 20;

/// How far before the trusted position the walk begins at most: room for a batch of the usual
/// limit.
const KNOWN_BYTES_MAX: u64 = 2 << 20;

/// The last segment of a log.
pub(crate) struct Tail<'a> {
    pub path: &'a Path,
    pub base_offset: i64,
    pub interval: u32,
    /// Below this position all was durable, and the offset that follows there.
    pub trusted: (u64, i64),
    /// Whether all that the file holds was synced since the process ended that wrote it.
    pub swept: bool,
}

/// The segment as it is after recovery.
pub(crate) struct Outcome {
    /// `None` if the walk did not begin at the start.
    pub index: Option<Index>,
    pub position: u64,
    pub next_offset: i64,
    /// Whether a batch may be a control batch: the end of a transaction, most likely.
    pub has_markers: bool,
    /// The last batch that was taken, with its position.
    last: Option<(u64, Header)>,
    pub recovered: Recovered,
}

impl Tail<'_> {
    /// Walks the segment as the disk has it, and repairs it: what it then holds is durable, but for
    /// the cut of zeros, which may come back and will be cut again.
    pub(crate) fn recover(&self, files: &Files, file: &Arc<dyn File>) -> Result<Outcome> {
        if !self.swept && !files.mistakes.made(Mistake::SkipsRecoverySync) {
            file.sync_data().context("sync", self.path)?;
        }
        // Only what is on disk already can be dropped.
        let len = file.size().context("read", self.path)?;
        let from = self.trusted.0.saturating_sub(KNOWN_BYTES_MAX);
        let from = if self.trusted.0 <= len { from } else { 0 };
        file.drop_cache(from..len).context("read", self.path)?;
        let known = if from > 0 { self.last_known(&**file, from)? } else { None };
        if known.is_none() {
            file.drop_cache(0..from).context("read", self.path)?;
        }
        let mut window = Window::new(file.clone(), len);
        let (position, next_offset) = known.unwrap_or((0, self.base_offset));
        let scanned_bytes = if known.is_some() { len - from } else { len };
        let mut outcome = Outcome {
            index: known.is_none().then(|| Index::new(self.base_offset, self.interval)),
            position,
            next_offset,
            has_markers: known.is_some(),
            last: None,
            recovered: Recovered { scanned_bytes, ..Recovered::default() },
        };
        while outcome.position < len && self.step(files, &mut window, &mut outcome)? {}
        if outcome.position < len {
            file.set_len(outcome.position).context("cut", self.path)?;
            if !outcome.recovered.repairs.is_empty() {
                file.sync_data().context("sync", self.path)?;
            }
        }
        Ok(outcome)
    }

    /// Where the last batch before the trusted position starts and its offset, if it starts at or
    /// after `from`. One that ends elsewhere or in another offset is damaged.
    ///
    /// The end of a payload may pass for it, but ends there too.
    fn last_known(&self, file: &dyn File, from: u64) -> Result<Option<(u64, i64)>> {
        let (end, next_offset) = self.trusted;
        let mut bytes = vec![0; usize::try_from(end - from).unwrap_or(0)];
        let read = read_full_at(file, &mut bytes, from).context("read", self.path)?;
        let bytes = &bytes[..read];
        let header_at = |at: usize| Some((at, Header::parse(&bytes[at..]).ok()?));
        let is_last = |(at, header): &(usize, Header)| {
            (at + header.total_bytes()) as u64 == end - from
                && header.base_offset >= self.base_offset
                && follows(header, header.base_offset, &[]).is_ok()
                && header.last_offset() + 1 == next_offset
        };
        let starts = (0..bytes.len()).rev().filter(|at| bytes.get(at + MAGIC_AT) == Some(&2));
        let batch = { starts }.filter_map(header_at).find(is_last);
        Ok(batch.map(|(at, header)| (from + at as u64, header.base_offset)))
    }

    /// Whether a batch says that it ends behind the recovery point, where none does that starts
    /// before it.
    fn reaches_beyond(&self, header: &Header, position: u64) -> bool {
        let (end, next_offset) = self.trusted;
        position + header.total_bytes() as u64 > end || header.last_offset() >= next_offset
    }

    /// Takes in the next batch, or steps over damage; false at the end of what is good.
    fn step(&self, files: &Files, window: &mut Window, outcome: &mut Outcome) -> Result<bool> {
        let Outcome { position, next_offset, .. } = *outcome;
        let reason = match window.header(position, next_offset).context("read", self.path)? {
            // The last batch of all has none after it that would vouch for a gap before it.
            Ok(header)
                if header.base_offset > next_offset
                    && window
                        .only_zeros_from(position + header.total_bytes() as u64)
                        .context("read", self.path)? =>
            {
                format!("batch of offset {} where {next_offset} follows", header.base_offset)
            }
            Ok(header)
                if files.mistakes.made(Mistake::DropsTheLastBatch)
                    && position + header.total_bytes() as u64
                        == window.data_end(position).context("read", self.path)? =>
            {
                return Ok(false);
            }
            // Its checksum is not looked at, and it would hide all that follows.
            Ok(header) if position < self.trusted.0 && self.reaches_beyond(&header, position) => {
                format!("batch of offset {} across the recovery point", header.base_offset)
            }
            Ok(header) if position < self.trusted.0 => return Ok(outcome.take(&header)),
            Ok(header) => {
                let holds = window.checksum_holds(&header, position);
                if holds.context("read", self.path)? {
                    return Ok(outcome.take(&header));
                }
                "the checksum does not match".to_owned()
            }
            // The batch before was taken without a look at its checksum.
            Err(_) if self.is_last_damaged(window, outcome)? => {
                "the checksum does not match".to_owned()
            }
            Err(reason) => reason,
        };
        let Outcome { position, next_offset, .. } = *outcome;
        let data_end = window.data_end(position).context("read", self.path)?;
        if data_end == position {
            return Ok(false);
        }
        let found = window.resync(position, next_offset).context("read", self.path)?;
        let found = found.map(|(found, header)| (found, header.base_offset));
        let resume = match found {
            _ if position < self.trusted.0 => {
                let known = self.trusted.0.min(window.end());
                Some(found.filter(|(found, _)| *found < known).unwrap_or((known, self.trusted.1)))
            }
            Some((found, _))
                if window.has_hole(position, found, next_offset).context("read", self.path)? =>
            {
                None
            }
            found => found,
        };
        match resume {
            Some((resume, offset)) => {
                let stretch = (position, resume - position);
                outcome.report(self.path, stretch, reason, Action::Quarantined);
                outcome.position = resume;
                outcome.next_offset = next_offset.max(offset);
                Ok(true)
            }
            None => {
                self.save_torn(files, window, (position, data_end))?;
                outcome.report(self.path, (position, data_end - position), reason, Action::Cut);
                Ok(false)
            }
        }
    }

    /// Whether what does not follow on the batch before does so because that one says too much.
    /// Then it goes back there.
    fn is_last_damaged(&self, window: &mut Window, outcome: &mut Outcome) -> Result<bool> {
        let Some((position, header)) = outcome.last.take() else { return Ok(false) };
        let holds = window.checksum_holds(&header, position);
        if outcome.position >= self.trusted.0 || holds.context("read", self.path)? {
            return Ok(false);
        }
        (outcome.position, outcome.next_offset) = (position, header.base_offset);
        // It has the batch that was taken; the next one to need it makes it anew.
        outcome.index = None;
        Ok(true)
    }

    fn save_torn(&self, files: &Files, window: &Window, (from, to): (u64, u64)) -> Result<()> {
        let path = self.path.with_added_extension(format!("torn-{from}"));
        let file = files.fs.create(&path).context("create", &path)?;
        let len = (to - from).min(TORN_BYTES_MAX);
        let mut part = vec![0; usize::try_from(len.min(1 << 20)).unwrap_or(0)];
        let mut saved = 0;
        while saved < len {
            let read = read_full_at(window.file(), &mut part, from + saved);
            let read = (read.context("read", self.path)? as u64).min(len - saved);
            if read == 0 {
                break;
            }
            let bytes = &part[..usize::try_from(read).unwrap_or(0)];
            let written = write_all_at(&*file, &mut [IoSlice::new(bytes)], saved);
            written.context("write", &path)?;
            saved += read;
        }
        file.set_len(saved).context("cut", &path)?;
        file.sync_data().context("sync", &path)?;
        let dir = path.parent().unwrap_or(&path);
        files.fs.sync_dir(dir).context("sync", dir)
    }
}

impl Outcome {
    fn take(&mut self, header: &Header) -> bool {
        if let Some(index) = &mut self.index {
            index.observe(header, self.position);
        }
        self.last = Some((self.position, *header));
        self.position += header.total_bytes() as u64;
        self.next_offset = header.last_offset() + 1;
        self.has_markers |= header.attributes.is_control();
        true
    }

    fn report(&mut self, path: &Path, stretch: (u64, u64), reason: String, action: Action) {
        // What is passed over may have held one.
        self.has_markers = true;
        self.recovered.report(path, stretch, reason, action);
    }
}

impl Recovered {
    pub(crate) fn report(
        &mut self,
        path: &Path,
        (position, bytes): (u64, u64),
        reason: String,
        action: Action,
    ) {
        let file = path.to_path_buf();
        self.repairs.push(Repair { file, position, bytes, reason, action });
    }
}
