//! OffsetCommit and OffsetFetch.

use super::{once, topic_error};
use crate::cluster::Cluster;
use crate::group::{Commit, CommitPartition, Committed, Reply};
use crate::topic;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidelog_protocol::messages::*;
use tidelog_protocol::{ErrorCode, Str, Uuid};

/// Topics go by id since this version.
const TOPIC_IDS_SINCE: i16 = 10;
/// Since this version OffsetFetch asks about several groups.
const FETCH_BATCH_SINCE: i16 = 8;
/// Since this version OffsetFetch has an error of a group.
const ERROR_CODE_SINCE: i16 = 2;
/// Before this version a commit to a group that does not exist has a wrong generation.
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;
/// Since this version members of the consumer protocol say their epoch (KIP-848).
const MEMBER_EPOCH_SINCE: i16 = 9;
/// These versions say how long to keep the offsets.
const RETENTION: std::ops::RangeInclusive<i16> = 2..=4;

/// Commits offsets; partitions that do not exist are refused one by one. The group has the commit
/// before it returns, so that a member may leave right behind it.
pub(super) fn commit(
    cluster: &Cluster,
    request: OffsetCommitRequest,
    version: i16,
) -> impl Future<Output = OffsetCommitResponse> + use<> {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut partitions = Vec::new();
    for asked in request.topics {
        let found = match version >= TOPIC_IDS_SINCE {
            true => cluster.topics.by_id(&asked.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
            false => cluster
                .topics
                .get(&asked.name)
                .ok_or_else(|| topic_error(&topic::Error::Unknown(String::new()))),
        };
        let answers = asked.partitions.iter().map(|it| {
            let exists = found.as_ref().map_err(|code| *code).and_then(|topic| {
                let exists = topic.has(it.partition_index).then(|| topic.name.as_str().into());
                exists.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            });
            let error_code = match exists {
                Ok(topic) => {
                    partitions.push(CommitPartition {
                        topic,
                        partition: it.partition_index,
                        offset: it.committed_offset,
                        leader_epoch: it.committed_leader_epoch,
                        metadata: it.committed_metadata.clone().unwrap_or_default(),
                    });
                    ErrorCode::NONE
                }
                Err(code) => code,
            };
            OffsetCommitResponsePartition { partition_index: it.partition_index, error_code }
        });
        let partitions = answers.collect();
        topics.push(OffsetCommitResponseTopic {
            name: asked.name,
            topic_id: asked.topic_id,
            partitions,
        });
    }
    let retention_ms = Some(request.retention_time_ms);
    let commit = Commit {
        member_id: request.member_id,
        group_instance_id: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
        has_member_epoch: version >= MEMBER_EPOCH_SINCE,
        retention_ms: retention_ms.filter(|ms| *ms >= 0 && RETENTION.contains(&version)),
        partitions,
    };
    let committing = start(cluster, &request.group_id, commit, version);
    async move {
        let outcome = match committing {
            Err(code) => Err(code),
            Ok(None) => Ok(Vec::new()),
            Ok(Some(reply)) => match reply.await {
                Reply::Each(outcomes) => Ok(outcomes),
                Reply::Failed(error) => Err(error.into()),
                _ => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
            },
        };
        fill_in(&mut topics, outcome);
        OffsetCommitResponse { topics, ..Default::default() }
    }
}

/// Hands a commit to its group; there is none to hand in when no partition exists.
fn start(
    cluster: &Cluster,
    group: &str,
    commit: Commit,
    version: i16,
) -> Result<Option<impl Future<Output = Reply> + use<>>, ErrorCode> {
    if commit.generation >= 0 && !cluster.groups.exists(group) {
        return Err(match version >= GROUP_ID_NOT_FOUND_SINCE {
            true => ErrorCode::GROUP_ID_NOT_FOUND,
            false => ErrorCode::ILLEGAL_GENERATION,
        });
    }
    Ok((!commit.partitions.is_empty()).then(|| cluster.groups.commit(group, commit)))
}

/// Puts the group's outcomes where no error stands yet; they are in the same order.
fn fill_in(
    topics: &mut [OffsetCommitResponseTopic],
    outcome: Result<Vec<Result<(), crate::group::Error>>, ErrorCode>,
) {
    let open = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    let mut open = open.filter(|partition| partition.error_code == ErrorCode::NONE);
    match outcome {
        Err(code) => open.for_each(|partition| partition.error_code = code),
        Ok(outcomes) => {
            for outcome in outcomes {
                let (Some(partition), Err(error)) = (open.next(), outcome) else { continue };
                partition.error_code = error.into();
            }
        }
    }
}

/// Answers OffsetFetch in its old form, one group, or its new one, several.
pub(super) async fn fetch(
    cluster: Arc<Cluster>,
    request: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    if version < FETCH_BATCH_SINCE {
        let offsets = match Offsets::of(&cluster, &request.group_id).await {
            Ok(offsets) => offsets,
            Err(error) => return refused(request, error.into(), version),
        };
        let topics = match request.topics {
            None => offsets
                .all()
                .map(|(topic, partitions)| OffsetFetchResponseTopic {
                    name: topic.clone(),
                    partitions: partitions
                        .iter()
                        .map(|(index, it)| old_form(*index, Some(it)))
                        .collect(),
                })
                .collect(),
            Some(asked) => asked
                .into_iter()
                .map(|topic| OffsetFetchResponseTopic {
                    partitions: topic
                        .partition_indexes
                        .iter()
                        .map(|index| old_form(*index, offsets.get(&topic.name, *index)))
                        .collect(),
                    name: topic.name,
                })
                .collect(),
        };
        return OffsetFetchResponse { topics, ..Default::default() };
    }
    let asked = once(request.groups, |group| group.group_id.clone());
    let mut groups = Vec::with_capacity(asked.len());
    for asked in asked {
        let id = asked.member_id.as_deref();
        let offsets = match cluster.groups.check_fetch(&asked.group_id, id, asked.member_epoch) {
            Ok(()) => Offsets::of(&cluster, &asked.group_id).await,
            Err(error) => Err(error),
        };
        groups.push(match offsets {
            Ok(offsets) => one_group(&cluster, asked, &offsets, version),
            Err(error) => OffsetFetchResponseGroup {
                group_id: asked.group_id,
                error_code: error.into(),
                ..Default::default()
            },
        });
    }
    OffsetFetchResponse { groups, ..Default::default() }
}

/// The old form's refusal, which its first version can only say of each partition.
fn refused(
    request: OffsetFetchRequest,
    error_code: ErrorCode,
    version: i16,
) -> OffsetFetchResponse {
    let asked = request.topics.unwrap_or_default().into_iter();
    let refuse = |topic: OffsetFetchRequestTopic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partition_indexes
            .iter()
            .map(|index| OffsetFetchResponsePartition { error_code, ..old_form(*index, None) })
            .collect(),
    };
    let topics = if version < ERROR_CODE_SINCE { asked.map(refuse).collect() } else { Vec::new() };
    OffsetFetchResponse { topics, error_code, ..Default::default() }
}

