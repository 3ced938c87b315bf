//! One connection: frames in, handlers called in order, answers out in the same order.
//!
//! A handler does what must happen in request order before it returns, and gives a future for what
//! may wait; a bounded number of these run at once, so pipelined produces share a sync. **Answers
//! leave in the order of their requests.**

use super::frames::{FRAME_BYTES_MAX, Frame, FrameError, Frames, UNAUTHENTICATED_BYTES_MAX};
use super::parts::Parts;
use crate::api::sasl::{self, Sasl};
use crate::api::{self, Outcome, Pending, Session};
use crate::tls::{self, Opened, Tls};
use bytes::{Buf, Bytes};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::header::{RequestHeader, write_response_header};
use tidelog_protocol::messages::SaslAuthenticateRequest;
use tidelog_protocol::{ApiKey, DecodeError, Reader, Request, Response, Writer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests of a connection in flight; beyond it, we stop reading from it.
const PIPELINE_MAX: usize = 64;
/// A client has this long to say who it is.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that sends nothing for this long is gone: Kafka's `connections.max.idle.ms`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
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
    then: Option<Hangup>,
}

type Pipeline = FuturesOrdered<BoxFuture<'static, Answer>>;

/// Serves a connection until it ends.
pub(super) async fn serve(
    stream: TcpStream,
    tls: Option<&Tls>,
    session: Session,
    budget: Arc<Semaphore>,
    http_url: &str,
) {
    match tls::open(tls, stream).await {
        Ok(Opened::Plain(mut stream)) => {
            let (input, output) = stream.split();
            converse(input, output, session, budget, http_url).await;
        }
        Ok(Opened::Tls(stream)) => {
            let (input, output) = tokio::io::split(stream);
            // Boxed: most connections are plaintext, and would carry its room.
            Box::pin(converse(input, output, session, budget, http_url)).await;
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
    budget: Arc<Semaphore>,
    http_url: &str,
) {
    let Err(hangup) = run(&mut input, &mut output, &mut session, budget).await else { return };
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
    budget: Arc<Semaphore>,
) -> Result<(), Hangup> {
    let mut frames = Frames::new(budget);
    let mut pipeline = Pipeline::new();
    let authenticate_by = tokio::time::Instant::now() + AUTHENTICATION_TIMEOUT;
    loop {
        let authenticated = session.principal.is_some();
        let max = if authenticated { FRAME_BYTES_MAX } else { UNAUTHENTICATED_BYTES_MAX };
        let deadline = tokio::time::Instant::now() + IDLE_TIMEOUT;
        let deadline = if authenticated { deadline } else { deadline.min(authenticate_by) };
        if pipeline.len() == PIPELINE_MAX {
            frames.be_patient();
        }
        tokio::select! {
            frame = frames.next(input, max), if pipeline.len() < PIPELINE_MAX => {
                // Nobody is left to answer, and what is under way may take as long as it likes.
                if let Err(error @ (FrameError::Closed | FrameError::Io(_))) = frame {
                    return Err(error.into());
                }
                let answer = frame.map_err(Hangup::from).and_then(|it| accept(session, it));
                // What was asked before a hangup still gets its answer.
                pipeline.push_back(answer.unwrap_or_else(|hangup| {
                    ready(Answer { parts: Vec::new(), then: Some(hangup) })
                }));
            }
            Some(answer) = pipeline.next() => {
                write(output, &mut pipeline, answer).await?;
            }
            () = tokio::time::sleep_until(deadline), if pipeline.is_empty() => {
                let patience = if authenticated { IDLE_TIMEOUT } else { AUTHENTICATION_TIMEOUT };
                return Err(Hangup::Silent(patience));
            }
        }
    }
}

/// Writes an answer and those behind it that are ready too.
async fn write(
    output: &mut (impl AsyncWrite + Unpin),
    pipeline: &mut Pipeline,
    mut answer: Answer,
) -> Result<(), Hangup> {
    let mut parts = Parts::default();
    loop {
        parts.extend(answer.parts);
        if answer.then.is_some() || parts.remaining() > COALESCE_BYTES_MAX {
            break;
        }
        answer = match pipeline.next().now_or_never() {
            Some(Some(next)) => next,
            _ => Answer::default(),
        };
        if answer.parts.is_empty() && answer.then.is_none() {
            break;
        }
    }
    while parts.has_remaining() {
        let written = tokio::time::timeout(WRITE_TIMEOUT, output.write_buf(&mut parts)).await;
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
    flushed.map_err(Hangup::Write)?;
    answer.then.map_or(Ok(()), Err)
}

/// Decodes a request and starts answering it.
fn accept(session: &mut Session, frame: Frame) -> Result<BoxFuture<'static, Answer>, Hangup> {
    if session.sasl == Sasl::BarePlain {
        return Ok(match sasl::plain(session, &frame.bytes) {
            Ok(()) => ready(Answer { parts: Writer::default().into_frame(), then: None }),
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
        return Ok(ready(encode(&header, &api::unsupported_version().into(), None)));
    }
    if !api::serves(header.key, version) {
        return Err(Hangup::Unserved { key: header.key, version });
    }
    let request = Request::read(header.key, header.version, &mut input).map_err(malformed)?;
    // Like Kafka, bytes left over are ignored: librdkafka leaves three after a null list of topics.
    match request {
        Request::ApiVersions(request) => {
            let response = api::api_versions(session, request, version);
            Ok(ready(encode(&header, &response.into(), None)))
        }
        Request::SaslHandshake(request) => {
            let response = sasl::handshake(session, &request, version);
            Ok(ready(encode(&header, &response.into(), None)))
        }
        Request::SaslAuthenticate(request) => Ok(authenticate(session, &request, header)),
        request => {
            let Some(principal) = &session.principal else {
                return Err(Hangup::Unauthenticated { key: header.key, version });
            };
            let pending = api::dispatch(&principal.cluster, session, &header, request);
            // The client's name would keep the frame in memory until it is answered.
            let header = RequestHeader { client_id: None, ..header };
            Ok(finish(header, pending, frame.permit))
        }
    }
}

fn authenticate(
    session: &mut Session,
    request: &SaslAuthenticateRequest,
    header: RequestHeader,
) -> BoxFuture<'static, Answer> {
    let (response, refusal) = sasl::authenticate(session, request);
    Box::pin(async move {
        if refusal.is_some() {
            tokio::time::sleep(FAILED_AUTHENTICATION_DELAY).await;
        }
        encode(&header, &response.into(), refusal.map(Hangup::Refused))
    })
}

/// A bare token has no answer to put an error in: as with Kafka, the end of the stream is it.
fn refuse_bare(refusal: sasl::Refusal) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        tokio::time::sleep(FAILED_AUTHENTICATION_DELAY).await;
        Answer { parts: Vec::new(), then: Some(Hangup::Refused(refusal)) }
    })
}

