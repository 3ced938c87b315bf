//! InitProducerId, idempotent producers, DescribeProducers.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    let topic_id = topic(peer, "producers", 1, &[]);
    let init = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
    // Kafka's broker first asks its controller for a block of ids.
    peer.until(
        init.clone(),
        |answer| matches!(answer, Response::InitProducerId(it) if it.error_code.is_none()),
    );
    peer.each("an id", |_| init.clone());
    for (what, id, epoch) in [
        ("an id without an epoch", 5, -1),
        ("an epoch without an id", -1, 5),
        ("an id that is had", 0, 0),
    ] {
        let request =
            InitProducerIdRequest { producer_id: id, producer_epoch: epoch, ..init.clone() };
        peer.newly(what, request);
    }
    let Some(Response::InitProducerId(had)) = peer.newly("an id to use", init) else {
        panic!("no producer id")
    };
    sequences(peer, topic_id, had.producer_id);
    describe(peer);
}

fn sequences(peer: &mut Peer, topic_id: Uuid, id: i64) {
    let version = peer.newest(ApiKey::Produce);
    let mut send = |what: &str, epoch: i16, sequence: i32, values: &[&str]| {
        let builder = BatchBuilder::new(Compression::None, 1 << 20).producer(id, epoch, sequence);
        let records = finish(builder, values, midnight_ms());
        peer.ask(what, version, produce("producers", topic_id, 0, records));
    };
    send("starts late", 1, 7, &["a"]);
    send("first", 1, 8, &["a", "b"]);
    send("again", 1, 8, &["a", "b"]);
    send("next", 1, 10, &["c"]);
    send("a part of it again", 1, 8, &["a"]);
    send("a gap", 1, 20, &["d"]);
    send("an old epoch", 0, 11, &["d"]);
    send("a new epoch that goes on", 2, 11, &["d"]);
    send("a new epoch", 2, 0, &["d"]);
    for sequence in 1..8 {
        send("on and on", 2, sequence, &["e"]);
    }
    send("a recent one again", 2, 4, &["e"]);
    send("too old a one again", 2, 1, &["e"]);
    send("an epoch that never was", 9, 0, &["f"]);
    send("a negative epoch", -2, 0, &["f"]);
    send("a negative sequence", 9, -3, &["f"]);
    send("the last number", 10, 0, &["g"]);
}

fn describe(peer: &mut Peer) {
    for (what, name, partition) in [
        ("some", "producers", 0),
        ("unknown topic", "unknown", 0),
        ("unknown partition", "producers", 9),
        ("no topic", "", 0),
    ] {
        let topics =
            vec![DescribeProducersTopic { name: name.into(), partition_indexes: vec![partition] }];
        peer.newly(what, DescribeProducersRequest { topics });
    }
}
