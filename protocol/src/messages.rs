//! Every message we read or write, one file a family.

mod api_versions;
mod coordinator_records;

pub use api_versions::*;
pub use coordinator_records::*;
