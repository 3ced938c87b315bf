//! Groups of the consumer protocol (KIP-848): the coordinator assigns, and each member follows at
//! its own pace, by heartbeats alone.
//!
//! ```text
//! a member, a subscription or a topic changes    the group's epoch grows
//! the next heartbeat finds it ahead              targets are computed: who is to have what
//! a member's heartbeats                          it gives back, takes over, reaches that epoch
//! ```
//!
//! Members that still speak the classic protocol take part through JoinGroup, SyncGroup and
//! Heartbeat (`classic`); a group changes over when the first member of the other kind joins and
//! when the last one leaves (`migrate`).
//!
//! **A partition has one owner at most, and epochs only grow.**
//!
//! Unlike Kafka: a regular expression is resolved when topics change, not every ten minutes, and a
//! group has only so many different ones; a member that waits for another's partitions is asked to
//! heartbeat sooner.

mod admit;
mod assignor;
mod classic;
mod describe;
mod heartbeat;
mod migrate;
mod partitions;
mod pattern;
mod patterns;
mod reconcile;
mod record;
mod state;
mod subscription;

pub use assignor::Assignor;
pub use describe::{ConsumerDescription, ConsumerMemberDescription};
pub use heartbeat::{Beaten, ConsumerHeartbeat};
pub use partitions::Partitions;
pub use record::ConsumerRecord;
pub use state::{Classic, ConsumerMember, ConsumerState, Current, MemberState};

pub(super) use pattern::Pattern;
pub(super) use patterns::Patterns;

use super::Now;

/// What of a consumer group is only in memory.
#[derive(Debug)]
pub(super) struct Live {
    /// The version of the account's topics that the group's metadata hash is of.
    topics_seen: Option<u64>,
    /// When the last member left, or when the process started; in ms since 1970.
    pub(super) empty_since_ms: i64,
    /// What the members' expressions match.
    pub(super) patterns: Patterns,
}

impl Live {
    /// A group that is just coming up.
    pub(super) fn new(now: Now) -> Self {
        let patterns = Patterns::default();
        Self { topics_seen: None, empty_since_ms: now.unix_ms, patterns }
    }
}
