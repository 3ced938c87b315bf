//! Partition logs in Kafka's own file format.
//!
//! **This crate knows files and record batches: no requests, no accounts, no async.** The caller
//! decides what runs on which thread.
//!
//! ```text
//! <root>/lock                                  held while a process has the volume open
//! <root>/recovery-checkpoint                   how far each partition is durable
//! <root>/commit-journal-0 -1                   commits that are not in the partitions' files yet
//! <root>/deleted/                              partitions on their way out
//! <root>/<partition>/00000000000000000000.log  record batches, byte for byte as Kafka stores them
//!                   /00000000000000000000.index .timeindex .txnindex
//!                   /00000000000000000000.snapshot    idempotent producers up to that offset
//!                   /leader-epoch-checkpoint partition.metadata
//!                   /<base offset>.log.next              a segment until the one before is durable
//! ```
//!
//! - A [`Volume`] is one data directory: its lock, its checkpoint, and the threads that commit and
//!   write checkpoints.
//! - A [`Partition`] is one log in it. An append has its offset at once; small ones are written by
//!   the round that syncs them. All are acknowledged when the **high watermark** passes them, which
//!   happens **after a sync that covers them, never before** (unless the caller asks for less: see
//!   [`Flush`]).
//! - Reads are slices of read-only maps, without a copy, and end below the high watermark.
//! - Opening repairs what a crash left and says so in [`Recovered`]; see the `recovery` module for
//!   what is cut and what never is.
//! - An idle partition holds no thread, no open file and no map beyond a bounded cache.
//! - Compaction writes segments anew, keeping offsets; see the `compaction` module.
//!
//! Indexes, checkpoints and snapshots are caches or hints: a log without them opens, only slower.

mod ahead;
mod cache;
mod checkpoint;
mod checkpointer;
mod clock;
mod commit;
mod compaction;
mod counters;
mod deferred;
mod error;
mod files;
mod flush;
pub mod fs;
mod index;
mod inspect;
mod journal;
mod log;
mod mistake;
mod mmap;
mod open;
mod pace;
mod partition;
mod producers;
mod recovery;
mod repair;
mod retention;
mod room;
mod scan;
mod scrub;
mod seal;
mod segment;
mod snapshot;
mod space;
mod stable;
mod syncers;
mod times;
mod transactions;
mod txn_index;
mod txn_recovery;
mod unopened;
mod unwritten;
mod volume;

pub use compaction::{Compacted, Compaction};
pub use counters::{Distribution, Statistics};
pub use error::{Error, Result};
pub use flush::Flush;
pub use inspect::{Found, inspect, segment_bytes};
#[cfg(feature = "mistakes")]
pub use mistake::Mistake;
pub use mmap::{Map, UNREADABLE_PAGE_EXIT, exit_on_unreadable_page};
pub use pace::Pace;
pub use partition::{Appended, OnAdvance, Partition, PartitionOptions, Stamp};
pub use producers::ActiveProducer;
pub use recovery::{Action, Recovered, Repair};
pub use repair::{Excised, partitions_in, repair};
pub use retention::{Removed, Retention};
pub use room::{Event, OnEvent, Room};
pub use scrub::Scrubbed;
pub use space::{Space, space};
pub use txn_index::AbortedTxn;
pub use volume::{OnFailure, Volume, VolumeOptions};
