//! Every message we read or write, one file a family.

mod api_versions;

pub use api_versions::*;
