//! One connection: frames in, handlers called in order, answers out in the same order.
//!
//! A handler does what must happen in request order before it returns, and gives a future for what
//! may wait; a bounded number of these run at once, so pipelined produces share a sync. **Answers
//! leave in the order of their requests.**

use super::frames::{Frame, FrameError, Frames};
use super::parts::Parts;
use crate::api::sasl::{self, Sasl};
use crate::api::{self, Outcome, Pending, Session};
use crate::room::Taken;
use crate::tls::{self, Opened, Tls};
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidelog_protocol::header::{RequestHeader, write_response_header};
use tidelog_protocol::messages::SaslAuthenticateRequest;
use tidelog_protocol::{ApiKey, DecodeError, Reader, Request, Response, Writer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests of a connection in flight; beyond it, we stop reading from it.
const PIPELINE_MAX: usize = 64;
/// Bytes of a connection's answers that are ready and wait for those before them; beyond it too.
const BACKLOG_BYTES_MAX: usize = 1 << 20;
/// A client has this long to say who it is.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that sends nothing for this long is gone: Kafka's `connections.max.idle.ms`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Memory for the next frame is kept for this long when none comes: ten thousand connections that
/// say nothing would have 20 GiB.
const MEMORY_KEPT_FOR: Duration = Duration::from_secs(1);
/// A client that takes nothing of its answers for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Guessing is slow: Kafka's `connection.failed.authentication.delay.ms`.
const FAILED_AUTHENTICATION_DELAY: Duration = Duration::from_millis(100);
/// How long a client may take to read that it was refused.
const LINGER: Duration = Duration::from_secs(1);
/// Answers that are ready go out together up to this size.
const COALESCE_BYTES_MAX: usize = 1 << 20;

/// Why we hang up.
#[derive(Debug, thiserror::Error)]
enum Hangup {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{}", describe(*.key, *.version, .error))]
    Malformed { key: i16, version: i16, error: DecodeError },
    #[error("{} version {version} is not served", .key.name())]
    Unserved { key: ApiKey, version: i16 },
    #[error("{} version {version} before authentication", .key.name())]
    Unauthenticated { key: ApiKey, version: i16 },
    #[error("{0}")]
    Refused(sasl::Refusal),
    #[error("{} version {version} with acks=0 failed", .key.name())]
    Unanswerable { key: ApiKey, version: i16 },
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    #[error("cannot write: {0}")]
    Write(std::io::Error),
}

fn describe(key: i16, version: i16, error: &DecodeError) -> String {
    let name = ApiKey::from_i16(key).map_or_else(|| format!("API {key}"), |key| key.name().into());
    format!("malformed {name} version {version}: {error}")
}

/// What goes to the client, and whether that is the last it hears.
#[derive(Default)]
struct Answer {
    parts: Vec<Bytes>,
    /// Bytes of the parts that the [`Backlog`] has.
    counted: usize,
    then: Option<Hangup>,
}

/// Bytes of answers that are ready and have not left the pipeline. Only its connection's task
/// counts: an atomic, because that task may move between threads.
#[derive(Default)]
struct Backlog(AtomicUsize);

impl Backlog {
    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.store(self.bytes() + bytes, Ordering::Relaxed);
    }

    fn remove(&self, answer: &Answer) {
        self.0.store(self.bytes() - answer.counted, Ordering::Relaxed);
    }
}

type Pipeline<'a> = FuturesOrdered<BoxFuture<'a, Answer>>;

/// Serves a connection until it ends.
pub(super) async fn serve(stream: TcpStream, tls: Option<&Tls>, session: Session, http_url: &str) {
    match tls::open(tls, stream).await {
        Ok(Opened::Plain(mut stream)) => {
            let (input, output) = stream.split();
            converse(input, output, session, http_url).await;
        }
        Ok(Opened::Tls(stream)) => {
            let (input, output) = tokio::io::split(stream);
            // Boxed: most connections are plaintext, and would carry its room.
            Box::pin(converse(input, output, session, http_url)).await;
        }
        Ok(Opened::Refused(_)) => {
            tracing::warn!("closing {session}: it does not speak TLS, which tls_required asks for");
        }
        Err(error) => tracing::warn!("closing {session}: no TLS came about: {error}"),
    }
}

