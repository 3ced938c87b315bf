//! Producers: the ids that idempotent ones get. Transactions build on them.

mod producer_ids;

pub use producer_ids::ProducerIds;
