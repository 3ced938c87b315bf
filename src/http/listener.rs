//! The HTTP listener: HTTP/1.1 and HTTP/2 on one port, with TLS and deadlines, which `axum::serve`
//! lacks.

use super::Connection;
use super::body::PIECE_TIMEOUT;
use super::connection::WRITE_TIMEOUT;
use crate::tls::{self, Opened, Tls};
use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_http::timeout::TimeoutBody;

/// Connections at a time; beyond it, new ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a connection may take to begin its first request. Over HTTP/1.1 each further one has as
/// long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one may go without a request being begun.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a client of HTTP/2 is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client may take to read that it was refused.
const LINGER: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves requests until the task is dropped, which closes the connections.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, router: Router) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: let the connections that close make room.
                tracing::warn!("cannot accept an HTTP connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        let (tls, router) = (tls.clone(), router.clone());
        tasks.spawn(async move {
            // Without it answers may wait for the client's acknowledgement; a socket that refuses
            // it still works.
            let _ = stream.set_nodelay(true);
            match tls::open(tls.as_ref(), stream).await {
                Ok(Opened::Plain(stream)) => converse(stream, router, PATIENCE).await,
                Ok(Opened::Tls(stream)) => Box::pin(converse(stream, router, PATIENCE)).await,
                Ok(Opened::Refused(mut stream)) => {
                    // Courtesy to someone who left out an 's'; what becomes of it does not matter.
                    let _ = timeout(LINGER, stream.write_all(TLS_REQUIRED.as_bytes())).await;
                }
                Err(error) => tracing::debug!("no TLS came about with an HTTP client: {error}"),
            }
            drop(permit);
        });
    }
}

/// How long a connection may go without a request.
#[derive(Clone, Copy)]
struct Patience {
    /// Until the first one begins.
    first: Duration,
    /// Until another one begins.
    next: Duration,
}

const PATIENCE: Patience = Patience { first: HEADER_TIMEOUT, next: IDLE_TIMEOUT };

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    patience: Patience,
) {
    let connection = Connection::default();
    let stream = TokioIo::new(connection.watch(stream, WRITE_TIMEOUT));
    let router = TowerToHyperService::new(router);
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        begins.notify_one();
        request.extensions_mut().insert(connection.clone());
        router.call(request.map(|body| TimeoutBody::new(PIECE_TIMEOUT, body)))
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let mut http2 = server.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL);
    http2.keep_alive_timeout(PING_TIMEOUT);
    let mut served = pin!(server.serve_connection(stream, service));
    let mut wait = patience.first;
    let ended = loop {
        tokio::select! {
            biased;
            ended = served.as_mut() => break ended,
            another = timeout(wait, begun.notified()) => match another {
                Ok(()) => wait = patience.next,
                Err(_) => {
                    // What is being answered still is, in whole and however long that takes.
                    served.as_mut().graceful_shutdown();
                    break served.await;
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!("an HTTP connection ended: {error}");
    }
}

const TLS_REQUIRED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: \
    close\r\n\r\nOnly HTTPS is served here: begin the URL with https://\n";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    const MINUTE: Duration = Duration::from_secs(60);
    const AT_ONCE: Patience = Patience { first: MINUTE, next: Duration::ZERO };
    /// A preface, settings of which all are the default, and `GET /` in indexed header fields.
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \0\0\0\x04\0\0\0\0\0\
        \0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86";
    const HEADERS: u8 = 1;
    const GOAWAY: u8 = 7;

    /// Answers when it is told to.
    fn slow(told: Arc<Notify>) -> Router {
        let answer = async move || {
            told.notified().await;
            "done"
        };
        Router::new().route("/", get(answer))
    }

    async fn read_until(client: &mut DuplexStream, kind: u8) {
        loop {
            let mut head = [0; 9];
            client.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            client.read_exact(&mut vec![0; length as usize]).await.unwrap();
            if head[3] == kind {
                return;
            }
        }
    }

    #[tokio::test]
    async fn who_begins_no_request_is_hung_up_on() {
        let none = Patience { first: Duration::ZERO, next: MINUTE };
        for sent in [&b""[..], b"PRI * HTTP/2.0"] {
            let (mut client, server) = duplex(1 << 10);
            client.write_all(sent).await.unwrap();
            let served = tokio::spawn(converse(server, Router::new(), none));
            client.read_to_end(&mut Vec::new()).await.unwrap();
            served.await.unwrap();
        }
        let (mut client, server) = duplex(1 << 10);
        client.write_all(&HTTP2[..33]).await.unwrap();
        let served = tokio::spawn(converse(server, Router::new(), none));
        read_until(&mut client, GOAWAY).await;
        drop(client);
        served.await.unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_takes_long_comes_though_the_connection_ends_for_being_idle() {
        let told = Arc::new(Notify::new());
        let (mut client, server) = duplex(1 << 10);
        let served = tokio::spawn(converse(server, slow(told.clone()), AT_ONCE));
        client.write_all(HTTP2).await.unwrap();
        read_until(&mut client, GOAWAY).await;
        told.notify_one();
        read_until(&mut client, HEADERS).await;
        drop(client);
        served.await.unwrap();

        let (mut client, server) = duplex(1 << 10);
        let served = tokio::spawn(converse(server, slow(told.clone()), AT_ONCE));
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        tokio::task::yield_now().await;
        told.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        served.await.unwrap();
    }
}
