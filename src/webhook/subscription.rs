//! Which partitions a webhook reads, by the number that [`super::delivery`] knows them by.

use super::delivery::Source;
use crate::topic::{Partition, Topic};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tidelog_protocol::Uuid;

/// The partitions of all topics that match.
#[derive(Default)]
pub(super) struct Subscription {
    sources: BTreeMap<Source, TopicPartition>,
    /// The sources of each topic. **A topic is known by its id**: under its name another may come.
    by_topic: HashMap<Uuid, Vec<Source>>,
    /// Numbers are not used again, so that what was meant for a source that is gone finds none.
    next: Source,
}

/// One partition of one topic.
#[derive(Clone)]
pub(super) struct TopicPartition {
    pub(super) topic: Arc<Topic>,
    pub(super) index: i32,
}

impl TopicPartition {
    /// The partition itself, unless it is offline.
    pub(super) fn partition(&self) -> Option<&Partition> {
        self.topic.partition(self.index).ok()
    }
}

/// What a look at the topics changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) came: Vec<Source>,
    pub(super) went: Vec<Source>,
}

impl Subscription {
    /// Takes in the topics that match now.
    pub(super) fn set(&mut self, topics: Vec<Arc<Topic>>) -> Change {
        let mut change = Change::default();
        let matched: HashSet<Uuid> = topics.iter().map(|topic| topic.id).collect();
        for (_, sources) in self.by_topic.extract_if(|id, _| !matched.contains(id)) {
            change.went.extend(sources);
        }
        change.went.sort_unstable();
        for source in &change.went {
            self.sources.remove(source);
        }
        for topic in topics {
            let known = self.by_topic.entry(topic.id).or_default();
            // A topic has at most PARTITIONS_MAX partitions.
            for index in i32::try_from(known.len()).unwrap_or(i32::MAX)..topic.count() {
                let source = self.next;
                self.next += 1;
                known.push(source);
                self.sources.insert(source, TopicPartition { topic: topic.clone(), index });
                change.came.push(source);
            }
        }
        change
    }

    /// The partition behind a source, if it is still there.
    pub(super) fn get(&self, source: Source) -> Option<&TopicPartition> {
        self.sources.get(&source)
    }
}
