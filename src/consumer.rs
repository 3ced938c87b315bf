//! Reading topics inside the process: what REST consumers, webhooks, the console and ingest's
//! recovery share. (Also the seam behind which a real Kafka cluster may stand one day.)

mod reader;

pub use reader::{Read, read, read_or_wait};