/// Serves a connection whose bytes are as the client meant them.
async fn converse(
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    mut session: Session,
    http_url: &str,
) {
    let Err(hangup) = run(&mut input, &mut output, &mut session).await else { return };
    if let Hangup::Refused(_) = hangup {
        // Some clients drop an answer that arrives together with the end of the stream, and would
        // not learn that it was the password; they close as soon as they have read it.
        let _ = tokio::time::timeout(LINGER, input.read(&mut [0])).await;
    }
    match &hangup {
        Hangup::Frame(FrameError::Closed) => {}
        Hangup::Frame(FrameError::Io(error)) => tracing::debug!("{session} went away: {error}"),
        Hangup::Frame(FrameError::TooLarge { prefix, .. }) if is_http(prefix) => {
            tracing::warn!("closing {session}: it speaks HTTP, which is at {http_url}");
            // Courtesy to someone who mixed up the ports; what becomes of it does not matter.
            let text = wrong_port(http_url);
            let _ = tokio::time::timeout(LINGER, output.write_all(text.as_bytes())).await;
        }
        Hangup::Frame(FrameError::TooLarge { prefix: [0x16, 3, ..], .. }) => {
            tracing::warn!("closing {session}: it speaks TLS, and tls_certificate is not set");
        }
        hangup => tracing::warn!("closing {session}: {hangup}"),
    }
    // Over TLS the end is announced too; whether the client hears it does not matter.
    let _ = tokio::time::timeout(LINGER, output.shutdown()).await;
}

fn is_http(prefix: &[u8; 4]) -> bool {
    [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"PATC", b"OPTI"].contains(&prefix)
}

