//! First answers, by `Idempotency-Key`: a write that is sent again publishes nothing twice and is
//! answered as it was the first time, also after a crash.
//!
//! **An answer is given once it is stored and synced, and until then its events stay in the log's
//! unsettled end** ([`Hold`]). So whatever a crash finds, each event of a keyed write is either
//! behind a stored answer, or replayed at the next start, which notes by the event's
//! `idempotency_key` header where it is ([`Answers::note`]). When the write is sent again, what is
//! noted is not carried out but answered from the note, and the rest is carried out.
//!
//! Only what succeeded is kept: a refused write published nothing and may be sent again. Another
//! write under the same key is refused (422), one that comes while the first is being carried out
//! too (409). Answers are kept for [`RETENTION`], and of an account the newest
//! [`ACCOUNT_BYTES_MAX`] bytes: more than a million single writes.
//!
//! ```text
//! key    16 zero bytes | account 0 | 'a' key 0 part u32           value  2 | Answer
//!        16 zero bytes | account 0 | 'n' idempotency_key header    value  1 | Note
//!        16 zero bytes | account 0 | 't' ms u64 | rest of the key  value  bytes of the row, u32
//!
//! Answer  ms i64 | SHA-256 of the request | whether nothing follows, u8 | ETag or -1, i64
//!         | how many topics, u16 (none in layout 1, of the first builds) | their ids | body
//! Note    ms i64 | topic id | partition i32 | offset i64 | event u8 | version 0 | record id
//! ```
//!
//! They stand among the rows of records, whose keys begin with a topic's id, which is never zero:
//! one batch writes the notes and how far the log was replayed.

use super::event::Kind;
use super::mutation::{Done, Hold, Key, Published};
use super::version::Version;
use crate::clock;
use crate::cluster::Cluster;
use crate::http::ApiError;
use crate::state::{Changes, State};
use axum::http::StatusCode;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::Uuid;

/// How long an answer is kept.
pub(super) const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of answers kept of one account.
pub(super) const ACCOUNT_BYTES_MAX: u64 = 256 << 20;
/// Rows removed at a time.
const FORGET_ROWS_MAX: usize = 10_000;

const LAYOUT: u8 = 1;
/// Of answers, which in [`LAYOUT`] had no topics.
const ANSWER_LAYOUT: u8 = 2;
const PREFIX: Uuid = [0; 16];

/// A SHA-256 of everything that makes a request what it is.
pub(super) type Fingerprint = [u8; 32];

/// The fingerprint of a request with these parameters and this body.
pub(super) fn fingerprint(parameters: &[&str], body: &[u8]) -> Fingerprint {
    let mut hash = Sha256::new();
    for parameter in parameters {
        hash.update(parameter.len().to_be_bytes());
        hash.update(parameter);
    }
    hash.update(body);
    hash.finalize().into()
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The ETag of the record, if it was about one.
    pub etag: Option<i64>,
    /// JSON; of a part of a batch, its results with a comma between them.
    pub body: Vec<u8>,
    /// The ids of the topics it is about: where one is gone, it is no answer any more.
    pub topics: Vec<Uuid>,
}

/// Where an event is whose answer a crash took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note<'a> {
    /// When the event was made, in ms since 1970.
    pub at_ms: i64,
    /// Its topic.
    pub topic: Uuid,
    /// Its partition.
    pub partition: i32,
    /// What it says.
    pub published: Published,
    /// The version of the record since.
    pub version: Option<Version>,
    /// The record.
    pub id: &'a str,
}

/// The first answers of every account.
pub(super) struct Answers {
    state: State,
    /// Account and key of the requests that are being carried out.
    busy: Mutex<HashSet<(String, String)>>,
    /// Bytes kept, by account.
    sizes: Mutex<HashMap<String, u64>>,
}

/// A request that is being carried out under its key.
pub(super) struct Ticket {
    answers: Arc<Answers>,
    account: String,
    key: String,
}

/// The key a request is carried out under, and what keeps its events until it is answered.
pub(super) type Under = (Arc<Ticket>, Hold);

