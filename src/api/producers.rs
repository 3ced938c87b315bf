//! InitProducerId: an id for an idempotent producer. DescribeProducers: who writes to a partition.

use super::{NOT_HOSTED, invalid_name, log_error, once};
use crate::cluster::Cluster;
use crate::task::blocking;
use crate::topic::{Absent, Topic, is_valid_name};
use std::sync::Arc;
use tidelog_protocol::messages::{
    DescribeProducersPartitionResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeProducersTopicResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerState,
};
use tidelog_protocol::{ErrorCode, Str};
use tidelog_storage::ActiveProducer;

/// Gives out a fresh id at epoch 0. An idempotent producer that has lost its place asks again and
/// starts over with another id.
pub(super) async fn init_producer_id(
    cluster: Arc<Cluster>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |error_code| InitProducerIdResponse {
        error_code,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    if (request.producer_id < 0) != (request.producer_epoch < 0) {
        return refused(ErrorCode::INVALID_REQUEST);
    }
    match request.transactional_id.as_deref() {
        None => {}
        Some("") => return refused(ErrorCode::INVALID_REQUEST),
        Some(_) => return refused(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    }
    match cluster.shared.producer_ids.next().await {
        Ok(producer_id) => {
            InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() }
        }
        Err(error) => {
            tracing::error!("no producer id can be given out: {error}");
            refused(ErrorCode::COORDINATOR_NOT_AVAILABLE)
        }
    }
}

/// Tells what partitions remember of their producers (KIP-664), one after the other, so that a
/// client that leaves is done with at the next.
pub(super) async fn describe(
    cluster: Arc<Cluster>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let asked = once(request.topics, |topic| topic.name.clone());
    let mut topics = Vec::with_capacity(asked.len());
    for asked in asked {
        let topic = cluster.topics.get(&asked.name);
        let refused = match is_valid_name(&asked.name) {
            true => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Str::from_static(NOT_HOSTED)),
            false => (ErrorCode::INVALID_TOPIC_EXCEPTION, invalid_name(&asked.name).into()),
        };
        let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
        for index in once(asked.partition_indexes, |index| *index) {
            partitions.push(describe_one(topic.as_deref(), index, &refused).await);
        }
        topics.push(DescribeProducersTopicResponse { name: asked.name, partitions });
    }
    DescribeProducersResponse { topics, ..Default::default() }
}

async fn describe_one(
    topic: Option<&Topic>,
    index: i32,
    (code, text): &(ErrorCode, Str),
) -> DescribeProducersPartitionResponse {
    let found = topic.map(|topic| (topic, topic.partition(index)));
    let partition =
        DescribeProducersPartitionResponse { partition_index: index, ..Default::default() };
    let refused = |error_code, text| DescribeProducersPartitionResponse {
        error_code,
        error_message: Some(text),
        ..partition.clone()
    };
    let (topic, log) = match found {
        Some((topic, Ok(log))) => (topic, log.clone()),
        Some((_, Err(offline @ Absent::Offline))) => {
            return refused(offline.code(), offline.to_string().into());
        }
        Some((_, Err(Absent::Unknown))) | None => return refused(*code, text.clone()),
    };
    // A log that was not written to since the start is read for it.
    let producers = blocking(move || log.log().producers()).await;
    match producers.map_err(|error| log_error(&topic.name, index, &error)) {
        Ok(producers) => DescribeProducersPartitionResponse {
            active_producers: producers.into_iter().map(state).collect(),
            ..partition
        },
        Err(error_code) => DescribeProducersPartitionResponse { error_code, ..partition },
    }
}

fn state(producer: ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp_ms,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.current_txn_first_offset.unwrap_or(-1),
    }
}
