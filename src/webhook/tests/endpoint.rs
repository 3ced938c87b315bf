//! An endpoint that answers as it is told, and tells what it was sent.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status(u16),
    HangUp,
    Never,
}

/// A request, and what was answered.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) reply: Reply,
}

impl Received {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    pub(super) fn number(&self, name: &str) -> u32 {
        self.header(name).parse().unwrap()
    }
}

/// An HTTP server on a port of its own; it ends when this is dropped.
pub(super) struct Endpoint {
    pub(super) url: String,
    received: UnboundedReceiver<Received>,
    _server: JoinSet<()>,
}

impl Endpoint {
    /// Answers as `reply` says, from what the request's headers say.
    pub(super) async fn start(reply: impl Fn(&HeaderMap) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=x", listener.local_addr().unwrap());
        let (sender, received) = unbounded_channel();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::new(reply), sender));
        Self { url, received, _server: server }
    }

    /// Answers every request alike.
    pub(super) async fn answering(status: u16) -> Self {
        Self::start(move |_| Reply::Status(status)).await
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Received {
        self.received.recv().await.unwrap()
    }

    /// The next `count` requests that are answered with success.
    pub(super) async fn delivered(&mut self, count: usize) -> Vec<Received> {
        let mut delivered = Vec::new();
        while delivered.len() < count {
            let received = self.next().await;
            if received.reply == Reply::Status(200) {
                delivered.push(received);
            }
        }
        delivered
    }

    /// The requests that have come and were not asked for.
    pub(super) fn rest(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }
}

type Decide = Arc<dyn Fn(&HeaderMap) -> Reply + Send + Sync>;

async fn serve(listener: TcpListener, reply: Decide, sender: UnboundedSender<Received>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (reply, sender) = (reply.clone(), sender.clone());
        let service = service_fn(move |request| answer(request, reply.clone(), sender.clone()));
        connections.spawn(async move {
            // Hanging up is an error, and is meant.
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = served.await;
        });
    }
}

async fn answer(
    request: Request<hyper::body::Incoming>,
    reply: Decide,
    sender: UnboundedSender<Received>,
) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let reply = reply(&parts.headers);
    let body = String::from_utf8(body.to_vec()).unwrap();
    // A test may have heard enough.
    let _ = sender.send(Received { headers: parts.headers, body, reply });
    match reply {
        Reply::Status(status) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status.try_into().unwrap();
            let location = HeaderValue::from_static("http://127.0.0.1:1/elsewhere");
            response.headers_mut().insert(HeaderName::from_static("location"), location);
            Ok(response)
        }
        Reply::HangUp => Err(io::ErrorKind::ConnectionReset.into()),
        Reply::Never => std::future::pending().await,
    }
}
