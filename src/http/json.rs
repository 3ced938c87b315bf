//! Bodies in and JSON out. **A body is JSON whatever its Content-Type says** (curl sends forms by
//! default), and an error in it names line, column and field.

use super::{ApiError, body};
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A body as it came, at most [`BODY_BYTES_MAX`](super::BODY_BYTES_MAX) bytes.
#[derive(Debug)]
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        body::whole(request).await.map(Self)
    }
}

impl Body {
    /// The body as JSON of a known shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        if self.0.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::bad_request("the body is empty, expected JSON"));
        }
        parse_json(&self.0)
    }
}

/// Text as JSON of a known shape.
///
/// # Errors
/// 400 with line, column and field; of an unknown field also the nearest that is known.
pub fn parse_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(text).map_err(|error| {
        let text = with_nearest(&error.to_string());
        ApiError::bad_request(format!("invalid JSON body: {text}"))
    })
}

/// A name has to be this near to an unknown one to be what was meant.
const NEAR: f64 = 0.7;

/// An error of serde; where a name is unknown, with the known one that was probably meant.
pub(super) fn with_nearest(error: &str) -> String {
    let told = ["unknown field `", "unknown variant `"].into_iter().find_map(|it| error.find(it));
    let mut names = error[told.unwrap_or(error.len())..].split('`').skip(1).step_by(2);
    let unknown = names.next();
    let near = unknown.and_then(|unknown| {
        let near = names.map(|known| (strsim::jaro_winkler(unknown, known), known));
        near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(similarity, _)| *similarity > NEAR)
    });
    match near {
        Some((_, known)) => format!("{error}; did you mean `{known}`?"),
        None => error.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_with_the_nearest_known_one() {
        let table = [
            ("unknown field `tabel`, expected `table` or `naming` at line 1", Some("`table`")),
            (
                "unknown variant `snake-case`, expected `as-is` or `snake_case`",
                Some("`snake_case`"),
            ),
            ("unknown field `x`, expected one of `table`, `naming`, `columns`", None),
            ("missing field `table`", None),
            ("unknown field `x`, there are no fields", None),
        ];
        for (error, near) in table {
            let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            assert_eq!(with_nearest(error), format!("{error}{hint}"));
        }
    }
}
