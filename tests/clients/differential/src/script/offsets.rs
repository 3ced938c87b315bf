//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    let id = topic(peer, "offsets", 2, &[]);
    for values in [&["one", "two"][..], &["three"], &["four", "five", "six"]] {
        peer.newly("records", produce("offsets", id, 0, batch(values)));
    }
    list(peer);
    epochs(peer);
    delete(peer);
}

fn at(name: &str, partition_index: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition { partition_index, timestamp, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: name.into(), partitions: vec![partition] }];
    ListOffsetsRequest { replica_id: -1, topics, timeout_ms: 10_000, ..Default::default() }
}

fn list(peer: &mut Peer) {
    for special in [-1, -2, -3, -4, -5, -6, -7, i64::MIN] {
        peer.each(&format!("at {special}"), |_| at("offsets", 0, special));
        peer.each(&format!("at {special} of nothing"), |_| at("offsets", 1, special));
    }
    for (what, after_ms) in [
        ("before all", -1),
        ("at the first", 0),
        ("between", 500),
        ("at the second", 1000),
        ("at the last", 2000),
        ("after all", 2001),
    ] {
        peer.each(what, |_| at("offsets", 0, midnight_ms() + after_ms));
    }
    peer.each("the end of what is committed", |_| ListOffsetsRequest {
        isolation_level: 1,
        ..at("offsets", 0, -1)
    });
    for epoch in [0, 9] {
        peer.each(&format!("epoch {epoch}"), |_| {
            let mut request = at("offsets", 0, -1);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            request
        });
    }
    peer.each("unknown partition", |_| at("offsets", 9, -1));
    peer.each("unknown topic", |_| at("unknown", 0, -1));
    peer.each("no topic", |_| at("", 0, -1));
    peer.each("a partition twice", |_| {
        let mut request = at("offsets", 0, -1);
        let again = request.topics[0].partitions[0].clone();
        request.topics[0].partitions.push(again);
        request
    });
}

fn epochs(peer: &mut Peer) {
    for (what, name, partition, current, epoch) in [
        ("the epoch", "offsets", 0, -1, 0),
        ("the epoch, sure of it", "offsets", 0, 0, 0),
        ("of nothing", "offsets", 1, -1, 0),
        ("an epoch to come", "offsets", 0, -1, 5),
        ("no epoch", "offsets", 0, -1, -1),
        ("a leader to come", "offsets", 0, 9, 0),
        ("unknown partition", "offsets", 9, -1, 0),
        ("unknown topic", "unknown", 0, -1, 0),
    ] {
        peer.each(what, |version| OffsetForLeaderEpochRequest {
            replica_id: if version < 3 { -2 } else { -1 },
            topics: vec![OffsetForLeaderTopic {
                topic: name.into(),
                partitions: vec![OffsetForLeaderPartition {
                    partition,
                    current_leader_epoch: current,
                    leader_epoch: epoch,
                }],
            }],
        });
    }
}

fn delete(peer: &mut Peer) {
    for (what, name, partition, offset) in [
        ("nothing yet", "offsets", 0, 0),
        ("the first", "offsets", 0, 1),
        ("what is gone", "offsets", 0, 0),
        ("beyond the end", "offsets", 0, 99),
        ("a negative offset", "offsets", 0, -2),
        ("unknown partition", "offsets", 9, 0),
        ("unknown topic", "unknown", 0, 0),
        ("all", "offsets", 0, -1),
        ("all of nothing", "offsets", 1, -1),
    ] {
        peer.each(what, |_| DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: name.into(),
                partitions: vec![DeleteRecordsPartition { partition_index: partition, offset }],
            }],
            timeout_ms: 10_000,
        });
    }
    topic(peer, "offsets-compacted", 1, &[("cleanup.policy", "compact")]);
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "offsets-compacted".into(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: 0 }],
        }],
        timeout_ms: 10_000,
    };
    peer.newly("of a compacted topic", request);
    peer.each("the start after that", |_| at("offsets", 0, -2));
}
