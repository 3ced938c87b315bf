//! How an account's clients connect: what the console and scripts ask.

use crate::account::DEV_ACCOUNT;
use crate::http::{Account, ApiError, Context, Json};
use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};
use serde_json::{Value, json};
use std::net::Ipv6Addr;

/// `GET /v1/connection`: where this client reaches the listeners, and in `dev` the password, so
/// that the console can fill it in.
pub(super) async fn connection(
    Account(principal): Account,
    State(context): State<Context>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let cluster = &principal.cluster;
    let settings = &context.broker.shared.settings;
    let named = named(&uri, &headers);
    let bootstrap = match (&settings.kafka_advertise, &named) {
        (Some((host, port)), _) => format!("{host}:{port}"),
        // Whatever address of ours the client came to, the Kafka listener is there too.
        (None, Some((host, _))) if settings.kafka_listen.ip().is_unspecified() => {
            let port = context.kafka.rsplit(':').next().unwrap_or_default();
            format!("{host}:{port}")
        }
        (None, _) => context.kafka.to_string(),
    };
    let password = match settings.dev && cluster.account.name == DEV_ACCOUNT {
        true => {
            let (dev, password) = context.broker.dev_account().await.map_err(ApiError::internal)?;
            (dev.username == principal.username).then_some(password)
        }
        false => None,
    };
    let tls = settings.tls.is_some();
    let topics: Vec<_> = cluster.topics.all().iter().map(|topic| topic.name.clone()).collect();
    Ok(Json(json!({
        "account": cluster.account.name,
        "username": principal.username,
        "password": password,
        "kafka": {
            "bootstrap": bootstrap,
            "security_protocol": if tls { "SASL_SSL" } else { "SASL_PLAINTEXT" },
            "sasl_mechanism": "PLAIN",
            "tls": tls,
        },
        "http": { "url": url(&context, named, scheme(&headers, tls)) },
        "topics": topics,
        "version": env!("CARGO_PKG_VERSION"),
    })))
}

/// The URL at which this client may go on: by the name it came by, which a certificate has too, and
/// an address of ours may lack.
fn url(context: &Context, named: Option<(String, Option<u16>)>, scheme: &str) -> String {
    match named {
        Some((host, Some(port))) => format!("{scheme}://{host}:{port}"),
        Some((host, None)) => format!("{scheme}://{host}"),
        None => context.url.to_string(),
    }
}

/// How the client came: to a proxy that speaks TLS for us, if that says so, or to us. A client that
/// says so itself is told what it said.
fn scheme(headers: &HeaderMap, tls: bool) -> &'static str {
    let said = headers.get("x-forwarded-proto").and_then(|said| said.to_str().ok());
    // The first of several proxies is the one the client came to.
    let first = said.and_then(|said| said.split(',').next()).map(str::trim);
    match first {
        Some(it) if it.eq_ignore_ascii_case("https") => "https",
        Some(it) if it.eq_ignore_ascii_case("http") => "http",
        _ => ["http", "https"][usize::from(tls)],
    }
}

/// The host and port that the client came to, as it says. It may say anything, and what is answered
/// is shown on a page and pasted into shells: so only what can be a name or an address counts.
fn named(uri: &Uri, headers: &HeaderMap) -> Option<(String, Option<u16>)> {
    let authority = match uri.authority() {
        // As a proxy is asked.
        Some(authority) => authority.clone(),
        None => headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok()?,
    };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            host.starts_with(|first: char| first.is_ascii_alphanumeric()) && host.bytes().all(fits)
        }
    };
    is_host.then(|| (host.to_owned(), authority.port_u16()))
}

/// `GET /healthz`, `GET /readyz`: this process listens only once it has recovered.
pub(super) async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_the_scheme_by_which_it_came_to_a_proxy() {
        let table = [
            ("https", "https", "https"),
            ("HTTPS, http", "https", "https"),
            ("http", "http", "http"),
            ("javascript", "http", "https"),
            ("", "http", "https"),
        ];
        for (said, plain, tls) in table {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-proto", said.parse().unwrap());
            assert_eq!([scheme(&headers, false), scheme(&headers, true)], [plain, tls], "{said}");
        }
        assert_eq!(scheme(&HeaderMap::new(), false), "http");
    }

    #[test]
    fn only_what_can_be_a_host_is_told_again() {
        let told = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            named(&Uri::from_static("/v1/connection"), &headers)
        };
        let table = [
            ("192.0.2.2:8080", Some(("192.0.2.2", Some(8080)))),
            ("kafka-1.example.com", Some(("kafka-1.example.com", None))),
            ("[2001:db8::1]:80", Some(("[2001:db8::1]", Some(80)))),
            ("nobody@example.com:80", Some(("example.com", Some(80)))),
            ("[2001:db8::$(id)]", None),
            ("a';id;'", None),
            ("<b>a</b>", None),
            ("--help", None),
            ("a b", None),
            ("", None),
        ];
        for (host, want) in table {
            let want = want.map(|(name, port): (&str, _)| (name.to_owned(), port));
            assert_eq!(told(host), want, "{host}");
        }
        let whole = Uri::from_static("https://example.com:8443/v1/connection");
        let want = Some(("example.com".to_owned(), Some(8443)));
        assert_eq!(named(&whole, &HeaderMap::new()), want);
    }
}