fn one_group(
    cluster: &Cluster,
    asked: OffsetFetchRequestGroup,
    offsets: &Offsets,
    version: i16,
) -> OffsetFetchResponseGroup {
    let by_id = version >= TOPIC_IDS_SINCE;
    let id_of =
        |name: &str| -> Uuid { cluster.topics.get(name).map(|it| it.id).unwrap_or_default() };
    let topics = match asked.topics {
        None => offsets
            .all()
            .map(|(name, partitions)| OffsetFetchResponseGroupTopic {
                name: name.clone(),
                topic_id: id_of(name),
                partitions: partitions
                    .iter()
                    .map(|(index, it)| new_form(*index, Some(it)))
                    .collect(),
            })
            .collect(),
        Some(asked) => asked
            .into_iter()
            .map(|topic| {
                let known = by_id.then(|| cluster.topics.by_id(&topic.topic_id));
                let name = match &known {
                    Some(Some(found)) => found.name.as_str().into(),
                    _ => topic.name.clone(),
                };
                let answer = |index: &i32| match known {
                    Some(None) => OffsetFetchResponseGroupPartition {
                        error_code: ErrorCode::UNKNOWN_TOPIC_ID,
                        ..new_form(*index, None)
                    },
                    _ => new_form(*index, offsets.get(&name, *index)),
                };
                OffsetFetchResponseGroupTopic {
                    partitions: topic.partition_indexes.iter().map(answer).collect(),
                    topic_id: topic.topic_id,
                    name: topic.name,
                }
            })
            .collect(),
    };
    OffsetFetchResponseGroup { group_id: asked.group_id, topics, ..Default::default() }
}

/// What a group has committed.
struct Offsets {
    by_topic: BTreeMap<Str, BTreeMap<i32, Committed>>,
}

impl Offsets {
    async fn of(cluster: &Cluster, group: &str) -> Result<Self, crate::group::Error> {
        let mut by_topic: BTreeMap<Str, BTreeMap<i32, Committed>> = BTreeMap::new();
        for (topic, partition, committed) in cluster.groups.offsets(group).await? {
            by_topic.entry(topic).or_default().insert(partition, committed);
        }
        Ok(Self { by_topic })
    }

    fn get(&self, topic: &Str, partition: i32) -> Option<&Committed> {
        self.by_topic.get(topic)?.get(&partition)
    }

    fn all(&self) -> impl Iterator<Item = (&Str, &BTreeMap<i32, Committed>)> {
        self.by_topic.iter()
    }
}

/// A partition without a commit has offset -1 and no error.
fn old_form(index: i32, committed: Option<&Committed>) -> OffsetFetchResponsePartition {
    let new = new_form(index, committed);
    OffsetFetchResponsePartition {
        partition_index: new.partition_index,
        committed_offset: new.committed_offset,
        committed_leader_epoch: new.committed_leader_epoch,
        metadata: new.metadata,
        error_code: new.error_code,
    }
}

fn new_form(index: i32, committed: Option<&Committed>) -> OffsetFetchResponseGroupPartition {
    OffsetFetchResponseGroupPartition {
        partition_index: index,
        committed_offset: committed.map_or(-1, |it| it.offset),
        committed_leader_epoch: committed.map_or(-1, |it| it.leader_epoch),
        metadata: Some(committed.map(|it| it.metadata.clone()).unwrap_or_default()),
        error_code: ErrorCode::NONE,
    }
}