fn wrong_port(http_url: &str) -> String {
    let body = format!("This port speaks the Kafka protocol. HTTP is at {http_url}\n");
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn run(
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
    session: &mut Session,
) -> Result<(), Hangup> {
    let mut frames = Frames::new();
    let backlog = Backlog::default();
    let mut pipeline = Pipeline::new();
    let authenticate_by = tokio::time::Instant::now() + AUTHENTICATION_TIMEOUT;
    loop {
        let room = session.principal.as_ref().map(|principal| &principal.cluster.request_room);
        let authenticated = room.is_some();
        let keeps_memory = frames.keeps_memory();
        let patience = if keeps_memory { MEMORY_KEPT_FOR } else { IDLE_TIMEOUT };
        let deadline = tokio::time::Instant::now() + patience;
        let deadline = if authenticated { deadline } else { deadline.min(authenticate_by) };
        let reads = pipeline.len() < PIPELINE_MAX && backlog.bytes() < BACKLOG_BYTES_MAX;
        if !reads {
            frames.pause();
        }
        tokio::select! {
            frame = frames.next(input, room), if reads => {
                // Nobody is left to answer, and what is under way may take as long as it likes.
                if let Err(error @ (FrameError::Closed | FrameError::Io(_))) = frame {
                    return Err(error.into());
                }
                let answer = match frame {
                    Ok(frame) => accept(session, frame, &backlog),
                    Err(error) => Err(error.into()),
                };
                // What was asked before a hangup still gets its answer.
                pipeline.push_back(answer.unwrap_or_else(|hangup| {
                    ready(Answer { then: Some(hangup), ..Answer::default() })
                }));
            }
            Some(answer) = pipeline.next() => {
                // A client that is slow to take answers is not slow to send.
                frames.pause();
                write(output, &mut pipeline, &backlog, answer).await?;
            }
            () = tokio::time::sleep_until(deadline), if keeps_memory || pipeline.is_empty() => {
                if frames.let_go() {
                    continue;
                }
                let patience = if authenticated { IDLE_TIMEOUT } else { AUTHENTICATION_TIMEOUT };
                return Err(Hangup::Silent(patience));
            }
        }
    }
}

/// Writes an answer and those behind it that are ready too, also those that get ready meanwhile: a
/// request has its room until it leaves the pipeline, whatever time the client takes to read.
async fn write(
    output: &mut (impl AsyncWrite + Unpin),
    pipeline: &mut Pipeline<'_>,
    backlog: &Backlog,
    answer: Answer,
) -> Result<(), Hangup> {
    let mut ready = VecDeque::from([answer]);
    while let Some(Some(answer)) = pipeline.next().now_or_never() {
        ready.push_back(answer);
    }
    while !ready.is_empty() {
        let (mut parts, hangup) = coalesce(&mut ready, backlog);
        let mut writing = pin!(write_all(output, &mut parts));
        loop {
            tokio::select! {
                biased;
                written = &mut writing => break written?,
                Some(answer) = pipeline.next() => ready.push_back(answer),
            }
        }
        hangup.map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// Takes what goes out together, and why it is the last that does.
fn coalesce(ready: &mut VecDeque<Answer>, backlog: &Backlog) -> (Parts, Option<Hangup>) {
    let mut parts = Parts::default();
    while parts.remaining() <= COALESCE_BYTES_MAX
        && let Some(answer) = ready.pop_front()
    {
        backlog.remove(&answer);
        parts.extend(answer.parts);
        if answer.then.is_some() {
            return (parts, answer.then);
        }
    }
    (parts, None)
}

async fn write_all(
    output: &mut (impl AsyncWrite + Unpin),
    parts: &mut Parts,
) -> Result<(), Hangup> {
    while parts.has_remaining() {
        let written = tokio::time::timeout(WRITE_TIMEOUT, output.write_buf(parts)).await;
        written.map_err(|_| Hangup::Silent(WRITE_TIMEOUT))?.map_err(Hangup::Write)?;
    }
    // TLS holds back what the socket does not take at once; without TLS there is nothing to wait
    // for, and no timer is needed.
    let flushed = match output.flush().now_or_never() {
        Some(flushed) => flushed,
        None => {
            let flushed = tokio::time::timeout(WRITE_TIMEOUT, output.flush()).await;
            flushed.map_err(|_| Hangup::Silent(WRITE_TIMEOUT))?
        }
    };
    flushed.map_err(Hangup::Write)
}

/// Decodes a request and starts answering it.
fn accept<'a>(
    session: &mut Session,
    frame: Frame,
    backlog: &'a Backlog,
) -> Result<BoxFuture<'a, Answer>, Hangup> {
    if session.sasl == Sasl::BarePlain {
        return Ok(match sasl::plain(session, &frame.bytes) {
            Ok(()) => ready(Answer { parts: Writer::default().into_frame(), ..Answer::default() }),
            Err(refusal) => refuse_bare(refusal),
        });
    }
    let word =
        |at: usize| frame.bytes.get(at..at + 2).map_or(-1, |it| i16::from_be_bytes([it[0], it[1]]));
    let (key, version) = (word(0), word(2));
    let malformed = |error| Hangup::Malformed { key, version, error };
    let mut input = Reader::new(frame.bytes.clone());
    let header = RequestHeader::read(&mut input).map_err(malformed)?;
    if !header.key.versions().contains(&version) {
        // Only ApiVersions gets here: it is told, in version 0, what to ask instead.
        let header = RequestHeader { version: header.key.version(0), ..header };
        return Ok(ready(encode(&header, &api::unsupported_version().into(), backlog)));
    }
    if !api::serves(header.key, version) {
        return Err(Hangup::Unserved { key: header.key, version });
    }
    let request = Request::read(header.key, header.version, &mut input).map_err(malformed)?;
    // Like Kafka, bytes left over are ignored: librdkafka leaves three after a null list of topics.
    match request {
        Request::ApiVersions(request) => {
            let response = api::api_versions(session, request, version);
            Ok(ready(encode(&header, &response.into(), backlog)))
        }
        Request::SaslHandshake(request) => {
            let response = sasl::handshake(session, &request, version);
            Ok(ready(encode(&header, &response.into(), backlog)))
        }
        Request::SaslAuthenticate(request) => Ok(authenticate(session, &request, header, backlog)),
        request => {
            let Some(principal) = &session.principal else {
                return Err(Hangup::Unauthenticated { key: header.key, version });
            };
            let pending = api::dispatch(&principal.cluster, session, &header, request);
            // The client's name would keep the frame in memory until it is answered.
            let header = RequestHeader { client_id: None, ..header };
            // Its frame has the room as long as it is needed, and records until they are synced.
            let taken = frame.taken.filter(|_| header.key == ApiKey::Produce);
            Ok(finish(header, pending, taken, backlog))
        }
    }
}

fn authenticate<'a>(
    session: &mut Session,
    request: &SaslAuthenticateRequest,
    header: RequestHeader,
    backlog: &'a Backlog,
) -> BoxFuture<'a, Answer> {
    let (response, refusal) = sasl::authenticate(session, request);
    Box::pin(async move {
        if refusal.is_some() {
            tokio::time::sleep(FAILED_AUTHENTICATION_DELAY).await;
        }
        let answer = encode(&header, &response.into(), backlog);
        Answer { then: refusal.map(Hangup::Refused), ..answer }
    })
}

