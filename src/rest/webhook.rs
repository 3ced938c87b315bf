//! Produce for webhook senders, who cannot change what they send: the body is the value, byte for
//! byte, and the sender's own headers become the message's.
//!
//! Unlike Upstash: header names are in lower case, as HTTP/2 has them on the wire.

use super::Shared;
use super::extract::Params;
use super::message::NewMessage;
use super::produce::Metadata;
use crate::http::{Account, ApiError, Body, Context, Json};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use tidelog_protocol::records::RecordHeader;

/// The account of Basic authentication, or else of `user` and `pass` in the query: what other
/// authorization a sender has is meant for others.
pub(super) struct Sender(Account);

impl FromRequestParts<Shared> for Sender {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ApiError> {
        if !Account::is_named(parts) {
            let params = Params::from_request_parts(parts, shared).await?;
            if let (Some(user), Some(pass)) = (params.get("user"), params.get("pass")) {
                let context: &Context = &shared.context;
                return Account::verify(context, parts, user, pass.as_bytes()).map(Self);
            }
        }
        Account::from_request_parts(parts, shared).await.map(Self)
    }
}

/// `/webhook?topic=` with any body
pub(super) async fn produce(
    Sender(Account(principal)): Sender,
    State(shared): State<Shared>,
    params: Params,
    headers: HeaderMap,
    Body(value): Body,
) -> Result<Json<Vec<Metadata>>, ApiError> {
    let Some(topic) = params.get("topic").map(str::to_owned) else {
        return Err(ApiError::bad_request("the query names no topic; it needs topic="));
    };
    let headers = own_headers(&headers);
    let message = NewMessage { topic: Some(topic), value, headers, ..NewMessage::default() };
    super::produce::produce(&shared.rest, &principal.cluster, vec![message]).await.map(Json)
}

/// Headers that HTTP, browsers and proxies put there: they say nothing about the event.
const STANDARD: &[&str] = &[
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "from",
    "host",
    "keep-alive",
    "max-forwards",
    "origin",
    "pragma",
    "priority",
    "range",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-real-ip",
];
/// The same by family.
const STANDARD_PREFIXES: &[&str] = &["accept", "content-", "if-", "proxy-", "sec-", "x-forwarded-"];

/// The sender's own headers, in order, repeated ones too.
fn own_headers(headers: &HeaderMap) -> Vec<RecordHeader> {
    let own = |name: &&HeaderName| {
        let name = name.as_str();
        !STANDARD.contains(&name) && !STANDARD_PREFIXES.iter().any(|it| name.starts_with(it))
    };
    let header = |name: &HeaderName, value: &axum::http::HeaderValue| RecordHeader {
        key: name.as_str().into(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    };
    let own = headers.iter().filter(|(name, _)| own(name));
    own.map(|(name, value)| header(name, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_senders_own_headers_are_kept() {
        let mut headers = HeaderMap::new();
        for name in ["host", "user-agent", "accept-encoding", "content-type", "x-forwarded-for"] {
            headers.append(name, "x".parse().unwrap());
        }
        headers.append("stripe-signature", "t=1".parse().unwrap());
        headers.append("event-origin", "a".parse().unwrap());
        headers.append("event-origin", "b".parse().unwrap());
        let kept = own_headers(&headers);
        let kept: Vec<_> = kept.iter().map(|it| (&*it.key, it.value.as_deref().unwrap())).collect();
        let want: [(&str, &[u8]); 3] =
            [("stripe-signature", b"t=1"), ("event-origin", b"a"), ("event-origin", b"b")];
        assert_eq!(kept, want);
    }
}