impl Drop for Ticket {
    fn drop(&mut self) {
        let name = (std::mem::take(&mut self.account), std::mem::take(&mut self.key));
        self.answers.busy.lock().remove(&name);
    }
}

impl Answers {
    /// What is in the store.
    pub(super) fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state, busy: Mutex::default(), sizes: Mutex::default() })
    }

    /// Begins a request under its key.
    ///
    /// # Errors
    /// 409 while another is being carried out under it.
    pub(super) fn begin(self: &Arc<Self>, account: &str, key: &str) -> Result<Ticket, ApiError> {
        let (account, key) = (account.to_owned(), key.to_owned());
        if !self.busy.lock().insert((account.clone(), key.clone())) {
            let text = format!(
                "a request with Idempotency-Key '{key}' is being carried out; send it again later"
            );
            return Err(ApiError::new(StatusCode::CONFLICT, "idempotency_key_in_use", text));
        }
        Ok(Ticket { answers: self.clone(), account, key })
    }

    /// The row that notes an event; it is written with how far the log was replayed.
    pub(super) fn note(account: &str, header: &str, note: &Note<'_>, changes: &mut Changes) {
        let version = note.version.map(|it| it.to_string()).unwrap_or_default();
        let value = [
            &[LAYOUT],
            &note.at_ms.to_be_bytes()[..],
            &note.topic,
            &note.partition.to_be_bytes(),
            &note.published.offset.to_be_bytes(),
            &[note.published.kind as u8],
            version.as_bytes(),
            &[0],
            note.id.as_bytes(),
        ];
        put(account, &[b"n", header.as_bytes()].concat(), note.at_ms, value.concat(), changes);
    }

    /// Removes what is too old or too much of every account's answers.
    pub(super) fn forget(&self, accounts: &[String], now_ms: i64) -> fjall::Result<()> {
        let retention_ms = i64::try_from(RETENTION.as_millis()).unwrap_or(i64::MAX);
        for account in accounts {
            self.forget_of(account, now_ms.saturating_sub(retention_ms))?;
        }
        Ok(())
    }

    /// Bytes kept of an account, if they were counted.
    #[cfg(test)]
    pub(super) fn size(&self, account: &str) -> u64 {
        self.sizes.lock().get(account).copied().unwrap_or(0)
    }

    fn forget_of(&self, account: &str, before_ms: i64) -> fjall::Result<()> {
        let prefix = row_key(account, b"t");
        let records = &self.state.records;
        let known = self.sizes.lock().get(account).copied();
        let size = match known {
            Some(size) => size,
            // The first look since the start counts what is there.
            None => {
                let rows = records.prefix(&prefix).map(|row| Ok(bytes_of(&row.value()?)));
                let size = rows.sum::<fjall::Result<u64>>()?;
                *self.sizes.lock().entry(account.to_owned()).or_default() += size;
                size
            }
        };
        let mut excess = size.saturating_sub(ACCOUNT_BYTES_MAX);
        let mut last = prefix;
        while let Some(next) = self.forget_after(account, last, before_ms, &mut excess)? {
            last = next;
        }
        Ok(())
    }

    /// Removes a share of what was answered before a time, and of the rest the oldest `excess`
    /// bytes: what follows `last` in order of time. Gives the last it removed, if there may be
    /// more.
    fn forget_after(
        &self,
        account: &str,
        last: Vec<u8>,
        before_ms: i64,
        excess: &mut u64,
    ) -> fjall::Result<Option<Vec<u8>>> {
        let records = &self.state.records;
        let (first, end) = (row_key(account, b"t"), row_key(account, &[b't' + 1]));
        let rows = records.range((Bound::Excluded(last), Bound::Excluded(end)));
        let (mut removed, mut changes) = (0, Changes::new());
        for row in rows.take(FORGET_ROWS_MAX) {
            let (key, value) = row.into_inner()?;
            let Some((at_ms, rest)) = key[first.len()..].split_first_chunk() else { continue };
            if i64::from_be_bytes(*at_ms) >= before_ms && *excess == 0 {
                break;
            }
            let bytes = bytes_of(&value);
            (*excess, removed) = (excess.saturating_sub(bytes), removed + bytes);
            changes.push((row_key(account, rest), None));
            changes.push((key.to_vec(), None));
        }
        let last = changes.last().map(|(key, _)| key.clone());
        self.state.apply(records, changes)?;
        if let Some(size) = self.sizes.lock().get_mut(account) {
            *size = size.saturating_sub(removed);
        }
        Ok(last)
    }
}

