//! What members of a group tell each other, in Kafka's ConsumerProtocol format: the coordinator
//! passes it on unread.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use tidelog_protocol::Str;
use tidelog_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopic,
};

/// Partitions by topic.
pub(super) type Partitions = BTreeMap<Str, Vec<i32>>;

/// Later versions add what only sticky and rack-aware assignors read.
const VERSION: i16 = 0;

/// A member's metadata: the topics it wants.
pub(super) fn write_topics(topics: &BTreeSet<Str>) -> Bytes {
    let topics = topics.iter().cloned().collect();
    ConsumerProtocolSubscription { topics, ..Default::default() }.to_bytes(VERSION)
}

/// The topics of a member's metadata. One that cannot be read gets no partitions, and the others
/// go on.
pub(super) fn read_topics(metadata: Bytes) -> Vec<Str> {
    let read = ConsumerProtocolSubscription::from_bytes(metadata);
    read.map(|(_, subscription)| subscription.topics).unwrap_or_default()
}

/// A member's part of the work.
pub(super) fn write_assignment(partitions: Partitions) -> Bytes {
    let topic = |(topic, partitions)| ConsumerProtocolTopic { topic, partitions };
    let assigned_partitions = partitions.into_iter().map(topic).collect();
    ConsumerProtocolAssignment { assigned_partitions, ..Default::default() }.to_bytes(VERSION)
}

/// The partitions of an assignment. Empty bytes, which a leader leaves for a member it does not
/// know, are none; so is an assignment that cannot be read.
pub(super) fn read_assignment(assignment: Bytes) -> Partitions {
    if assignment.is_empty() {
        return Partitions::new();
    }
    match ConsumerProtocolAssignment::from_bytes(assignment) {
        Ok((_, it)) => {
            it.assigned_partitions.into_iter().map(|it| (it.topic, it.partitions)).collect()
        }
        Err(error) => {
            tracing::warn!("a group's leader assigned what cannot be read: {error}");
            Partitions::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_and_assignments_are_read_as_they_were_written() {
        let topics = BTreeSet::from(["red".into(), "blue".into()]);
        let metadata = write_topics(&topics);
        // version 0, two topics, no user data: as librdkafka and Java write it.
        assert_eq!(&metadata[..6], [0, 0, 0, 0, 0, 2]);
        assert_eq!(BTreeSet::from_iter(read_topics(metadata)), topics);
        let partitions = Partitions::from([("red".into(), vec![0, 2]), ("blue".into(), vec![1])]);
        assert_eq!(read_assignment(write_assignment(partitions.clone())), partitions);
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        for bytes in [&b""[..], b"\0", b"\0\0\0\0\0\x09x", b"\xff\xff"] {
            assert!(read_topics(Bytes::from_static(bytes)).is_empty());
            assert!(read_assignment(Bytes::from_static(bytes)).is_empty());
        }
    }
}
