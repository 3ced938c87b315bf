//! The small text files beside the logs.
//!
//! `recovery-checkpoint`, in the data directory: how far each partition is known to be durable,
//! and whether the volume was closed in order. One line a partition:
//!
//! ```text
//! tidelog-recovery-checkpoint 1 clean
//! <topic id> <log start offset> <segment base offset> <position> <offset> <directory>
//! cleaned <offset> <horizon> <directory>
//! scrub <began> <offset> <directory>
//! crc32c <of all lines above, 8 hex digits>
//! ```
//!
//! A log that was compacted has a second line: how far, as Kafka's `cleaner-offset-checkpoint` has
//! it, and when the first tombstones may go then, in ms since 1970, or `-`. Where the scrubber's
//! round is, and when it began, is in a line of its own; `-` for the offset when it is complete.
//!
//! **A file that does not parse counts as absent**: the segments are then scanned in whole. One
//! that cannot be read does not: what it says, such as where the logs start, is nowhere else.
//!
//! `leader-epoch-checkpoint` and `partition.metadata`, in a partition's directory, are Kafka's.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::compaction::Cleaned;
use crate::error::{Context, Result};
use crate::fs::{Fs, read_if_there, replace};
use crate::scrub::Round;

/// How far a partition is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecoveryPoint {
    pub topic_id: [u8; 16],
    pub log_start_offset: i64,
    pub end: End,
    pub cleaned: Cleaned,
}

/// The end of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// Base offset of the last segment.
    pub segment: i64,
    /// Bytes in it.
    pub position: u64,
    /// The next offset.
    pub offset: i64,
}

impl End {
    /// Moves it on to `end`, unless it is there.
    pub(crate) fn raise(&mut self, end: Self) {
        if (end.offset, end.segment) > (self.offset, self.segment) {
            *self = end;
        }
    }
}

/// All recovery points of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub clean: bool,
    pub points: HashMap<PathBuf, RecoveryPoint>,
    pub round: Round,
}

pub(crate) const CHECKPOINT_FILE: &str = "recovery-checkpoint";
const CLEANED: &str = "cleaned ";
const SCRUB: &str = "scrub ";
const CHECKPOINT_TITLE: &str = "tidelog-recovery-checkpoint 1";

impl Checkpoint {
    /// The checkpoint in `root`, an empty one when there is none to trust.
    pub(crate) fn read(fs: &dyn Fs, root: &Path) -> Result<Self> {
        let path = root.join(CHECKPOINT_FILE);
        let bytes = read_if_there(fs, &path).context("read", &path)?.unwrap_or_default();
        Ok(std::str::from_utf8(&bytes).ok().and_then(Self::parse).unwrap_or_default())
    }

    /// Replaces the checkpoint in `root`, durably.
    pub(crate) fn write(&self, fs: &dyn Fs, root: &Path) -> Result<()> {
        let path = root.join(CHECKPOINT_FILE);
        replace(fs, &path, self.format().as_bytes()).context("write", &path)?;
        fs.sync_dir(root).context("sync", root)
    }

    fn format(&self) -> String {
        let state = if self.clean { "clean" } else { "running" };
        let mut text = format!("{CHECKPOINT_TITLE} {state}\n");
        for (dir, RecoveryPoint { topic_id, log_start_offset, end, cleaned }) in &self.points {
            let id = format_topic_id(topic_id);
            let End { segment, position, offset } = end;
            let dir = dir.display();
            let _infallible =
                writeln!(text, "{id} {log_start_offset} {segment} {position} {offset} {dir}");
            if *cleaned != Cleaned::default() {
                let horizon = cleaned.horizon.map_or("-".into(), |horizon| horizon.to_string());
                let _infallible = writeln!(text, "{CLEANED}{} {horizon} {dir}", cleaned.end);
            }
        }
        let Round { began_ms, next } = &self.round;
        let _infallible = match next {
            Some((dir, offset)) => writeln!(text, "{SCRUB}{began_ms} {offset} {}", dir.display()),
            None if *began_ms != 0 => writeln!(text, "{SCRUB}{began_ms} -"),
            None => Ok(()),
        };
        let crc = crc32c::crc32c(text.as_bytes());
        let _infallible = writeln!(text, "crc32c {crc:08x}");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let (lines, crc) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let checked = &text[..=lines.len()];
        let stored = u32::from_str_radix(crc.strip_prefix("crc32c ")?, 16).ok()?;
        if crc32c::crc32c(checked.as_bytes()) != stored {
            return None;
        }
        let mut lines = lines.lines();
        let clean = match lines.next()?.strip_prefix(CHECKPOINT_TITLE)? {
            " clean" => true,
            " running" => false,
            _ => return None,
        };
        let (mut points, mut round) = (HashMap::new(), Round::default());
        for line in lines {
            if let Some(line) = line.strip_prefix(CLEANED) {
                let (dir, cleaned) = parse_cleaned(line)?;
                points.get_mut(&dir).map(|point: &mut RecoveryPoint| point.cleaned = cleaned)?;
            } else if let Some(line) = line.strip_prefix(SCRUB) {
                round = parse_round(line)?;
            } else {
                points.extend([parse_point(line)?]);
            }
        }
        Some(Self { clean, points, round })
    }
}