impl Ticket {
    /// The name of a mutation of this request; a batch's items are counted.
    pub(super) fn key(&self, item: Option<usize>, hold: &Hold) -> Key {
        let text = match item {
            Some(item) => format!("{}:{item}", self.key),
            None => self.key.clone(),
        };
        Key { text, hold: hold.clone() }
    }

    /// Answers a part of the request as the first time, and says so; or carries it out, and stores
    /// its answer before that is given. `part` has its number, and whether it is the last. An
    /// answer about a topic that is not in `cluster` any more is none.
    ///
    /// # Errors
    /// What keeps it from being carried out; 422 if the key was used for another request.
    pub(super) async fn once<E: From<ApiError>, F: Future<Output = Result<Answer, E>>>(
        self: &Arc<Self>,
        part: (u32, bool),
        fingerprint: &Fingerprint,
        cluster: &Cluster,
        carry_out: impl FnOnce(Under) -> F,
    ) -> Result<(Answer, bool), E> {
        let is_there = |id: &Uuid| cluster.topics.by_id(id).is_some();
        if let Some((answer, was_last)) = self.first(part.0, fingerprint)?
            && answer.topics.iter().all(is_there)
        {
            return if was_last == part.1 { Ok((answer, true)) } else { Err(self.reused().into()) };
        }
        let hold = Hold::default();
        let answer = carry_out((self.clone(), hold.clone())).await?;
        self.save(part, fingerprint, &answer, clock::unix_ms()).await;
        drop(hold);
        Ok((answer, false))
    }

    /// What a part of the request was answered the first time, and whether it was the last.
    ///
    /// # Errors
    /// 422 if the key was used for another request.
    fn first(
        &self,
        part: u32,
        fingerprint: &Fingerprint,
    ) -> Result<Option<(Answer, bool)>, ApiError> {
        let key = row_key(&self.account, &self.part_key(part));
        let value = self.answers.state.records.get(key).map_err(ApiError::internal)?;
        let Some(value) = value else { return Ok(None) };
        let read = read_answer(&value);
        let (stored, last, answer) =
            read.ok_or_else(|| ApiError::internal("a stored answer is not readable"))?;
        if stored != *fingerprint { Err(self.reused()) } else { Ok(Some((answer, last))) }
    }

    /// Says that the key was used for another request.
    fn reused(&self) -> ApiError {
        let text = format!(
            "Idempotency-Key '{}' was used for another request; a new request needs a new key",
            self.key
        );
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", text)
    }

    /// What a mutation of this request published before a crash took its answer away.
    pub(super) fn noted(
        &self,
        topic: &Uuid,
        id: &str,
        key: &Key,
    ) -> Result<Option<Done>, ApiError> {
        let row = row_key(&self.account, &[b"n", key.text.as_bytes()].concat());
        let value = self.answers.state.records.get(row).map_err(ApiError::internal)?;
        let note = value.as_deref().and_then(read_note);
        // A note of another record is another request's, whose key reads the same with its number.
        let Some(note) = note.filter(|note| note.topic == *topic && note.id == id) else {
            return Ok(None);
        };
        let Published { kind, offset } = note.published;
        Ok(Some(Done {
            published: Some(note.published),
            stale: false,
            version: note.version,
            partition: note.partition,
            etag: (kind != Kind::Deleted).then_some(offset),
            rests_on: Some(offset),
            raised: None,
        }))
    }

