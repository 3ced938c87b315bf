//! Offsets of partitions: what a group has committed, and where a log begins, ends, or was at a
//! time.

use super::Shared;
use super::extract::{Params, TopicPartition, TopicPartitionOffset, Wait, partition, topic};
use crate::clock;
use crate::cluster::Cluster;
use crate::consumer::{Error, offset_for_time};
use crate::http::{Account, ApiError, Body, Json, Segments};
use crate::task::blocking;
use crate::topic::Partition;
use axum::extract::State;
use axum::http::StatusCode;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// In place of an offset where there is none.
const NO_OFFSET: i64 = -1;
/// Nothing here waits: how long it may take at least to look up what is asked for.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// `/committed/{group}/{instance}`: of the partitions asked for, or of all that have one.
pub(super) async fn committed(
    Account(principal): Account,
    State(shared): State<Shared>,
    Segments((group, instance)): Segments<(String, String)>,
    params: Params,
    body: Body,
) -> Result<Json<Vec<TopicPartitionOffset>>, ApiError> {
    params.timeout(None, DEFAULT_TIMEOUT)?;
    let cluster = &principal.cluster;
    let slot = shared.rest.instances.get(&cluster.account.id, &group, &instance);
    if let Some(session) = slot.and_then(|slot| slot.session()) {
        session.touch();
    }
    let asked: Vec<TopicPartition> = body.one_or_many()?;
    for it in &asked {
        partition(&*topic(cluster, &it.topic)?, it.partition)?;
    }
    let mut committed = BTreeMap::new();
    for (topic, partition, it) in cluster.groups.offsets(&group).await.map_err(Error::Refused)? {
        committed.insert(TopicPartition { topic: topic.to_string(), partition }, it.offset);
    }
    let answer = |TopicPartition { topic, partition }: TopicPartition, offset: i64| {
        TopicPartitionOffset { topic, partition, offset }
    };
    Ok(Json(match asked.is_empty() {
        true => committed.into_iter().map(|(place, offset)| answer(place, offset)).collect(),
        false => {
            let offset = |place: &TopicPartition| *committed.get(place).unwrap_or(&NO_OFFSET);
            asked
                .into_iter()
                .map(|place| (offset(&place), place))
                .map(|(offset, place)| answer(place, offset))
                .collect()
        }
    }))
}

/// A place in time.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Earliest,
    Latest,
    At(i64),
}

/// `/offsets/{earliest|latest|ms since 1970}`; a partition asked for twice is answered once.
pub(super) async fn at(
    Account(principal): Account,
    Segments(when): Segments<String>,
    params: Params,
    body: Body,
) -> Result<Json<Vec<TopicPartitionOffset>>, ApiError> {
    let wait = params.timeout(None, DEFAULT_TIMEOUT)?;
    let deadline = Wait(wait.0.max(DEFAULT_TIMEOUT)).deadline();
    let when = match when.as_str() {
        "earliest" => When::Earliest,
        "latest" => When::Latest,
        text => When::At(text.parse().map_err(|_| {
            let text = format!("'{text}' is no time: earliest, latest or milliseconds since 1970");
            ApiError::bad_request(text)
        })?),
    };
    let mut asked: Vec<TopicPartition> = body.one_or_many()?;
    let mut seen = BTreeSet::new();
    asked.retain(|place| seen.insert(place.clone()));
    let cluster = principal.cluster;
    // Looking up a time reads the log.
    let work = move || answers(&cluster, asked, when, deadline);
    Result::map(blocking(work).await, Json)
}

/// What is asked for, if it is found before the deadline: a thread that reads logs ends only by
/// itself. The first always is.
pub(super) fn answers(
    cluster: &Cluster,
    asked: Vec<TopicPartition>,
    when: When,
    deadline: Duration,
) -> Result<Vec<TopicPartitionOffset>, ApiError> {
    let mut answers = Vec::with_capacity(asked.len());
    for place in asked {
        if !answers.is_empty() && clock::now() >= deadline {
            let text = "to look up so many offsets takes too long; ask for fewer partitions";
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", text));
        }
        answers.push(answer(cluster, place, when)?);
    }
    Ok(answers)
}

fn answer(
    cluster: &Cluster,
    asked: TopicPartition,
    when: When,
) -> Result<TopicPartitionOffset, ApiError> {
    let found = topic(cluster, &asked.topic)?;
    let offset = find(partition(&found, asked.partition)?, when)?;
    Ok(TopicPartitionOffset { topic: asked.topic, partition: asked.partition, offset })
}

fn find(partition: &Partition, when: When) -> Result<i64, ApiError> {
    Ok(match when {
        When::Earliest => partition.log().log_start_offset(),
        When::Latest => partition.log().last_stable_offset()?,
        When::At(ms) => offset_for_time(partition, ms)?.unwrap_or(NO_OFFSET),
    })
}
