//! One record: `PUT`, `PATCH`, `DELETE` and `GET` of `.../collections/{collection}/records/{id}`.
//!
//! A record's [`ETag`](super::etag) says which topic its last event is in, and at which offset, so
//! that it also tells where the record became what it is. `If-Match` and `If-None-Match: *` on a
//! write want the record to be so; the answer is 412 and says what it is instead. `Tidelog-Version`
//! is its [`version`](super::version).

use super::Ingest;
use super::answers::{Answer, Fingerprint, Under, fingerprint};
use super::etag;
use super::json::Object;
use super::mutation::{Condition, Done, Error, Mutation, Operation};
use super::name::RecordId;
use super::target::Target;
use super::travel;
use super::version::Version;
use crate::http::{Account, ApiError, Body, Query, Segments};
use crate::task::{blocking, to_the_end};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;
use tidelog_protocol::Uuid;

/// When a record is to be seen, instead of now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moment {
    #[serde(default, deserialize_with = "moment")]
    at: Option<jiff::Timestamp>,
}

fn moment<'de, D: Deserializer<'de>>(input: D) -> Result<Option<jiff::Timestamp>, D::Error> {
    let text = String::deserialize(input)?;
    let at = text.parse().map_err(|_| {
        let text = format!(
            "at: expected a time such as 2024-11-10T18:39:00.070453Z (RFC 3339; a + in a query is %2B), found {text:?}"
        );
        serde::de::Error::custom(text)
    });
    at.map(Some)
}

type RecordPath = Segments<(String, String, String)>;

/// The header of a record's version, in requests and answers.
const VERSION: HeaderName = HeaderName::from_static("tidelog-version");

/// What a write answers; `event` is null when nothing changed and nothing was published.
#[derive(Serialize)]
pub(super) struct RecordAnswer {
    event: Option<&'static str>,
    topic: String,
    partition: i32,
    offset: Option<i64>,
    /// The version held, if the record has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    /// The mutation was older than that, and dropped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

impl RecordAnswer {
    pub(super) fn new(topic: &str, done: &Done) -> Self {
        Self {
            event: done.published.map(|it| it.kind.as_str()),
            topic: topic.to_owned(),
            partition: done.partition,
            offset: done.published.map(|it| it.offset),
            version: done.version,
            stale: done.stale,
        }
    }
}

/// `PUT`: the whole record. `PATCH`: some columns (RFC 7396). `DELETE`: the body is passed over.
pub(super) async fn write(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, collection, id)): RecordPath,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let operation = match method {
        Method::PATCH => Operation::Patch,
        Method::DELETE => Operation::Delete,
        _ => Operation::Upsert,
    };
    let target = Target::find(&ingest, &principal.cluster, &sync, &collection).await?;
    let id = RecordId::parse(&id).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let write = Write {
        version: version(&headers)?,
        condition: condition(&headers, &target.stream.topic().id)?,
        target,
        id,
        operation,
        body: body.0,
    };
    let Some(key) = idempotency_key(&headers)? else {
        return Ok(respond(write.carry_out(None).await?, false));
    };
    let fingerprint = write.fingerprint();
    let ticket = Arc::new(ingest.answers.begin(&principal.cluster.account.id, &key)?);
    let once = async move {
        let carry_out = |under| write.carry_out(Some(under));
        let answered = ticket.once((0, true), &fingerprint, &principal.cluster, carry_out);
        let (answer, replayed) = answered.await?;
        Ok(respond(answer, replayed))
    };
    // Once begun it ends with a stored answer, also when the client hangs up.
    to_the_end(once).await
}

/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An answer as it goes out.
pub(super) fn respond(answer: Answer, replayed: bool) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let (Some(offset), [topic]) = (answer.etag, &answer.topics[..]) {
        headers.insert(header::ETAG, tag(topic, offset));
    }
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    (headers, answer.body).into_response()
}

/// A write of one record.
struct Write {
    target: Target,
    id: RecordId,
    operation: Operation,
    version: Option<Version>,
    condition: Condition,
    body: Bytes,
}

impl Write {
    /// What makes it this write and no other.
    fn fingerprint(&self) -> Fingerprint {
        let operation = format!("{:?} {:?} {:?}", self.operation, self.version, self.condition);
        let collection = self.target.defined.collection.as_str();
        let place = format!("{} {collection}", self.target.sync.id);
        fingerprint(&[&operation, &place, self.id.as_str()], &self.body)
    }

    /// Carries it out, under its key if it has one, and waits until it may be answered.
    async fn carry_out(self, under: Option<Under>) -> Result<Answer, ApiError> {
        let stream = self.target.stream.clone();
        let done = blocking(move || self.mutate(under.as_ref())).await?;
        // What is refused may say what the record is.
        stream.confirm(done.as_ref().map_or_else(Error::tells, Some).into_iter()).await;
        let done = done?;
        let topic = stream.topic();
        let body = serde_json::to_vec(&RecordAnswer::new(&topic.name, &done));
        let body = body.map_err(ApiError::internal)?;
        Ok(Answer { etag: done.etag, body, topics: vec![topic.id] })
    }

