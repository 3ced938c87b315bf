//! The management API as the commands use it: where it is, who asks, and its errors as sentences.

use super::print::say;
use super::{Common, Output};
use crate::http_client::root_cause;
use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// A running broker, and the account that asks.
#[derive(Debug, Args)]
pub(super) struct Api {
    /// The broker's HTTP address
    #[arg(long, env = "TIDELOG_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    #[arg(value_parser = base_url)]
    url: String,
    /// The account's username; `tidelog dev` and `tidelog account create` print one
    #[arg(long, env = "TIDELOG_USERNAME", value_name = "NAME")]
    username: String,
    /// The account's password
    #[arg(long, env = "TIDELOG_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    #[arg(allow_hyphen_values = true)]
    password: String,
    #[command(flatten)]
    common: Common,
}

/// Why a request was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody answered, or not to the end.
    #[error("no broker answers at {url} ({why}); is it running, and is --url right?")]
    Connection {
        /// Where.
        url: String,
        /// Why not.
        why: String,
    },
    /// What answers is no broker: a proxy's page, say.
    #[error("{url} answers what no broker would: {met}; is this Tidelog?")]
    Foreign {
        /// Where.
        url: String,
        /// The beginning of it.
        met: String,
    },
    /// The broker refused or failed.
    #[error("{message}")]
    Refused {
        /// The answer's status.
        status: StatusCode,
        /// The broker's name for what is wrong; empty if it gave none.
        code: String,
        /// What the broker said.
        message: String,
    },
}

impl Error {
    /// Whether the same may succeed a little later (`src/ingest/README.md`, Errors).
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Foreign { .. } => false,
            Self::Refused { status, code, .. } => {
                status.is_server_error()
                    || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(status)
                    || code == "idempotency_key_in_use"
            }
        }
    }
}

impl Api {
    /// Asks with a JSON body, or none.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let client = crate::http_client::new()?;
        let mut request = self.request(&client, method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(self.send(request).await?)
    }

    /// The broker, and the account there.
    pub(super) fn place(&self) -> (&str, &str) {
        (&self.url, &self.username)
    }

    /// A request with the account's credentials.
    pub(super) fn request(
        &self,
        client: &reqwest::Client,
        method: Method,
        path: &str,
    ) -> RequestBuilder {
        let url = format!("{}{path}", self.url);
        client.request(method, url).basic_auth(&self.username, Some(&self.password))
    }

    /// Sends a request, and takes its answer in.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Value, Error> {
        send(&self.url, request).await
    }

    /// Sends a request that is answered by one JSON object a line.
    pub(super) async fn lines(&self, request: RequestBuilder) -> Result<Lines, Error> {
        let response = accepted(&self.url, request).await?;
        Ok(Lines { url: self.url.clone(), response, bytes: Vec::new() })
    }

    /// What an answer is that a broker would not give.
    pub(super) fn foreign(&self, answer: &Value) -> Error {
        foreign(&self.url, &answer.to_string())
    }

    /// The answer, if it has a text of this name, as all of its kind have.
    pub(super) fn with_text(&self, answer: Value, field: &str) -> Result<Value, Error> {
        with_text(&self.url, answer, field)
    }

    /// Prints an answer: as JSON, or by `table` for people.
    pub(super) fn print(&self, answer: &Value, table: impl FnOnce(&Value)) {
        match self.common.output {
            Output::Json => say!("{answer}"),
            Output::Table => table(answer),
        }
    }

    /// How results are printed.
    pub(super) fn output(&self) -> Output {
        self.common.output
    }
}

/// Sends a request to the broker at `url`, and takes its answer in.
pub(super) async fn send(url: &str, request: RequestBuilder) -> Result<Value, Error> {
    let text = accepted(url, request).await?.text().await.map_err(|it| unanswered(url, &it))?;
    serde_json::from_str(&text).map_err(|_| foreign(url, &text))
}

/// See [`Api::with_text`].
pub(super) fn with_text(url: &str, answer: Value, field: &str) -> Result<Value, Error> {
    match answer[field].is_string() {
        true => Ok(answer),
        false => Err(foreign(url, &answer.to_string())),
    }
}

fn foreign(url: &str, met: &str) -> Error {
    let met = match first_line(met) {
        nothing if nothing.is_empty() => "nothing".to_owned(),
        met => format!("'{met}'"),
    };
    Error::Foreign { url: url.to_owned(), met }
}

/// An answer that is no refusal.
async fn accepted(url: &str, request: RequestBuilder) -> Result<Response, Error> {
    let response = request.send().await.map_err(|it| unanswered(url, &it))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let kind = response.headers().get(CONTENT_TYPE).cloned();
    let text = response.text().await.map_err(|it| unanswered(url, &it))?;
    let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let message = match answer["error"].as_str() {
        Some(said) => said.to_owned(),
        None if kind.is_some_and(|it| it.as_bytes().starts_with(b"text/plain")) => {
            format!("{url} answered {status}: {}", first_line(&text))
        }
        None => format!("{url} answered {status}"),
    };
    let code = answer["code"].as_str().unwrap_or_default().to_owned();
    Err(Error::Refused { status, code, message })
}

fn unanswered(url: &str, error: &reqwest::Error) -> Error {
    Error::Connection { url: url.to_owned(), why: root_cause(error).to_string() }
}

/// An address as `--url` takes it, without a slash at its end.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).ok();
    match url.is_some_and(|it| matches!(it.scheme(), "http" | "https") && it.has_host()) {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("expected an address such as http://127.0.0.1:8080".to_owned()),
    }
}

/// Characters of a text that are shown of an answer which is not ours.
const SHOWN_MAX: usize = 200;

/// The beginning of a text, without what a terminal would obey.
fn first_line(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    line.chars().filter(|it| !it.is_control()).take(SHOWN_MAX).collect()
}

/// Bytes of a line, about: a broker's have far fewer.
const LINE_BYTES_MAX: usize = 16 << 20;

/// An answer that comes line by line.
pub(super) struct Lines {
    url: String,
    response: Response,
    /// What is not a whole line yet.
    bytes: Vec<u8>,
}

impl Lines {
    /// The next line; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.bytes.drain(..=end).collect();
                let foreign = |_| foreign(&self.url, &String::from_utf8_lossy(&line));
                return Ok(Some(serde_json::from_slice(&line).map_err(foreign)?));
            }
            match self.response.chunk().await.context("the answer broke off")? {
                Some(_) if self.bytes.len() > LINE_BYTES_MAX => {
                    return Err(foreign(&self.url, &String::from_utf8_lossy(&self.bytes)).into());
                }
                Some(chunk) => self.bytes.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// A JSON file, or standard input for `-`.
pub(super) fn read_json(path: &str) -> Result<Value> {
    let text = match path {
        "-" => std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?,
        path => std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?,
    };
    match serde_json::from_str(&text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => bail!("{path}: expected a JSON object"),
        Err(error) => bail!("{path}: {error}"),
    }
}

/// Prints rows under a head, in columns as wide as they need.
pub(super) fn print_table(head: &[&str], rows: &[Vec<String>]) {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(widest).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        say!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
}

/// A text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
