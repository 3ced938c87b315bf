//! Frames off a socket: a length of four bytes, and as many bytes.
//!
//! **Memory is taken as bytes arrive, never because a length was announced**, or as much as a frame
//! of the same connection has taken before; a large frame takes it from its account's [`Room`].

use super::read_size::{READ_BYTES, ReadSize};
use crate::pace::Pace;
use crate::room::{REQUEST_BYTES_MAX, Room, Taken};
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout_at;

/// A frame of a client that has not said who it is.
const UNAUTHENTICATED_BYTES_MAX: usize = 16 << 10;
/// A frame of any other client.
const FRAME_BYTES_MAX: usize = REQUEST_BYTES_MAX;
/// Frames up to this size are in no account's room: they are covered by the bound on connections.
const FREE_BYTES: usize = 64 << 10;
const PREFIX_BYTES: usize = 4;
/// Memory that a connection keeps for the next frame, while frames come. What a longer one took
/// goes with it.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// One frame, and what it takes of its account's room.
pub(super) struct Frame {
    /// The bytes after the length. They have what is taken until the last slice is dropped.
    pub bytes: Bytes,
    /// For who needs it longer than that; most frames take nothing.
    pub taken: Option<Arc<Taken>>,
}

impl Frame {
    pub(super) fn new(bytes: Bytes, taken: Option<Arc<Taken>>) -> Self {
        let bytes = match &taken {
            Some(taken) => taken.clone().held_by(bytes),
            None => bytes,
        };
        Self { bytes, taken }
    }
}

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
    #[error("a frame came too slowly")]
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
    longest: usize,
    read_size: ReadSize,
    /// The time of the frame of which part is here.
    pace: Option<Pace>,
    /// What that frame has taken.
    taken: Option<Box<Taken>>,
}

impl Frames {
    /// Nothing read yet.
    pub(super) fn new() -> Self {
        let (buffer, read_size) = (BytesMut::new(), ReadSize::default());
        Self { buffer, longest: 0, read_size, pace: None, taken: None }
    }

