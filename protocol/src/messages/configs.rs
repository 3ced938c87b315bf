//! Configuration of topics, brokers and client metrics.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Asks for settings of resources; null keys are all.
    DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>,
        include_synonyms: bool [1..],
        include_documentation: bool [3..],
    }
    DescribeConfigsResource {
        resource_type: i8, resource_name: Str, configuration_keys: Option<Vec<Str>>,
    }
    /// The settings, with where each comes from.
    DescribeConfigsResponse { throttle_time_ms: i32, results: Vec<DescribeConfigsResult> }
    DescribeConfigsResult {
        error_code: ErrorCode, error_message: Option<Str>, resource_type: i8,
        resource_name: Str, configs: Vec<DescribeConfigsResourceResult>,
    }
    DescribeConfigsResourceResult {
        name: Str, value: Option<Str>, read_only: bool,
        is_default: bool [..=0],
        config_source: i8 [1..] = -1,
        is_sensitive: bool,
        synonyms: Vec<DescribeConfigsSynonym> [1..],
        config_type: i8 [3..],
        documentation: Option<Str> [3..],
    }
    DescribeConfigsSynonym { name: Str, value: Option<Str>, source: i8 }
    /// Replaces the settings of resources as a whole.
    AlterConfigsRequest { resources: Vec<AlterConfigsResource>, validate_only: bool }
    AlterConfigsResource { resource_type: i8, resource_name: Str, configs: Vec<AlterableConfig> }
    AlterableConfig { name: Str, value: Option<Str> }
    /// Whether each resource was changed.
    AlterConfigsResponse { throttle_time_ms: i32, responses: Vec<AlterConfigsResourceResponse> }
    AlterConfigsResourceResponse {
        error_code: ErrorCode, error_message: Option<Str>, resource_type: i8,
        resource_name: Str,
    }
    /// Sets (0), deletes (1), appends to (2) or subtracts from (3) single settings (KIP-339).
    IncrementalAlterConfigsRequest {
        resources: Vec<IncrementalAlterConfigsResource>, validate_only: bool,
    }
    IncrementalAlterConfigsResource {
        resource_type: i8, resource_name: Str, configs: Vec<IncrementalAlterableConfig>,
    }
    IncrementalAlterableConfig { name: Str, config_operation: i8, value: Option<Str> }
    /// Whether each resource was changed.
    IncrementalAlterConfigsResponse {
        throttle_time_ms: i32, responses: Vec<AlterConfigsResourceResponse>,
    }
    /// Asks which resources have settings; version 0 means client metrics (KIP-1142).
    ListConfigResourcesRequest { resource_types: Vec<i8> [1..] }
    /// The resources.
    ListConfigResourcesResponse {
        throttle_time_ms: i32, error_code: ErrorCode,
        config_resources: Vec<ListedConfigResource>,
    }
    ListedConfigResource { resource_name: Str, resource_type: i8 [1..] = 16 }
}
