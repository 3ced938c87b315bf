//! SASL: logging in.

use crate::error_code::ErrorCode;
use crate::wire::Str;
use bytes::Bytes;

messages! {
    /// Picks a mechanism. After version 0 raw SASL bytes follow, after 1 SaslAuthenticate.
    SaslHandshakeRequest { mechanism: Str }
    /// The mechanisms there are.
    SaslHandshakeResponse { error_code: ErrorCode, mechanisms: Vec<Str> }
    /// Carries a SASL message of the client.
    SaslAuthenticateRequest { auth_bytes: Bytes }
    /// Carries the answer, and how long the login lasts.
    SaslAuthenticateResponse {
        error_code: ErrorCode, error_message: Option<Str>, auth_bytes: Bytes,
        session_lifetime_ms: i64 [1..],
    }
}
