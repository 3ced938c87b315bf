//! The HTTP listener: HTTP/1.1 and HTTP/2 on one port, with TLS and deadlines, which `axum::serve`
//! lacks.

use super::Connection;
use super::body::PIECE_TIMEOUT;
use crate::tls::{self, Opened, Tls};
use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_http::timeout::TimeoutBody;

/// Connections at a time; beyond it, new ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// A request's headers are complete within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
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
                Ok(Opened::Plain(stream)) => converse(stream, router).await,
                Ok(Opened::Tls(stream)) => Box::pin(converse(stream, router)).await,
                Ok(Opened::Refused(mut stream)) => {
                    // Courtesy to someone who left out an 's'; what becomes of it does not matter.
                    let _ = stream.write_all(TLS_REQUIRED.as_bytes()).await;
                }
                Err(error) => tracing::debug!("no TLS came about with an HTTP client: {error}"),
            }
            drop(permit);
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let connection = Connection::default();
    let stream = TokioIo::new(connection.watch(stream));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.call(request.map(|body| TimeoutBody::new(PIECE_TIMEOUT, body)))
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    if let Err(error) = server.serve_connection(stream, service).await {
        tracing::debug!("an HTTP connection ended: {error}");
    }
}

const TLS_REQUIRED: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: \
    close\r\n\r\nOnly HTTPS is served here: begin the URL with https://\n";
