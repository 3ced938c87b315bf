//! A mutation of one record, and what became of it.

use super::etag;
use super::event::Kind;
use super::json::{self, Object};
use super::mapping;
use super::name::RecordId;
use super::state::{self, Row};
use super::tail::Known;
use super::version::Version;
use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, Weak};
use tidelog_protocol::Uuid;
use tidelog_storage as storage;

/// What a mutation does to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Operation {
    /// The whole record.
    Upsert,
    /// Some columns of it (RFC 7396).
    Patch,
    /// It is gone.
    Delete,
}

/// A mutation of one record.
pub(super) struct Mutation<'a> {
    /// The record.
    pub id: RecordId,
    /// What is done to it.
    pub operation: Operation,
    /// The record, or the columns that change; nothing when it is deleted.
    pub data: Option<Object<'a>>,
    /// Where it belongs among the record's mutations, if the source says so.
    pub version: Option<Version>,
    /// What the source says that some columns were before; of mutations with one version it tells
    /// which came first.
    pub follows: Option<Object<'a>>,
    /// Columns, by the API's names, of which `data` does not know the value: each stays what it
    /// is.
    pub keeps: &'a [String],
    /// Whether it brings a record back that was deleted with the same version.
    pub revives: bool,
    /// Its version is when the record was read, not of a change: an older one is dropped, a newer
    /// one is not held.
    pub is_reading: bool,
    /// What the record must be for the mutation to be carried out.
    pub condition: Condition,
    /// Why it is refused whatever its record is: what it brings cannot be read, say.
    pub refused: Option<Box<str>>,
    /// The name its sender gave it.
    pub key: Option<Key>,
    /// It was carried out before a crash and published nothing, so it publishes nothing now; only
    /// its version is held.
    pub is_over: bool,
}

impl<'a> Mutation<'a> {
    /// A mutation without version, condition or key.
    pub(super) fn new(id: RecordId, operation: Operation, data: Option<Object<'a>>) -> Self {
        let (version, follows, condition, key) = (None, None, Condition::Any, None);
        let (keeps, revives, is_reading, is_over) = (&[][..], false, false, false);
        let refused = None;
        Self {
            id,
            operation,
            data,
            version,
            follows,
            keeps,
            revives,
            is_reading,
            condition,
            refused,
            key,
            is_over,
        }
    }

    /// The version its record in a partition has after it; nothing if it is too old.
    ///
    /// # Errors
    /// When the record's is of another kind.
    pub(super) fn newest(
        &self,
        partition: i32,
        known: &Known,
    ) -> Result<Option<Option<Version>>, Error> {
        let row = &known.row;
        let raised = self.version.filter(|_| !self.is_reading).or(row.version);
        let (Some(given), Some(held)) = (self.version, row.version) else {
            return Ok(Some(raised));
        };
        let order = given.compare(&held).ok_or_else(|| {
            let (given, held) = (given.to_string(), held.to_string());
            let record = Box::new(Done::unchanged(partition, known));
            Error::Version { given, held, record }
        })?;
        let is_gone = row.data.is_none() && !self.revives;
        let stale = order == Ordering::Less || order == Ordering::Equal && is_gone;
        Ok((!stale).then_some(raised))
    }
}

/// A mutation's name, by which its event and its answer are known when it is sent again.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// What goes into the event's `idempotency_key` header.
    pub text: String,
    /// Kept until the answer is stored.
    pub hold: Hold,
}

/// Bytes of records that are kept in memory for one answer. A patch of a few bytes publishes its
/// whole record, or holds that with another version.
pub(super) const HELD_BYTES_MAX: usize = 128 << 20;

/// Keeps events from moving into the state store before their request's answer is stored: until
/// then a crash leaves them to be replayed, and the answer is made anew from them. Counts their
/// bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold(Arc<AtomicUsize>);

/// Sees whether anybody still holds.
#[derive(Debug)]
pub(super) struct Watch(Weak<AtomicUsize>);

impl Hold {
    /// Takes in another event.
    pub(super) fn add(&self, bytes: usize) -> Watch {
        self.0.fetch_add(bytes, atomic::Ordering::Relaxed);
        Watch(Arc::downgrade(&self.0))
    }

    /// Whether it has all it may.
    pub(super) fn is_full(&self) -> bool {
        self.0.load(atomic::Ordering::Relaxed) >= HELD_BYTES_MAX
    }
}

impl Watch {
    /// Whether anybody still holds.
    pub(super) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// What a record must be for a mutation to be carried out (RFC 9110, 13.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Anything.
    Any,
    /// `If-None-Match: *`: it does not exist.
    Absent,
    /// `If-Match: *`: it exists.
    Present,
    /// `If-Match` with [tags](super::etag): its last event is at one of these offsets.
    At(Vec<i64>),
    /// Nothing touched it since the collection's snapshot was opened.
    Untouched,
}

impl Condition {
    /// Whether the record is as it must be, as far as its row tells.
    pub(super) fn holds(&self, row: &Row) -> bool {
        match self {
            Self::Any | Self::Untouched => true,
            Self::Absent => row.data.is_none(),
            Self::Present => row.data.is_some(),
            Self::At(offsets) => row.data.is_some() && offsets.contains(&row.offset),
        }
    }
}

