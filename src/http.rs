//! What every HTTP front end stands on: the listener, authentication, JSON in and out, errors.
//! The front ends import this; it imports none of them.

mod auth;
mod body;
mod connection;
mod error;
mod json;
mod listener;
mod query;
mod segments;

pub use auth::{Account, Admin};
pub use body::{Arriving, BODY_BYTES_MAX};
pub use connection::Connection;
pub use error::ApiError;
pub use json::{Body, Json, parse_json};
pub use listener::serve;
pub use query::Query;
pub use segments::Segments;

use crate::broker::Broker;
use std::sync::Arc;

/// What handlers share.
#[derive(Clone)]
pub struct Context {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Where this listener is reached: `http://127.0.0.1:8080`.
    pub url: Arc<str>,
    /// Where Kafka clients connect, as this machine sees it: `127.0.0.1:9092`.
    pub kafka: Arc<str>,
}
