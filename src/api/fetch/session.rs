//! Fetch sessions (KIP-227): the client names its partitions once, then only what changes, and the
//! answer names only those that have news.
//!
//! **A session lives on its connection and ends with it**, so none has to be found, shared, timed
//! out or evicted. Unlike Kafka: a client that reconnects is told FETCH_SESSION_ID_NOT_FOUND and
//! opens another, as it would after an eviction. The partitions of all sessions are counted against
//! a share of the account and one of the process; without room, a client is told session 0 and
//! names its partitions in every request.

use crate::cluster::Cluster;
use crate::room::Held;
use crate::topic::NAME_BYTES_MAX;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use tidelog_protocol::messages::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchTopic, FetchTopicResponse,
    ForgottenTopic,
};
use tidelog_protocol::{ErrorCode, Str, Uuid};

/// The epoch that asks for a session, and the one that wants none.
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;
/// Stands for no session.
const NO_SESSION: i32 = 0;

/// A connection's session, if it has one.
#[derive(Default)]
pub struct SessionSlot(Mutex<Option<FetchSession>>);

/// What a request is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// No session.
    Sessionless,
    /// The first of this session, which is answered in full.
    First(i32),
    /// A later one, which is answered with the news.
    Next(i32),
}

impl SessionSlot {
    /// Brings the session up to date, and fills in what the request left out. Called in the order
    /// of requests. `new_id` is what a new session is called, if there is one.
    pub(super) fn begin(
        &self,
        cluster: &Cluster,
        request: &mut FetchRequest,
        new_id: i32,
    ) -> Result<Turn, ErrorCode> {
        let mut slot = self.0.lock();
        match request.session_epoch {
            FINAL_EPOCH => {
                slot.take_if(|session| session.id == request.session_id);
                Ok(Turn::Sessionless)
            }
            INITIAL_EPOCH => {
                *slot = FetchSession::open(cluster, &request.topics, new_id);
                let opened = slot.as_ref().map(|session| Turn::First(session.id));
                Ok(opened.unwrap_or(Turn::Sessionless))
            }
            epoch => {
                let session = slot.as_mut().filter(|session| session.id == request.session_id);
                let session = session.ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
                let topics = std::mem::take(&mut request.topics);
                session.advance(epoch, topics, &request.forgotten_topics_data)?;
                request.topics = session.topics();
                let turn = Turn::Next(session.id);
                if !session.reserve(cluster) {
                    // This answer is the last: it is complete, and names no session.
                    *slot = None;
                    return Ok(Turn::Sessionless);
                }
                Ok(turn)
            }
        }
    }

    /// Takes out what is no news; returns the session's id for the answer.
    pub(super) fn finish(&self, turn: Turn, answer: &mut Vec<FetchTopicResponse>) -> i32 {
        let (id, is_first) = match turn {
            Turn::Sessionless => return NO_SESSION,
            Turn::First(id) => (id, true),
            Turn::Next(id) => (id, false),
        };
        let mut slot = self.0.lock();
        let Some(session) = slot.as_mut().filter(|session| session.id == id) else {
            return NO_SESSION;
        };
        for topic in answer.iter_mut() {
            let FetchTopicResponse { topic, topic_id, partitions } = topic;
            partitions.retain(|it| session.note(&(*topic_id, topic.clone()), it) || is_first);
        }
        answer.retain(|topic| !topic.partitions.is_empty());
        if session.kept.is_empty() {
            *slot = None;
            return NO_SESSION;
        }
        id
    }
}

type TopicKey = (Uuid, Str);
type Key = (TopicKey, i32);

/// The partitions of a session, in the order in which they are read: those that gave records go
/// to the end, so that none starves while answers are full.
struct FetchSession {
    id: i32,
    /// The epoch of the next request.
    epoch: i32,
    /// Whether topics go by id; it cannot change within a session.
    by_id: bool,
    kept: BTreeMap<u64, Kept>,
    places: HashMap<Key, u64>,
    next_place: u64,
    room: Vec<Held>,
    reserved: usize,
}

struct Kept {
    topic: TopicKey,
    asked: FetchPartition,
    /// What was last told, -1 for nothing.
    high_watermark: i64,
    log_start_offset: i64,
}

/// Whether a session has room for a topic of this name; no topic has a longer one.
fn may_be_kept(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
}

