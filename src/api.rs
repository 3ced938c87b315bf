//! Kafka's APIs: which are served, and what answers them.
//!
//! A handler runs what must keep the order of requests (append, join) before it returns; what may
//! wait (a sync, a rebalance, new records) is in the future it gives back.

mod access;
mod alter_configs;
mod api_versions;
mod broker_configs;
mod cluster;
mod configs;
mod consumer_groups;
mod fetch;
mod group_admin;
mod group_configs;
mod groups;
mod list_offsets;
mod logs;
mod offsets;
mod operations;
mod partitions;
mod placement;
mod produce;
mod producers;
mod refusal;
pub mod sasl;
mod session;
mod topics;

#[cfg(test)]
mod tests;

pub use api_versions::{api_versions, served, serves, unsupported_version};
pub use fetch::SessionSlot;
pub use session::Session;

use crate::cluster::Cluster;
use futures_util::future::BoxFuture;
use refusal::{NOT_HOSTED, invalid_name, log_error, quoted, refusal, topic_error};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::messages::ListPartitionReassignmentsResponse;
use tidelog_protocol::{Request, Response, Str};

/// What becomes of a request.
pub enum Outcome {
    /// An answer.
    Answer(Response),
    /// The client expects none.
    Silence {
        /// Whether it failed: closing the connection is how the client learns.
        failed: bool,
        /// What the client sent is in memory until this ends.
        held: BoxFuture<'static, ()>,
    },
}

/// An outcome to come.
pub type Pending = BoxFuture<'static, Outcome>;

/// Calls the handler of a request.
pub fn dispatch(
    cluster: &Arc<Cluster>,
    session: &Session,
    header: &RequestHeader,
    request: Request,
) -> Pending {
    use Request as R;
    let version = header.version.number;
    match request {
        R::Produce(it) => produce::produce(cluster, it, version),
        R::Fetch(it) => later(fetch::fetch(cluster, session, it, version)),
        R::ListOffsets(it) => later(list_offsets::list_offsets(cluster.clone(), it, version)),
        R::Metadata(it) => {
            later(cluster::metadata(cluster.clone(), session.advertised.clone(), it, version))
        }
        R::DescribeCluster(it) => now(cluster::describe_cluster(cluster, session, &it)),
        R::FindCoordinator(it) => now(cluster::find_coordinator(session, it, version)),
        R::CreateTopics(it) => later(topics::create(cluster.clone(), it)),
        R::DeleteTopics(it) => later(topics::delete(cluster.clone(), it, version)),
        R::JoinGroup(it) => later(groups::join(cluster, session, header, it)),
        R::SyncGroup(it) => later(groups::sync(cluster, it)),
        R::Heartbeat(it) => later(groups::heartbeat(cluster, it)),
        R::LeaveGroup(it) => later(groups::leave(cluster, it, version)),
        R::ConsumerGroupHeartbeat(it) => {
            later(consumer_groups::heartbeat(cluster, session, header, it))
        }
        R::ConsumerGroupDescribe(it) => now(consumer_groups::describe(cluster, it)),
        R::OffsetCommit(it) => later(offsets::commit(cluster, it, version)),
        R::InitProducerId(it) => later(producers::init_producer_id(cluster.clone(), it)),
        R::OffsetFetch(it) => later(offsets::fetch(cluster.clone(), it, version)),
        R::DescribeGroups(it) => now(group_admin::describe(cluster, it, version)),
        R::ListGroups(it) => now(group_admin::list(cluster, &it)),
        R::DeleteGroups(it) => later(group_admin::delete(cluster.clone(), it)),
        R::OffsetDelete(it) => later(group_admin::delete_offsets(cluster.clone(), it)),
        R::DescribeConfigs(it) => now(configs::describe(cluster, it)),
        R::ListConfigResources(it) => now(configs::list_resources(cluster, &it, version)),
        R::AlterConfigs(it) => later(alter_configs::replace(cluster.clone(), it)),
        R::IncrementalAlterConfigs(it) => later(alter_configs::change(cluster.clone(), it)),
        R::CreatePartitions(it) => later(partitions::create(cluster.clone(), it)),
        R::DescribeTopicPartitions(it) => now(partitions::describe(cluster, it)),
        R::DeleteRecords(it) => later(logs::delete_records(cluster.clone(), it)),
        R::OffsetForLeaderEpoch(it) => now(logs::offset_for_leader_epoch(cluster, it)),
        R::DescribeLogDirs(it) => now(logs::describe_dirs(cluster, it)),
        R::AlterReplicaLogDirs(it) => now(logs::alter_dirs(cluster, it)),
        R::ElectLeaders(it) => now(placement::elect_leaders(cluster, it)),
        R::AlterPartitionReassignments(it) => now(placement::alter_reassignments(cluster, it)),
        R::ListPartitionReassignments(_) => now(ListPartitionReassignmentsResponse::default()),
        R::DescribeQuorum(it) => now(placement::describe_quorum(session, it)),
        R::DescribeAcls(_) => now(access::describe_acls()),
        R::CreateAcls(it) => now(access::create_acls(&it)),
        R::DeleteAcls(it) => now(access::delete_acls(&it)),
        R::DescribeClientQuotas(it) => now(access::describe_quotas(&it)),
        R::DescribeUserScramCredentials(it) => now(access::describe_scram(it)),
        R::DescribeProducers(it) => later(producers::describe(cluster.clone(), it)),
        // Not in the table of served APIs, so the connection has refused them already.
        _ => {
            let held = Box::pin(std::future::ready(()));
            Box::pin(std::future::ready(Outcome::Silence { failed: true, held }))
        }
    }
}

fn now(response: impl Into<Response>) -> Pending {
    Box::pin(std::future::ready(Outcome::Answer(response.into())))
}

fn later<R: Into<Response>>(response: impl Future<Output = R> + Send + 'static) -> Pending {
    Box::pin(async { Outcome::Answer(response.await.into()) })
}

/// The items, each once: an answer that is larger than its question must not be multiplied by
/// asking again in the same request.
fn once<T, K: Eq + Hash>(mut items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(key(item)));
    items
}

/// Where each name is first, for its place: what belongs to a topic that may be there again is
/// looked up by that, since to look up a name takes the longer the longer it is.
fn first_places<'a>(names: impl Iterator<Item = &'a Str>) -> Vec<usize> {
    let mut places = HashMap::new();
    names.enumerate().map(|(place, name)| *places.entry(name).or_insert(place)).collect()
}

/// What is there more than once.
fn repeated<'a, K: Eq + Hash + Clone + 'a>(keys: impl Iterator<Item = &'a K>) -> HashSet<K> {
    let mut seen = HashSet::new();
    keys.filter(|key| !seen.insert(*key)).cloned().collect()
}

/// The isolation level of readers that want no records of undecided or aborted transactions.
const READ_COMMITTED: i8 = 1;
