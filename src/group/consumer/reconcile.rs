//! A member's next step towards its target: give back first, then take what others gave back.
//!
//! ```text
//!            new target, nothing to give back, all of it free
//!   Stable <------------------------------------------------------.
//!     |  ^                                                         |
//!     |  '--- all given back, all free ---- UnrevokedPartitions ---'
//!     |                                        ^      |
//!     '---- something to give back ------------'      | given back, not all free
//!                                                     v
//!              UnreleasedPartitions: at the target's epoch, takes the rest as it comes free
//! ```
//!
//! **A member's epoch moves only when it owns nothing outside of its target.**

use super::partitions::{Partition, Partitions};
use super::state::{Current, MemberState};

/// What a member is to become.
pub(super) struct Target<'a> {
    /// The epoch of the target assignment.
    pub(super) epoch: i32,
    /// Its part of it.
    pub(super) partitions: &'a Partitions,
}

/// The member's next state. `owned` is what it says it owns, if it says so; `is_free` whether no
/// other member owns a partition.
pub(super) fn reconcile(
    current: &Current,
    target: &Target<'_>,
    owned: Option<&Partitions>,
    is_free: impl Fn(&Partition) -> bool,
) -> Current {
    let still_owns = |revoking: &Partitions| owned.is_none_or(|owned| owned.intersects(revoking));
    match current.state {
        MemberState::Stable if current.epoch == target.epoch => return current.clone(),
        MemberState::UnrevokedPartitions if still_owns(&current.revoking) => {
            return current.clone();
        }
        _ => {}
    }
    let kept = current.assigned.filter(|it| target.partitions.contains(it));
    let revoking = current.assigned.filter(|it| !target.partitions.contains(it));
    if !revoking.is_empty() && still_owns(&revoking) {
        let state = MemberState::UnrevokedPartitions;
        return Current { state, assigned: kept, revoking, ..current.clone() };
    }
    let assigned = target.partitions.filter(|it| kept.contains(it) || is_free(it));
    let previous_epoch = match current.epoch == target.epoch {
        true => current.previous_epoch,
        false => current.epoch,
    };
    let state = match assigned.len() == target.partitions.len() {
        true => MemberState::Stable,
        false => MemberState::UnreleasedPartitions,
    };
    let revoking = Partitions::default();
    Current { epoch: target.epoch, previous_epoch, state, assigned, revoking }
}
