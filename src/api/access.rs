//! What an account has none of: ACLs, quotas, SCRAM credentials. Tools ask whether there are any,
//! and hide what there is not.

use tidelog_protocol::messages::{
    AclCreationResult, CreateAclsRequest, CreateAclsResponse, DeleteAclsFilterResult,
    DeleteAclsRequest, DeleteAclsResponse, DescribeAclsResponse, DescribeClientQuotasResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult, ScramUserName,
};
use tidelog_protocol::{ErrorCode, Str};

const DISABLED: ErrorCode = ErrorCode::SECURITY_DISABLED;

fn disabled() -> Option<Str> {
    Some(Str::from_static("No Authorizer is configured."))
}

/// Answers DescribeAcls.
pub(super) fn describe_acls() -> DescribeAclsResponse {
    DescribeAclsResponse { error_code: DISABLED, error_message: disabled(), ..Default::default() }
}

/// Answers CreateAcls.
pub(super) fn create_acls(request: &CreateAclsRequest) -> CreateAclsResponse {
    let refused = AclCreationResult { error_code: DISABLED, error_message: disabled() };
    CreateAclsResponse { results: vec![refused; request.creations.len()], ..Default::default() }
}

/// Answers DeleteAcls.
pub(super) fn delete_acls(request: &DeleteAclsRequest) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult {
        error_code: DISABLED,
        error_message: disabled(),
        ..Default::default()
    };
    let filter_results = vec![refused; request.filters.len()];
    DeleteAclsResponse { filter_results, ..Default::default() }
}

/// Answers DescribeClientQuotas.
pub(super) fn describe_quotas() -> DescribeClientQuotasResponse {
    DescribeClientQuotasResponse { entries: Some(Vec::new()), ..Default::default() }
}

/// Answers DescribeUserScramCredentials: credentials are for PLAIN, and none is for SCRAM.
pub(super) fn describe_scram(
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let missing = |user: ScramUserName| {
        let text =
            format!("Attempt to describe a user credential that does not exist: {}", user.name);
        DescribeUserScramCredentialsResult {
            user: user.name,
            error_code: ErrorCode::RESOURCE_NOT_FOUND,
            error_message: Some(text.into()),
            ..Default::default()
        }
    };
    let results = request.users.unwrap_or_default().into_iter().map(missing).collect();
    DescribeUserScramCredentialsResponse { results, ..Default::default() }
}
