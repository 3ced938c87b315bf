//! Topics: their names and ids, their configs, and the partitions that hold their records.

mod admission;
mod catalog;
mod config;
mod index;
mod partition;
mod partitioner;
mod partitions;

pub use admission::{Refused, look_inside, timed};
pub use catalog::{
    Catalog, Error, NAME_BYTES_MAX, NewTopic, OfEach, PARTITIONS_MAX, ToDelete, is_valid_name,
};
pub use config::{Change, Config, ConfigDefinition, ConfigError, DEFINITIONS, Kind};
pub use partition::{Absent, LEADER_EPOCH, Partition};
pub use partitioner::partition_for;
pub use partitions::Topic;
