//! The Kafka listener: sockets, frames, the order of answers, and who is on the other end.

mod connection;
mod frames;
mod parts;
mod read_size;

use crate::api::Session;
use crate::broker::Broker;
use crate::tls::Tls;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections at a time; beyond it, new ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// Serves connections until the listener's task is dropped, which closes them.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, broker: Arc<Broker>, http_url: String) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let http_url: Arc<str> = http_url.into();
    let mut tasks = JoinSet::new();
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: let the connections that close make room.
                tracing::warn!("cannot accept a Kafka connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        let Ok(session) = Session::new(&broker, &stream, peer) else { continue };
        let (tls, http_url) = (tls.clone(), http_url.clone());
        tasks.spawn(async move {
            connection::serve(stream, tls.as_ref(), session, &http_url).await;
            drop(permit);
        });
    }
}

const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
