//! Which topics an account has: by name, by id, and by what Kafka's metrics see of a name.

use super::Topic;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tidelog_protocol::Uuid;

#[derive(Default)]
pub(super) struct Index {
    pub by_name: BTreeMap<String, Arc<Topic>>,
    pub by_id: HashMap<Uuid, Arc<Topic>>,
    /// Names with dots or underscores, each after the one it has in metrics: others collide with
    /// none.
    dotted: BTreeSet<(String, String)>,
    /// Of all topics.
    pub partitions: usize,
}

impl Index {
    /// Takes a topic in, or what has become of it.
    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        self.remove(&topic.name);
        let plain = plain(&topic.name);
        if plain.contains('_') {
            self.dotted.insert((plain, topic.name.clone()));
        }
        self.partitions += topic.partitions.len();
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(super) fn remove(&mut self, name: &str) {
        let Some(topic) = self.by_name.remove(name) else { return };
        self.by_id.remove(&topic.id);
        self.partitions -= topic.partitions.len();
        self.dotted.remove(&(plain(name), name.to_owned()));
    }

    /// A topic whose name differs from this one only in dots and underscores.
    pub(super) fn colliding(&self, name: &str) -> Option<&str> {
        let plain = plain(name);
        let alike = self.dotted.range((plain.clone(), String::new())..);
        let mut alike = alike.take_while(|(other, _)| *other == plain).map(|(_, other)| &**other);
        alike.find(|other| *other != name)
    }
}

/// Kafka's metrics do not tell dots from underscores.
pub(super) fn plain(name: &str) -> String {
    name.replace('.', "_")
}
