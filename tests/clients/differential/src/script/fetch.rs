//! Fetch, with and without sessions.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    let id = topic(peer, "fetch", 2, &[]);
    for values in [&["one", "two"][..], &["three"], &["four", "five", "six"]] {
        peer.newly("records", produce("fetch", id, 0, batch(values)));
    }
    for version in peer.versions(ApiKey::Fetch) {
        plainly(peer, version, id);
        if version >= 7 {
            sessions(peer, version, id);
        }
    }
}

/// A fetch outside of any session.
fn fetch(name: &str, id: Uuid, partition: i32, offset: i64) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 100,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: name.into(),
            topic_id: id,
            partitions: vec![FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

fn plainly(peer: &mut Peer, version: i16, id: Uuid) {
    for (what, offset) in [
        ("from the start", 0),
        ("from within a batch", 1),
        ("from the last", 5),
        ("from the end", 6),
        ("beyond the end", 7),
        ("before the start", -1),
    ] {
        peer.ask(what, version, fetch("fetch", id, 0, offset));
    }
    peer.ask("committed", version, FetchRequest { isolation_level: 1, ..fetch("fetch", id, 0, 0) });
    peer.ask("an empty partition", version, fetch("fetch", id, 1, 0));
    peer.ask("unknown partition", version, fetch("fetch", id, 9, 0));
    peer.ask("negative partition", version, fetch("fetch", id, -1, 0));
    peer.ask("unknown topic", version, fetch("unknown", [7; 16], 0, 0));
    peer.ask("no topic", version, fetch("", [0; 16], 0, 0));
    peer.ask("one byte", version, FetchRequest { max_bytes: 1, ..fetch("fetch", id, 0, 0) });
    peer.ask("no bytes", version, FetchRequest { max_bytes: 0, ..fetch("fetch", id, 0, 0) });
    let with = |change: fn(&mut FetchPartition)| {
        let mut request = fetch("fetch", id, 0, 0);
        change(&mut request.topics[0].partitions[0]);
        request
    };
    peer.ask("one byte of a partition", version, with(|it| it.partition_max_bytes = 1));
    peer.ask("a batch and a half", version, with(|it| it.partition_max_bytes = 120));
    peer.ask("the leader's epoch", version, with(|it| it.current_leader_epoch = 0));
    peer.ask("an epoch to come", version, with(|it| it.current_leader_epoch = 9));
    peer.ask("last fetched in the epoch", version, with(|it| it.last_fetched_epoch = 0));
    peer.ask("last fetched in one to come", version, with(|it| it.last_fetched_epoch = 9));
    let mut both = fetch("fetch", id, 0, 0);
    let other = FetchPartition { partition: 1, ..both.topics[0].partitions[0].clone() };
    both.topics[0].partitions.push(other);
    peer.ask("two partitions", version, both);
    peer.ask("nothing", version, FetchRequest { topics: Vec::new(), ..fetch("", id, 0, 0) });
}

fn sessions(peer: &mut Peer, version: i16, id: Uuid) {
    let within = |session_id, session_epoch, request: FetchRequest| FetchRequest {
        session_id,
        session_epoch,
        ..request
    };
    let nothing = || FetchRequest { topics: Vec::new(), ..fetch("fetch", id, 0, 0) };
    let one = || fetch("fetch", id, 0, 0);
    peer.ask("an unknown session", version, within(12345, 1, one()));
    peer.ask("an unknown session to end", version, within(12345, -1, one()));
    peer.ask("no session but an epoch", version, within(0, 5, one()));
    let opened = peer.ask("opens a session", version, within(0, 0, one()));
    let Some(Response::Fetch(FetchResponse { session_id: session, .. })) = opened else {
        panic!("no session: {opened:?}")
    };
    peer.ask("goes on where it was", version, within(session, 1, nothing()));
    peer.ask("goes on at the end", version, within(session, 2, fetch("fetch", id, 0, 6)));
    peer.ask("nothing new", version, within(session, 3, nothing()));
    peer.ask("a wrong epoch", version, within(session, 9, nothing()));
    peer.ask("one more partition", version, within(session, 4, fetch("fetch", id, 1, 0)));
    peer.ask("an unknown one", version, within(session, 5, fetch("fetch", id, 9, 0)));
    peer.ask("the unknown one still", version, within(session, 6, nothing()));
    let mut forgets = within(session, 7, nothing());
    forgets.forgotten_topics_data =
        vec![ForgottenTopic { topic: "fetch".into(), topic_id: id, partitions: vec![9] }];
    peer.ask("forgets one", version, forgets);
    let unknown = fetch("unknown", [7; 16], 0, 0);
    peer.ask("an unknown topic", version, within(session, 8, unknown));
    peer.ask("ends", version, within(session, -1, nothing()));
    peer.ask("after its end", version, within(session, 9, nothing()));
}
