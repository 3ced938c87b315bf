//! The classic group protocol with one member, and looking at groups.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    topic(peer, "groups", 1, &[]);
    coordinator(peer, "groups");
    for version in peer.versions(ApiKey::JoinGroup) {
        refused(peer, version);
        member(peer, version);
    }
    looking(peer);
    statically(peer);
}

/// A member's subscription to the topic `groups`, in the consumer protocol's version 0.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x06groups\0\0\0\0";
/// An assignment of its partition.
const ASSIGNMENT: &[u8] = b"\0\0\0\0\0\x01\0\x06groups\0\0\0\x01\0\0\0\0\0\0\0\0";

fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(SUBSCRIPTION),
        }],
        ..Default::default()
    }
}

fn refused(peer: &mut Peer, version: i16) {
    let group = format!("refused-{version}");
    let join = |member: &str| join(&group, member);
    let asks = [
        ("no group", JoinGroupRequest { group_id: "".into(), ..join("") }),
        ("an unknown member", join("unknown")),
        ("a short session", JoinGroupRequest { session_timeout_ms: 1, ..join("") }),
        ("a long session", JoinGroupRequest { session_timeout_ms: 1 << 30, ..join("") }),
        ("no protocol type", JoinGroupRequest { protocol_type: "".into(), ..join("") }),
        ("no protocols", JoinGroupRequest { protocols: Vec::new(), ..join("") }),
    ];
    for (what, request) in asks {
        peer.ask(what, version, request);
    }
}

/// The life of a group of one.
fn member(peer: &mut Peer, version: i16) {
    let group = format!("member-{version}");
    let mut id = String::new();
    if version >= 4 {
        let answer = peer.ask("joins without an id", version, join(&group, ""));
        id = id_of(answer);
    }
    let joined = peer.ask("joins", version, join(&group, &id));
    let generation = generation_of(&joined);
    let id = id_of(joined);
    let older = |key: ApiKey| version.min(peer.newest(key));
    let (sync, beat, leave) =
        (older(ApiKey::SyncGroup), older(ApiKey::Heartbeat), older(ApiKey::LeaveGroup));
    let heartbeat = |generation_id, member: &str| HeartbeatRequest {
        group_id: group.as_str().into(),
        generation_id,
        member_id: member.into(),
        ..Default::default()
    };
    let syncs = |generation_id, member: &str, protocol: &str| SyncGroupRequest {
        group_id: group.as_str().into(),
        generation_id,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some(protocol.into()),
        assignments: vec![SyncGroupAssignment {
            member_id: member.into(),
            assignment: Bytes::from_static(ASSIGNMENT),
        }],
        ..Default::default()
    };
    peer.ask("beats before it is stable", beat, heartbeat(generation, &id));
    peer.ask("syncs a wrong generation", sync, syncs(generation + 1, &id, "range"));
    peer.ask("an unknown member syncs", sync, syncs(generation, "unknown", "range"));
    peer.ask("syncs another protocol", sync, syncs(generation, &id, "other"));
    peer.ask("syncs", sync, syncs(generation, &id, "range"));
    peer.ask("syncs again", sync, syncs(generation, &id, "range"));
    peer.ask("beats", beat, heartbeat(generation, &id));
    peer.ask("beats in a wrong generation", beat, heartbeat(generation + 1, &id));
    peer.ask("an unknown member beats", beat, heartbeat(generation, "unknown"));
    let strange = JoinGroupRequest { protocol_type: "connect".into(), ..join(&group, "") };
    peer.ask("another type joins", version, strange);
    let mut strange = join(&group, "");
    strange.protocols[0].name = "roundrobin".into();
    peer.ask("another protocol joins", version, strange);
    look(peer, &group);
    let leaves = |member: &str| LeaveGroupRequest {
        group_id: group.as_str().into(),
        member_id: if leave < 3 { member.into() } else { Str::new() },
        members: match leave {
            ..3 => Vec::new(),
            _ => vec![LeaveGroupMember { member_id: member.into(), ..Default::default() }],
        },
    };
    peer.ask("an unknown member leaves", leave, leaves("unknown"));
    peer.ask("leaves", leave, leaves(&id));
    peer.ask("leaves again", leave, leaves(&id));
    peer.ask("beats after that", beat, heartbeat(generation, &id));
    let nowhere = LeaveGroupRequest { group_id: "unknown".into(), ..leaves("unknown") };
    peer.ask("leaves an unknown group", leave, nowhere);
    let nowhere = HeartbeatRequest { group_id: "unknown".into(), ..heartbeat(1, "a") };
    peer.ask("beats in an unknown group", beat, nowhere);
    let nowhere = HeartbeatRequest { group_id: "".into(), ..heartbeat(1, "a") };
    peer.ask("beats in no group", beat, nowhere);
    let nowhere = SyncGroupRequest { group_id: "unknown".into(), ..syncs(1, "a", "range") };
    peer.ask("syncs in an unknown group", sync, nowhere);
}

