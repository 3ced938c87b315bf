//! ConsumerGroupHeartbeat and ConsumerGroupDescribe (KIP-848): what is refused, and a member's
//! life in a group whose topic does not exist, so that nothing depends on when it is assigned.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    coordinator(peer, "consumers");
    refused(peer);
    peer.each("unknown groups", |_| describe(&["unknown", ""]));
    life(peer);
    classic(peer);
}

fn describe(groups: &[&str]) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest { group_ids: texts(groups), ..Default::default() }
}

/// A heartbeat that joins.
fn join(group: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: "a".into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(texts(&["not-there"])),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

/// A heartbeat that changes nothing.
fn stay(group: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: "a".into(),
        member_epoch,
        ..Default::default()
    }
}

fn refused(peer: &mut Peer) {
    let good = || join("refused");
    let owned = ConsumerGroupTopicPartitions { topic_id: [7; 16], partitions: vec![0] };
    for (what, request) in [
        ("no group", join("")),
        (
            "no rebalance timeout",
            ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..good() },
        ),
        (
            "partitions at first",
            ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![owned]), ..good() },
        ),
        (
            "null partitions at first",
            ConsumerGroupHeartbeatRequest { topic_partitions: None, ..good() },
        ),
        (
            "no subscription",
            ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..good() },
        ),
        (
            "an unknown assignor",
            ConsumerGroupHeartbeatRequest { server_assignor: Some("mine".into()), ..good() },
        ),
        (
            "an empty assignor",
            ConsumerGroupHeartbeatRequest { server_assignor: Some("".into()), ..good() },
        ),
        (
            "an empty instance",
            ConsumerGroupHeartbeatRequest { instance_id: Some("".into()), ..good() },
        ),
        ("an empty rack", ConsumerGroupHeartbeatRequest { rack_id: Some("".into()), ..good() }),
        ("leaving an unknown group", stay("refused", -1)),
        ("staying in an unknown group", stay("refused", 3)),
        ("away without an instance", stay("refused", -2)),
        ("an epoch there is not", stay("refused", -3)),
    ] {
        peer.each(what, |_| request.clone());
    }
    for version in 1..=peer.newest(ApiKey::ConsumerGroupHeartbeat) {
        let no_id = ConsumerGroupHeartbeatRequest { member_id: "".into(), ..good() };
        peer.ask("no member id", version, no_id);
        let regex = |regex: &str| ConsumerGroupHeartbeatRequest {
            subscribed_topic_regex: Some(regex.into()),
            ..good()
        };
        peer.ask("not an expression", version, regex("(a"));
    }
}

fn life(peer: &mut Peer) {
    let group = "consumers";
    let epoch = match peer.newly("joins", join(group)) {
        Some(Response::ConsumerGroupHeartbeat(it)) => it.member_epoch,
        other => panic!("{other:?}"),
    };
    peer.newly("stays", stay(group, epoch));
    let again = ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..join(group) };
    peer.newly("says it again", again);
    peer.newly("an epoch to come", stay(group, 9));
    let stranger = ConsumerGroupHeartbeatRequest { member_id: "b".into(), ..stay(group, epoch) };
    peer.newly("a stranger", stranger);
    peer.each("a group", |_| describe(&[group]));
    peer.newly(
        "as a classic group",
        DescribeGroupsRequest { groups: texts(&[group]), ..Default::default() },
    );
    peer.newly(
        "its classic heartbeat",
        HeartbeatRequest {
            group_id: group.into(),
            generation_id: 1,
            member_id: "a".into(),
            ..Default::default()
        },
    );
    peer.newly("deleting it", DeleteGroupsRequest { groups_names: texts(&[group]) });
    peer.newly("leaves", stay(group, -1));
    peer.newly("leaves again", stay(group, -1));
    peer.newly("when empty", describe(&[group]));
}

/// A group of the other protocol, as this one sees it.
fn classic(peer: &mut Peer) {
    let request = JoinGroupRequest {
        group_id: "classics".into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        protocol_type: "connect".into(),
        protocols: vec![JoinGroupProtocol { name: "x".into(), ..Default::default() }],
        ..Default::default()
    };
    peer.newly("a member id first", request);
    peer.newly("joins what is not consumers'", join("classics"));
    peer.newly("describes what is not consumers'", describe(&["classics"]));
}
