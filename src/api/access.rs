//! What an account has none of: ACLs, quotas, SCRAM credentials. Tools ask whether there are any,
//! and hide what there is not.

use super::{once, repeated};
use std::collections::HashSet;
use tidelog_protocol::messages::{
    AclCreationResult, CreateAclsRequest, CreateAclsResponse, DeleteAclsFilterResult,
    DeleteAclsRequest, DeleteAclsResponse, DescribeAclsResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse, DescribeUserScramCredentialsResult, QuotaFilterComponent,
    ScramUserName,
};
use tidelog_protocol::{ErrorCode, Str};

const DISABLED: ErrorCode = ErrorCode::SECURITY_DISABLED;

fn disabled() -> Option<Str> {
    Some(Str::from_static("No Authorizer is configured."))
}

/// Answers DescribeAcls.
pub(super) fn describe_acls() -> DescribeAclsResponse {
    let error_message = Some(Str::from_static("No Authorizer is configured on the broker"));
    DescribeAclsResponse { error_code: DISABLED, error_message, ..Default::default() }
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

/// Answers DescribeClientQuotas: there are none that any filter could match.
pub(super) fn describe_quotas(
    request: &DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    match check_filter(&request.components) {
        Ok(()) => DescribeClientQuotasResponse { entries: Some(Vec::new()), ..Default::default() },
        Err((error_code, text)) => DescribeClientQuotasResponse {
            error_code,
            error_message: Some(text.into()),
            ..Default::default()
        },
    }
}

/// Who quotas can be for.
const ENTITIES: &[&str] = &["user", "client-id", "ip"];
/// By exact name, the default's, any.
const MATCHES: std::ops::RangeInclusive<i8> = 0..=2;

fn check_filter(components: &[QuotaFilterComponent]) -> Result<(), (ErrorCode, String)> {
    let invalid = |text: String| Err((ErrorCode::INVALID_REQUEST, text));
    let mut seen = HashSet::new();
    for QuotaFilterComponent { entity_type: entity, match_type, .. } in components {
        if entity.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if !seen.insert(&**entity) {
            return invalid(format!(
                "Entity type {entity} cannot appear more than once in the filter."
            ));
        }
        if !MATCHES.contains(match_type) {
            return invalid(format!("Unknown match type {match_type}"));
        }
        if !ENTITIES.contains(&&**entity) {
            let text = format!("Unsupported entity type {entity}");
            return Err((ErrorCode::UNSUPPORTED_VERSION, text));
        }
    }
    if seen.contains("ip") && seen.len() > 1 {
        let text = "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.";
        return invalid(text.to_owned());
    }
    Ok(())
}

/// Answers DescribeUserScramCredentials: credentials are for PLAIN, and none is for SCRAM.
pub(super) fn describe_scram(
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let users = request.users.unwrap_or_default();
    let twice = repeated(users.iter().map(|user| &user.name));
    let missing = |user: ScramUserName| {
        let name = &user.name;
        let (error_code, text) = match twice.contains(name) {
            true => (
                ErrorCode::DUPLICATE_RESOURCE,
                format!(
                    "Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
                ),
            ),
            false => (
                ErrorCode::RESOURCE_NOT_FOUND,
                format!("Attempt to describe a user credential that does not exist: {name}"),
            ),
        };
        DescribeUserScramCredentialsResult {
            user: user.name,
            error_code,
            error_message: Some(text.into()),
            ..Default::default()
        }
    };
    let results = once(users, |user| user.name.clone()).into_iter().map(missing).collect();
    DescribeUserScramCredentialsResponse { results, ..Default::default() }
}
