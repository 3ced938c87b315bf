//! `/v1/ingest/{door}/{sync}`: deliveries; `/v1/syncs/{sync}/doors/{door}`: the doors' secrets.
//!
//! **A delivery with a signature needs no other credential, and before it is verified it costs
//! little**: a bounded number of bodies, of bounded size, for a bounded time. Whoever has no right
//! signature is told nothing else: an unknown sync, one without a door and a wrong signature are
//! the same answer.

use super::secrets::{self, Definition, Door, DoorAnswer};
use super::signature::{self, Signed, TOLERANCE_S};
use super::{NoChange, debezium, items, publish, salesforce, stripe};
use crate::clock;
use crate::cluster::Cluster;
use crate::control::DoorRow;
use crate::http::{Account, ApiError, Body, Context, Json, Query, Segments};
use crate::ingest::Ingest;
use crate::ingest::routes::Routes;
use crate::ingest::target::find_sync;
use crate::task::blocking;
use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bodies that are being read for a signature, at a time: 256 MiB at most.
const UNVERIFIED_MAX: usize = 256;
/// Bytes of such a body; Stripe's events are far smaller.
const UNVERIFIED_BYTES_MAX: usize = 1 << 20;
/// Such a body is complete within this time.
const UNVERIFIED_TIMEOUT: Duration = Duration::from_secs(10);
static UNVERIFIED: Semaphore = Semaphore::const_new(UNVERIFIED_MAX);

/// The routes of the doors.
pub(in crate::ingest) fn router() -> Router<Routes> {
    let door = get(describe).put(configure).delete(close);
    Router::new()
        .route("/v1/ingest/stripe/{sync}", post(post_stripe))
        .route("/v1/ingest/debezium/{sync}", post(post_debezium))
        .route("/v1/ingest/salesforce/{sync}", post(post_salesforce))
        .route("/v1/syncs/{sync}/doors/{door}", door)
}

async fn post_stripe(
    State(ingest): State<Arc<Ingest>>,
    Segments(sync): Segments<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let body = unverified(request).await?;
    let signature = text(&headers, "stripe-signature");
    let signed = |keys: &[Vec<u8>]| signature::stripe(signature, &body, keys);
    let cluster = verify(&ingest, &sync, Door::Stripe, signed).await?;
    let read = match stripe::read(&body) {
        Err(NoChange::Refused(error)) => return Err(error),
        read => read,
    };
    publish::publish(&ingest, &cluster, &sync, vec![read]).await
}

/// What Debezium's path may be asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DebeziumOptions {
    /// The columns of the primary key, with commas between them.
    #[serde(default = "default_key")]
    key: String,
    /// What collections are called.
    #[serde(default)]
    collection: debezium::Naming,
}

fn default_key() -> String {
    "id".to_owned()
}

async fn post_debezium(
    State(context): State<Context>,
    State(ingest): State<Arc<Ingest>>,
    Segments(sync): Segments<String>,
    options: Result<Query<DebeziumOptions>, ApiError>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let (cluster, body) = match headers.contains_key("webhook-signature") {
        true => {
            let body = unverified(request).await?;
            let signature = ["webhook-id", "webhook-timestamp", "webhook-signature"]
                .map(|it| text(&headers, it));
            let signed = |keys: &[Vec<u8>]| signature::standard(signature, &body, keys);
            (verify(&ingest, &sync, Door::Debezium, signed).await?, body)
        }
        false => authenticated(&context, request).await?,
    };
    let Query(options) = options?;
    // `body` keeps its room until all is carried out.
    let text = body.clone();
    let read = move || {
        let key: Vec<&str> = options.key.split(',').collect();
        let items = items(&text)?.into_iter();
        let read = items.map(|item| debezium::read(item, &key, options.collection));
        Ok::<Vec<_>, ApiError>(read.collect())
    };
    let reads = blocking(read).await?;
    publish::publish(&ingest, &cluster, &sync, reads).await
}

async fn post_salesforce(
    State(context): State<Context>,
    State(ingest): State<Arc<Ingest>>,
    Segments(sync): Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let (cluster, body) = authenticated(&context, request).await?;
    // `body` keeps its room until all is carried out.
    let text = body.clone();
    let reads = blocking(move || salesforce::read(items(&text)?)).await?;
    publish::publish(&ingest, &cluster, &sync, reads).await
}

