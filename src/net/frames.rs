//! Frames off a socket: a length of four bytes, and as many bytes.
//!
//! **Memory is taken as bytes arrive, never because a length was announced**, or as much as a frame
//! of the same connection has taken before; and a large frame waits for its share of the process's
//! budget first.
//!
//! A read takes as much as reads have brought: one that fills its room has the next one take twice
//! as much, so that what a client sends in a row comes in few reads, and one that leaves most of it
//! empty has the next one take half.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

/// A frame of a client that has not said who it is.
pub(super) const UNAUTHENTICATED_BYTES_MAX: usize = 16 << 10;
/// A frame of any other client: Kafka's `socket.request.max.bytes`.
pub(super) const FRAME_BYTES_MAX: usize = 100 << 20;
/// Frames up to this size go without a permit: they are covered by the bound on connections.
const FREE_BYTES: usize = 64 << 10;
const PREFIX_BYTES: usize = 4;
/// Memory that a connection keeps for the next frame. What a longer one took goes with it.
const KEPT_BYTES_MAX: usize = 2 << 20;
/// Room for a read, at first: small frames come in one.
const READ_BYTES: usize = 4 << 10;
/// Room for a read of a client that sends much.
const READ_BYTES_MAX: usize = FREE_BYTES;

/// One frame, and its share of the budget until it is answered.
pub(super) struct Frame {
    /// The bytes after the length.
    pub bytes: Bytes,
    /// Returned to the budget when dropped.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// A frame that has begun is complete within this time, not counting the time it waits for us.
pub(super) const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no further frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The client hung up between two frames.
    #[error("closed")]
    Closed,
    /// The socket failed, or the client hung up inside a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It came too slowly.
    #[error("a frame took longer than {FRAME_TIMEOUT:?}")]
    Slow,
    /// A negative or too large length; the first bytes tell what the client may have meant.
    #[error("frame of {len} bytes is over the limit of {max}")]
    TooLarge {
        /// The length announced.
        len: u32,
        /// The limit that holds for this client.
        max: usize,
        /// The length's own four bytes.
        prefix: [u8; PREFIX_BYTES],
    },
}

/// What has been read and not been taken yet.
pub(super) struct Frames {
    buffer: BytesMut,
    /// The longest frame that came whole: the next one may take as much at once.
    earned: usize,
    /// Room that the next read has at least.
    room: usize,
    /// When the frame of which part is here has to be complete.
    complete_by: Option<tokio::time::Instant>,
    budget: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Frames {
    /// Nothing read yet.
    pub(super) fn new(budget: Arc<Semaphore>) -> Self {
        let (buffer, room) = (BytesMut::new(), READ_BYTES);
        Self { buffer, earned: 0, room, complete_by: None, budget, permit: None }
    }

    /// Gives the next frame its time anew: it was our turn.
    pub(super) fn be_patient(&mut self) {
        self.complete_by = None;
    }

    /// Whether part of a frame is here.
    fn has_begun(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next frame. Cancel safe: what was read stays.
    pub(super) async fn next(
        &mut self,
        input: &mut (impl AsyncRead + Unpin),
        max: usize,
    ) -> Result<Frame, FrameError> {
        loop {
            let missing = match self.announced(max)? {
                Some(len) if self.buffer.len() >= PREFIX_BYTES + len => {
                    self.buffer.advance(PREFIX_BYTES);
                    let bytes = self.buffer.split_to(len).freeze();
                    self.complete_by = None;
                    self.earned = self.earned.max(len);
                    if len > KEPT_BYTES_MAX {
                        self.buffer = BytesMut::from(&self.buffer[..]);
                    }
                    return Ok(Frame { bytes, permit: self.permit.take() });
                }
                Some(len) => {
                    self.admit(len).await;
                    PREFIX_BYTES + len - self.buffer.len()
                }
                // What follows the length comes with it.
                None => self.room / 2,
            };
            if self.has_begun() {
                self.complete_by.get_or_insert_with(|| tokio::time::Instant::now() + FRAME_TIMEOUT);
            }
            let room = self.make_room(missing, max);
            let read = input.read_buf(&mut self.buffer);
            let read = match self.complete_by {
                Some(deadline) => timeout_at(deadline, read).await.map_err(|_| FrameError::Slow)?,
                None => read.await,
            };
            let read = read?;
            self.note_read(read, room);
            if read == 0 {
                return Err(match self.has_begun() {
                    true => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
                    false => FrameError::Closed,
                });
            }
        }
    }

    /// Makes room for what is `missing`, unless there is; gives how much there is then.
    fn make_room(&mut self, missing: usize, max: usize) -> usize {
        if self.buffer.capacity() - self.buffer.len() < missing {
            // Doubles what is here, or takes what the client has paid for before: growing copies.
            let paid = self.buffer.len().max(FREE_BYTES).max(self.earned);
            self.buffer.reserve(missing.min(paid).max(self.room.min(max)));
        }
        self.buffer.capacity() - self.buffer.len()
    }

    /// Has the next read take more or less, by how much of its `room` one filled.
    fn note_read(&mut self, read: usize, room: usize) {
        if read >= room {
            self.room = (self.room * 2).min(READ_BYTES_MAX);
        } else if read < self.room / 4 {
            self.room = (self.room / 2).max(READ_BYTES);
        }
    }

    fn announced(&self, max: usize) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix);
        match usize::try_from(len) {
            Ok(bytes) if bytes <= max => Ok(Some(bytes)),
            _ => Err(FrameError::TooLarge { len, max, prefix: *prefix }),
        }
    }