/// A bare token has no answer to put an error in: as with Kafka, the end of the stream is it.
fn refuse_bare(refusal: sasl::Refusal) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        tokio::time::sleep(FAILED_AUTHENTICATION_DELAY).await;
        Answer { then: Some(Hangup::Refused(refusal)), ..Answer::default() }
    })
}

/// Encodes the answer when it is there. What the request has `taken` of its account's room is held
/// until then, and where there is no answer, until its frame is not held any longer: nothing else
/// bounds what a client sends that waits for no answers.
fn finish(
    header: RequestHeader,
    pending: Pending,
    taken: Option<Arc<Taken>>,
    backlog: &Backlog,
) -> BoxFuture<'_, Answer> {
    Box::pin(async move {
        match pending.await {
            Outcome::Answer(response) => {
                drop(taken);
                encode(&header, &response, backlog)
            }
            Outcome::Silence { failed, held } => {
                // The account's room is what bounds these tasks.
                if let Some(taken) = taken {
                    tokio::spawn(held.map(|()| drop(taken)));
                }
                let (key, version) = (header.key, header.version.number);
                let then = failed.then_some(Hangup::Unanswerable { key, version });
                Answer { then, ..Answer::default() }
            }
        }
    })
}

/// An answer, which counts as waiting from now on.
fn encode(header: &RequestHeader, response: &Response, backlog: &Backlog) -> Answer {
    let mut out = Writer::default();
    write_response_header(&mut out, header.key, header.version, header.correlation_id);
    response.write(&mut out, header.version);
    let counted = out.len();
    backlog.add(counted);
    Answer { parts: out.into_frame(), counted, then: None }
}