/// What others see of a group that has a member.
fn look(peer: &mut Peer, group: &str) {
    peer.each("with a member", |_| DescribeGroupsRequest {
        groups: texts(&[group]),
        include_authorized_operations: true,
    });
    peer.newly("with a member", DeleteGroupsRequest { groups_names: texts(&[group]) });
}

fn looking(peer: &mut Peer) {
    peer.each("unknown and none", |_| DescribeGroupsRequest {
        groups: texts(&["unknown", ""]),
        include_authorized_operations: true,
    });
    peer.each("unknown", |_| DeleteGroupsRequest { groups_names: texts(&["unknown", ""]) });
    peer.newly(
        "a group twice",
        DeleteGroupsRequest { groups_names: texts(&["unknown", "unknown"]) },
    );
    peer.each("no groups", |_| DeleteGroupsRequest::default());
    for (states, types) in [
        (&["Dead"][..], &[][..]),
        (&["Stable"], &[]),
        (&["stable"], &["classic"]),
        (&["Empty"], &["consumer"]),
        (&["Nowhere"], &[]),
        (&[], &["share"]),
        (&[], &["other"]),
    ] {
        let request =
            ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
        peer.newly(&format!("{states:?} {types:?}"), request);
    }
}

/// Static members (KIP-345).
fn statically(peer: &mut Peer) {
    let version = peer.newest(ApiKey::JoinGroup);
    let join = |member: &str, instance: &str| JoinGroupRequest {
        group_instance_id: Some(instance.into()),
        ..join("static", member)
    };
    let joined = peer.ask("joins statically", version, join("", "one"));
    let generation = generation_of(&joined);
    let id = id_of(joined);
    let beat = |generation_id, member: &str, instance: &str| HeartbeatRequest {
        group_id: "static".into(),
        generation_id,
        member_id: member.into(),
        group_instance_id: Some(instance.into()),
    };
    let sync = SyncGroupRequest {
        group_id: "static".into(),
        generation_id: generation,
        member_id: id.as_str().into(),
        group_instance_id: Some("one".into()),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: Vec::new(),
    };
    peer.newly("syncs statically", sync);
    peer.newly("beats statically", beat(generation, &id, "one"));
    peer.newly("another's instance", beat(generation, &id, "two"));
    peer.newly("another member's id", beat(generation, "other", "one"));
    let joined = peer.ask("comes back", version, join("", "one"));
    let generation = generation_of(&joined);
    peer.newly("the old id", beat(generation, &id, "one"));
    peer.ask("joins with the old id", version, join(&id, "one"));
    peer.ask("a bad instance id", version, join("", "a/b"));
    let leaves = |instance: &str, member: &str| LeaveGroupRequest {
        group_id: "static".into(),
        members: vec![LeaveGroupMember {
            member_id: member.into(),
            group_instance_id: Some(instance.into()),
            reason: None,
        }],
        ..Default::default()
    };
    peer.newly("another instance leaves", leaves("two", ""));
    peer.newly("leaves with the old id", leaves("one", &id));
    peer.newly("leaves by instance", leaves("one", ""));
}

fn id_of(answer: Option<Response>) -> String {
    match answer {
        Some(Response::JoinGroup(it)) => it.member_id.to_string(),
        other => panic!("{other:?}"),
    }
}

fn generation_of(answer: &Option<Response>) -> i32 {
    match answer {
        Some(Response::JoinGroup(it)) => it.generation_id,
        other => panic!("{other:?}"),
    }
}
