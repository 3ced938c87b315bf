//! The query of a request, of a known shape.

use super::ApiError;
use super::json::with_nearest;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// What follows the `?`; an unknown parameter is an error where the shape denies it.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map_or_else(|| error.body_text(), |cause| with_nearest(&cause.to_string()));
                Err(ApiError::bad_request(format!("invalid query: {cause}")))
            }
        }
    }
}
