//! A webhook's receiver that can fail, go down and come back.

use super::RUNTIME;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Stays the same over a record's attempts.
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: String,
    /// What it was answered.
    pub status: u16,
}

/// Remembers every request, over its own restarts too.
pub(crate) struct Receiver {
    address: String,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    status: AtomicU16,
    deliveries: Mutex<Vec<Delivery>>,
}

impl Receiver {
    /// Listens on `address` once [`Receiver::up`] is called.
    pub(crate) fn new(address: String) -> Self {
        Self { address, shared: Arc::default(), task: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Listens, and answers everything with `status`.
    pub(crate) fn up(&mut self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
        if self.task.is_some() {
            return;
        }
        let (address, shared) = (self.address.clone(), self.shared.clone());
        let listener = RUNTIME.block_on(async { TcpListener::bind(address).await.unwrap() });
        let router = Router::new().fallback(receive).with_state(shared);
        self.task = Some(RUNTIME.spawn(async move { axum_serve(listener, router).await }));
    }

    /// Listens no more.
    pub(crate) fn down(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = RUNTIME.block_on(task);
        }
    }

    /// What came so far.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().unwrap().clone()
    }

    /// What came so far and was accepted.
    pub(crate) fn accepted(&self) -> Vec<Delivery> {
        self.deliveries().into_iter().filter(|it| it.status == 200).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.down();
    }
}

async fn axum_serve(listener: TcpListener, router: Router) {
    tidelog::http::serve(listener, None, router).await;
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name| headers.get(name).map(|it| it.to_str().unwrap().to_owned());
    let status = shared.status.load(Ordering::SeqCst);
    shared.deliveries.lock().unwrap().push(Delivery {
        id: header("webhook-id").unwrap_or_default(),
        timestamp: header("webhook-timestamp").unwrap_or_default(),
        signature: header("webhook-signature").unwrap_or_default(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        status,
    });
    StatusCode::from_u16(status).unwrap()
}