/// Encodes the answer when it is there. The request's share of the budget is held until then, and
/// where there is none, until its frame is not held any longer: nothing else bounds what a client
/// sends that waits for no answers.
fn finish(
    header: RequestHeader,
    pending: Pending,
    permit: Option<OwnedSemaphorePermit>,
) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        match pending.await {
            Outcome::Answer(response) => {
                drop(permit);
                encode(&header, &response, None)
            }
            Outcome::Silence { failed, held } => {
                // Its share is what bounds these tasks.
                if let Some(permit) = permit {
                    tokio::spawn(held.map(|()| drop(permit)));
                }
                let (key, version) = (header.key, header.version.number);
                let then = failed.then_some(Hangup::Unanswerable { key, version });
                Answer { parts: Vec::new(), then }
            }
        }
    })
}

fn encode(header: &RequestHeader, response: &Response, then: Option<Hangup>) -> Answer {
    let mut out = Writer::default();
    write_response_header(&mut out, header.key, header.version, header.correlation_id);
    response.write(&mut out, header.version);
    Answer { parts: out.into_frame(), then }
}

fn ready(answer: Answer) -> BoxFuture<'static, Answer> {
    Box::pin(std::future::ready(answer))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_frame_without_an_answer_has_its_share_of_the_budget_until_it_is_let_go() {
        for failed in [false, true] {
            let budget = Arc::new(Semaphore::new(1));
            let permit = budget.clone().try_acquire_owned().unwrap();
            let (release, released) = oneshot::channel::<()>();
            let held = released.map(drop).boxed();
            let pending = std::future::ready(Outcome::Silence { failed, held }).boxed();
            let (key, client_id) = (ApiKey::Produce, None);
            let header =
                RequestHeader { key, version: key.version(9), correlation_id: 1, client_id };
            let answer = finish(header, pending, Some(permit)).now_or_never().unwrap();
            assert!(answer.parts.is_empty());
            assert_eq!(answer.then.is_some(), failed);
            tokio::task::yield_now().await;
            assert_eq!(budget.available_permits(), 0);
            release.send(()).unwrap();
            let _given_back = budget.acquire().await.unwrap();
        }
    }
}
