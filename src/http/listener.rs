//! The HTTP listener: HTTP/1.1 on one port, with TLS and deadlines, which `axum::serve` lacks.
//!
//! No HTTP/2: a client that takes nothing is given up, and what it has not taken is sent again.
//! Over HTTP/2 the library takes answers before a client with a closed window does, and neither
//! holds.

use super::Connection;
use super::body::PIECE_TIMEOUT;
use super::connection::WRITE_TIMEOUT;
use crate::tls::{self, Opened, Tls};
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_http::timeout::TimeoutBody;

/// Connections at a time; beyond it, new ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// How long a client may take to send a request's head, and with that how long a connection may go
/// without a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of a connection at a time. A head of which more has come and not the end is refused
/// with 431: it takes memory of someone who has not said who it is.
const BUFFER_BYTES_MAX: usize = 64 << 10;
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
                Ok(Opened::Plain(stream)) => converse(stream, router, HEADER_TIMEOUT).await,
                Ok(Opened::Tls(stream)) => Box::pin(converse(stream, router, HEADER_TIMEOUT)).await,
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

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    header_timeout: Duration,
) {
    let connection = Connection::default();
    let stream = TokioIo::new(connection.watch(stream, WRITE_TIMEOUT));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.call(request.map(|body| TimeoutBody::new(PIECE_TIMEOUT, body)))
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(header_timeout);
    server.max_buf_size(BUFFER_BYTES_MAX);
    if let Err(error) = server.serve_connection(stream, service).await {
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
    use tokio::io::{AsyncReadExt, duplex};
    use tokio::sync::Notify;

    /// What a client is answered that sends this and then nothing, when it is given no time.
    async fn answer(sent: &[u8], router: Router) -> String {
        let (mut client, server) = duplex(sent.len().max(1 << 10));
        client.write_all(sent).await.unwrap();
        let served = tokio::spawn(converse(server, router, Duration::ZERO));
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        served.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn who_begins_no_request_or_speaks_http_2_is_hung_up_on() {
        let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        for sent in [&b""[..], b"GET / HT", http2] {
            assert_eq!(answer(sent, Router::new()).await, "");
        }
    }

    #[tokio::test]
    async fn a_request_whose_head_is_too_long_is_refused() {
        let head = |bytes: usize| format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "a".repeat(bytes));
        for (bytes, status) in [(BUFFER_BYTES_MAX - 100, "404"), (4 * BUFFER_BYTES_MAX, "431")] {
            let answer = answer(head(bytes).as_bytes(), Router::new()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_takes_long_comes_before_the_connection_ends_for_being_idle() {
        let told = Arc::new(Notify::new());
        let tell = told.clone();
        let slow = async move || {
            told.notified().await;
            "done"
        };
        let router = Router::new().route("/", get(slow));
        let answer = tokio::spawn(answer(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", router));
        tokio::task::yield_now().await;
        tell.notify_one();
        let answer = answer.await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
    }
}
