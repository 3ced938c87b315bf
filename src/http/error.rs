//! Errors over HTTP: a status, a stable code for programs, and a sentence for people.

use crate::topic::Absent;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tower_http::timeout::TimeoutError;

/// A refusal or failure as a client sees it:
/// `{"result": "Error", "error": "<sentence>", "code": "<stable code>", "status": <number>}`.
/// The code is ours; the rest is what clients of Upstash's REST API read.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// Stable; what programs compare.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ApiError {
    /// Any error.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// No or wrong credentials.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// There is no such thing, for this account.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// It is there already.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// More bytes than are taken.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// The body, or the next piece of it, was not there in time.
    pub(super) fn body_too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body came too slowly")
    }

    /// The body did not arrive.
    pub(super) fn body_lost(error: axum::Error) -> Self {
        let error = error.into_inner();
        match error.is::<TimeoutError>() {
            true => Self::body_too_slow(),
            false => Self::bad_request(format!("the body did not arrive: {error}")),
        }
    }

    /// The volume is full; the operator is told once, when it fills up.
    pub fn disk_full() -> Self {
        let text = "the disk is full; nothing more is stored until there is room";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", text)
    }

    /// The partition's log could not be opened.
    pub fn partition_offline(topic: &str, index: i32) -> Self {
        let text = format!("partition {index} of topic '{topic}': {}", Absent::Offline);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "partition_offline", text)
    }

    /// The partition's log has records that cannot be read; the caller logs why.
    pub fn partition_unreadable(topic: &str, index: i32) -> Self {
        let text = format!(
            "partition {index} of topic '{topic}' cannot be read; the broker's log says why"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "partition_unreadable", text)
    }

    /// Our own failure; the cause goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!("request failed: {cause}");
        let text = "the broker failed; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
    }
}

impl From<crate::topic::Error> for ApiError {
    fn from(error: crate::topic::Error) -> Self {
        use crate::topic::Error;
        match error {
            Error::InvalidName(_)
            | Error::InvalidPartitions(_)
            | Error::NotAnIncrease { .. }
            | Error::InvalidConfig(_) => Self::bad_request(error.to_string()),
            Error::Exists(_)
            | Error::Collides { .. }
            | Error::Synced(_)
            | Error::AccountFull { .. } => Self::conflict(error.to_string()),
            Error::Unknown(_) => Self::not_found(error.to_string()),
            Error::Unreadable(_) => {
                let text = error.to_string();
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "configs_unreadable", text)
            }
            Error::Storage(error) => error.into(),
            Error::Control(_) => Self::internal(error),
        }
    }
}

impl From<tidelog_storage::Error> for ApiError {
    fn from(error: tidelog_storage::Error) -> Self {
        if error.is_disk_full() {
            tracing::debug!("{error}");
            return Self::disk_full();
        }
        match error {
            tidelog_storage::Error::OffsetOutOfRange { .. } => Self::bad_request(error.to_string()),
            tidelog_storage::Error::Closed => {
                let text = "the partition was closed meanwhile: its topic is deleted, or the \
                            broker is stopping";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "partition_closed", text)
            }
            error => Self::internal(error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status.as_u16();
        let body = json!({
            "result": "Error", "error": self.message, "code": self.code, "status": status,
        });
        let mut response = (self.status, axum::Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Basic realm=\"tidelog\"");
            // The console asks for the password itself; only others want the browser's dialog.
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