    async fn admit(&mut self, len: usize) {
        if len > FREE_BYTES && self.permit.is_none() {
            let kib = u32::try_from(len.div_ceil(1 << 10)).unwrap_or(u32::MAX);
            // The semaphore is never closed; without a permit the frame would only be uncounted.
            self.permit = self.budget.clone().acquire_many_owned(kib).await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncWriteExt, ReadBuf};

    fn frames() -> Frames {
        Frames::new(Arc::new(Semaphore::new(1 << 20)))
    }

    #[tokio::test]
    async fn frames_come_out_whole_however_the_bytes_arrive() {
        let sent = b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01z";
        for cut in 0..sent.len() {
            let mut input = AsyncReadExt::chain(&sent[..cut], &sent[cut..]);
            let mut frames = frames();
            for expected in ["abc", "", "z"] {
                assert_eq!(frames.next(&mut input, 10).await.unwrap().bytes, expected);
            }
            assert!(matches!(frames.next(&mut input, 10).await, Err(FrameError::Closed)));
        }
    }

    #[tokio::test]
    async fn an_announced_length_is_no_reason_to_allocate() {
        let mut input = &b"\x05\0\0\0abc"[..];
        let mut frames = frames();
        let error = frames.next(&mut input, FRAME_BYTES_MAX).await.err().unwrap();
        assert!(matches!(error, FrameError::Io(_)), "{error}");
        assert!(frames.buffer.capacity() <= 2 * FREE_BYTES, "{}", frames.buffer.capacity());
    }

    #[tokio::test]
    async fn as_much_as_a_frame_has_taken_the_next_one_may_take_at_once_and_no_more() {
        let long = 4 * FREE_BYTES;
        let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
        let mut sent = length(long).to_vec();
        sent.resize(PREFIX_BYTES + long, 7);
        sent.extend(length(100 * long));
        let (mut input, mut frames) = (&sent[..], frames());
        let first = frames.next(&mut input, FRAME_BYTES_MAX).await.unwrap();
        assert_eq!(first.bytes.len(), long);
        let second = frames.next(&mut input, FRAME_BYTES_MAX).await;
        assert!(matches!(second, Err(FrameError::Io(_))));
        let room = frames.buffer.capacity();
        assert!((long..=2 * long).contains(&room), "{room}");
    }

    struct Counted<'a> {
        bytes: &'a [u8],
        reads: usize,
    }

    impl AsyncRead for Counted<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            Pin::new(&mut self.bytes).poll_read(context, buffer)
        }
    }

    #[tokio::test]
    async fn what_a_long_frame_took_goes_with_it() {
        let long = 2 * KEPT_BYTES_MAX;
        let mut sent = u32::try_from(long).unwrap().to_be_bytes().to_vec();
        sent.resize(PREFIX_BYTES + long, 7);
        sent.extend(b"\0\0\0\x01z");
        let (mut input, mut frames) = (&sent[..], frames());
        assert_eq!(frames.next(&mut input, FRAME_BYTES_MAX).await.unwrap().bytes.len(), long);
        assert_eq!(frames.next(&mut input, FRAME_BYTES_MAX).await.unwrap().bytes, "z");
        frames.buffer.reserve(1);
        assert!(frames.buffer.capacity() < KEPT_BYTES_MAX, "{}", frames.buffer.capacity());
    }

    #[tokio::test]
    async fn frames_in_a_row_come_in_few_reads_and_single_ones_ask_for_less_again() {
        let batch = [&(16_u32 << 10).to_be_bytes()[..], &[7; 16 << 10]].concat();
        let (sent, mut frames) = (batch.repeat(64), frames());
        let mut input = Counted { bytes: &sent, reads: 0 };
        for _ in 0..64 {
            let frame = frames.next(&mut input, FRAME_BYTES_MAX).await.unwrap();
            assert_eq!(frame.bytes, batch[PREFIX_BYTES..]);
        }
        assert!(input.reads <= 32, "{} reads", input.reads);
        for _ in 0..10 {
            frames.next(&mut &b"\0\0\0\x01z"[..], FRAME_BYTES_MAX).await.unwrap();
        }
        assert_eq!(frames.room, READ_BYTES);
    }

    #[tokio::test]
    async fn a_frame_that_trickles_in_is_given_up() {
        let (mut client, mut input) = tokio::io::duplex(64);
        client.write_all(&[0, 0]).await.unwrap();
        let mut frames = frames();
        assert!(frames.next(&mut input, 1000).now_or_never().is_none());
        let deadline = frames.complete_by.unwrap();
        client.write_all(&[1, 0, 7]).await.unwrap();
        assert!(frames.next(&mut input, 1000).now_or_never().is_none());
        assert_eq!(frames.complete_by, Some(deadline));
        frames.complete_by = Some(tokio::time::Instant::now());
        assert!(matches!(frames.next(&mut input, 1000).await, Err(FrameError::Slow)));
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_refused_with_its_bytes() {
        for prefix in [*b"GET ", [0x16, 3, 1, 0], [0xff; 4]] {
            let error = frames().next(&mut &prefix[..], FRAME_BYTES_MAX).await.err().unwrap();
            assert!(matches!(error, FrameError::TooLarge { prefix: it, .. } if it == prefix));
        }
    }
}
