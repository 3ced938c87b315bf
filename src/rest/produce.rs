//! Produce, in three forms. **All of a request is checked before any of it is appended**, and it is
//! answered when all of it is durable. Where appending fails half-way (a full disk), the error says
//! how many messages are stored.

use super::extract::{Params, partition};
use super::message::NewMessage;
use super::{Rest, Shared};
use crate::clock;
use crate::cluster::Cluster;
use crate::http::{Account, ApiError, Body, Json, Segments};
use crate::task::in_place;
use crate::topic::{Partition, Refused, Topic, partition_for};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidelog_protocol::records::{Batch, BatchBuilder, Compression, Record};

/// Where a message went.
#[derive(Clone, Serialize)]
pub(super) struct Metadata {
    #[serde(serialize_with = "name_of")]
    topic: Arc<Topic>,
    partition: i32,
    offset: i64,
    timestamp: i64,
}

fn name_of<S: Serializer>(topic: &Topic, into: S) -> Result<S::Ok, S::Error> {
    topic.name.serialize(into)
}

/// `GET /produce/{topic}/{message}?key=`: the rest of the path is the message.
pub(super) async fn from_path(
    Account(principal): Account,
    State(shared): State<Shared>,
    Segments((topic, value)): Segments<(String, String)>,
    params: Params,
) -> Result<Json<Metadata>, ApiError> {
    let key = params.get("key").map(str::to_owned);
    let message =
        NewMessage { topic: Some(topic), key, value: value.into(), ..NewMessage::default() };
    let mut produced = produce(&shared.rest, &principal.cluster, vec![message]).await?;
    produced.pop().map(Json).ok_or_else(|| ApiError::internal("a produced message is missing"))
}

/// `/produce/{topic}`: a message, or an array of them.
pub(super) async fn to_topic(
    Account(principal): Account,
    State(shared): State<Shared>,
    Segments(topic): Segments<String>,
    body: Body,
) -> Result<Json<Vec<Metadata>>, ApiError> {
    let mut messages: Vec<NewMessage> = required(&body)?;
    messages.iter_mut().for_each(|message| message.topic = Some(topic.clone()));
    produce(&shared.rest, &principal.cluster, messages).await.map(Json)
}

/// `/produce`: messages that name their topics.
pub(super) async fn to_any(
    Account(principal): Account,
    State(shared): State<Shared>,
    body: Body,
) -> Result<Json<Vec<Metadata>>, ApiError> {
    produce(&shared.rest, &principal.cluster, required(&body)?).await.map(Json)
}

fn required(body: &Body) -> Result<Vec<NewMessage>, ApiError> {
    match body.0.iter().all(u8::is_ascii_whitespace) {
        true => body.json(),
        false => body.one_or_many(),
    }
}

/// One partition's share of a request.
struct Share {
    topic: Arc<Topic>,
    partition: i32,
    batches: Vec<BatchBuilder>,
    /// The messages in the order of their offsets, by place in the request.
    places: Vec<usize>,
}

/// Produces messages, each of which names its topic; the answers are in the same order.
pub(super) async fn produce(
    rest: &Rest,
    cluster: &Cluster,
    messages: Vec<NewMessage>,
) -> Result<Vec<Metadata>, ApiError> {
    let topics = find_topics(cluster, &messages).await?;
    let keyless = rest.next_keyless();
    let now = clock::unix_ms();
    let mut shares: BTreeMap<(&str, i32), Share> = BTreeMap::new();
    let mut answers = Vec::with_capacity(messages.len());
    for (place, message) in messages.into_iter().enumerate() {
        let topic = &topics[message.topic.as_deref().unwrap_or_default()];
        let index = choose(topic, &message, keyless)?;
        let share = shares.entry((&topic.name, index)).or_insert_with(|| Share {
            topic: topic.clone(),
            partition: index,
            batches: Vec::new(),
            places: Vec::new(),
        });
        let timestamp = time_of(topic, place, &message, now)?;
        share.add(place, &message, timestamp)?;
        answers.push(Metadata { topic: topic.clone(), partition: index, offset: -1, timestamp });
    }
    let admitted = shares.into_values().map(Share::admit).collect::<Result<Vec<_>, _>>()?;
    let mut waits = Vec::new();
    let appended = admitted.into_iter().try_for_each(|it| it.append(&mut answers, &mut waits));
    // What comes before a failure is stored all the same.
    for (partition, last_offset) in waits {
        partition.durable(last_offset).await;
    }
    match appended {
        Ok(()) => Ok(answers),
        Err(error) => Err(in_part(error, &answers)),
    }
}

/// A failure, and how many messages it came too late for: who sends all again sends these twice.
fn in_part(error: ApiError, answers: &[Metadata]) -> ApiError {
    let (stored, all) = (answers.iter().filter(|it| it.offset >= 0).count(), answers.len());
    let message = format!("{}; {stored} of {all} messages were stored", error.message);
    ApiError { message, ..error }
}

