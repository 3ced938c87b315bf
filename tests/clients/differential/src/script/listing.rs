//! DescribeTopicPartitions, DescribeLogDirs, ListConfigResources: what is there.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    topic(peer, "listing-a", 3, &[]);
    topic(peer, "listing-b", 2, &[]);
    pages(peer);
    for (what, names) in [("some", &["listing-a", "unknown"][..]), ("none", &[])] {
        peer.each(what, |_| DescribeLogDirsRequest {
            topics: Some(
                names
                    .iter()
                    .map(|name| DescribableLogDirTopic {
                        topic: (*name).into(),
                        partitions: vec![0, 2, 9],
                    })
                    .collect(),
            ),
        });
    }
    let mut kinds = vec![("groups", vec![32]), ("metrics", vec![16]), ("no such", vec![99])];
    kinds.push(("brokers", vec![4]));
    for (what, resource_types) in kinds {
        peer.newly(what, ListConfigResourcesRequest { resource_types });
    }
    peer.ask("client metrics", 0, ListConfigResourcesRequest::default());
}

fn pages(peer: &mut Peer) {
    let cursor = |name: &str, partition_index| {
        Some(TopicPartitionsCursor { topic_name: name.into(), partition_index })
    };
    let asks = [
        ("both", &["listing-b", "listing-a"][..], 2000, None),
        ("one by one", &["listing-b", "listing-a"], 1, None),
        ("four", &["listing-b", "listing-a"], 4, None),
        ("unknown", &["unknown", "listing-b"], 2000, None),
        ("invalid", &["a b", ""], 2000, None),
        ("twice", &["listing-a", "listing-a"], 2000, None),
        ("from within", &["listing-b", "listing-a"], 2000, cursor("listing-a", 1)),
        ("from between", &["listing-b", "listing-a"], 2000, cursor("listing-aa", 0)),
        ("from beyond", &["listing-b", "listing-a"], 2000, cursor("zzz", 0)),
        ("from no partition", &["listing-a"], 2000, cursor("listing-a", 9)),
        ("from before", &["listing-a"], 2000, cursor("listing-a", -1)),
        ("no limit", &["listing-a"], 0, None),
        ("a negative limit", &["listing-a"], -5, None),
    ];
    for (what, names, response_partition_limit, cursor) in asks {
        let topic = |name: &&str| DescribeTopicPartitionsTopic { name: (*name).into() };
        let request = DescribeTopicPartitionsRequest {
            topics: names.iter().map(topic).collect(),
            response_partition_limit,
            cursor,
        };
        peer.newly(what, request);
    }
}
