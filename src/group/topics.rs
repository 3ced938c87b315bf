//! The account's topics as its groups see them.

use std::collections::BTreeMap;
use tidelog_protocol::{Str, Uuid};

/// The topics at a moment: names, ids, partition counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Topics {
    version: u64,
    by_name: BTreeMap<Str, Shape>,
    by_id: BTreeMap<Uuid, Str>,
}

/// What a group needs to know of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Never that of another topic, under whatever name.
    pub id: Uuid,
    /// How many partitions.
    pub partitions: i32,
}

/// No topics.
pub(super) static NO_TOPICS: Topics =
    Topics { version: 0, by_name: BTreeMap::new(), by_id: BTreeMap::new() };

impl Topics {
    /// Topics as of a version, which differs whenever they do.
    pub fn new(version: u64, topics: impl IntoIterator<Item = (Str, Shape)>) -> Self {
        let by_name: BTreeMap<Str, Shape> = topics.into_iter().collect();
        let by_id = by_name.iter().map(|(name, shape)| (shape.id, name.clone())).collect();
        Self { version, by_name, by_id }
    }

    /// Differs whenever the topics do.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The topic of this name.
    pub fn get(&self, name: &str) -> Option<Shape> {
        self.by_name.get(name).copied()
    }

    /// The name of the topic with this id.
    pub fn name(&self, id: &Uuid) -> Option<&Str> {
        self.by_id.get(id)
    }

    /// Every topic, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Str, Shape)> {
        self.by_name.iter().map(|(name, shape)| (name, *shape))
    }
}
