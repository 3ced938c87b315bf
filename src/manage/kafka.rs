//! Which of Kafka's APIs are served.

use crate::api;
use crate::http::Json;
use serde::Serialize;

/// An API of Kafka's protocol, and the versions that are answered.
#[derive(Serialize)]
pub(super) struct Served {
    key: i16,
    name: &'static str,
    min_version: i16,
    max_version: i16,
}

/// `GET /v1/kafka/apis`: the table that ApiVersions answers from, in the order of keys. Like
/// ApiVersions, it is for everyone who can reach the port.
pub(super) async fn apis() -> Json<Vec<Served>> {
    let served = api::served().map(|(key, versions)| Served {
        key: key as i16,
        name: key.name(),
        min_version: *versions.start(),
        max_version: *versions.end(),
    });
    Json(served.collect())
}
