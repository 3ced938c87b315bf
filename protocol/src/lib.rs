//! The Kafka wire protocol: bytes in, values out, and back.
//!
//! **This crate does no IO, reads no clock, knows no broker, and never panics on input.** What a
//! peer can claim (a length, a count, a nesting) is checked against the bytes in hand before
//! anything is allocated for it.
//!
//! - [`wire`]: primitive types, and the [`wire::Reader`] and [`wire::Writer`] they cross.
//! - [`schema`]: the `messages!` and `apis!` macros: one declaration gives struct and both codecs.
//! - [`api`]: the table of every API we speak, with its versions.
//! - [`messages`]: the declarations themselves, one file a family.
//! - [`header`]: request and response headers.
//! - [`records`]: record batches (message format v2), their compression and control records.
//! - `sample`: random messages, for tests (feature `sample`).
//! - [`error_code`]: Kafka's error codes by name.
//!
//! To add an API: declare its request and response in `messages/`, add its line to the table in
//! `api.rs`, and answer it in the broker's `dispatch`, which does not compile until you do.

pub mod wire;
#[macro_use]
pub mod schema;
pub mod api;
pub mod error_code;
pub mod header;
pub mod messages;
pub mod records;
#[cfg(feature = "sample")]
pub mod sample;

pub use api::{ApiKey, Request, Response};
pub use error_code::ErrorCode;
pub use wire::{DecodeError, Reader, Str, Uuid, Version, Wire, Writer};
