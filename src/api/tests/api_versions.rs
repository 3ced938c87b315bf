//! ApiVersions from clients that say whom they mean to reach.

use super::Client;
use crate::api::api_versions;
use crate::cluster::NODE_ID;
use tidelog_protocol::messages::ApiVersionsRequest;
use tidelog_protocol::{ErrorCode, Str};

#[tokio::test]
async fn a_client_that_means_another_broker_is_sent_back_to_its_bootstrap_servers() {
    let Client { cluster, mut session, dir: _dir } = Client::new().await;
    let ours = Some(cluster.account.cluster_id.as_str());
    for (cluster_id, node_id, error_code) in [
        (None, -1, ErrorCode::NONE),
        (ours, NODE_ID, ErrorCode::NONE),
        (ours, NODE_ID + 1, ErrorCode::REBOOTSTRAP_REQUIRED),
        (Some("another"), NODE_ID, ErrorCode::REBOOTSTRAP_REQUIRED),
        (ours, -1, ErrorCode::INVALID_REQUEST),
        (None, NODE_ID, ErrorCode::INVALID_REQUEST),
    ] {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("test"),
            client_software_version: Str::from_static("1"),
            cluster_id: cluster_id.map(Str::from),
            node_id,
        };
        let answer = api_versions(&mut session, request, 5);
        assert_eq!(answer.error_code, error_code, "{cluster_id:?} {node_id}");
        assert_eq!(answer.api_keys.is_empty(), error_code != ErrorCode::NONE);
    }
}