/// What a mutation published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    /// What happened to the record.
    pub kind: Kind,
    /// Where its event is.
    pub offset: i64,
}

/// What became of a mutation.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// Nothing, if nothing changed.
    pub published: Option<Published>,
    /// The mutation was older than the version held, and dropped.
    pub stale: bool,
    /// The version held of the record now.
    pub version: Option<Version>,
    /// The partition of the record.
    pub partition: i32,
    /// The offset of the record's last event, if the record exists.
    pub etag: Option<i64>,
    /// The last offset the answer rests on, below which everything must be durable.
    pub rests_on: Option<i64>,
    /// Of a version that published nothing, so that the state store must be synced for it: the
    /// number of its entry in the partition's tail.
    pub raised: Option<u64>,
}

impl Done {
    /// Of nothing.
    pub(super) const NOTHING: Self = Self {
        published: None,
        stale: false,
        version: None,
        partition: -1,
        etag: None,
        rests_on: None,
        raised: None,
    };

    /// Of what changed nothing of a record; true once what others made of that is durable.
    pub(super) fn unchanged(partition: i32, known: &Known) -> Self {
        let Known { ref row, rests_on, raised } = *known;
        let etag = row.data.as_ref().map(|_| row.offset);
        let version = row.version;
        Self { version, partition, etag, rests_on, raised, ..Self::NOTHING }
    }
}

/// Why a mutation was not carried out; it published nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Error {
    /// Two columns would get the same name.
    #[error(transparent)]
    Mapping(#[from] mapping::Error),
    /// A patch that cannot be merged.
    #[error("the patch cannot be merged: {0}")]
    Patch(json::Error),
    /// What it brings is wrong; see [`Mutation::refused`].
    #[error("{0}")]
    Refused(Box<str>),
    /// An upsert or patch without a record.
    #[error("'data' is missing: an upsert or patch needs a JSON object")]
    NoData,
    /// The record is not what `If-Match` or `If-None-Match` asks for.
    #[error("{text}")]
    Condition {
        /// What it is.
        text: String,
        /// The same.
        record: Box<Done>,
    },
    /// Versions of two kinds do not compare.
    #[error(
        "version {given} does not compare with {held}, which the record has: versions of a record are all numbers or all times"
    )]
    Version {
        /// What the mutation brought.
        given: String,
        /// What the record has.
        held: String,
        /// The record as it is.
        record: Box<Done>,
    },
    /// The log is damaged where the record's events are, so there is nothing to compare with.
    #[error("the log of the record's partition {0} is damaged, and its last state not known")]
    Damaged(i32),
    /// The sync is gone.
    #[error("the sync was deleted")]
    Retired,
    /// The record was written under a mapping that came after the request.
    #[error("the collection's mapping was changed at the same time; send this again")]
    Remapped,
    /// What the state store has is not a record; the log has the truth.
    #[error("the stored state of the record is not readable: {0}")]
    Unreadable(json::Error),
    /// The event is larger than the topic takes.
    #[error("the event of {needed} bytes is over the topic's max.message.bytes, {max}")]
    TooLarge {
        /// Bytes the event takes.
        needed: usize,
        /// Bytes there may be.
        max: usize,
    },
    /// A batch publishes more than is kept in memory of one.
    #[error(
        "the records of an atomic batch, or of 1000 items under an Idempotency-Key, are over the limit of {HELD_BYTES_MAX} bytes; send several"
    )]
    TooMuch,
    /// What a backfill cannot publish.
    #[error("record '{0}': {1}")]
    Record(String, Box<Error>),
    /// The log refused.
    #[error(transparent)]
    Log(Arc<storage::Error>),
    /// An atomic batch that the log refused after it had taken the first part.
    #[error("part of the atomic batch is published, and the next start publishes the rest: {0}")]
    HalfWritten(Box<Error>),
    /// The state store refused.
    #[error(transparent)]
    State(Arc<state::Error>),
}

impl Error {
    /// Says what a record is, when a condition wants it otherwise.
    pub(super) fn unmet(topic: &Uuid, partition: i32, id: &RecordId, known: &Known) -> Self {
        let row = &known.row;
        let record = Box::new(Done::unchanged(partition, known));
        let version = row.version.map(|it| format!(", version {it}")).unwrap_or_default();
        let (id, tag) = (id.as_str(), etag::write(topic, row.offset));
        let text = match row.data {
            Some(_) => format!("record '{id}' has ETag {tag}{version}"),
            None => format!("record '{id}' does not exist{version}"),
        };
        Self::Condition { text, record }
    }

    /// The record, if its state is told: a power cut must not take back what was told.
    pub(super) fn tells(&self) -> Option<&Done> {
        match self {
            Self::Condition { record, .. } | Self::Version { record, .. } => Some(record),
            _ => None,
        }
    }
}

impl From<state::Error> for Error {
    fn from(error: state::Error) -> Self {
        Self::State(Arc::new(error))
    }
}