    fn mutate(self, under: Option<&Under>) -> Result<Result<Done, Error>, ApiError> {
        let data = match self.operation {
            Operation::Delete => Ok(None),
            _ => Object::parse(&self.body).map(Some),
        };
        let (data, refused) = match data {
            Ok(data) => (data, None),
            Err(error) => (None, Some(format!("invalid JSON body: {error}").into())),
        };
        let key = under.map(|(ticket, hold)| ticket.key(None, hold));
        let (version, condition) = (self.version, self.condition);
        let mutation = Mutation::new(self.id, self.operation, data);
        let mutation = Mutation { version, condition, refused, key, ..mutation };
        let ticket = under.map(|(ticket, _)| &**ticket);
        let mut outcomes = self.target.mutate_once(vec![mutation], ticket)?;
        self.target.stream.settle_after(outcomes.iter().flatten());
        outcomes.pop().ok_or_else(|| ApiError::internal("a mutation had no outcome"))
    }
}

/// `GET`: the record as it is now, or was `?at=` a time; `If-None-Match` spares it who has it.
pub(super) async fn read(
    Account(principal): Account,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, collection, id)): RecordPath,
    Query(Moment { at }): Query<Moment>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let target = Target::known(&ingest, &principal.cluster, &sync, &collection)?;
    let record = RecordId::parse(&id).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let partition = target.stream.partition_of(&record);
    let stream = target.stream.clone();
    if let Some(at) = at {
        let data = blocking(move || travel::record_at(&stream, &record, at)).await?;
        let json = HeaderValue::from_static("application/json");
        return Ok(([(header::CONTENT_TYPE, json)], data).into_response());
    }
    let known = blocking(move || stream.get(&record)).await?;
    let told = Done::unchanged(partition, &known);
    target.stream.tell(std::iter::once(&told)).await;
    let Some(data) = known.row.data else {
        return Err(ApiError::not_found(format!("record '{id}' does not exist in '{collection}'")));
    };
    let mut answer = HeaderMap::new();
    let topic = target.stream.topic().id;
    answer.insert(header::ETAG, tag(&topic, known.row.offset));
    let version = known.row.version.map(|it| HeaderValue::from_str(&it.to_string()));
    if let Some(Ok(version)) = version {
        answer.insert(VERSION, version);
    }
    if condition_header(&headers, header::IF_NONE_MATCH, &topic)?
        .is_some_and(|it| it.names(known.row.offset))
    {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((answer, data.to_vec()).into_response())
}

fn tag(topic: &Uuid, offset: i64) -> HeaderValue {
    HeaderValue::from_str(&etag::write(topic, offset)).expect("digits are visible ASCII")
}

fn version(headers: &HeaderMap) -> Result<Option<Version>, ApiError> {
    let Some(value) = headers.get(VERSION) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let version = Version::parse(text.trim());
    version.map(Some).map_err(|error| ApiError::bad_request(format!("Tidelog-Version: {error}")))
}

/// The entity tags of a condition.
enum Tags {
    Any,
    Offsets(Vec<i64>),
}

impl Tags {
    fn names(&self, offset: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Offsets(offsets) => offsets.contains(&offset),
        }
    }
}

fn condition(headers: &HeaderMap, topic: &Uuid) -> Result<Condition, ApiError> {
    let matches = condition_header(headers, header::IF_MATCH, topic)?;
    let none_matches = condition_header(headers, header::IF_NONE_MATCH, topic)?;
    match (matches, none_matches) {
        (None, None) => Ok(Condition::Any),
        (Some(Tags::Any), None) => Ok(Condition::Present),
        (Some(Tags::Offsets(offsets)), None) => Ok(Condition::At(offsets)),
        (None, Some(Tags::Any)) => Ok(Condition::Absent),
        (None, Some(Tags::Offsets(_))) => {
            let text = "If-None-Match of a write may only be *: the record must not exist";
            Err(ApiError::bad_request(text))
        }
        (Some(_), Some(_)) => {
            Err(ApiError::bad_request("If-Match and If-None-Match contradict each other: send one"))
        }
    }
}

/// Reads `*`, or entity tags. One that is not of the topic names no record.
fn condition_header(
    headers: &HeaderMap,
    name: HeaderName,
    topic: &Uuid,
) -> Result<Option<Tags>, ApiError> {
    let Some(value) = headers.get(&name) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Some(Tags::Any));
    }
    let mut offsets = Vec::new();
    for tag in text.split(',') {
        let tag = tag.trim();
        let inner = tag.strip_prefix("W/").unwrap_or(tag);
        let inner = inner.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        let Some(inner) = inner else {
            let text = format!(
                "{name} must be * or ETags in quotes, such as \"1f0c9a3e-12\"; it is {text}"
            );
            return Err(ApiError::bad_request(text));
        };
        offsets.extend(etag::read(topic, inner));
    }
    Ok(Some(Tags::Offsets(offsets)))
}

/// Bytes of an idempotency key, which goes into a header of the event.
pub(super) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(text) if (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len()) => {
            Ok(Some(text.to_owned()))
        }
        _ => Err(ApiError::bad_request(format!(
            "Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"
        ))),
    }
}
