//! Lists in pages: `?limit=` says how much, `?after=` where to go on; an answer's `next` and its
//! `Link` header (RFC 8288) have both for the page that follows.

use crate::http::ApiError;
use axum::http::{HeaderName, HeaderValue, header};
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

/// What of a list is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    limit: Option<usize>,
    after: Option<String>,
}

/// Entries of a page, when nobody says how many.
const LIMIT_DEFAULT: usize = 100;
/// Entries of a page.
pub(super) const LIMIT_MAX: usize = 1000;

impl Asked {
    /// Entries wanted.
    ///
    /// # Errors
    /// When that is none, or more than a page holds.
    pub(super) fn limit(&self) -> Result<usize, ApiError> {
        match self.limit.unwrap_or(LIMIT_DEFAULT) {
            limit @ 1..=LIMIT_MAX => Ok(limit),
            found => {
                let text = format!("limit: expected 1 to {LIMIT_MAX}, found {found}");
                Err(ApiError::bad_request(text))
            }
        }
    }

    /// The last entry of the page before; empty at the beginning.
    pub(super) fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }
}

/// Where the page after an entry is.
pub(super) fn next(path: &str, last: &str, limit: usize) -> String {
    let last: String = byte_serialize(last.as_bytes()).collect();
    format!("{path}?limit={limit}&after={last}")
}

/// The header that leads there.
pub(super) fn link(next: &str) -> [(HeaderName, HeaderValue); 1] {
    let value = HeaderValue::from_str(&format!("<{next}>; rel=\"next\""));
    [(header::LINK, value.expect("a path and a percent-encoded query are visible ASCII"))]
}