fn parse_cleaned(line: &str) -> Option<(PathBuf, Cleaned)> {
    let mut fields = line.splitn(3, ' ');
    let end = fields.next()?.parse().ok()?;
    let horizon = match fields.next()? {
        "-" => None,
        horizon => Some(horizon.parse().ok()?),
    };
    Some((fields.next()?.into(), Cleaned { end, horizon }))
}

fn parse_round(line: &str) -> Option<Round> {
    let (began, next) = line.split_once(' ')?;
    let next = match next.split_once(' ') {
        Some((offset, dir)) => Some((dir.into(), offset.parse().ok()?)),
        None => (next == "-").then_some(None)?,
    };
    Some(Round { began_ms: began.parse().ok()?, next })
}

fn parse_point(line: &str) -> Option<(PathBuf, RecoveryPoint)> {
    let mut fields = line.splitn(6, ' ');
    let topic_id = parse_topic_id(fields.next()?)?;
    let log_start_offset = fields.next()?.parse().ok()?;
    let segment = fields.next()?.parse().ok()?;
    let position = fields.next()?.parse().ok()?;
    let offset = fields.next()?.parse().ok()?;
    let end = End { segment, position, offset };
    let dir = fields.next()?.into();
    let cleaned = Cleaned::default();
    Some((dir, RecoveryPoint { topic_id, log_start_offset, end, cleaned }))
}

/// Where each leader epoch started, first to last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochs(Vec<(i32, i64)>);

const EPOCH_FILE: &str = "leader-epoch-checkpoint";

impl LeaderEpochs {
    /// Those of a log that is about to be created, which starts at `offset`: Kafka's first epoch.
    /// Known from then on, it costs the first append nothing.
    pub(crate) fn first(offset: i64) -> Self {
        Self(vec![(0, offset)])
    }

    /// The epochs of the log in `dir` up to `log_end_offset`; what lies beyond was lost with the
    /// tail.
    pub(crate) fn read(fs: &dyn Fs, dir: &Path, log_end_offset: i64) -> Result<Self> {
        let path = dir.join(EPOCH_FILE);
        let bytes = read_if_there(fs, &path).context("read", &path)?.unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        let mut epochs = Self::parse(&text).unwrap_or_default();
        epochs.0.retain(|(_, start)| *start <= log_end_offset);
        Ok(epochs)
    }

    /// Whether `epoch` needs no entry of its own.
    pub(crate) fn knows(&self, epoch: i32) -> bool {
        self.0.last().is_some_and(|(last, _)| epoch <= *last)
    }

    /// Notes that `epoch`, which is new, appends from `offset` on, so that one that was to begin
    /// there has no records.
    pub(crate) fn assign(&mut self, epoch: i32, offset: i64) {
        self.0.retain(|(_, start)| *start < offset);
        self.0.push((epoch, offset));
    }

    /// Replaces the file in `dir`; durable once the directory is synced.
    pub(crate) fn write(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        let mut text = format!("0\n{}\n", self.0.len());
        for (epoch, start) in &self.0 {
            let _infallible = writeln!(text, "{epoch} {start}");
        }
        let path = dir.join(EPOCH_FILE);
        replace(fs, &path, text.as_bytes()).context("write", &path)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let entry = |line: &str| {
            let (epoch, start) = line.split_once(' ')?;
            Some((epoch.parse().ok()?, start.parse().ok()?))
        };
        let epochs = lines.map(entry).collect::<Option<Vec<_>>>()?;
        (epochs.len() == count).then_some(Self(epochs))
    }
}

const METADATA_FILE: &str = "partition.metadata";

