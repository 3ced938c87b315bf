//! ApiVersions: what a client asks first.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Asks what the broker speaks, and since version 3 says what the client is (KIP-511).
    ApiVersionsRequest {
        client_software_name: Str [3..],
        client_software_version: Str [3..],
        /// The cluster the client means to reach, if it knows (KIP-1242).
        cluster_id: Option<Str> [5..],
        /// The broker it means to reach, if it knows.
        node_id: i32 [5..] = -1,
    }
    /// The APIs with their versions, and the features that are on.
    ApiVersionsResponse {
        error_code: ErrorCode,
        api_keys: Vec<ApiVersion>,
        throttle_time_ms: i32 [1..],
        supported_features: Vec<SupportedFeature> [tag 0, 3..],
        finalized_features_epoch: i64 [tag 1, 3..] = -1,
        finalized_features: Vec<FinalizedFeature> [tag 2, 3..],
        zk_migration_ready: bool [tag 3, 3..],
    }
    ApiVersion { api_key: i16, min_version: i16, max_version: i16 }
    SupportedFeature { name: Str, min_version: i16, max_version: i16 }
    FinalizedFeature { name: Str, max_version_level: i16, min_version_level: i16 }
}