fn ready(answer: Answer) -> BoxFuture<'static, Answer> {
    Box::pin(std::future::ready(answer))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use crate::broker::Broker;
    use crate::room::Room;
    use crate::settings::Layer;
    use tidelog_protocol::messages::{
        CreatableTopicResult, CreateTopicsResponse, JoinGroupProtocol, JoinGroupRequest,
        ProduceRequest, ProduceResponse, SyncGroupRequest, TopicProduceData,
    };
    use tokio::sync::oneshot;

    fn header(key: ApiKey) -> RequestHeader {
        RequestHeader { key, version: key.version(7), correlation_id: 1, client_id: None }
    }

    #[tokio::test]
    async fn a_frame_without_an_answer_has_its_room_until_it_is_let_go() {
        for failed in [false, true] {
            let (room, backlog) = (Room::default(), Backlog::default());
            let all = room.left();
            let mut taken = Taken::default();
            room.take(&mut taken, 1 << 20).await;
            let (release, released) = oneshot::channel::<()>();
            let held = released.map(drop).boxed();
            let pending = std::future::ready(Outcome::Silence { failed, held }).boxed();
            let answer = finish(header(ApiKey::Produce), pending, Some(taken.into()), &backlog);
            let answer = answer.now_or_never().unwrap();
            assert!(answer.parts.is_empty());
            assert_eq!(answer.then.is_some(), failed);
            tokio::task::yield_now().await;
            assert_ne!(room.left(), all);
            release.send(()).unwrap();
            while room.left() != all {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn authenticated(dir: &tempfile::TempDir) -> Session {
        let layer = Layer { data_dir: Some(dir.path().to_owned()), ..Layer::default() };
        let (broker, _) = Broker::open(layer.settings(true).unwrap()).await.unwrap();
        let (principal, _) = broker.dev_account().await.unwrap();
        let advertised = ("localhost".into(), 9092);
        let mut session = Session::unknown(&broker, ([127, 0, 0, 1], 40_000).into(), advertised);
        session.principal = Some(principal);
        session
    }

    fn frame(version: i16, request: &Request) -> Bytes {
        let mut out = Writer::default();
        let (key, client_id) = (request.api_key(), Some("a client".into()));
        let version = key.version(version);
        RequestHeader { key, version, correlation_id: 1, client_id }.write(&mut out);
        request.write(&mut out, version);
        out.into_bytes()
    }

    #[tokio::test]
    async fn a_produced_frame_leaves_memory_before_it_is_answered_whatever_its_client_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let mut session = authenticated(&dir).await;
        let topic = TopicProduceData { name: "red".into(), ..Default::default() };
        let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..Default::default() };
        let (bytes, backlog) = (frame(7, &request.into()), Backlog::default());
        let frame = Frame::new(bytes.clone(), None);
        let answer = accept(&mut session, frame, &backlog).unwrap();
        assert!(bytes.is_unique());
        assert!(!answer.await.parts.is_empty());
    }

    #[tokio::test]
    async fn what_waits_for_others_does_so_without_room_and_without_its_frame() {
        let dir = tempfile::tempdir().unwrap();
        let (mut session, backlog) = (authenticated(&dir).await, Backlog::default());
        let join = JoinGroupRequest {
            group_id: "crew".into(),
            member_id: "nobody".into(),
            group_instance_id: Some("static".into()),
            session_timeout_ms: 6_000,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupProtocol {
                name: "range".into(),
                metadata: Bytes::from_static(b"metadata"),
            }],
            ..Default::default()
        };
        let sync = SyncGroupRequest {
            group_id: "crew".into(),
            member_id: "nobody".into(),
            ..Default::default()
        };
        let requests: [(i16, Request); 2] = [(9, join.into()), (5, sync.into())];
        for (version, request) in requests {
            let room = Room::default();
            let all = room.left();
            let mut taken = Taken::default();
            room.take(&mut taken, 100 << 20).await;
            let bytes = Bytes::from([&frame(version, &request)[..], &[0; 1000]].concat());
            let frame = Frame::new(bytes, Some(taken.into()));
            let answer = accept(&mut session, frame, &backlog).unwrap();
            assert_eq!(room.left(), all, "{request:?}");
            drop(answer);
        }
    }

    #[tokio::test]
    async fn what_ends_while_a_client_takes_nothing_gives_its_room_back() {
        let (room, backlog) = (Room::default(), Backlog::default());
        let all = room.left();
        let mut taken = Taken::default();
        room.take(&mut taken, 1 << 20).await;
        let (end, ended) = oneshot::channel::<Response>();
        let pending = ended.map(|it| Outcome::Answer(it.unwrap())).boxed();
        let mut pipeline = Pipeline::new();
        pipeline.push_back(finish(header(ApiKey::Produce), pending, Some(taken.into()), &backlog));
        let (mut output, mut client) = tokio::io::duplex(1);
        let first = Answer { parts: vec![Bytes::from_static(b"first")], ..Answer::default() };
        let mut writing = Box::pin(write(&mut output, &mut pipeline, &backlog, first));
        assert!((&mut writing).now_or_never().is_none());
        end.send(ProduceResponse::default().into()).unwrap();
        assert!((&mut writing).now_or_never().is_none());
        assert_eq!(room.left(), all);
        let mut received = Vec::new();
        let (written, ()) = tokio::join!(writing, async {
            while received.len() < 6 {
                client.read_buf(&mut received).await.unwrap();
            }
            drop(client);
        });
        assert!(received.starts_with(b"first"));
        drop(written);
        assert_eq!(backlog.bytes(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_waits_for_another_one_is_in_the_backlog_until_it_leaves() {
        let (backlog, mut output) = (Backlog::default(), Vec::new());
        let name = "n".repeat(20_000);
        let topic = CreatableTopicResult { name: name.into(), ..Default::default() };
        let topics = vec![topic; BACKLOG_BYTES_MAX / 20_000];
        let long: Response = CreateTopicsResponse { topics, ..Default::default() }.into();
        let (first, answered) = oneshot::channel::<Answer>();
        let mut pipeline = Pipeline::new();
        pipeline.push_back(answered.map(|it| it.unwrap_or_default()).boxed());
        for _ in 0..2 {
            let pending = std::future::ready(Outcome::Answer(long.clone())).boxed();
            pipeline.push_back(finish(header(ApiKey::CreateTopics), pending, None, &backlog));
        }
        assert_eq!(backlog.bytes(), 0);
        assert!(pipeline.next().now_or_never().is_none());
        assert!(backlog.bytes() > BACKLOG_BYTES_MAX);
        assert!(first.send(Answer::default()).is_ok());
        while let Some(answer) = pipeline.next().await {
            write(&mut output, &mut pipeline, &backlog, answer).await.unwrap();
        }
        assert_eq!(backlog.bytes(), 0);
        assert!(output.len() > 2 * BACKLOG_BYTES_MAX * 9 / 10);
    }
}
