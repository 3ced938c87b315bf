//! Metadata, DescribeCluster, FindCoordinator: the one broker, and the topics it leads.
//!
//! Unlike Kafka: a client is told the address it reached, so the same broker works from the host,
//! a container and another machine without configuration.

use super::Session;
use super::{once, operations, topic_error};
use crate::cluster::{Cluster, NODE_ID};
use crate::topic::{self, LEADER_EPOCH, Topic};
use std::sync::Arc;
use tidelog_protocol::messages::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, FoundCoordinator, MetadataRequest, MetadataRequestTopic,
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use tidelog_protocol::{ErrorCode, Str, Uuid};

/// Answers Metadata; topics that do not exist are created if both sides want that.
pub(super) async fn metadata(
    cluster: Arc<Cluster>,
    advertised: (Str, u16),
    request: MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let asked = request.topics.iter().flatten();
    if version < BY_ID_SINCE && asked.clone().any(|it| it.topic_id != [0; 16] || it.name.is_none())
    {
        return refuse_ids(asked);
    }
    let everything = |topics: &Vec<_>| version == 0 && topics.is_empty();
    let mut topics: Vec<_> = match request.topics.filter(|topics| !everything(topics)) {
        None => cluster.topics.all().iter().map(|topic| describe(topic)).collect(),
        Some(asked) => {
            let asked = once(asked, |topic| (topic.topic_id, topic.name.clone()));
            let mut topics = Vec::with_capacity(asked.len());
            for topic in asked {
                topics.push(find(&cluster, topic, request.allow_auto_topic_creation).await);
            }
            topics
        }
    };
    for topic in topics.iter_mut().filter(|topic| topic.error_code.is_none()) {
        topic.topic_authorized_operations =
            operations::asked(operations::TOPIC, request.include_topic_authorized_operations);
    }
    let (host, port) = advertised;
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: NODE_ID,
            host,
            port: i32::from(port),
            rack: None,
        }],
        cluster_id: Some(cluster.account.cluster_id.as_str().into()),
        controller_id: NODE_ID,
        topics,
        cluster_authorized_operations: operations::asked(
            operations::CLUSTER,
            request.include_cluster_authorized_operations,
        ),
        ..Default::default()
    }
}

/// Ids cross since version 10, and are answered since this one (KIP-516).
const BY_ID_SINCE: i16 = 12;

fn refuse_ids<'a>(asked: impl Iterator<Item = &'a MetadataRequestTopic>) -> MetadataResponse {
    let refuse = |asked: &MetadataRequestTopic| MetadataResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        name: Some(asked.name.clone().unwrap_or_default()),
        topic_id: asked.topic_id,
        ..Default::default()
    };
    MetadataResponse { topics: asked.map(refuse).collect(), ..Default::default() }
}

async fn find(
    cluster: &Cluster,
    asked: MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    // Java's consumer sends an empty name beside an id.
    let by_name = asked.topic_id == Uuid::default();
    let Some(name) = asked.name.as_ref().filter(|_| by_name) else {
        return match cluster.topics.by_id(&asked.topic_id) {
            Some(topic) => describe(&topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UNKNOWN_TOPIC_ID,
                topic_id: asked.topic_id,
                ..Default::default()
            },
        };
    };
    let found = match create {
        true => cluster.topic_or_auto_create(name).await,
        false if !topic::is_valid_name(name) => Err(topic::Error::InvalidName(name.to_string())),
        false => cluster.topics.get(name).ok_or_else(|| topic::Error::Unknown(name.to_string())),
    };
    match found {
        Ok(topic) => describe(&topic),
        Err(error) => MetadataResponseTopic {
            error_code: topic_error(&error),
            name: Some(name.clone()),
            ..Default::default()
        },
    }
}

/// Leads a partition whose only replica is offline.
pub(super) const NO_LEADER: i32 = -1;

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partition = |index| {
        let serves = MetadataResponsePartition {
            partition_index: index,
            leader_id: NODE_ID,
            leader_epoch: LEADER_EPOCH,
            replica_nodes: vec![NODE_ID],
            isr_nodes: vec![NODE_ID],
            ..Default::default()
        };
        match topic.is_offline(index) {
            false => serves,
            true => MetadataResponsePartition {
                error_code: ErrorCode::LEADER_NOT_AVAILABLE,
                leader_id: NO_LEADER,
                offline_replicas: vec![NODE_ID],
                ..serves
            },
        }
    };
    MetadataResponseTopic {
        name: Some(topic.name.as_str().into()),
        topic_id: topic.id,
        partitions: (0..topic.count()).map(partition).collect(),
        ..Default::default()
    }
}

/// Who is asked about, in DescribeCluster (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers DescribeCluster. As any broker, this one does not answer for controllers.
pub(super) fn describe_cluster(
    cluster: &Cluster,
    session: &Session,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let failed = |error_code, text: String| DescribeClusterResponse {
        error_code,
        error_message: Some(text.into()),
        ..Default::default()
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let text = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            return failed(ErrorCode::MISMATCHED_ENDPOINT_TYPE, text.to_owned());
        }
        other => {
            let text = format!("Unsupported endpoint type {other}");
            return failed(ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, text);
        }
    }
    let (host, port) = session.advertised.clone();
    DescribeClusterResponse {
        cluster_id: cluster.account.cluster_id.as_str().into(),
        controller_id: NODE_ID,
        brokers: vec![DescribeClusterBroker {
            broker_id: NODE_ID,
            host,
            port: i32::from(port),
            ..Default::default()
        }],
        cluster_authorized_operations: operations::asked(
            operations::CLUSTER,
            request.include_cluster_authorized_operations,
        ),
        ..Default::default()
    }
}

/// The key types of a consumer group and of a transactional producer.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Answers FindCoordinator: this broker coordinates every group.
pub(super) fn find_coordinator(
    session: &Session,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let (host, port) = session.advertised.clone();
    let port = i32::from(port);
    let find = || match request.key_type {
        GROUP => Ok(()),
        // What InitProducerId answers. librdkafka asks on until its time is up at any other code.
        TRANSACTION => {
            let code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            Err((code, "transactions are not served"))
        }
        _ => Err((ErrorCode::INVALID_REQUEST, "only groups have a coordinator here")),
    };
    if version >= 4 {
        let found = |key: Str| match find() {
            Ok(()) => FoundCoordinator {
                key,
                node_id: NODE_ID,
                host: host.clone(),
                port,
                ..Default::default()
            },
            Err((error_code, text)) => FoundCoordinator {
                key,
                node_id: -1,
                port: -1,
                error_code,
                error_message: Some(Str::from_static(text)),
                ..Default::default()
            },
        };
        let keys = once(request.coordinator_keys, Str::clone).into_iter();
        let coordinators = keys.map(found).collect();
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    match find() {
        Ok(()) => FindCoordinatorResponse { node_id: NODE_ID, host, port, ..Default::default() },
        Err((error_code, text)) => FindCoordinatorResponse {
            error_code,
            error_message: Some(Str::from_static(text)),
            node_id: -1,
            port: -1,
            ..Default::default()
        },
    }
}
