//! ApiVersions, and the table of what is served that it answers from.
//!
//! A version is listed because some client in use sends it. Produce is listed from 0, although
//! 0 to 2 carry a message format that is gone: librdkafka up to 2.11.0 takes a higher minimum as
//! "no compression" (KAFKA-18659). A request in these versions is hung up on, as Kafka does.

use super::Session;
use crate::cluster::NODE_ID;
use std::ops::RangeInclusive;
use tidelog_protocol::messages::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeature, SupportedFeature,
};
use tidelog_protocol::{ApiKey, ErrorCode, Str};

/// Every API that is served.
const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::SaslHandshake,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::SaslAuthenticate,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::OffsetDelete,
    ApiKey::DescribeClientQuotas,
    ApiKey::DescribeUserScramCredentials,
    ApiKey::DescribeQuorum,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

/// What a client sends that has no broker in mind.
const NODE_UNKNOWN: i32 = -1;

/// The first version of Produce with today's message format.
const PRODUCE_MIN: i16 = 3;

/// Whether a request of this version is answered.
pub fn serves(key: ApiKey, version: i16) -> bool {
    SERVED.contains(&key)
        && key.versions().contains(&version)
        && (key != ApiKey::Produce || version >= PRODUCE_MIN)
}

/// Every API that is served, with the versions that are answered.
pub fn served() -> impl Iterator<Item = (ApiKey, RangeInclusive<i16>)> {
    SERVED.iter().map(|&key| match key {
        ApiKey::Produce => (key, PRODUCE_MIN..=*key.versions().end()),
        key => (key, key.versions()),
    })
}

fn listed(key: ApiKey) -> ApiVersion {
    let versions: RangeInclusive<i16> = key.versions();
    ApiVersion { api_key: key as i16, min_version: *versions.start(), max_version: *versions.end() }
}

/// Answers ApiVersions, and remembers what the client says it is.
pub fn api_versions(
    session: &mut Session,
    request: ApiVersionsRequest,
    version: i16,
) -> ApiVersionsResponse {
    let refused = |error_code| ApiVersionsResponse { error_code, ..Default::default() };
    if version >= 3 {
        let (name, number) = (request.client_software_name, request.client_software_version);
        if !is_software_name(&name) || !is_software_name(&number) {
            return refused(ErrorCode::INVALID_REQUEST);
        }
        // Copies: slices would keep the whole frame for as long as the connection lives.
        session.software = Some((name.to_string().into(), number.to_string().into()));
    }
    match (request.cluster_id, request.node_id) {
        (None, NODE_UNKNOWN) => {}
        (None, _) | (Some(_), NODE_UNKNOWN) => return refused(ErrorCode::INVALID_REQUEST),
        (Some(cluster), NODE_ID) if session.broker.has_cluster(&cluster) => {}
        _ => return refused(ErrorCode::REBOOTSTRAP_REQUIRED),
    }
    ApiVersionsResponse {
        api_keys: SERVED.iter().map(|key| listed(*key)).collect(),
        supported_features: FEATURES.iter().map(supported).collect(),
        finalized_features_epoch: 0,
        finalized_features: FEATURES.iter().map(finalized).collect(),
        ..Default::default()
    }
}

/// A feature that is on.
struct Feature {
    name: &'static str,
    /// The lowest level supported.
    min: i16,
    /// The highest, which is the level it is on at.
    level: i16,
}

/// Others, such as `transaction.version`, change what clients send, and are not listed until they
/// are true. None is supported down to level 0, as clients before version 4 of ApiVersions cannot
/// read that (KAFKA-17011): Kafka hides from them what it has with such a level, `group.version`
/// among it.
const FEATURES: &[Feature] = &[
    // Groups of the consumer protocol (KIP-848).
    Feature { name: "group.version", min: 1, level: 1 },
    // Tools tell the cluster's release from it: from Kafka 3.3's, the lowest any release lists, to
    // Kafka 4.4's.
    Feature { name: "metadata.version", min: 7, level: 33 },
];

fn supported(feature: &Feature) -> SupportedFeature {
    let name = Str::from_static(feature.name);
    SupportedFeature { name, min_version: feature.min, max_version: feature.level }
}

fn finalized(feature: &Feature) -> FinalizedFeature {
    let (name, level) = (Str::from_static(feature.name), feature.level);
    FinalizedFeature { name, max_version_level: level, min_version_level: level }
}

/// The answer to a version we do not know: which ones we do (KIP-511).
pub fn unsupported_version() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![listed(ApiKey::ApiVersions)],
        ..Default::default()
    }
}

/// Letters and digits, with `-` and `.` between them.
fn is_software_name(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_keys_and_names_each_once() {
        assert!(SERVED.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn software_names_are_checked_as_kafka_does() {
        for good in ["librdkafka", "apache-kafka-java", "2.11.0", "a", "1"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a/b", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