/// Whether a file of this name is beside every log, with records or without.
pub(crate) fn is_beside_log(name: &str) -> bool {
    matches!(name, METADATA_FILE | EPOCH_FILE)
}

/// The id of the topic that the partition in `dir` belongs to, as text; `None` if no file says so.
pub(crate) fn read_topic_id(fs: &dyn Fs, dir: &Path) -> Result<Option<String>> {
    let path = dir.join(METADATA_FILE);
    let bytes = read_if_there(fs, &path).context("read", &path)?;
    Ok(bytes.and_then(|bytes| topic_id_in(&String::from_utf8(bytes).ok()?)))
}

fn topic_id_in(text: &str) -> Option<String> {
    let mut lines = text.lines();
    (lines.next()? == "version: 0").then_some(())?;
    let id = lines.next()?.strip_prefix("topic_id: ")?;
    parse_topic_id(id).map(|_| id.to_owned())
}

/// Writes `partition.metadata`; durable once the directory is synced.
pub(crate) fn write_topic_id(fs: &dyn Fs, dir: &Path, topic_id: &[u8; 16]) -> Result<()> {
    let path = dir.join(METADATA_FILE);
    let text = format!("version: 0\ntopic_id: {}\n", format_topic_id(topic_id));
    replace(fs, &path, text.as_bytes()).context("write", &path)
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The id as Kafka prints it: URL-safe base64 without padding, 22 characters.
pub(crate) fn format_topic_id(id: &[u8; 16]) -> String {
    let bits = u128::from_be_bytes(*id);
    // 22 digits of 6 bits are 132: the last digit has four bits of padding.
    let digit = |n: u32| match n {
        0 => (bits << 4) & 0x3f,
        n => (bits >> (6 * n - 4)) & 0x3f,
    };
    (0..22).rev().map(|n| char::from(BASE64_URL[digit(n) as usize])).collect()
}

fn parse_topic_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut bits = 0_u128;
    for (n, byte) in text.bytes().enumerate() {
        let digit = BASE64_URL.iter().position(|known| *known == byte)? as u128;
        bits = match n {
            21 => bits << 2 | digit >> 4,
            _ => bits << 6 | digit,
        };
    }
    Some(bits.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_are_written_as_kafka_prints_them() {
        // `Uuid.ONE_UUID.toString()` and the largest id.
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(format_topic_id(&one), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(format_topic_id(&[0xff; 16]), "_____________________w");
        let id: [u8; 16] = std::array::from_fn(|n| (n * 37 + 5) as u8);
        assert_eq!(parse_topic_id(&format_topic_id(&id)), Some(id));
    }

    #[test]
    fn a_checkpoint_with_any_byte_changed_counts_as_absent() {
        let point = RecoveryPoint {
            topic_id: [7; 16],
            log_start_offset: 3,
            end: End { segment: 10, position: 2048, offset: 25 },
            cleaned: Cleaned { end: 10, horizon: Some(1_700_000_000_000) },
        };
        let never = RecoveryPoint { cleaned: Cleaned::default(), ..point.clone() };
        let points = [("accounts/a b/t-0", point), ("accounts/a b/t-1", never)];
        let points = points.map(|(dir, point)| (PathBuf::from(dir), point)).into();
        let next = Some((PathBuf::from("accounts/a b/t-1"), 17));
        let round = Round { began_ms: 1_700_000_000_001, next };
        let checkpoint = Checkpoint { clean: true, points, round };
        let text = checkpoint.format();
        assert_eq!(Checkpoint::parse(&text), Some(checkpoint.clone()));
        for began_ms in [0, 5] {
            let round = Round { began_ms, next: None };
            let complete = Checkpoint { round, ..checkpoint.clone() };
            assert_eq!(Checkpoint::parse(&complete.format()), Some(complete));
        }
        for n in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[n] ^= 1;
            let parsed = String::from_utf8(bytes).ok().and_then(|text| Checkpoint::parse(&text));
            assert_eq!(parsed, None, "byte {n}");
            assert_eq!(Checkpoint::parse(&text[..n]), None, "cut at {n}");
        }
    }

    #[test]
    fn leader_epochs_are_in_kafkas_layout_and_end_with_the_log() {
        let epochs = LeaderEpochs::parse("0\n2\n0 0\n3 17\n").unwrap();
        assert_eq!(epochs.0, [(0, 0), (3, 17)]);
        assert_eq!(LeaderEpochs::parse("1\n0\n"), None);
        assert_eq!(LeaderEpochs::parse("0\n2\n0 0\n"), None);
    }
}
