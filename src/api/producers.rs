//! InitProducerId: an id for an idempotent producer.

use crate::cluster::Cluster;
use std::sync::Arc;
use tidelog_protocol::ErrorCode;
use tidelog_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

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
