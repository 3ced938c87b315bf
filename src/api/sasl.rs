//! SASL on a Kafka connection: SaslHandshake picks a mechanism, then tokens go in SaslAuthenticate
//! requests (KIP-152), or as bare frames after a version 0 handshake.

use super::Session;
use bytes::Bytes;
use tidelog_protocol::ErrorCode;
use tidelog_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

/// Mechanisms we speak.
const MECHANISMS: &[&str] = &["PLAIN"];

/// Where the exchange stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sasl {
    /// No mechanism picked.
    #[default]
    Idle,
    /// PLAIN picked; its token comes in a SaslAuthenticate request.
    Plain,
    /// PLAIN picked by a version 0 handshake; its token is the next frame.
    BarePlain,
}

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// SaslAuthenticate came before SaslHandshake.
    #[error("SaslAuthenticate before SaslHandshake")]
    OutOfOrder,
    /// Not `authzid NUL user NUL password`.
    #[error("the PLAIN token is not [authzid] NUL user NUL password")]
    Malformed,
    /// An authzid that is not the user.
    #[error("the PLAIN token's authorization id is not its user")]
    OtherIdentity,
    /// Unknown user or wrong password; never says which.
    #[error("Authentication failed: Invalid username or password")]
    Denied,
}

/// Answers SaslHandshake.
pub fn handshake(
    session: &mut Session,
    request: &SaslHandshakeRequest,
    version: i16,
) -> SaslHandshakeResponse {
    let known = MECHANISMS.contains(&&*request.mechanism);
    session.sasl = match (known, version) {
        (false, _) => Sasl::Idle,
        (true, 0) => Sasl::BarePlain,
        (true, _) => Sasl::Plain,
    };
    SaslHandshakeResponse {
        error_code: match known {
            true => ErrorCode::NONE,
            false => ErrorCode::UNSUPPORTED_SASL_MECHANISM,
        },
        mechanisms: MECHANISMS.iter().map(|name| (*name).into()).collect(),
    }
}

/// Answers SaslAuthenticate; a refusal closes the connection after its answer.
pub fn authenticate(
    session: &mut Session,
    request: &SaslAuthenticateRequest,
) -> (SaslAuthenticateResponse, Option<Refusal>) {
    let outcome = match session.sasl {
        Sasl::Plain => plain(session, &request.auth_bytes),
        Sasl::Idle | Sasl::BarePlain => Err(Refusal::OutOfOrder),
    };
    let Err(refusal) = outcome else { return (SaslAuthenticateResponse::default(), None) };
    let error_code = match refusal {
        Refusal::OutOfOrder => ErrorCode::ILLEGAL_SASL_STATE,
        _ => ErrorCode::SASL_AUTHENTICATION_FAILED,
    };
    let error_message = Some(refusal.to_string().into());
    (SaslAuthenticateResponse { error_code, error_message, ..Default::default() }, Some(refusal))
}

/// Takes a PLAIN token (RFC 4616) and makes the session its user's.
pub fn plain(session: &mut Session, token: &Bytes) -> Result<(), Refusal> {
    session.sasl = Sasl::Idle;
    let (identity, user, password) = parse_plain(token)?;
    if !identity.is_empty() && identity != user {
        return Err(Refusal::OtherIdentity);
    }
    session.principal = Some(session.broker.authenticate(user, password).ok_or(Refusal::Denied)?);
    Ok(())
}

fn parse_plain(token: &[u8]) -> Result<(&str, &str, &[u8]), Refusal> {
    let mut parts = token.splitn(3, |byte| *byte == 0);
    let (Some(identity), Some(user), Some(password)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Malformed);
    };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Refusal::Malformed);
    Ok((text(identity)?, text(user)?, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_token_has_three_parts() {
        assert_eq!(parse_plain(b"\0user\0pass=word"), Ok(("", "user", &b"pass=word"[..])));
        assert_eq!(parse_plain(b"id\0user\0"), Ok(("id", "user", &b""[..])));
        for bad in [&b""[..], b"user", b"\0user", b"\0\xff\0x"] {
            assert_eq!(parse_plain(bad), Err(Refusal::Malformed), "{bad:?}");
        }
    }
}
