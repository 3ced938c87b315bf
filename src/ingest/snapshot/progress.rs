//! How far a snapshot is: what may happen to it next, and how that is stored.

use super::marks::LAYOUT;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The id of a snapshot; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id(pub(super) u64);

/// A snapshot, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Snapshot {
    pub id: Id,
    pub phase: Phase,
    /// When it was opened, in ms since 1970.
    pub opened_ms: i64,
    /// When its last page came, in ms since 1970.
    pub active_ms: i64,
    /// The end of each partition when it was opened: later events are of later mutations.
    pub ends: Vec<i64>,
    /// Mutations since it was opened; after a crash some may be missing.
    pub touched: u64,
    /// Records deleted by the closing; after a crash some may be missing.
    pub deleted: u64,
}

/// What may happen to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It takes pages.
    Open,
    /// The records that were not in it are being deleted.
    Closing,
    /// They are.
    Closed,
    /// It was given up, and deleted nothing.
    Abandoned,
    /// It was forgotten, and deleted nothing.
    Expired,
}

/// Why a snapshot does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such snapshot.
    #[error("snapshot '{id}' does not exist; {}", last(.known))]
    Unknown {
        /// What was asked for.
        id: Id,
        /// The one there is.
        known: Option<(Id, Phase)>,
    },
    /// Another one is not finished.
    #[error("snapshot '{0}' of this collection is not finished: close or abandon it first")]
    Unfinished(Id),
    /// It cannot do that any more.
    #[error("snapshot '{id}' is {phase} and cannot be {asked}", phase = .phase.as_str())]
    Phase {
        /// Which.
        id: Id,
        /// How far it is.
        phase: Phase,
        /// What it was asked to do.
        asked: &'static str,
    },
    /// Pages are under way.
    #[error("{pages} pages of snapshot '{id}' are not answered yet: close it when they are")]
    Pages {
        /// Which.
        id: Id,
        /// How many.
        pages: usize,
    },
    /// The state store.
    #[error("the state store failed: {0}")]
    Store(#[from] fjall::Error),
    /// A stored snapshot that cannot be read.
    #[error("the state store has a snapshot that is not readable: {0}")]
    Unreadable(String),
}

fn last(known: &Option<(Id, Phase)>) -> String {
    match known {
        Some((id, phase)) => format!("the last one is '{id}', {}", phase.as_str()),
        None => "there was none yet".to_owned(),
    }
}

/// A snapshot without a page for this long counts as forgotten, in ms: until then every mutation
/// of its collection pays for a mark.
const FORGOTTEN_AFTER_MS: i64 = 24 * 60 * 60 * 1000;

impl Snapshot {
    pub(super) fn opened(id: Id, ends: Vec<i64>, now_ms: i64) -> Self {
        let (phase, opened_ms, active_ms) = (Phase::Open, now_ms, now_ms);
        Self { id, phase, opened_ms, active_ms, ends, touched: 0, deleted: 0 }
    }

    /// Whether mutations leave marks for it.
    pub(super) fn is_marking(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing)
    }

    /// Whether an event came after the opening.
    pub(super) fn is_later(&self, partition: i32, offset: i64) -> bool {
        let end = usize::try_from(partition).ok().and_then(|index| self.ends.get(index));
        end.is_none_or(|end| offset >= *end)
    }

    pub(super) fn is_forgotten(&self, now_ms: i64) -> bool {
        self.phase == Phase::Open && now_ms.saturating_sub(self.active_ms) >= FORGOTTEN_AFTER_MS
    }

    pub(super) fn may_be_followed(&self) -> Result<(), Error> {
        match self.is_marking() {
            true => Err(Error::Unfinished(self.id)),
            false => Ok(()),
        }
    }

    pub(super) fn add_page(&mut self, now_ms: i64) -> Result<(), Error> {
        self.must_be(&[Phase::Open], "added to")?;
        self.active_ms = now_ms;
        Ok(())
    }

    pub(super) fn close(&mut self, pages: usize) -> Result<(), Error> {
        self.must_be(&[Phase::Open, Phase::Closing, Phase::Closed], "closed")?;
        if pages > 0 {
            return Err(Error::Pages { id: self.id, pages });
        }
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
        Ok(())
    }

    pub(super) fn abandon(&mut self) -> Result<(), Error> {
        self.must_be(&[Phase::Open, Phase::Abandoned, Phase::Expired], "abandoned")?;
        if self.phase == Phase::Open {
            self.phase = Phase::Abandoned;
        }
        Ok(())
    }

    pub(super) fn expire(&mut self) -> Result<(), Error> {
        self.must_be(&[Phase::Open], "forgotten")?;
        self.phase = Phase::Expired;
        Ok(())
    }

    pub(super) fn end_closing(&mut self) -> Result<(), Error> {
        self.must_be(&[Phase::Closing], "closed")?;
        self.phase = Phase::Closed;
        Ok(())
    }

    fn must_be(&self, phases: &[Phase], asked: &'static str) -> Result<(), Error> {
        match phases.contains(&self.phase) {
            true => Ok(()),
            false => Err(Error::Phase { id: self.id, phase: self.phase, asked }),
        }
    }

    pub(super) fn row(&self) -> Vec<u8> {
        [vec![LAYOUT], serde_json::json!(self).to_string().into_bytes()].concat()
    }

    pub(super) fn parse(row: &[u8]) -> Result<Self, Error> {
        match row.split_first() {
            Some((&LAYOUT, json)) => {
                serde_json::from_slice(json).map_err(|error| Error::Unreadable(error.to_string()))
            }
            other => {
                let layout = other.map_or(0, |(layout, _)| *layout);
                Err(Error::Unreadable(format!("its layout is {layout}, expected {LAYOUT}")))
            }
        }
    }
}

impl Phase {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Phase::Open => "open",
            Phase::Closing => "closing",
            Phase::Closed => "closed",
            Phase::Abandoned => "abandoned",
            Phase::Expired => "expired",
        }
    }
}

impl Id {
    /// The id these random bytes give.
    pub(in super::super) fn from_random(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes).max(1))
    }

    /// The id in a row, where 0 stands for none.
    pub(super) fn marking(id: u64) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snap_{:016x}", self.0)
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("snap_").filter(|digits| digits.len() == 16);
        let id = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        id.and_then(Self::marking).ok_or_else(|| {
            format!("'{text}' is no snapshot's id, which is 'snap_' and 16 hex digits")
        })
    }
}