impl FetchSession {
    fn open(cluster: &Cluster, topics: &[FetchTopic], id: i32) -> Option<Self> {
        if !topics.iter().all(|topic| may_be_kept(&topic.topic)) {
            return None;
        }
        let mut session = Self {
            id,
            epoch: INITIAL_EPOCH + 1,
            by_id: topics.iter().any(|topic| topic.topic.is_empty()),
            kept: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
            room: Vec::new(),
            reserved: 0,
        };
        topics.iter().for_each(|topic| session.add(topic));
        let is_worth_it = !session.kept.is_empty();
        (is_worth_it && session.reserve(cluster)).then_some(session)
    }

    fn advance(
        &mut self,
        epoch: i32,
        topics: Vec<FetchTopic>,
        forgotten: &[ForgottenTopic],
    ) -> Result<(), ErrorCode> {
        if epoch != self.epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        let mut names = topics.iter().map(|topic| &topic.topic);
        if names.any(|name| name.is_empty() != self.by_id) {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        if !topics.iter().all(|topic| may_be_kept(&topic.topic)) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        self.epoch = self.epoch.checked_add(1).unwrap_or(INITIAL_EPOCH + 1);
        topics.iter().for_each(|topic| self.add(topic));
        for topic in forgotten.iter().filter(|topic| may_be_kept(&topic.topic)) {
            let key = (topic.topic_id, topic.topic.clone());
            for partition in &topic.partitions {
                if let Some(place) = self.places.remove(&(key.clone(), *partition)) {
                    self.kept.remove(&place);
                }
            }
        }
        Ok(())
    }

    /// Adds partitions, or changes what is asked of them.
    fn add(&mut self, topic: &FetchTopic) {
        // A copy: the name may be a slice of a frame, which the session must not keep alive.
        let key = (topic.topic_id, Str::from(topic.topic.to_string()));
        for asked in &topic.partitions {
            let place = self.places.get(&(key.clone(), asked.partition));
            if let Some(kept) = place.and_then(|place| self.kept.get_mut(place)) {
                kept.asked = asked.clone();
                continue;
            }
            let (topic, asked) = (key.clone(), asked.clone());
            let kept = Kept { topic, asked, high_watermark: -1, log_start_offset: -1 };
            self.append(kept);
        }
    }

    fn append(&mut self, kept: Kept) {
        self.places.insert((kept.topic.clone(), kept.asked.partition), self.next_place);
        self.kept.insert(self.next_place, kept);
        self.next_place += 1;
    }

    /// Everything the session asks for.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for Kept { topic: (topic_id, topic), asked, .. } in self.kept.values() {
            match topics.last_mut() {
                Some(last) if last.topic_id == *topic_id && last.topic == *topic => {
                    last.partitions.push(asked.clone());
                }
                _ => topics.push(FetchTopic {
                    topic: topic.clone(),
                    topic_id: *topic_id,
                    partitions: vec![asked.clone()],
                }),
            }
        }
        topics
    }

    /// Whether an answer has news, which is now told.
    fn note(&mut self, topic: &TopicKey, answer: &FetchPartitionResponse) -> bool {
        let key = (topic.clone(), answer.partition_index);
        let Some(place) = self.places.get(&key).copied() else { return true };
        let Some(kept) = self.kept.get_mut(&place) else { return true };
        let before = (kept.high_watermark, kept.log_start_offset);
        // An error is always news, and so is its end.
        let told = match answer.error_code {
            ErrorCode::NONE => (answer.high_watermark, answer.log_start_offset),
            _ => (-1, -1),
        };
        (kept.high_watermark, kept.log_start_offset) = told;
        let has_records = answer.records.as_ref().is_some_and(|records| !records.is_empty());
        if has_records && let Some(kept) = self.kept.remove(&place) {
            self.append(kept);
        }
        has_records || answer.error_code.is_error() || told != before
    }

    /// Takes room for partitions that came in, if there is any.
    fn reserve(&mut self, cluster: &Cluster) -> bool {
        let more = self.kept.len().saturating_sub(self.reserved);
        if more == 0 {
            return true;
        }
        let taken = cluster.fetch_sessions.try_take(more);
        let is_taken = taken.is_some();
        if is_taken {
            self.room.extend(taken);
            self.reserved += more;
        }
        is_taken
    }
}

#[cfg(test)]
impl SessionSlot {
    /// How many partitions the session has.
    pub(in crate::api) fn len(&self) -> usize {
        self.0.lock().as_ref().map_or(0, |session| session.kept.len())
    }
}
