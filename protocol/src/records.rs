//! Record batches, message format v2: what Kafka stores and sends since 0.11.
//!
//! The broker moves batches as opaque bytes: [`Header`] reads the 61 fixed bytes without touching
//! the records, [`Batch`] is one whole batch of a frame, [`batches`] walks a run of them. Only
//! those who need keys and values (REST, webhooks, ingest, compaction) decode records with
//! [`Batch::records`], and only those who write them use [`BatchBuilder`].

mod batch;
mod batches;
mod builder;
mod compression;
mod control;
mod recompress;
mod record;
mod retain;
mod snappy;

pub use batch::{Attributes, Batch, BatchError, HEADER_BYTES, Header, LOG_OVERHEAD_BYTES};
pub use batches::{Batches, batches};
pub use builder::{BatchBuilder, BatchFull};
pub use compression::{Compression, CompressionError};
pub use control::{ControlError, EndTxnMarker, TransactionResult};
pub use record::{Record, RecordError, RecordHeader, Records};

#[cfg(test)]
mod tests;
