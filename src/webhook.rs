//! Topics pushed to HTTP endpoints: the parts that need no IO.
//!
//! A webhook is a consumer group whose cursor is the group's committed offsets. [`delivery`]
//! decides what is sent when and how far the cursor may move, [`retry`] how long a failed record
//! waits, [`signature`] how a receiver knows that a request is ours, and [`target`] which
//! addresses we may be made to call.

pub mod delivery;
pub mod retry;
pub mod signature;
pub mod target;
