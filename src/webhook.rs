//! Topics pushed to HTTP endpoints.
//!
//! A webhook is a consumer group whose cursor is the group's committed offsets. [`delivery`]
//! decides what is sent when and how far the cursor may move, [`retry`] how long a failed record
//! waits, [`signature`] how a receiver knows that a request is ours, and [`target`] which
//! addresses we may be made to call; none of them does IO. `driver` carries out what they decide,
//! one task a webhook.
//!
//! **Every record is delivered at least once, in the order of its key, with the same
//! `webhook-id` each time; and no endpoint slows another down.**

mod cursor;
mod definition;
pub mod delivery;
mod driver;
mod instance;
mod memory;
mod message;
mod quota;
mod reader;
mod registry;
mod resolver;
pub mod retry;
mod routes;
mod sender;
pub mod signature;
mod status;
mod subscription;
pub mod target;
mod window;

#[cfg(test)]
mod tests;

pub use registry::Webhooks;
pub use routes::router;