/// Every topic named, all of which must be there and open to producers.
async fn find_topics(
    cluster: &Cluster,
    messages: &[NewMessage],
) -> Result<BTreeMap<String, Arc<Topic>>, ApiError> {
    let mut topics = BTreeMap::new();
    for (place, message) in messages.iter().enumerate() {
        let Some(name) = message.topic.as_ref().filter(|name| !name.is_empty()) else {
            let text = format!("message {place} names no topic; it needs \"topic\"");
            return Err(ApiError::bad_request(text));
        };
        if topics.contains_key(name) {
            continue;
        }
        let topic = cluster.topic_or_auto_create(name).await?;
        if let Some(sync) = &topic.sync {
            let text =
                format!("topic '{name}' belongs to sync '{sync}'; only its ingest writes to it");
            return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", text));
        }
        topics.insert(name.clone(), topic);
    }
    Ok(topics)
}

/// As asked for; else by key, as the Java client does; else one for the whole request, so that it
/// makes few batches, and one that is not offline.
fn choose(topic: &Topic, message: &NewMessage, keyless: u32) -> Result<i32, ApiError> {
    if let Some(index) = message.partition {
        return partition(topic, index).map(|_| index);
    }
    let count = topic.count().max(1);
    let index = match &message.key {
        Some(key) => partition_for(key.as_bytes(), count),
        None => {
            let first = i32::try_from(keyless % count.unsigned_abs()).unwrap_or(0);
            let mut in_turn = (first..count).chain(0..first);
            in_turn.find(|index| topic.partition(*index).is_ok()).unwrap_or(first)
        }
    };
    partition(topic, index).map(|_| index)
}

/// As asked for, which must be one that the topic takes; else the broker's.
fn time_of(
    topic: &Topic,
    place: usize,
    message: &NewMessage,
    now_ms: i64,
) -> Result<i64, ApiError> {
    let Some(time) = message.timestamp else { return Ok(now_ms) };
    if time < 0 {
        let text = format!("timestamp {time} of message {place} is negative");
        return Err(ApiError::bad_request(text));
    }
    let times = topic.config.times_at(now_ms);
    if !times.contains(&time) {
        let (name, first, last) = (&topic.name, times.start().max(&0), times.end());
        return Err(ApiError::bad_request(format!(
            "timestamp {time} of message {place} is out of range: topic '{name}' takes {first} to \
             {last}"
        )));
    }
    Ok(time)
}

impl Share {
    fn add(&mut self, place: usize, message: &NewMessage, timestamp: i64) -> Result<(), ApiError> {
        if message.headers.len() > Record::HEADERS_MAX {
            let (count, max) = (message.headers.len(), Record::HEADERS_MAX);
            let text = format!("message {place} has {count} headers, more than {max}");
            return Err(ApiError::bad_request(text));
        }
        let (key, value) = (message.key.as_ref().map(String::as_bytes), &*message.value);
        let append =
            |batch: &mut BatchBuilder| batch.append(timestamp, key, Some(value), &message.headers);
        let fits = self.batches.last_mut().is_some_and(|batch| append(batch).is_ok());
        if !fits {
            let bytes_max = self.topic.config.max_message_bytes();
            let compression = self.topic.config.compression().unwrap_or_default();
            let level = self.topic.config.compression_level();
            let mut batch = BatchBuilder::new(compression, bytes_max).level(level);
            append(&mut batch).map_err(|full| {
                let (name, needed) = (&self.topic.name, full.needed);
                ApiError::too_large(format!(
                    "message {place} takes {needed} bytes as a batch, over the limit of \
                     {bytes_max} bytes (max.message.bytes of topic '{name}')"
                ))
            })?;
            self.batches.push(batch);
        }
        self.places.push(place);
        Ok(())
    }

    /// Sees that the topic takes the batches.
    fn admit(self) -> Result<Admitted, ApiError> {
        let Self { topic, partition, batches, places } = self;
        let batches = batches.into_iter().filter_map(BatchBuilder::finish);
        let admit = || batches.map(|batch| topic.config.admit(batch)).collect();
        // To compress them may take long.
        let admitted: Result<_, _> = match topic.config.compression() {
            None | Some(Compression::None) => admit(),
            Some(_) => in_place(admit),
        };
        let batches = admitted.map_err(|refused| {
            let text = format!("topic '{}': {refused}", topic.name);
            match refused {
                Refused::TooLarge { .. } => ApiError::too_large(text),
                Refused::Keyless | Refused::Unreadable(_) => ApiError::bad_request(text),
            }
        })?;
        Ok(Admitted { topic, partition, batches, places })
    }
}

/// A share that may be appended.
struct Admitted {
    topic: Arc<Topic>,
    partition: i32,
    batches: Vec<Batch>,
    places: Vec<usize>,
}

impl Admitted {
    /// Appends, and notes where messages went and what to wait for.
    fn append(
        self,
        answers: &mut [Metadata],
        waits: &mut Vec<(Partition, i64)>,
    ) -> Result<(), ApiError> {
        let partition = partition(&self.topic, self.partition)?;
        let append_time_ms = self.topic.config.log_append_time().then(clock::unix_ms);
        let mut places = self.places.into_iter();
        for batch in self.batches {
            let appended = partition.append_stamped(&batch, append_time_ms)?;
            let offsets = appended.base_offset..=appended.last_offset;
            for (offset, place) in offsets.zip(places.by_ref()) {
                let answer = &mut answers[place];
                answer.offset = offset;
                answer.timestamp = append_time_ms.unwrap_or(answer.timestamp);
            }
            waits.push((partition.clone(), appended.last_offset));
        }
        Ok(())
    }
}
