//! Record mutations in, change events out: the parts that need no IO.
//!
//! A mutation's JSON is read as an [`json::Object`], its columns are renamed by the collection's
//! [`mapping::Mapping`], a PATCH is merged into the last state by [`patch::merge`], and
//! [`diff::diff`] says what changed. If anything did, [`event::NewEvent`] writes the value that is
//! appended to the topic, in the partition that [`partition::partition_for`] names.
//!
//! **Text passes through.** A column is never parsed into a number or re-encoded: it is a slice of
//! the request, and its bytes reach the topic as they came. Only equality looks at what the text
//! means ([`value::equal`]).

pub mod diff;
pub mod event;
pub mod json;
pub mod mapping;
pub mod name;
mod number;
pub mod partition;
pub mod patch;
pub mod value;
