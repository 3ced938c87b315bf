//! The REST API of Upstash Kafka, on the account's topics and groups: `@upstash/kafka` works
//! unchanged.
//!
//! GET and POST mean the same, a body is JSON whatever its type, and a trailing slash is passed
//! over. **Every answer is JSON** but for 414 and 431, which hyper gives before there is a request;
//! a failure is `{"result":"Error","error":...,"status":...}`.
//! A batch that cannot be decoded, or takes more than 64 MiB decompressed, is refused with 422, its
//! offset, and the one at which to go on: what a reader does not see is not passed over for it.
//! Unlike Upstash: a first consume waits until the group has assigned partitions, a fetch answers
//! from every partition asked for, and no instance is lost with its connection.

mod answer;
mod commit;
mod consume;
mod extract;
mod fetch;
mod instances;
mod message;
mod offsets;
mod produce;
mod session;
mod topics;
mod webhook;

#[cfg(test)]
mod tests;

use crate::broker::Broker;
use crate::consumer::Member;
use crate::http::{ApiError, Context, Json};
use axum::Router;
use axum::extract::FromRef;
use axum::handler::Handler;
use axum::http::header::ALLOW;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use instances::Instances;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What REST keeps between requests: the consumer instances.
pub struct Rest {
    instances: Arc<Instances>,
    /// Spreads requests without keys over partitions.
    keyless: AtomicU32,
}

impl Rest {
    /// Nothing is kept of earlier runs but what groups have committed.
    pub async fn open(broker: &Arc<Broker>) -> Arc<Self> {
        for cluster in broker.clusters() {
            Member::leave_remains(&cluster, session::CLIENT_ID).await;
        }
        let instances = Arc::new(Instances::default());
        tokio::spawn(instances::expire(Arc::downgrade(&instances)));
        Arc::new(Self { instances, keyless: AtomicU32::new(0) })
    }

    /// Closes every consumer instance: commits what was delivered where that is automatic, and
    /// leaves the groups.
    pub async fn close(&self) {
        self.instances.close().await;
    }

    fn next_keyless(&self) -> u32 {
        self.keyless.fetch_add(1, Ordering::Relaxed)
    }
}

/// What handlers are given.
#[derive(Clone)]
struct Shared {
    context: Context,
    rest: Arc<Rest>,
}

impl FromRef<Shared> for Context {
    fn from_ref(shared: &Shared) -> Self {
        shared.context.clone()
    }
}

/// Its routes.
pub fn router(context: Context, rest: Arc<Rest>) -> Router {
    let shared = Shared { context, rest };
    let mut router = Router::new()
        .route("/", get(about))
        .route("/produce/{topic}/{*message}", deed(produce::from_path));
    let routes: [(&str, MethodRouter<Shared>); 12] = [
        ("/produce", deed(produce::to_any)),
        ("/produce/{topic}", deed(produce::to_topic)),
        ("/fetch", get(fetch::fetch).post(fetch::fetch)),
        ("/consume/{group}/{instance}", deed(consume::by_body)),
        ("/consume/{group}/{instance}/{topic}", deed(consume::by_path)),
        ("/commit/{group}/{instance}", deed(commit::commit)),
        ("/committed/{group}/{instance}", get(offsets::committed).post(offsets::committed)),
        ("/offsets/{when}", get(offsets::at).post(offsets::at)),
        ("/topics", get(topics::topics).post(topics::topics)),
        ("/consumers", get(topics::consumers).post(topics::consumers)),
        (
            "/delete-consumer/{group}/{instance}",
            post(consume::delete_instance).delete(consume::delete_instance),
        ),
        ("/webhook", deed(webhook::produce)),
    ];
    for (path, handlers) in routes {
        router = router.route(path, handlers.clone()).route(&format!("{path}/"), handlers);
    }
    router.with_state(shared)
}

/// What changes something is done by GET and POST alike, and not by HEAD, which axum would take for
/// a GET.
fn deed<T: 'static>(handler: impl Handler<T, Shared>) -> MethodRouter<Shared> {
    get(handler.clone()).post(handler).head(no_head)
}

async fn no_head(uri: Uri) -> Response {
    let text = format!("HEAD is not possible at {}; it would change something", uri.path());
    let refusal = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text);
    ([(ALLOW, "GET, POST")], refusal).into_response()
}

/// `GET /`: some clients look here whether anyone is at home.
async fn about() -> Json<Value> {
    Json(json!({ "name": "tidelog", "version": env!("CARGO_PKG_VERSION") }))
}