    /// Until [`next`](Self::next) is called again, the frame that has begun need not go on.
    pub(super) fn pause(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.pause();
        }
    }

    /// Whether it has memory that it does not need before a frame comes.
    pub(super) fn keeps_memory(&self) -> bool {
        !self.has_begun() && self.buffer.capacity() > READ_BYTES
    }

    /// Lets go of the memory that is kept; whether there was any.
    pub(super) fn let_go(&mut self) -> bool {
        let keeps = self.keeps_memory();
        if keeps {
            (self.buffer, self.read_size) = (BytesMut::new(), ReadSize::default());
        }
        keeps
    }

    /// Whether part of a frame is here.
    fn has_begun(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next frame of a client, in its account's room once it has said who it is. Cancel safe:
    /// what was read stays.
    pub(super) async fn next(
        &mut self,
        input: &mut (impl AsyncRead + Unpin),
        account: Option<&Room>,
    ) -> Result<Frame, FrameError> {
        let max = account.map_or(UNAUTHENTICATED_BYTES_MAX, |_| FRAME_BYTES_MAX);
        loop {
            let announced = self.announced(max)?;
            // What follows the length comes with it.
            let missing = announced.map_or(self.read_size.bytes() / 2, |len| {
                (PREFIX_BYTES + len).saturating_sub(self.buffer.len())
            });
            let growth = self.growth(missing, max);
            if let (Some(len), Some(account)) = (announced, account)
                && len > FREE_BYTES
            {
                self.take(account, len, growth).await;
            }
            if let Some(len) = announced.filter(|_| missing == 0) {
                return Ok(self.split(len));
            }
            self.buffer.reserve(growth);
            let space = self.buffer.capacity() - self.buffer.len();
            let read = self.read(input).await?;
            self.read_size.note(read, space);
            if read == 0 {
                return Err(match self.has_begun() {
                    true => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
                    false => FrameError::Closed,
                });
            }
        }
    }

    /// Reads what comes next, and in time if part of a frame is here.
    async fn read(&mut self, input: &mut (impl AsyncRead + Unpin)) -> Result<usize, FrameError> {
        if !self.has_begun() {
            return Ok(input.read_buf(&mut self.buffer).await?);
        }
        let pace = self.pace.get_or_insert_with(Pace::begin);
        pace.go_on();
        let deadline = pace.deadline(self.buffer.len());
        let read = timeout_at(deadline, input.read_buf(&mut self.buffer)).await;
        Ok(read.map_err(|_| FrameError::Slow)??)
    }

    /// The frame of which all is here.
    fn split(&mut self, len: usize) -> Frame {
        self.buffer.advance(PREFIX_BYTES);
        let bytes = self.buffer.split_to(len).freeze();
        self.pace = None;
        self.longest = self.longest.max(len);
        if len > KEPT_BYTES_MAX {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Frame::new(bytes, self.taken.take().map(Arc::from))
    }

    /// By how much the buffer has to grow for what is `missing` of a frame; by 0 if that fits.
    fn growth(&self, missing: usize, max: usize) -> usize {
        if self.buffer.capacity() - self.buffer.len() >= missing {
            return 0;
        }
        // Doubles, or is as long as an earlier frame was: growing copies.
        let at_once = self.buffer.len().max(FREE_BYTES).max(self.longest);
        missing.min(at_once).max(self.read_size.bytes().min(max))
    }

    /// Takes room for as much of a long frame as the buffer holds once it has grown.
    async fn take(&mut self, account: &Room, len: usize, growth: usize) {
        // As long as others have the memory it is not the client's turn.
        self.pause();
        let holds = self.buffer.capacity().max(self.buffer.len() + growth);
        account.take(self.taken.get_or_insert_default(), len.min(holds)).await;
    }

    fn announced(&self, max: usize) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix);
        match usize::try_from(len) {
            Ok(bytes) if bytes <= max => Ok(Some(bytes)),
            _ => Err(FrameError::TooLarge { len, max, prefix: *prefix }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;
    use tokio::io::{AsyncWriteExt, ReadBuf};

    #[tokio::test]
    async fn frames_come_out_whole_however_the_bytes_arrive() {
        let sent = b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01z";
        for cut in 0..sent.len() {
            let mut input = AsyncReadExt::chain(&sent[..cut], &sent[cut..]);
            let mut frames = Frames::new();
            for expected in ["abc", "", "z"] {
                assert_eq!(frames.next(&mut input, None).await.unwrap().bytes, expected);
            }
            assert!(matches!(frames.next(&mut input, None).await, Err(FrameError::Closed)));
        }
    }

    #[tokio::test]
    async fn an_announced_length_is_no_reason_to_allocate() {
        let mut input = &b"\x05\0\0\0abc"[..];
        let mut frames = Frames::new();
        let error = frames.next(&mut input, Some(&Room::default())).await.err().unwrap();
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
        let (mut input, mut frames) = (&sent[..], Frames::new());
        let first = frames.next(&mut input, Some(&Room::default())).await.unwrap();
        assert_eq!(first.bytes.len(), long);
        let second = frames.next(&mut input, Some(&Room::default())).await;
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
        let (mut input, mut frames) = (&sent[..], Frames::new());
        assert_eq!(
            frames.next(&mut input, Some(&Room::default())).await.unwrap().bytes.len(),
            long
        );
        assert_eq!(frames.next(&mut input, Some(&Room::default())).await.unwrap().bytes, "z");
        frames.buffer.reserve(1);
        assert!(frames.buffer.capacity() < KEPT_BYTES_MAX, "{}", frames.buffer.capacity());
    }

    #[tokio::test]
    async fn what_is_kept_for_the_next_frame_can_be_let_go_until_that_begins() {
        let long = 4 * FREE_BYTES;
        let mut sent = u32::try_from(long).unwrap().to_be_bytes().to_vec();
        sent.resize(PREFIX_BYTES + long, 7);
        let (mut client, mut input) = tokio::io::duplex(2 * long);
        let (room, mut frames) = (Room::default(), Frames::new());
        client.write_all(&sent).await.unwrap();
        drop(frames.next(&mut input, Some(&room)).await.unwrap());
        assert!(frames.next(&mut input, Some(&room)).now_or_never().is_none());
        assert!(frames.keeps_memory() && frames.let_go());
        assert!(frames.next(&mut input, Some(&room)).now_or_never().is_none());
        assert!(!frames.keeps_memory(), "{}", frames.buffer.capacity());

        client.write_all(&sent[..PREFIX_BYTES + long - 1]).await.unwrap();
        assert!(frames.next(&mut input, Some(&room)).now_or_never().is_none());
        assert!(!frames.let_go());
        client.write_all(&[8]).await.unwrap();
        let frame = frames.next(&mut input, Some(&room)).await.unwrap();
        assert_eq!((frame.bytes[long - 2], frame.bytes[long - 1]), (7, 8));
    }

    #[tokio::test]
    async fn frames_in_a_row_come_in_few_reads_and_single_ones_ask_for_less_again() {
        let batch = [&(16_u32 << 10).to_be_bytes()[..], &[7; 16 << 10]].concat();
        let (sent, mut frames) = (batch.repeat(64), Frames::new());
        let mut input = Counted { bytes: &sent, reads: 0 };
        for _ in 0..64 {
            let frame = frames.next(&mut input, Some(&Room::default())).await.unwrap();
            assert_eq!(frame.bytes, batch[PREFIX_BYTES..]);
        }
        assert!(input.reads <= 32, "{} reads", input.reads);
        for _ in 0..10 {
            frames.next(&mut &b"\0\0\0\x01z"[..], Some(&Room::default())).await.unwrap();
        }
        assert_eq!(frames.read_size, ReadSize::default());
    }

    #[tokio::test]
    async fn a_frame_that_trickles_in_is_given_up_but_not_for_time_we_took() {
        let (mut client, mut input) = tokio::io::duplex(64);
        client.write_all(&[0, 0]).await.unwrap();
        let mut frames = Frames::new();
        assert!(frames.next(&mut input, None).now_or_never().is_none());
        let begun = frames.pace.unwrap().deadline(0);
        client.write_all(&[1, 0, 7]).await.unwrap();
        assert!(frames.next(&mut input, None).now_or_never().is_none());
        assert_eq!(frames.pace.unwrap().deadline(0), begun);

        let minute = Duration::from_secs(60);
        frames.pause();
        frames.pace.as_mut().unwrap().age(minute);
        assert!(frames.next(&mut input, None).now_or_never().is_none());
        assert!(frames.pace.unwrap().deadline(0) >= begun);
        frames.pace.as_mut().unwrap().age(minute);
        assert!(matches!(frames.next(&mut input, None).await, Err(FrameError::Slow)));
    }

    #[tokio::test]
    async fn a_long_frame_has_taken_what_is_here_of_it_and_all_of_it_until_it_is_dropped() {
        let long = 8 * FREE_BYTES;
        let (room, mut frames) = (Room::default(), Frames::new());
        let all = room.left();
        let (mut client, mut input) = tokio::io::duplex(long);
        client.write_all(&u32::try_from(long).unwrap().to_be_bytes()).await.unwrap();
        client.write_all(&vec![7; FREE_BYTES]).await.unwrap();
        assert!(frames.next(&mut input, Some(&room)).now_or_never().is_none());
        let taken = all.0 - room.left().0;
        assert!((FREE_BYTES..=3 * FREE_BYTES).contains(&taken), "{taken}");

        client.write_all(&vec![7; long - FREE_BYTES]).await.unwrap();
        let frame = frames.next(&mut input, Some(&room)).now_or_never().unwrap().unwrap();
        assert_eq!(room.left(), (all.0 - long, all.1 - long));
        drop(frame);
        assert_eq!(room.left(), all);
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_refused_with_its_bytes() {
        for prefix in [*b"GET ", [0x16, 3, 1, 0], [0xff; 4]] {
            let error =
                Frames::new().next(&mut &prefix[..], Some(&Room::default())).await.err().unwrap();
            assert!(matches!(error, FrameError::TooLarge { prefix: it, .. } if it == prefix));
        }
    }
}
