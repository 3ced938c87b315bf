//! The HTTP client of webhooks and the command line.

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
