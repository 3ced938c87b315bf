//! Sets of partitions by topic id: what a member owns, is to own, or gives up.

use std::collections::{BTreeMap, BTreeSet};
use tidelog_protocol::Uuid;
use tidelog_protocol::messages::ConsumerGroupTopicPartitions;

/// Partitions, each once, in the order of topic ids and indexes. **No topic is without one.**
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(BTreeMap<Uuid, BTreeSet<i32>>);

/// A partition by topic id.
pub(super) type Partition = (Uuid, i32);

impl Partitions {
    pub(super) const NONE: Self = Self(BTreeMap::new());

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Each partition.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, i32)> {
        self.0.iter().flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)))
    }

    /// Each topic with its partitions.
    pub fn topics(&self) -> impl Iterator<Item = (&Uuid, &BTreeSet<i32>)> {
        self.0.iter()
    }

    /// Whether the partition is one of these.
    pub fn contains(&self, (topic, index): &(Uuid, i32)) -> bool {
        self.0.get(topic).is_some_and(|indexes| indexes.contains(index))
    }

    /// Adds a partition; tells whether it is new.
    pub fn insert(&mut self, (topic, index): (Uuid, i32)) -> bool {
        self.0.entry(topic).or_default().insert(index)
    }

    /// Those for which `keep` holds.
    pub fn filter(&self, mut keep: impl FnMut(&(Uuid, i32)) -> bool) -> Self {
        self.iter().filter(|partition| keep(partition)).collect()
    }

    /// Whether all of these are among the others.
    pub fn is_subset(&self, others: &Self) -> bool {
        self.iter().all(|partition| others.contains(&partition))
    }

    /// Whether one of these is among the others.
    pub fn intersects(&self, others: &Self) -> bool {
        self.iter().any(|partition| others.contains(&partition))
    }

    /// As it goes over the wire.
    pub fn to_wire(&self) -> Vec<ConsumerGroupTopicPartitions> {
        let topic = |(topic_id, indexes): (&Uuid, &BTreeSet<i32>)| ConsumerGroupTopicPartitions {
            topic_id: *topic_id,
            partitions: indexes.iter().copied().collect(),
        };
        self.topics().map(topic).collect()
    }

    /// From what came over the wire, in whatever order and however often.
    pub fn from_wire(topics: &[ConsumerGroupTopicPartitions]) -> Self {
        let partitions = topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index)));
        partitions.collect()
    }
}

impl FromIterator<Partition> for Partitions {
    fn from_iter<I: IntoIterator<Item = Partition>>(partitions: I) -> Self {
        let mut all = Self::default();
        partitions.into_iter().for_each(|partition| {
            all.insert(partition);
        });
        all
    }
}
