//! One consumer instance: a member of a group that answers consume requests.

use super::fetch::undecoded;
use crate::clock;
use crate::cluster::Cluster;
use crate::consumer::{Error, Member, Options, Reset};
use crate::http::ApiError;
use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::Str;

/// What the headers of the first consume ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    auto_commit: Option<Duration>,
    reset: Reset,
    idle_timeout: Duration,
}

/// What the instances call themselves in their groups.
pub(super) const CLIENT_ID: &str = "tidelog-rest";
const AUTO_COMMIT_INTERVAL_MS_DEFAULT: u64 = 5_000;
/// Also what Kafka allows a session (`group.max.session.timeout.ms`).
const IDLE_TIMEOUT_MS_MAX: u64 = 1_800_000;
const IDLE_TIMEOUT_MS_DEFAULT: u64 = 120_000;

impl Settings {
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let on = parse(headers, "kafka-enable-auto-commit", "true or false")?.unwrap_or(true);
        let ms = "a number of milliseconds";
        let interval = parse(headers, "kafka-auto-commit-interval", ms)?;
        let interval = Duration::from_millis(interval.unwrap_or(AUTO_COMMIT_INTERVAL_MS_DEFAULT));
        let name = "kafka-auto-offset-reset";
        let reset = match headers.get(name).map(|value| value.as_bytes()) {
            None | Some(b"latest") => Reset::Latest,
            Some(b"earliest") => Reset::Earliest,
            Some(b"none") => Reset::None,
            Some(value) => return Err(invalid(name, value, "earliest, latest or none")),
        };
        let idle = parse(headers, "kafka-session-timeout-ms", ms)?;
        let idle = idle.unwrap_or(IDLE_TIMEOUT_MS_DEFAULT);
        if !(1..=IDLE_TIMEOUT_MS_MAX).contains(&idle) {
            let expected = format!("1 to {IDLE_TIMEOUT_MS_MAX}");
            return Err(invalid(
                "kafka-session-timeout-ms",
                idle.to_string().as_bytes(),
                &expected,
            ));
        }
        let idle_timeout = Duration::from_millis(idle);
        Ok(Self { auto_commit: on.then_some(interval), reset, idle_timeout })
    }
}

fn parse<T: FromStr>(
    headers: &HeaderMap,
    name: &str,
    expected: &str,
) -> Result<Option<T>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().ok().map(|text| text.trim().to_ascii_lowercase());
    match text.and_then(|text| text.parse().ok()) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(invalid(name, value.as_bytes(), expected)),
    }
}

fn invalid(name: &str, value: &[u8], expected: &str) -> ApiError {
    let value = String::from_utf8_lossy(value);
    ApiError::bad_request(format!("header {name} is '{value}', expected {expected}"))
}

/// A live instance.
pub(super) struct Session {
    pub(super) member: Member,
    idle_timeout: Duration,
    last_used: Mutex<Duration>,
}

impl Session {
    pub(super) fn start(
        cluster: &Arc<Cluster>,
        (group, instance): (&str, &str),
        settings: Settings,
        topics: BTreeSet<Str>,
    ) -> Self {
        let options = Options {
            group: group.into(),
            instance: Some(instance.into()),
            client_id: CLIENT_ID.into(),
            reset: settings.reset,
            auto_commit: settings.auto_commit,
        };
        Self {
            member: Member::start(cluster.clone(), options, topics),
            idle_timeout: settings.idle_timeout,
            last_used: Mutex::new(clock::now()),
        }
    }

    /// The instance is in use.
    pub(super) fn touch(&self) {
        *self.last_used.lock() = clock::now();
    }

    /// Whether nobody has used it for its timeout.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        now.saturating_sub(*self.last_used.lock()) >= self.idle_timeout
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Closed => Self::not_found("the consumer instance was closed"),
            Error::NoOffset { .. } | Error::OutOfRange { .. } => {
                Self::bad_request(error.to_string())
            }
            Error::Refused(crate::group::Error::InvalidRequest) => {
                Self::bad_request("the group or instance name is too long")
            }
            Error::Refused(crate::group::Error::RebalanceInProgress) => {
                let text = "the group is rebalancing; try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "rebalancing", text)
            }
            Error::Refused(behind @ crate::group::Error::Behind) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", behind.to_string())
            }
            Error::Refused(unreadable @ crate::group::Error::Unreadable) => {
                let text = unreadable.to_string();
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "group_unreadable", text)
            }
            Error::Refused(crate::group::Error::NoRoom) => Self::disk_full(),
            Error::Refused(_) => Self::conflict(error.to_string()),
            Error::Unreadable { topic, partition, .. } => {
                Self::partition_unreadable(&topic, partition)
            }
            Error::Undecoded { topic, partition, batch } => {
                let way_out = format!("commit offset {} to go on after it", batch.next);
                undecoded(&topic, partition, &batch, &way_out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&'static str, &'static str)]) -> Result<Settings, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        Settings::from_headers(&headers).map_err(|error| error.message)
    }

    #[test]
    fn defaults_are_those_upstash_documents() {
        let second = Duration::from_secs(1);
        let want = Settings {
            auto_commit: Some(second * 5),
            reset: Reset::Latest,
            idle_timeout: second * 120,
        };
        assert_eq!(settings(&[]).unwrap(), want);
    }

    #[test]
    fn headers_are_taken_or_refused_by_name() {
        let set = settings(&[
            ("kafka-enable-auto-commit", "False"),
            ("kafka-auto-offset-reset", "none"),
            ("kafka-session-timeout-ms", "500"),
        ]);
        let want = Settings {
            auto_commit: None,
            reset: Reset::None,
            idle_timeout: Duration::from_millis(500),
        };
        assert_eq!(set.unwrap(), want);
        for (name, value) in [
            ("kafka-enable-auto-commit", "yes"),
            ("kafka-auto-commit-interval", "-5"),
            ("kafka-auto-offset-reset", "Beginning"),
            ("kafka-session-timeout-ms", "0"),
        ] {
            let error = settings(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
