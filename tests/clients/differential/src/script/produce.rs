//! Produce: batches that are right, and every way they can be wrong. Null records are not among
//! them: Kafka never answers those.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    let id = topic(peer, "produce", 2, &[]);
    for version in 3..=peer.newest(ApiKey::Produce) {
        for acks in [-1, 1] {
            let request =
                ProduceRequest { acks, ..produce("produce", id, 0, batch(&["one", "two"])) };
            peer.ask(&format!("acks={acks}"), version, request);
        }
        // Not answered; what comes next shows that it was appended.
        peer.tell(version, ProduceRequest { acks: 0, ..produce("produce", id, 0, batch(&["0"])) });
        let after = produce("produce", id, 0, batch(&["after"]));
        peer.ask("after acks=0", version, after);
        let good = batch(&["one"]);
        let bad = ProduceRequest { acks: 2, ..produce("produce", id, 0, good.clone()) };
        peer.ask("acks=2", version, bad);
        peer.ask("unknown partition", version, produce("produce", id, 9, good.clone()));
        peer.ask("negative partition", version, produce("produce", id, -1, good.clone()));
        peer.ask("unknown topic", version, produce("unknown", [7; 16], 0, good.clone()));
        peer.ask("no topic", version, produce("", [0; 16], 0, good.clone()));
        for (what, records) in damaged() {
            peer.ask(what, version, produce("produce", id, 1, records));
        }
        peer.ask("nothing", version, ProduceRequest { acks: -1, ..Default::default() });
    }
    limits(peer);
    compacted(peer);
}

/// What is wrong with a batch, and the batch.
fn damaged() -> Vec<(&'static str, Bytes)> {
    let good = batch(&["one", "two", "three"]);
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.to_vec();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        Bytes::from(bad)
    };
    let sealed = |at: usize, bytes: &[u8]| seal(with(at, bytes));
    let twice = [good.clone(), good.clone()].concat();
    vec![
        ("a wrong checksum", with(17, &[0, 0, 0, 0])),
        ("a flipped byte", with(good.len() - 2, &[0xff])),
        ("magic 1", with(16, &[1])),
        ("magic 3", with(16, &[3])),
        ("cut short", good.slice(..good.len() - 5)),
        ("a stub", good.slice(..20)),
        ("no bytes", Bytes::new()),
        ("two batches", twice.into()),
        ("a length too long", with(8, &[0, 0, 0x7f, 0])),
        ("a length of nothing", with(8, &[0, 0, 0, 0])),
        ("a negative length", with(8, &[0xff, 0xff, 0xff, 0xff])),
        ("an unknown codec", sealed(21, &[0, 7])),
        ("a control batch", sealed(21, &[0, 0x20])),
        ("a count too high", sealed(57, &[0, 0, 0, 9])),
        ("a count of zero", sealed(57, &[0, 0, 0, 0])),
        ("a last offset that contradicts", sealed(23, &[0, 0, 0, 7])),
        ("a base offset that is not 0", with(0, &[0, 0, 0, 0, 0, 0, 0, 5])),
    ]
}

/// Makes the checksum right.
fn seal(bad: Bytes) -> Bytes {
    let mut bad = bad.to_vec();
    let checksum = crc32c::crc32c(&bad[21..]);
    bad[17..21].copy_from_slice(&checksum.to_be_bytes());
    bad.into()
}

fn limits(peer: &mut Peer) {
    let version = peer.newest(ApiKey::Produce);
    let id = topic(peer, "small", 1, &[("max.message.bytes", "200")]);
    let large = "x".repeat(300);
    for version in 3..=version {
        peer.ask("too large", version, produce("small", id, 0, batch(&[&large])));
    }
    let id = topic(peer, "timely", 1, &[("message.timestamp.after.max.ms", "172800000")]);
    let day_ms = 86_400_000;
    let at = |time_ms| {
        finish(BatchBuilder::new(Compression::None, 1 << 20), &["a", "b"], midnight_ms() + time_ms)
    };
    for version in 3..=version {
        peer.ask("in time", version, produce("timely", id, 0, at(0)));
        peer.ask("too late", version, produce("timely", id, 0, at(9 * day_ms)));
    }
    let id = topic(peer, "stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    peer.ask("broker's time", version, produce("stamped", id, 0, at(0)));
}

fn compacted(peer: &mut Peer) {
    let id = topic(peer, "compacted", 1, &[("cleanup.policy", "compact")]);
    let mut builder = BatchBuilder::new(Compression::None, 1 << 20);
    for (number, key) in [Some(&b"a"[..]), None, Some(b"b"), None].into_iter().enumerate() {
        let value = number.to_string();
        builder.append(midnight_ms(), key, Some(value.as_bytes()), &[]).expect("room");
    }
    let batch = builder.finish().expect("records").bytes().clone();
    for version in 3..=peer.newest(ApiKey::Produce) {
        peer.ask("records without keys", version, produce("compacted", id, 0, batch.clone()));
    }
}
