//! Access control lists.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Asks for the ACLs that match a filter.
    DescribeAclsRequest {
        resource_type_filter: i8, resource_name_filter: Option<Str>,
        pattern_type_filter: i8 [1..] = 3,
        principal_filter: Option<Str>, host_filter: Option<Str>, operation: i8,
        permission_type: i8,
    }
    /// The ACLs, by resource.
    DescribeAclsResponse {
        throttle_time_ms: i32, error_code: ErrorCode, error_message: Option<Str>,
        resources: Vec<DescribeAclsResource>,
    }
    DescribeAclsResource {
        resource_type: i8, resource_name: Str,
        pattern_type: i8 [1..] = 3,
        acls: Vec<AclDescription>,
    }
    AclDescription { principal: Str, host: Str, operation: i8, permission_type: i8 }
    /// Adds ACLs.
    CreateAclsRequest { creations: Vec<AclCreation> }
    AclCreation {
        resource_type: i8, resource_name: Str,
        resource_pattern_type: i8 [1..] = 3,
        principal: Str, host: Str, operation: i8, permission_type: i8,
    }
    /// Whether each was added, in order.
    CreateAclsResponse { throttle_time_ms: i32, results: Vec<AclCreationResult> }
    AclCreationResult { error_code: ErrorCode, error_message: Option<Str> }
    /// Deletes the ACLs that match filters.
    DeleteAclsRequest { filters: Vec<DeleteAclsFilter> }
    DeleteAclsFilter {
        resource_type_filter: i8, resource_name_filter: Option<Str>,
        pattern_type_filter: i8 [1..] = 3,
        principal_filter: Option<Str>, host_filter: Option<Str>, operation: i8,
        permission_type: i8,
    }
    /// What each filter deleted.
    DeleteAclsResponse { throttle_time_ms: i32, filter_results: Vec<DeleteAclsFilterResult> }
    DeleteAclsFilterResult {
        error_code: ErrorCode, error_message: Option<Str>,
        matching_acls: Vec<DeleteAclsMatchingAcl>,
    }
    DeleteAclsMatchingAcl {
        error_code: ErrorCode, error_message: Option<Str>, resource_type: i8,
        resource_name: Str,
        pattern_type: i8 [1..] = 3,
        principal: Str, host: Str, operation: i8, permission_type: i8,
    }
}
