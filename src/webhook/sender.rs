//! The HTTP client of all webhooks: one attempt, and what its end means.
//!
//! **No request leaves for an address that the [`Policy`] refuses**: a host that is an address is
//! judged before each attempt, and a name by what it resolves to, in the resolver that the
//! connection itself uses, so that there is no second lookup to answer differently. Redirects are
//! not followed.

use super::delivery::{IN_FLIGHT_MAX, Outcome};
use super::message::Message;
use super::quota::{Quota, Quotas};
use super::resolver::{self, Resolver};
use super::signature::Secret;
use super::target::Policy;
use crate::clock;
use crate::http_client::{self, CONNECT_TIMEOUT, root_cause};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Sends the requests of all webhooks.
pub(super) struct Sender {
    client: reqwest::Client,
    policy: Policy,
    quotas: Quotas,
}

/// How an attempt ended, and what to tell the webhook's owner if it failed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) error: Option<String>,
}

/// Where requests go and how they are signed.
pub(super) struct Endpoint<'a> {
    pub(super) webhook: &'a str,
    pub(super) url: &'a str,
    pub(super) secret: &'a Secret,
    pub(super) quota: &'a Quota,
}

/// From the first byte of the connection to the last of the answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of an answer, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long that may take: the next record of the key waits for it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// Idle connections that are kept for a host's next requests, and how long: so many of each host
/// that was called within this time, which are at most as many as there are webhooks.
const IDLE_PER_HOST_MAX: usize = IN_FLIGHT_MAX;
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

impl Sender {
    /// A sender to what `policy` allows.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(super) fn new(policy: Policy) -> reqwest::Result<Self> {
        let client = http_client::builder()
            .dns_resolver(Arc::new(Resolver::new(policy)))
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        Ok(Self { client, policy, quotas: Quotas::new() })
    }

    /// What the webhooks of an account may use.
    pub(super) fn quota(&self, account: &str) -> Arc<Quota> {
        self.quotas.of(account)
    }

    /// What may be called.
    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// Sends a message once. The caller holds a permit of the quota.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint<'_>,
        message: &Message,
        attempt: u32,
    ) -> Answer {
        let url = match self.policy.check_url(endpoint.url) {
            Ok(url) => url,
            Err(error) => return Answer::failed(error.to_string(), None),
        };
        let timestamp = clock::unix_ms() / 1000;
        let mut headers = message.headers(endpoint.webhook, endpoint.secret, timestamp, attempt);
        let body = message.body();
        if body.is_empty() {
            // The client leaves it out then, and there are servers that answer 411 to that.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let request = self.client.post(url).headers(headers).body(body);
        match resolver::among(&endpoint.quota.lookups, request.send()).await {
            Ok(response) => {
                let answer = judge(response.status(), response.headers(), timestamp);
                drain(response, ANSWER_PATIENCE).await;
                answer
            }
            Err(error) => Answer::failed(describe(&error), None),
        }
    }
}

impl Answer {
    fn failed(error: String, retry_after: Option<Duration>) -> Self {
        Self { outcome: Outcome::Failed { retry_after }, error: Some(error) }
    }
}

/// What a status means. `now` is in seconds since 1970.
fn judge(status: StatusCode, headers: &HeaderMap, now: i64) -> Answer {
    if status.is_success() {
        return Answer { outcome: Outcome::Delivered, error: None };
    }
    let text = format!("the endpoint answered {status}");
    match status {
        StatusCode::GONE => Answer { outcome: Outcome::Gone, error: Some(text) },
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Answer::failed(text, header.and_then(|value| retry_after(value, now)))
        }
        _ => Answer::failed(text, None),
    }
}

/// A `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    let seconds = date.timestamp().as_second().saturating_sub(now);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Reads the rest of an answer, up to bounds. What it says does not matter any more.
async fn drain(mut response: Response, patience: Duration) {
    let reading = async {
        let mut left = ANSWER_BYTES_MAX;
        while left > 0
            && let Ok(Some(chunk)) = response.chunk().await
        {
            left = left.saturating_sub(chunk.len());
        }
    };
    // Time being up is no error: the connection is closed.
    let _ = tokio::time::timeout(patience, reading).await;
}

/// What went wrong, without the URL, which may hold a secret.
fn describe(error: &reqwest::Error) -> String {
    let cause = root_cause(error);
    match error {
        _ if error.is_connect() && error.is_timeout() => {
            format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())
        }
        _ if error.is_timeout() => format!("no answer within {} s", TIMEOUT.as_secs()),
        _ if error.is_connect() => format!("cannot connect: {cause}"),
        _ if error.source().is_some() => format!("the request failed: {cause}"),
        _ => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_delivery_and_only_410_is_the_end() {
        let judge = |status: u16| {
            judge(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), 0).outcome
        };
        let failed = Outcome::Failed { retry_after: None };
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judge(status), Outcome::Delivered, "{status}");
        }
        for status in [301, 302, 304, 307, 308, 400, 401, 404, 409, 429, 500, 502, 503, 504] {
            assert_eq!(judge(status), failed, "{status}");
        }
        assert_eq!(judge(410), Outcome::Gone);
    }

    #[test]
    fn retry_after_is_read_where_it_means_something() {
        const NOW: i64 = 1_445_412_420; // 2015-10-21 07:27:00
        let retry_after = |status: u16, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            match judge(status, &headers, NOW).outcome {
                Outcome::Failed { retry_after } => retry_after.map(|it| it.as_secs()),
                outcome => panic!("{outcome:?}"),
            }
        };
        assert_eq!(retry_after(503, "120"), Some(120));
        assert_eq!(retry_after(429, " 0 "), Some(0));
        assert_eq!(retry_after(429, "Wed, 21 Oct 2015 07:28:00 GMT"), Some(60));
        assert_eq!(retry_after(503, "Wed, 21 Oct 2015 07:26:00 GMT"), Some(0));
        assert_eq!(retry_after(503, "soon"), None);
        assert_eq!(retry_after(503, "-1"), None);
        assert_eq!(retry_after(500, "120"), None);
    }

    #[tokio::test]
    async fn an_answer_that_never_ends_is_not_waited_for() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun";
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1 << 10];
            tokio::io::AsyncReadExt::read(&mut stream, &mut request).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
            stream
        };
        let client = http_client::builder().timeout(TIMEOUT).build().unwrap();
        let (response, _stream) = tokio::join!(client.get(url).send(), answering);
        let begin = clock::now();
        drain(response.unwrap(), Duration::from_millis(10)).await;
        assert!(clock::now() - begin < TIMEOUT / 2);
    }
}
