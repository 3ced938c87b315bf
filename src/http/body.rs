//! The body of a request as it arrives: not too slowly, and in its account's [`Room`].

use super::ApiError;
use crate::pace::Pace;
use crate::room::{Room, Taken};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::timeout_at;

/// Bytes of one request's body.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Of a body that is read as it comes, the next piece is there within this time. How long all of
/// it may take is up to its reader.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies up to this size are in no account's room, like the frames of the Kafka listener.
const FREE_BYTES: usize = 64 << 10;

/// All of a body, and what it takes of the room until it is dropped.
struct Held {
    bytes: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All of a request's body, at most [`BODY_BYTES_MAX`] bytes, which may take the time of `pace`.
/// The room is the one among the request's extensions.
///
/// # Errors
/// 413 of a longer one, 408 of one that comes too slowly, 400 of one that ends too early.
pub(super) async fn whole(request: Request, mut pace: Pace) -> Result<Bytes, ApiError> {
    let (parts, mut body) = request.into_parts();
    let room = parts.extensions.get::<Room>();
    let (mut first, mut all, mut taken) = (Bytes::new(), BytesMut::new(), None);
    let mut arrived = 0;
    loop {
        let frame = timeout_at(pace.deadline(arrived), body.frame()).await;
        let Some(frame) = frame.map_err(|_| ApiError::body_too_slow())? else { break };
        let Ok(piece) = frame.map_err(ApiError::body_lost)?.into_data() else { continue };
        arrived += piece.len();
        if arrived > BODY_BYTES_MAX {
            let text = format!("the body is over the limit of {BODY_BYTES_MAX} bytes");
            return Err(ApiError::too_large(text));
        }
        if let Some(room) = room.filter(|_| arrived > FREE_BYTES) {
            // As long as others have the memory it is not the client's turn.
            pace.pause();
            let taken = match &mut taken {
                Some(taken) => taken,
                none => none.insert(room.admit(announced(&parts.headers)).await),
            };
            room.take(taken, arrived).await;
            pace.go_on();
        }
        if arrived == piece.len() {
            // Most bodies come in one piece, which need not be copied.
            first = piece;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&piece);
        }
    }
    let bytes = if all.is_empty() { first } else { all.freeze() };
    Ok(match taken {
        Some(taken) => Bytes::from_owner(Held { bytes, _taken: taken }),
        None => bytes,
    })
}

/// How long a body may become.
fn announced(headers: &HeaderMap) -> usize {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.map_or(BODY_BYTES_MAX, |length: usize| length.min(BODY_BYTES_MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use axum::body::Body;
    use futures_util::FutureExt;
    use futures_util::stream;
    use std::convert::Infallible;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_long_body_has_taken_what_is_here_of_it_and_all_of_it_until_it_is_dropped() {
        let (room, piece) = (Room::default(), Bytes::from(vec![7; FREE_BYTES]));
        let all = room.left();
        let (sender, pieces) = mpsc::unbounded_channel::<Bytes>();
        let body = stream::unfold(pieces, async |mut pieces| {
            pieces.recv().await.map(|piece| (Ok::<_, Infallible>(piece), pieces))
        });
        let length = (4 * FREE_BYTES).to_string();
        let request = Request::builder().header(CONTENT_LENGTH, length).extension(room.clone());
        let request = request.body(Body::from_stream(body)).unwrap();
        let mut whole = std::pin::pin!(whole(request, Pace::begin()));

        sender.send(piece.clone()).unwrap();
        assert!(whole.as_mut().now_or_never().is_none());
        assert_eq!(room.left(), all);
        sender.send(piece.clone()).unwrap();
        assert!(whole.as_mut().now_or_never().is_none());
        assert_eq!(room.left(), (all.0 - 4 * FREE_BYTES, all.1 - 2 * FREE_BYTES));

        for _ in 0..2 {
            sender.send(piece.clone()).unwrap();
        }
        drop(sender);
        let whole = whole.await.unwrap();
        assert_eq!(whole, piece.repeat(4));
        assert_eq!(room.left(), (all.0 - 4 * FREE_BYTES, all.1 - 4 * FREE_BYTES));
        drop(whole);
        assert_eq!(room.left(), all);
    }

    #[tokio::test]
    async fn a_body_that_does_not_go_on_is_refused() {
        let stalled = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let mut pace = Pace::begin();
        pace.age(Duration::from_secs(60));
        let refused = whole(Request::new(stalled()), pace).await.unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.code), (408, "timeout"));
        // So is one that is read as it comes.
        let timed = tower_http::timeout::TimeoutBody::new(Duration::ZERO, stalled());
        let lost = Body::new(timed).frame().await.unwrap().unwrap_err();
        assert_eq!(ApiError::body_lost(lost).status.as_u16(), 408);
    }
}
