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
use tokio::time::timeout;

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
    drop(body);
    answers(&principal.cluster, asked, when, deadline).await.map(Json)
}

/// What is asked for, one partition after the other, if it is found before the deadline. The first
/// always is, once it is its turn.
pub(super) async fn answers(
    cluster: &Cluster,
    asked: Vec<TopicPartition>,
    when: When,
    deadline: Duration,
) -> Result<Vec<TopicPartitionOffset>, ApiError> {
    let mut answers = Vec::with_capacity(asked.len());
    for TopicPartition { topic: name, partition: index } in asked {
        let found = topic(cluster, &name)?;
        let partition = partition(&found, index)?.clone();
        let left = deadline.saturating_sub(clock::now());
        if !answers.is_empty() && left.is_zero() {
            return Err(too_long());
        }
        let turn = match when {
            When::At(_) => {
                let turn = timeout(left, cluster.time_lookups.clone().acquire_owned()).await;
                turn.map_err(|_| too_long())?.ok()
            }
            When::Earliest | When::Latest => None,
        };
        let offset = blocking(move || {
            // Until it is done, also if the client left meanwhile.
            let _turn = turn;
            find(&partition, when)
        });
        let offset = offset.await?;
        answers.push(TopicPartitionOffset { topic: name, partition: index, offset });
    }
    Ok(answers)
}

fn too_long() -> ApiError {
    let text = "to look up these offsets takes too long; ask for fewer partitions at a time";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", text)
}

fn find(partition: &Partition, when: When) -> Result<i64, ApiError> {
    Ok(match when {
        When::Earliest => partition.log().log_start_offset(),
        When::Latest => partition.log().last_stable_offset()?,
        When::At(ms) => offset_for_time(partition, ms)?.unwrap_or(NO_OFFSET),
    })
}
