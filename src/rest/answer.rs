//! Messages as an answer, which takes its account's memory until it is sent. That of a consume
//! knows whether all of it was.
//!
//! It is handed over a piece at a time, as the connection takes it; one whose connection ends first
//! was not sent.

use super::message::Message;
use crate::cluster::Cluster;
use crate::consumer::Receipt;
use crate::http::ApiError;
use crate::room::Taken;
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

/// An array of messages, whose receipt is written when it is sent. Reading them has `taken` room.
pub(super) async fn tracked(
    cluster: &Cluster,
    messages: &[Message<'_>],
    taken: Taken,
    receipt: Arc<Receipt>,
) -> Result<Response, ApiError> {
    let left = json(cluster, messages, taken).await?;
    Ok(respond(Body::new(Tracked { left, receipt })))
}

/// An array of messages. Reading them has `taken` room.
pub(super) async fn plain(
    cluster: &Cluster,
    messages: &[Message<'_>],
    taken: Taken,
) -> Result<Response, ApiError> {
    Ok(respond(json(cluster, messages, taken).await?.into()))
}

/// An array of no messages.
pub(super) fn nothing() -> Response {
    respond(NOTHING.into())
}

fn respond(body: Body) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

const NOTHING: &str = "[]";

async fn json(
    cluster: &Cluster,
    messages: &[Message<'_>],
    mut taken: Taken,
) -> Result<Bytes, ApiError> {
    if messages.is_empty() {
        return Ok(NOTHING.into());
    }
    let json = serde_json::to_vec(messages).map_err(ApiError::internal)?;
    cluster.answer_room.fit(&mut taken, json.len()).await;
    Ok(Arc::new(taken).held_by(json.into()))
}