    /// Stores what a part of the request is answered, durable when this returns.
    async fn save(
        &self,
        (part, last): (u32, bool),
        fingerprint: &Fingerprint,
        answer: &Answer,
        now_ms: i64,
    ) {
        let topics = u16::try_from(answer.topics.len()).expect("a part has fewer items");
        let value = [
            &[ANSWER_LAYOUT],
            &now_ms.to_be_bytes()[..],
            fingerprint,
            &[u8::from(last)],
            &answer.etag.unwrap_or(-1).to_be_bytes(),
            &topics.to_be_bytes(),
            answer.topics.as_flattened(),
            &answer.body,
        ];
        let mut changes = Changes::new();
        let bytes = put(&self.account, &self.part_key(part), now_ms, value.concat(), &mut changes);
        if let Some(size) = self.answers.sizes.lock().get_mut(&self.account) {
            *size += bytes;
        }
        let state = &self.answers.state;
        state.committed(&state.records, changes).await;
    }

    fn part_key(&self, part: u32) -> Vec<u8> {
        [b"a", self.key.as_bytes(), &[0], &part.to_be_bytes()].concat()
    }
}

fn row_key(account: &str, rest: &[u8]) -> Vec<u8> {
    [&PREFIX, account.as_bytes(), &[0], rest].concat()
}

/// Adds a row and its place in time to `changes`, and gives the bytes it takes.
fn put(account: &str, rest: &[u8], at_ms: i64, value: Vec<u8>, changes: &mut Changes) -> u64 {
    let bytes = u32::try_from(rest.len() + value.len()).unwrap_or(u32::MAX);
    let at = row_key(account, &[b"t", &at_ms.to_be_bytes()[..], rest].concat());
    changes.push((row_key(account, rest), Some(value)));
    changes.push((at, Some(bytes.to_be_bytes().to_vec())));
    bytes.into()
}

fn bytes_of(value: &[u8]) -> u64 {
    value.try_into().map_or(0, |bytes| u32::from_be_bytes(bytes).into())
}

fn read_answer(value: &[u8]) -> Option<(Fingerprint, bool, Answer)> {
    let (layout, rest) = value.split_first()?;
    let (_at_ms, rest) = rest.split_first_chunk::<8>()?;
    let (fingerprint, rest) = rest.split_first_chunk()?;
    let (last, rest) = rest.split_first()?;
    let (etag, rest) = rest.split_first_chunk()?;
    let etag = Some(i64::from_be_bytes(*etag)).filter(|etag| *etag >= 0);
    let (topics, body) = match *layout {
        LAYOUT => (Vec::new(), rest),
        ANSWER_LAYOUT => {
            let (count, rest) = rest.split_first_chunk()?;
            let bytes = usize::from(u16::from_be_bytes(*count)) * size_of::<Uuid>();
            let (topics, body) = rest.split_at_checked(bytes)?;
            (topics.as_chunks().0.to_vec(), body)
        }
        _ => return None,
    };
    Some((*fingerprint, *last != 0, Answer { etag, body: body.to_vec(), topics }))
}

fn read_note(value: &[u8]) -> Option<Note<'_>> {
    let (at_ms, rest) = value.strip_prefix(&[LAYOUT])?.split_first_chunk()?;
    let (topic, rest) = rest.split_first_chunk()?;
    let (partition, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (kind, rest) = rest.split_first()?;
    let (version, id) = std::str::from_utf8(rest).ok()?.split_once('\0')?;
    let kinds = [Kind::Inserted, Kind::Updated, Kind::Deleted];
    let kind = kinds.into_iter().find(|it| *it as u8 == *kind)?;
    let version = match version {
        "" => None,
        text => Some(Version::parse(text).ok()?),
    };
    Some(Note {
        at_ms: i64::from_be_bytes(*at_ms),
        topic: *topic,
        partition: i32::from_be_bytes(*partition),
        published: Published { kind, offset: i64::from_be_bytes(*offset) },
        version,
        id,
    })
}
