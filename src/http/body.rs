//! The body of a request as it arrives: not too slowly, and in its account's [`Room`].

use super::ApiError;
use crate::pace::Pace;
use crate::room::{Room, Taken};
use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;

/// Bytes of one request's body.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// Of a body that is read as it comes, the next piece is there within this time. How long all of
/// it may take is up to its reader.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies up to this size are in no account's room, like the frames of the Kafka listener.
const FREE_BYTES: usize = 64 << 10;
/// Nor is what is kept of one that is read as it comes, up to this size: what most readers go on
/// with at a time.
const FREE_OF_STREAM_BYTES: usize = 256 << 10;

/// A body that is read a piece at a time, by who goes on with parts of it.
pub struct Arriving(Counted);

impl Arriving {
    /// The body of a request.
    pub fn new(request: Request) -> Self {
        Self(Counted::new(request))
    }

    /// The next piece, when there is room for it beside the bytes that are `kept` of those before;
    /// none at the end. What may be kept without taking room may come at any pace.
    ///
    /// # Errors
    /// 408 when it does not come in time, 400 when the body ends too early.
    pub async fn piece(&mut self, kept: usize) -> Result<Option<Bytes>, ApiError> {
        if kept > FREE_OF_STREAM_BYTES {
            self.0.pace.get_or_insert_with(Pace::begin);
        } else {
            (self.0.taken, self.0.pace) = (None, None);
        }
        self.0.next(kept, FREE_OF_STREAM_BYTES).await
    }

    /// Ties the room that is taken to `bytes` of what was kept, which may outlive the request: its
    /// client may hang up while they are carried out.
    pub fn hold(&mut self, bytes: Bytes) -> Bytes {
        self.0.hold(bytes)
    }
}

/// All of a request's body, at most [`BODY_BYTES_MAX`] bytes, whose room is taken until they are
/// dropped.
///
/// # Errors
/// 413 of a longer one, and those of [`Arriving::piece`].
pub(super) async fn whole(request: Request) -> Result<Bytes, ApiError> {
    Counted { pace: Some(Pace::begin()), ..Counted::new(request) }.whole().await
}

/// A body, and what is taken of the room for what is kept of it.
struct Counted {
    body: Body,
    /// The room among the request's extensions, if it has one.
    room: Option<Room>,
    taken: Option<Taken>,
    /// The time of what is kept, if it may not come at any pace.
    pace: Option<Pace>,
}

impl Counted {
    fn new(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let room = parts.extensions.get().cloned();
        Self { body, room, taken: None, pace: None }
    }

    /// The next piece, when there is room for what is kept with it beyond what is `free`.
    async fn next(&mut self, kept: usize, free: usize) -> Result<Option<Bytes>, ApiError> {
        loop {
            let frame = match &self.pace {
                Some(pace) => timeout_at(pace.deadline(kept), self.body.frame()).await,
                None => Ok(self.body.frame().await),
            };
            let Some(frame) = frame.map_err(|_| ApiError::body_too_slow())? else {
                return Ok(None);
            };
            if let Ok(piece) = frame.map_err(ApiError::body_lost)?.into_data() {
                if kept + piece.len() > free {
                    self.keep(kept + piece.len()).await;
                }
                return Ok(Some(piece));
            }
        }
    }

    async fn keep(&mut self, bytes: usize) {
        let Some(room) = &self.room else { return };
        // As long as others have the memory it is not the client's turn.
        self.pace.iter_mut().for_each(Pace::pause);
        room.take(self.taken.get_or_insert_default(), bytes).await;
        self.pace.iter_mut().for_each(Pace::go_on);
    }

    async fn whole(mut self) -> Result<Bytes, ApiError> {
        let (mut first, mut all) = (Bytes::new(), BytesMut::new());
        let mut arrived = 0;
        while let Some(piece) = self.next(arrived, FREE_BYTES).await? {
            arrived += piece.len();
            if arrived > BODY_BYTES_MAX {
                let text = format!("the body is over the limit of {BODY_BYTES_MAX} bytes");
                return Err(ApiError::too_large(text));
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
        Ok(self.hold(bytes))
    }

    fn hold(&mut self, bytes: Bytes) -> Bytes {
        match self.taken.take() {
            Some(taken) => Arc::new(taken).held_by(bytes),
            None => bytes,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use futures_util::stream;
    use std::convert::Infallible;
    use tokio::sync::mpsc;

    /// A request whose body is sent as the test likes.
    fn sent(room: &Room) -> (mpsc::UnboundedSender<Bytes>, Request) {
        let (sender, pieces) = mpsc::unbounded_channel::<Bytes>();
        let body = stream::unfold(pieces, async |mut pieces| {
            pieces.recv().await.map(|piece| (Ok::<_, Infallible>(piece), pieces))
        });
        let request = Request::builder().extension(room.clone());
        (sender, request.body(Body::from_stream(body)).unwrap())
    }

    #[tokio::test]
    async fn a_long_body_has_taken_what_is_here_of_it_and_all_of_it_until_it_is_dropped() {
        let (room, piece) = (Room::default(), Bytes::from(vec![7; FREE_BYTES]));
        let all = room.left();
        let (sender, request) = sent(&room);
        let mut whole = Box::pin(whole(request));
        sender.send(piece.clone()).unwrap();
        assert!(whole.as_mut().now_or_never().is_none());
        assert_eq!(room.left(), all);
        sender.send(piece.clone()).unwrap();
        assert!(whole.as_mut().now_or_never().is_none());
        assert_eq!(room.left(), (all.0 - 2 * FREE_BYTES, all.1 - 2 * FREE_BYTES));

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
    async fn of_a_body_that_is_streamed_what_is_kept_has_taken_room() {
        const PIECE: usize = FREE_OF_STREAM_BYTES / 2;
        let (room, piece) = (Room::default(), Bytes::from(vec![7; PIECE]));
        let all = room.left();
        let (sender, request) = sent(&room);
        let mut arriving = Arriving::new(request);
        let left = |pieces: usize| (all.0 - pieces * PIECE, all.1 - pieces * PIECE);
        for (kept, taken) in [(0, 0), (1, 0), (2, 3), (3, 4), (1, 0), (2, 3)] {
            sender.send(piece.clone()).unwrap();
            assert!(arriving.piece(kept * PIECE).await.unwrap().is_some());
            assert_eq!(room.left(), left(taken), "{kept} pieces kept");
            assert_eq!(arriving.0.pace.is_some(), kept > 2);
        }
        // What is gone on with keeps its room, also when the rest of the body is given up.
        let part = arriving.hold(piece.clone());
        drop(arriving);
        assert_eq!(room.left(), left(3));
        drop(part);
        assert_eq!(room.left(), all);
    }

    #[tokio::test]
    async fn a_body_that_does_not_go_on_is_refused() {
        let request = || sent(&Room::default());
        let (_sender, stalled) = request();
        let mut pace = Pace::begin();
        pace.age(Duration::from_secs(60));
        let late = Counted { pace: Some(pace), ..Counted::new(stalled) };
        let refused = late.whole().await.unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.code), (408, "timeout"));
        // So is one that is read as it comes, of which the next piece is missing.
        let (_sender, stalled) = request();
        let timed =
            stalled.map(|it| Body::new(tower_http::timeout::TimeoutBody::new(Duration::ZERO, it)));
        let lost = Arriving::new(timed).piece(0).await.unwrap_err();
        assert_eq!((lost.status.as_u16(), lost.code), (408, "timeout"));
    }
}
