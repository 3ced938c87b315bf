//! Consume: the next records of a group, for one of its instances.
//!
//! **Records are delivered at least once**: an answer that did not arrive is given again by the
//! instance's next consume, and none of it is committed before. It did not arrive if the connection
//! ended before all of it was handed to the kernel, if the client reset the connection or was lost
//! before the instance's next consume or commit, or if that consume comes while it is being sent:
//! who asks again has given up on it.
//!
//! Everything else counts as having arrived, and is committed at the interval and when the instance
//! closes, whether or not the client asks for more: one that consumes once a day is to get on.
//! What a client does with records before it fails is for its own commits to say. So is what the
//! kernel or a proxy has taken and cannot pass on any more, if nobody hears of that within the
//! interval.

use super::Shared;
use super::answer::{nothing, tracked};
use super::extract::{Params, Wait};
use super::fetch::{BYTES_MAX, DEFAULT_TIMEOUT, PARTITION_BYTES_MAX, RECORDS_MAX};
use super::instances::is_final;
use super::message::Message;
use super::session::{Session, Settings};
use crate::broker::Principal;
use crate::cluster::Cluster;
use crate::consumer::{Error, Limits, Polled, Receipt};
use crate::http::{Account, ApiError, Body, Connection, Json, Segments};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::Str;

const LIMITS: Limits = Limits {
    records_max: RECORDS_MAX,
    partition_bytes_max: PARTITION_BYTES_MAX,
    bytes_max: BYTES_MAX,
};

/// A consume waits this much longer for partitions than for records, so that one that does not
/// wait finds what is there.
const JOIN_GRACE: Duration = Duration::from_millis(500);

/// Topics of one instance.
const TOPICS_MAX: usize = 1_000;

#[derive(Default, Deserialize)]
struct ConsumeRequest {
    topic: Option<String>,
    #[serde(default)]
    topics: Vec<String>,
    timeout: Option<i64>,
}

/// `/consume/{group}/{instance}/{topic}?timeout=`
pub(super) async fn by_path(
    Account(principal): Account,
    State(shared): State<Shared>,
    Segments((group, instance, topic)): Segments<(String, String, String)>,
    params: Params,
    (connection, headers): (Connection, HeaderMap),
    body: Body,
) -> Result<Response, ApiError> {
    let mut request: ConsumeRequest = body.object_or_default()?;
    request.topics.push(topic);
    let wait = params.timeout(request.timeout, DEFAULT_TIMEOUT)?;
    let consume = Consume { shared, principal, group, instance, connection, headers };
    consume.run(request, wait).await
}

/// `/consume/{group}/{instance}` with `{"topic"|"topics", "timeout"}`
pub(super) async fn by_body(
    Account(principal): Account,
    State(shared): State<Shared>,
    Segments((group, instance)): Segments<(String, String)>,
    params: Params,
    (connection, headers): (Connection, HeaderMap),
    body: Body,
) -> Result<Response, ApiError> {
    let request: ConsumeRequest = body.object_or_default()?;
    let wait = params.timeout(request.timeout, DEFAULT_TIMEOUT)?;
    let consume = Consume { shared, principal, group, instance, connection, headers };
    consume.run(request, wait).await
}

struct Consume {
    shared: Shared,
    principal: Principal,
    group: String,
    instance: String,
    connection: Connection,
    headers: HeaderMap,
}

impl Consume {
    async fn run(self, request: ConsumeRequest, wait: Wait) -> Result<Response, ApiError> {
        let cluster = &self.principal.cluster;
        let topics = subscription(cluster, request).await?;
        let instances = &self.shared.rest.instances;
        let slot = instances.get_or_add(&cluster.account.id, &self.group, &self.instance)?;
        let deadline = wait.deadline();
        let Some(_turn) = slot.turn(deadline).await else { return Ok(nothing()) };
        let settings = || Settings::from_headers(&self.headers);
        let name = (self.group.as_str(), self.instance.as_str());
        let session = slot.session_or_start(cluster, name, settings, topics)?;
        // The coordinator's wait for more members is not the client's.
        let delay = cluster.shared.settings.group_initial_rebalance_delay;
        let waits = (deadline, delay + JOIN_GRACE);
        let answer = answer(cluster, &session, &self.connection, waits).await;
        session.touch();
        match answer {
            Ok(response) => response,
            Err(error) => {
                if is_final(&error) {
                    slot.clear().await;
                }
                Err(error.into())
            }
        }
    }
}

/// Polls until records could be delivered or time is up; waits for partitions by `grace` longer.
async fn answer(
    cluster: &Cluster,
    session: &Session,
    connection: &Connection,
    (deadline, grace): (Duration, Duration),
) -> Result<Result<Response, ApiError>, Error> {
    let member = &session.member;
    member.assigned(deadline + grace).await?;
    loop {
        let mut polled = member.poll(LIMITS, deadline).await?;
        let connection = connection.clone();
        let receipt = Arc::new(Receipt::new(move || connection.is_broken()));
        let taken = std::mem::take(&mut polled.taken);
        let response = tracked(cluster, &messages(&polled), taken, receipt.clone()).await;
        // After a rebalance the records may be another member's: read again.
        if response.is_err() || member.deliver(&polled, &receipt) {
            return Ok(response);
        }
    }
}

fn messages(polled: &Polled) -> Vec<Message<'_>> {
    let of_part = polled.parts.iter().flat_map(|part| {
        let (topic, partition) = (&part.claim.topic.name, part.claim.partition);
        part.read.records.iter().map(move |record| Message::new(topic, partition, record))
    });
    of_part.collect()
}

/// The topics asked for, all of which must be there; none to go on with what it reads already.
async fn subscription(
    cluster: &Cluster,
    request: ConsumeRequest,
) -> Result<Option<BTreeSet<Str>>, ApiError> {
    let names: BTreeSet<String> = request.topics.into_iter().chain(request.topic).collect();
    if names.len() > TOPICS_MAX {
        let text = format!("{} topics are over the limit of {TOPICS_MAX}", names.len());
        return Err(ApiError::bad_request(text));
    }
    for name in &names {
        cluster.topic_or_auto_create(name).await?;
    }
    let topics: BTreeSet<Str> = names.into_iter().map(Str::from).collect();
    Ok(Some(topics).filter(|topics| !topics.is_empty()))
}

/// `/delete-consumer/{group}/{instance}`
pub(super) async fn delete_instance(
    Account(principal): Account,
    State(shared): State<Shared>,
    Segments((group, instance)): Segments<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let account = &principal.cluster.account.id;
    match shared.rest.instances.delete(account, &group, &instance).await {
        true => Ok(success()),
        false => Err(no_instance(&group, &instance)),
    }
}

/// The answer of requests that only do something.
pub(super) fn success() -> Json<Value> {
    Json(json!({ "result": "Success", "error": "", "status": 200 }))
}

/// The refusal of requests that need a live instance.
pub(super) fn no_instance(group: &str, instance: &str) -> ApiError {
    let text = format!("consumer instance '{instance}' of group '{group}' does not exist");
    ApiError::not_found(text)
}
