//! The answer of a consume, which knows whether all of it was sent.
//!
//! It is handed over a piece at a time, as the connection takes it; one whose connection ends first
//! was not sent.

use super::message::Message;
use crate::consumer::Receipt;
use crate::http::ApiError;
use axum::body::{Body, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Bytes handed over at a time. A connection takes several before it has sent the first.
const PIECE_BYTES: usize = 64 << 10;

struct Tracked {
    left: Bytes,
    receipt: Arc<Receipt>,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let bytes = self.left.len().min(PIECE_BYTES);
        let piece = self.left.split_to(bytes);
        // Nobody asks once more when the length says that this was the last.
        if self.left.is_empty() {
            self.receipt.sent();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// An array of messages, whose receipt is written when it is sent.
pub(super) fn tracked(
    messages: &[Message<'_>],
    receipt: Arc<Receipt>,
) -> Result<Response, ApiError> {
    let left = serde_json::to_vec(messages).map_err(ApiError::internal)?.into();
    let body = Body::new(Tracked { left, receipt });
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}
