//! Reading topics inside the process: what REST consumers, webhooks, the console and ingest's
//! recovery share. (Also the seam behind which a real Kafka cluster may stand one day.)
//!
//! [`read`] takes records out of one partition, [`read_committed`] those that count. A [`Member`]
//! takes part in a consumer group, beside clients that speak the wire protocol, and reads the
//! partitions it is given.

mod assignor;
mod cursors;
mod member;
mod membership;
mod reader;
mod receipt;
mod subscription;

pub use cursors::Reset;
pub use member::{Assignment, Claim, Error, Limits, Member, Options, Part, Polled};
pub use reader::{
    DECOMPRESSED_BYTES_MAX, Read, Undecoded, offset_for_time, read, read_committed, read_or_wait,
    undecoded_reads,
};
pub use receipt::Receipt;

#[cfg(test)]
pub(crate) use reader::undecodable;
