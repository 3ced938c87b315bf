//! An HTTP client with an account's credentials, or the operator's token, or none.

use super::RUNTIME;
use super::process::Ready;
use reqwest::Method;
use serde_json::Value;
use std::sync::LazyLock;

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| tidelog::http_client::new().unwrap());

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    Nobody,
    Account { username: String, password: String },
    Operator { token: String },
}

/// Someone who asks at a base URL.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    pub url: String,
    pub identity: Identity,
}

/// An answer, taken in whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: String,
}

impl Http {
    pub(crate) fn account(url: &str, username: &str, password: &str) -> Self {
        let (username, password) = (username.to_owned(), password.to_owned());
        Self { url: url.to_owned(), identity: Identity::Account { username, password } }
    }

    /// The account that `tidelog dev` printed.
    pub(crate) fn dev(ready: &Ready) -> Self {
        Self::account(&ready.http, &ready.username, &ready.password)
    }

    pub(crate) fn operator(ready: &Ready) -> Self {
        let token = ready.admin_token.clone();
        Self { url: ready.http.clone(), identity: Identity::Operator { token } }
    }

    pub(crate) fn nobody(ready: &Ready) -> Self {
        Self { url: ready.http.clone(), identity: Identity::Nobody }
    }

    /// Sends a request; panics if there is no answer.
    pub(crate) fn send(&self, method: Method, path: &str, body: impl Into<String>) -> Answer {
        self.try_send(method, path, &[], body.into()).unwrap()
    }

    /// Sends a request, whose answer may never come.
    pub(crate) fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> reqwest::Result<Answer> {
        let mut request = CLIENT.request(method, format!("{}{path}", self.url)).body(body);
        request = match &self.identity {
            Identity::Nobody => request,
            Identity::Account { username, password } => {
                request.basic_auth(username, Some(password))
            }
            Identity::Operator { token } => request.bearer_auth(token),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        RUNTIME.block_on(async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok(Answer { status, body: response.text().await? })
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "")
    }

    pub(crate) fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        self.send(Method::POST, path, body)
    }

    pub(crate) fn put(&self, path: &str, body: impl Into<String>) -> Answer {
        self.send(Method::PUT, path, body)
    }

    pub(crate) fn patch(&self, path: &str, body: impl Into<String>) -> Answer {
        self.send(Method::PATCH, path, body)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "")
    }
}

impl Answer {
    /// The body of a success.
    pub(crate) fn json(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The sentence of a refusal, which must have this status in head and body.
    pub(crate) fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["status"], status, "{self:?}");
        body["error"].as_str().unwrap().to_owned()
    }
}
