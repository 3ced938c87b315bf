//! Fetch: records from given offsets on, without a group.

use super::Shared;
use super::answer::plain;
use super::extract::{Params, TopicPartitionOffset, partition, topic};
use super::message::Message;
use crate::clock;
use crate::cluster::Cluster;
use crate::consumer::{DECOMPRESSED_BYTES_MAX, Read, Undecoded, read_committed};
use crate::http::{Account, ApiError, Body};
use crate::room::Taken;
use crate::task::blocking;
use crate::topic::{Partition, Topic};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tidelog_storage as storage;

/// Records of one answer.
pub(super) const RECORDS_MAX: usize = 500;
/// About as many bytes of one partition; a larger record comes alone.
pub(super) const PARTITION_BYTES_MAX: usize = 1 << 20;
/// About as many bytes of one answer.
pub(super) const BYTES_MAX: usize = 8 << 20;
/// How long to wait for records when the client does not say.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// Partitions of one request.
const PLACES_MAX: usize = 10_000;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FetchRequest {
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    #[serde(default)]
    topic_partition_offsets: Vec<TopicPartitionOffset>,
    timeout: Option<i64>,
}

impl FetchRequest {
    /// The set, then the single one; what is asked twice comes once.
    fn places(self) -> Result<Vec<TopicPartitionOffset>, ApiError> {
        let mut places = self.topic_partition_offsets;
        match (self.topic, self.partition, self.offset) {
            (None, None, None) => {}
            (Some(topic), Some(partition), Some(offset)) => {
                places.push(TopicPartitionOffset { topic, partition, offset });
            }
            _ => {
                let text = "topic, partition and offset are needed together";
                return Err(ApiError::bad_request(text));
            }
        }
        let mut seen = BTreeSet::new();
        places.retain(|place| seen.insert(place.clone()));
        match places.len() {
            0 => Err(ApiError::bad_request(
                "nothing to fetch: topic, partition and offset are missing",
            )),
            1..=PLACES_MAX => Ok(places),
            count => {
                let text = format!("{count} partitions are over the limit of {PLACES_MAX}");
                Err(ApiError::bad_request(text))
            }
        }
    }
}

/// One partition to read.
#[derive(Clone)]
struct Place {
    topic: Arc<Topic>,
    partition: Partition,
    index: i32,
    offset: i64,
}

impl Place {
    fn has_more(&self) -> bool {
        self.offset < self.partition.high_watermark()
    }

    fn refuse(&self, error: storage::Error) -> ApiError {
        match error {
            storage::Error::OffsetOutOfRange { .. } => error.into(),
            storage::Error::Closed => error.into(),
            error => {
                let (topic, partition) = (&self.topic.name, self.index);
                tracing::error!(topic, partition, "cannot be read: {error}");
                ApiError::partition_unreadable(topic, partition)
            }
        }
    }

    fn undecoded(&self, batch: &Undecoded) -> ApiError {
        let way_out = format!("fetch from offset {} to go on after it", batch.next);
        undecoded(&self.topic.name, self.index, batch, &way_out)
    }
}

/// `/fetch`
pub(super) async fn fetch(
    Account(principal): Account,
    State(_): State<Shared>,
    params: Params,
    body: Body,
) -> Result<Response, ApiError> {
    let request: FetchRequest = body.object_or_default()?;
    let deadline = params.timeout(request.timeout, DEFAULT_TIMEOUT)?.deadline();
    let cluster = &principal.cluster;
    let mut places = find(cluster, request.places()?)?;
    loop {
        for place in &mut places {
            // What retention took is passed over.
            place.offset = place.offset.max(place.partition.log().log_start_offset());
        }
        let (mut reads, mut taken) = (Vec::new(), Taken::default());
        if places.iter().any(Place::has_more) {
            cluster.answer_room.take(&mut taken, DECOMPRESSED_BYTES_MAX).await;
            let places = places.clone();
            // A read goes on when its client is gone, and has the room as long.
            let work = move || read_all(&places).map(|reads| (reads, taken));
            (reads, taken) = blocking(work).await?;
        }
        let left = deadline.saturating_sub(clock::now());
        if left.is_zero() || reads.iter().any(|(_, read)| !read.records.is_empty()) {
            let messages = reads.iter().flat_map(|(at, read)| {
                let place = &places[*at];
                let message = |record| Message::new(&place.topic.name, place.index, record);
                read.records.iter().map(message)
            });
            return plain(cluster, &messages.collect::<Vec<_>>(), taken).await;
        }
        drop(taken);
        for (at, read) in &reads {
            places[*at].offset = read.next;
        }
        let mut more: FuturesUnordered<_> = places
            .iter()
            .map(|place| place.partition.stable_past(place.offset.saturating_add(1)))
            .collect();
        // Time being up is not an error: nothing is the answer then.
        let _ = tokio::time::timeout(left, more.next()).await;
    }
}

/// The refusal of what cannot be decoded, and the way out for whoever gives it up.
pub(super) fn undecoded(topic: &str, index: i32, batch: &Undecoded, way_out: &str) -> ApiError {
    let text = format!("partition {index} of topic '{topic}': {batch}; {way_out}");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "undecodable", text)
}

fn find(cluster: &Cluster, places: Vec<TopicPartitionOffset>) -> Result<Vec<Place>, ApiError> {
    let place = |asked: TopicPartitionOffset| {
        let topic = topic(cluster, &asked.topic)?;
        let partition = partition(&topic, asked.partition)?.clone();
        Ok(Place { topic, partition, index: asked.partition, offset: asked.offset.max(0) })
    };
    places.into_iter().map(place).collect()
}

/// Reads what is there, in the order asked, up to the answer's limits. A partition that cannot be
/// read is an error only when no other has records.
fn read_all(places: &[Place]) -> Result<Vec<(usize, Read)>, ApiError> {
    let (mut records_left, mut bytes_left) = (RECORDS_MAX, BYTES_MAX);
    let (mut reads, mut refusal) = (Vec::new(), None);
    for (at, place) in places.iter().enumerate() {
        if records_left == 0 || bytes_left == 0 {
            break;
        }
        if !place.has_more() {
            continue;
        }
        let bytes_max = PARTITION_BYTES_MAX.min(bytes_left);
        let read = read_committed(&place.partition, place.offset, bytes_max, records_left);
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                refusal.get_or_insert(place.refuse(error));
                continue;
            }
        };
        if let Some(batch) = read.undecoded.as_ref().filter(|_| read.next == place.offset) {
            refusal.get_or_insert(place.undecoded(batch));
            continue;
        }
        records_left -= read.records.len().min(records_left);
        bytes_left -= read.bytes.min(bytes_left);
        reads.push((at, read));
    }
    match refusal {
        Some(refusal) if records_left == RECORDS_MAX => Err(refusal),
        _ => Ok(reads),
    }
}
