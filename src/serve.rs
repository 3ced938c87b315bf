//! A broker with all its doors open: binds, serves, and closes in order.

use crate::broker::Broker;
use crate::http::{self, ApiError, Context};
use crate::ingest::Ingest;
use crate::rest::Rest;
use crate::settings::Settings;
use crate::tls::{RENEWAL_INTERVAL, Tls};
use crate::webhook::Webhooks;
use crate::{console, ingest, manage, metrics, net, rest, settings, webhook};
use anyhow::{Result, bail};
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use std::net::SocketAddr;
use std::sync::Arc;
use tidelog_storage::fs::{Disk, Fs};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What a caller may want to know or print once everything listens.
pub struct Ready {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Where Kafka clients on this machine connect.
    pub kafka: String,
    /// Where HTTP clients on this machine connect, as a URL.
    pub http: String,
    /// The bearer token of the management API.
    pub admin_token: String,
}

/// Runs until `shutdown` resolves or the disk fails. `ready` is called once everything listens.
///
/// # Errors
/// When the data directory or an address cannot be had, `ready` fails, or a sync failed.
pub async fn run<F: Future<Output = Result<()>>>(
    settings: Settings,
    ready: impl FnOnce(Ready) -> F,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    run_on(Arc::new(Disk), settings, ready, shutdown).await
}

/// The same, with the logs on this file system.
async fn run_on<F: Future<Output = Result<()>>>(
    fs: Arc<dyn Fs>,
    settings: Settings,
    ready: impl FnOnce(Ready) -> F,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    raise_descriptor_limit();
    tidelog_storage::exit_on_unreadable_page()?;
    if let Some(risk) = settings::flush_risk(settings.flush) {
        tracing::warn!("{risk}");
    }
    let tls = settings.tls.clone().map(Tls::load).transpose()?;
    let kafka = bind(settings.kafka_listen, "--kafka-listen").await?;
    let http = bind(settings.http_listen, "--http-listen").await?;
    let dev = settings.dev;
    let (broker, admin_token) = Broker::open_on(fs, settings).await?;
    if dev {
        // A client that connects before the account is there would not be let in.
        broker.dev_account().await?;
    }
    let kafka_address = reachable(kafka.local_addr()?);
    let https = broker.shared.settings.tls.as_ref().is_some_and(|tls| tls.required);
    let scheme = if https { "https" } else { "http" };
    let url = format!("{scheme}://{}", reachable(http.local_addr()?));
    let context = Context {
        broker: broker.clone(),
        url: url.as_str().into(),
        kafka: kafka_address.as_str().into(),
    };
    let ingest = Ingest::open(&broker).await?;
    let webhooks = Webhooks::open(&broker).await?;
    let rest = Rest::open(&broker).await;
    let router = router(&context, &ingest, &webhooks, &rest);
    let deadlines = broker.shared.deadlines.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { deadlines.run().await });
    tasks.spawn(crate::retention::enforce(broker.clone()));
    tasks.spawn(crate::retention::compact(broker.clone()));
    tasks.spawn(crate::scrub::scrub(broker.clone()));
    tasks.spawn(ingest.clone().settle());
    if let Some(tls) = &tls {
        tasks.spawn(tls.clone().renew(RENEWAL_INTERVAL));
    }
    tasks.spawn(net::serve(kafka, tls.clone(), broker.clone(), url.clone()));
    tasks.spawn(http::serve(http, tls, router));
    let told = async {
        let ready =
            ready(Ready { broker: broker.clone(), kafka: kafka_address, http: url, admin_token });
        match ready.await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        // First of all: a signal is heard before anybody is told that all is up.
        biased;
        () = shutdown => tracing::info!(
            "shutting down; a second signal ends at once, and the next start recovers"
        ),
        error = told => return Err(error),
        reason = broker.failed() => bail!("{reason}; restart to recover what the disk holds"),
        ended = tasks.join_next() => if let Some(Err(error)) = ended { bail!("a listener failed: {error}") },
    }
    // Nobody may append while the logs close.
    tasks.shutdown().await;
    rest.close().await;
    webhooks.close().await;
    broker.close().await
}

/// Connections and open segments each take a descriptor, and the usual soft limit of 1,024 is for
/// programs that use `select`; what the hard limit allows is ours to use.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit on open files stays at {:?}: {error}", limit.current);
    }
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) => bail!(
            "cannot listen on {address}: {error}; {flag} chooses another address, and port 0 a free one"
        ),
    }
}

/// Where a client on this machine finds a listener.
fn reachable(address: SocketAddr) -> String {
    match (address.ip().is_unspecified(), address) {
        (true, _) => format!("127.0.0.1:{}", address.port()),
        (false, address) => address.to_string(),
    }
}

fn router(
    context: &Context,
    ingest: &Arc<Ingest>,
    webhooks: &Arc<Webhooks>,
    rest: &Arc<Rest>,
) -> Router {
    Router::new()
        .merge(manage::router(context.clone()))
        .merge(metrics::router(context.clone(), ingest.clone()))
        .merge(ingest::router(context.clone(), ingest.clone()))
        .merge(webhook::router(context.clone(), webhooks.clone()))
        .merge(rest::router(context.clone(), rest.clone()))
        .merge(console::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
}

async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let text = format!("{method} is not possible at {}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests;
