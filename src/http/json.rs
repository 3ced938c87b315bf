//! Bodies in and JSON out. **A body is JSON whatever its Content-Type says** (curl sends forms by
//! default), and an error in it names line, column and field.

use super::ApiError;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of one request's body.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// A body as it came, at most [`BODY_BYTES_MAX`] bytes.
#[derive(Debug)]
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let text = format!("the body is over the limit of {BODY_BYTES_MAX} bytes");
                Err(ApiError::too_large(text))
            }
            Err(error) => Err(ApiError::bad_request(format!("the body did not arrive: {error}"))),
        }
    }
}

impl Body {
    /// The body as JSON of a known shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        if self.0.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::bad_request("the body is empty, expected JSON"));
        }
        serde_json::from_slice(&self.0)
            .map_err(|error| ApiError::bad_request(format!("invalid JSON body: {error}")))
    }
}

/// A JSON body of a known shape, or a JSON answer.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Body::from_request(request, state).await?.json().map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}
