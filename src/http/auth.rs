//! Who a request is from: an account's credential (Basic), or the operator (Bearer).

use super::{ApiError, Context};
use crate::broker::Principal;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A request with an account's username and password.
pub struct Account(pub Principal);

/// A request with the admin token.
pub struct Admin;

impl Account {
    /// Whether a request says by Basic authentication who it is from, rightly or not.
    pub fn is_named(parts: &Parts) -> bool {
        credentials(parts, "basic").is_some()
    }

    /// Who a username and password stand for: whose room the request's body is in.
    pub fn verify(
        context: &Context,
        parts: &mut Parts,
        user: &str,
        password: &[u8],
    ) -> Result<Self, ApiError> {
        let denied = || ApiError::unauthorized("wrong username or password");
        let principal = context.broker.authenticate(user, password).ok_or_else(denied)?;
        parts.extensions.insert(principal.cluster.request_room.clone());
        Ok(Self(principal))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Account
where
    Context: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let context = Context::from_ref(state);
        let missing = "this needs an account's username and password as HTTP Basic authentication";
        let Some(token) = credentials(parts, "basic") else {
            return Err(ApiError::unauthorized(missing));
        };
        let malformed =
            || ApiError::unauthorized("the Basic credentials are not base64 of user:password");
        let decoded = STANDARD.decode(token).map_err(|_| malformed())?;
        let colon = decoded.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
        let user = std::str::from_utf8(&decoded[..colon]).map_err(|_| malformed())?;
        Self::verify(&context, parts, user, &decoded[colon + 1..])
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin
where
    Context: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let context = Context::from_ref(state);
        match credentials(parts, "bearer") {
            Some(token) if context.broker.is_admin(token) => {
                parts.extensions.insert(context.broker.shared.request_room.clone());
                Ok(Self)
            }
            Some(_) => Err(ApiError::unauthorized("wrong admin token")),
            None => Err(ApiError::unauthorized("this needs the admin token as a Bearer token")),
        }
    }
}

/// What follows the scheme in the Authorization header.
fn credentials<'a>(parts: &'a Parts, scheme: &str) -> Option<&'a str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (name, token) = header.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| token.trim())
}
