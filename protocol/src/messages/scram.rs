//! SCRAM credentials.

use crate::error_code::ErrorCode;
use crate::wire::Str;
use bytes::Bytes;

messages! {
    /// Asks which SCRAM mechanisms users have; null is all users.
    DescribeUserScramCredentialsRequest { users: Option<Vec<ScramUserName>> }
    ScramUserName { name: Str }
    /// The mechanisms and iteration counts, never the secrets.
    DescribeUserScramCredentialsResponse {
        throttle_time_ms: i32, error_code: ErrorCode, error_message: Option<Str>,
        results: Vec<DescribeUserScramCredentialsResult>,
    }
    DescribeUserScramCredentialsResult {
        user: Str, error_code: ErrorCode, error_message: Option<Str>,
        credential_infos: Vec<ScramCredentialInfo>,
    }
    ScramCredentialInfo { mechanism: i8, iterations: i32 }
    /// Deletes and sets SCRAM credentials, salted by the client.
    AlterUserScramCredentialsRequest {
        deletions: Vec<ScramCredentialDeletion>, upsertions: Vec<ScramCredentialUpsertion>,
    }
    ScramCredentialDeletion { name: Str, mechanism: i8 }
    ScramCredentialUpsertion {
        name: Str, mechanism: i8, iterations: i32, salt: Bytes, salted_password: Bytes,
    }
    /// Whether each user was changed.
    AlterUserScramCredentialsResponse {
        throttle_time_ms: i32, results: Vec<AlterUserScramCredentialsResult>,
    }
    AlterUserScramCredentialsResult { user: Str, error_code: ErrorCode, error_message: Option<Str> }
}
