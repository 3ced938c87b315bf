//! Record batches, message format v2: what Kafka stores and sends since 0.11.
//!
//! The broker moves batches as opaque bytes: [`Header`] reads the 61 fixed bytes without touching
//! the records, [`Batch`] is one whole batch of a frame. Only those who need keys and values
//! (REST, webhooks, ingest, compaction) decode records, and only those who write them build.

mod batch;

pub use batch::{Attributes, Batch, BatchError, HEADER_BYTES, Header, LOG_OVERHEAD_BYTES};