/// A delivery with an account's credentials.
async fn authenticated(
    context: &Context,
    request: Request,
) -> Result<(Arc<Cluster>, Bytes), ApiError> {
    let (mut parts, body) = request.into_parts();
    let Account(principal) = Account::from_request_parts(&mut parts, context).await?;
    let body = Body::from_request(Request::from_parts(parts, body), context).await?;
    Ok((principal.cluster, body.0))
}

/// The body of a delivery whose sender is not known yet.
async fn unverified(request: Request) -> Result<Bytes, ApiError> {
    let Ok(_permit) = UNVERIFIED.try_acquire() else {
        let text = "too many deliveries at a time; send this again later";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text));
    };
    let body = Limited::new(request.into_body(), UNVERIFIED_BYTES_MAX).collect();
    match tokio::time::timeout(UNVERIFIED_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let text = format!("the body is over the limit of {UNVERIFIED_BYTES_MAX} bytes");
            Err(ApiError::too_large(text))
        }
        Ok(Err(error)) => Err(ApiError::bad_request(format!("the body did not arrive: {error}"))),
        Err(_) => {
            let text = format!("the body did not arrive within {UNVERIFIED_TIMEOUT:?}");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", text))
        }
    }
}

/// The cluster of the account whose secret signed a delivery.
async fn verify(
    ingest: &Ingest,
    sync: &str,
    door: Door,
    signed: impl FnOnce(&[Vec<u8>]) -> Option<Signed>,
) -> Result<Arc<Cluster>, ApiError> {
    let (keys, accounts) = secrets::keys(&ingest.broker.shared.control, sync, door).await?;
    let denied = || ApiError::unauthorized("no secret of this door made the delivery's signature");
    let signed = signed(&keys).ok_or_else(denied)?;
    if !signature::is_timely(signed.at_s, clock::unix_ms() / 1000) {
        let text = format!("the signature was made more than {TOLERANCE_S} seconds from now");
        return Err(ApiError::unauthorized(text));
    }
    let account = accounts.get(signed.secret).ok_or_else(denied)?;
    ingest.broker.cluster(account).ok_or_else(denied)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

type DoorPath = Segments<(String, String)>;

async fn configure(
    Account(principal): Account,
    State(context): State<Context>,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, door)): DoorPath,
    Json(definition): Json<Definition>,
) -> Result<Json<DoorAnswer>, ApiError> {
    find_sync(&ingest, &principal.cluster, &sync)?;
    let door = Door::parse(&door)?;
    let secrets = serde_json::json!(definition.secrets(door)?).to_string();
    let account = principal.cluster.account.id.clone();
    let row = DoorRow { account, sync, door: door.name().to_owned(), secrets };
    context.broker.shared.control.put_door(&row).await.map_err(ApiError::internal)?;
    Ok(Json(secrets::answer(&row, door, &context.url)?))
}

async fn describe(
    Account(principal): Account,
    State(context): State<Context>,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, door)): DoorPath,
) -> Result<Json<DoorAnswer>, ApiError> {
    find_sync(&ingest, &principal.cluster, &sync)?;
    let door = Door::parse(&door)?;
    let rows = context.broker.shared.control.doors(&sync, door.name()).await;
    let rows = rows.map_err(ApiError::internal)?;
    let mine = rows.iter().find(|row| row.account == principal.cluster.account.id);
    let closed = || ApiError::not_found(format!("sync '{sync}' has no {} door", door.name()));
    Ok(Json(secrets::answer(mine.ok_or_else(closed)?, door, &context.url)?))
}

async fn close(
    Account(principal): Account,
    State(context): State<Context>,
    State(ingest): State<Arc<Ingest>>,
    Segments((sync, door)): DoorPath,
) -> Result<StatusCode, ApiError> {
    find_sync(&ingest, &principal.cluster, &sync)?;
    let door = Door::parse(&door)?;
    let account = &principal.cluster.account.id;
    let removed = context.broker.shared.control.remove_door(account, &sync, door.name()).await;
    match removed.map_err(ApiError::internal)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found(format!("sync '{sync}' has no {} door", door.name()))),
    }
}
