//! Commit: what an instance was given, or offsets as the client names them.
//!
//! An offset is the next one to read, as everywhere in Kafka, and it is stored as it comes: who
//! commits the offset of a message gets that message again after a restart.

use super::Shared;
use super::consume::{no_instance, success};
use super::extract::{TopicPartitionOffset, partition, topic};
use crate::clock;
use crate::cluster::Cluster;
use crate::consumer::Error::Refused;
use crate::group::{Commit, CommitPartition, Error, Reply};
use crate::http::{Account, ApiError, Body, Json, Segments};
use crate::topic::LEADER_EPOCH;
use axum::extract::State;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tidelog_protocol::Str;

/// A commit waits out a rebalance for no longer than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// Generation of a commit by someone who is no member.
const NO_GENERATION: i32 = -1;

/// `/commit/{group}/{instance}`
pub(super) async fn commit(
    Account(principal): Account,
    State(shared): State<Shared>,
    Segments((group, instance)): Segments<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let cluster = &principal.cluster;
    let offsets = check(cluster, body.one_or_many()?)?;
    let slot = shared.rest.instances.get(&cluster.account.id, &group, &instance);
    let session = slot.and_then(|slot| slot.session());
    let deadline = clock::now() + PATIENCE;
    match session.filter(|session| !session.member.has_ended()) {
        Some(session) => {
            session.touch();
            match offsets.is_empty() {
                true => session.member.commit_delivered(deadline).await?,
                false => session.member.commit(offsets, deadline).await?,
            }
        }
        None if offsets.is_empty() => return Err(no_instance(&group, &instance)),
        None => commit_alone(cluster, &group, offsets).await?,
    }
    Ok(success())
}

/// The offsets asked for; of several for one partition the last one counts.
fn check(
    cluster: &Cluster,
    asked: Vec<TopicPartitionOffset>,
) -> Result<Vec<(Str, i32, i64)>, ApiError> {
    let mut offsets = BTreeMap::new();
    for it in asked {
        partition(&*topic(cluster, &it.topic)?, it.partition)?;
        if it.offset < 0 {
            return Err(ApiError::bad_request(format!("offset {} is negative", it.offset)));
        }
        offsets.insert((Str::from(it.topic), it.partition), it.offset);
    }
    let flat = |((topic, partition), offset)| (topic, partition, offset);
    Ok(offsets.into_iter().map(flat).collect())
}

/// Commits for a group that has no members now.
async fn commit_alone(
    cluster: &Cluster,
    group: &str,
    offsets: Vec<(Str, i32, i64)>,
) -> Result<(), ApiError> {
    if !cluster.groups.exists(group) {
        return Err(ApiError::not_found(format!("group '{group}' does not exist")));
    }
    let partition = |(topic, partition, offset)| CommitPartition {
        topic,
        partition,
        offset,
        leader_epoch: LEADER_EPOCH,
        metadata: Str::new(),
    };
    let partitions = offsets.into_iter().map(partition).collect();
    let commit = Commit { generation: NO_GENERATION, partitions, ..Commit::default() };
    match cluster.groups.commit(group, commit).await {
        Reply::Each(_) => Ok(()),
        Reply::Failed(Error::UnknownMemberId | Error::IllegalGeneration) => {
            let text = format!("group '{group}' has other members, which may commit");
            Err(ApiError::conflict(text))
        }
        Reply::Failed(error @ (Error::NoRoom | Error::Unreadable | Error::Behind)) => {
            Err(Refused(error).into())
        }
        Reply::Failed(error) => Err(ApiError::conflict(error.to_string())),
        _ => Err(ApiError::internal("a commit was answered as another request")),
    }
}
