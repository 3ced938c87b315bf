//! The HTTP client of webhooks and the command line.

use std::error::Error;
use std::time::Duration;

/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that follows no redirects and uses no proxy of the environment.
///
/// # Errors
/// When the system's certificates cannot be read.
pub fn builder() -> reqwest::ClientBuilder {
    // Installed once a process; a second time changes nothing.
    let _ =
        rustls::crypto::CryptoProvider::install_default(rustls::crypto::ring::default_provider());
    let agent = concat!("tidelog/", env!("CARGO_PKG_VERSION"));
    reqwest::Client::builder()
        .user_agent(agent)
        .connect_timeout(CONNECT_TIMEOUT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
}

/// A client with nothing more to it.
///
/// # Errors
/// When the system's certificates cannot be read.
pub fn new() -> reqwest::Result<reqwest::Client> {
    builder().build()
}

/// What an error comes from in the end: it says most, and not the URL, which may hold a secret.
pub fn root_cause(error: &reqwest::Error) -> &dyn Error {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}
