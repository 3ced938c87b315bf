//! OffsetCommit, OffsetFetch, OffsetDelete.

use super::*;

pub(super) fn ask(peer: &mut Peer) {
    let id = topic(peer, "commits", 2, &[]);
    coordinator(peer, "commits");
    for version in peer.versions(ApiKey::OffsetCommit).filter(|version| *version > 0) {
        commit(peer, version, id);
    }
    for version in peer.versions(ApiKey::OffsetFetch) {
        fetch(peer, version, id);
    }
    forget(peer);
}

fn one(group: &str, (name, id): (&str, Uuid), partition_index: i32) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: name.into(),
            topic_id: id,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index,
                committed_offset: 5,
                committed_leader_epoch: 0,
                committed_metadata: Some("note".into()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

fn commit(peer: &mut Peer, version: i16, id: Uuid) {
    let known = ("commits", id);
    let group = "commits";
    peer.ask("without members", version, one(group, known, 0));
    peer.ask("unknown topic", version, one(group, ("unknown", [7; 16]), 0));
    peer.ask("no topic", version, one(group, ("", [0; 16]), 0));
    peer.ask("unknown partition", version, one(group, known, 9));
    peer.ask("negative partition", version, one(group, known, -1));
    peer.ask("no group", version, one("", known, 0));
    peer.ask(
        "unknown group",
        version,
        OffsetCommitRequest {
            generation_id_or_member_epoch: 1,
            member_id: "a".into(),
            ..one("unknown", known, 0)
        },
    );
    peer.ask(
        "a generation of no members",
        version,
        OffsetCommitRequest {
            generation_id_or_member_epoch: 1,
            member_id: "a".into(),
            ..one(group, known, 0)
        },
    );
    peer.ask(
        "a member of no members",
        version,
        OffsetCommitRequest { member_id: "a".into(), ..one(group, known, 0) },
    );
    let mut long = one(group, known, 0);
    long.topics[0].partitions[0].committed_metadata = Some("n".repeat(5000).into());
    peer.ask("a long note", version, long);
    let mut negative = one(group, known, 1);
    negative.topics[0].partitions[0].committed_offset = -1;
    peer.ask("a negative offset", version, negative);
    let mut null = one(group, known, 1);
    null.topics[0].partitions[0].committed_metadata = None;
    peer.ask("no note", version, null);
    peer.ask(
        "nothing",
        version,
        OffsetCommitRequest { topics: Vec::new(), ..one(group, known, 0) },
    );
    let mut mixed = one(group, known, 0);
    mixed.topics.extend(one(group, ("unknown", [7; 16]), 0).topics);
    peer.ask("good and bad", version, mixed);
}

fn fetch(peer: &mut Peer, version: i16, id: Uuid) {
    let asked: &[(&str, Uuid, &[i32])] = &[("commits", id, &[0, 1, 9]), ("unknown", [7; 16], &[0])];
    for group in ["commits", "unknown", ""] {
        let what = format!("of group '{group}'");
        peer.ask(&what, version, shape(version, group, Some(asked)));
        peer.ask(&format!("nothing {what}"), version, shape(version, group, Some(&[])));
        if version >= 2 {
            peer.ask(&format!("all {what}"), version, shape(version, group, None));
        }
    }
    if version >= 7 {
        let stable =
            OffsetFetchRequest { require_stable: true, ..shape(version, "commits", Some(asked)) };
        peer.ask("stable", version, stable);
    }
    if version >= 8 {
        let mut several = shape(version, "commits", Some(asked));
        several.groups.extend(shape(version, "unknown", None).groups);
        peer.ask("of several groups", version, several);
    }
    if version >= 9 {
        let mut epoch = shape(version, "commits", Some(asked));
        epoch.groups[0].member_id = Some("a".into());
        epoch.groups[0].member_epoch = 3;
        peer.ask("of a member", version, epoch);
    }
}

fn shape(version: i16, group: &str, asked: Option<&[(&str, Uuid, &[i32])]>) -> OffsetFetchRequest {
    if version < 8 {
        let topic = |(name, _, partitions): &(&str, Uuid, &[i32])| OffsetFetchRequestTopic {
            name: (*name).into(),
            partition_indexes: partitions.to_vec(),
        };
        let topics = asked.map(|asked| asked.iter().map(topic).collect());
        return OffsetFetchRequest { group_id: group.into(), topics, ..Default::default() };
    }
    let topic =
        |(name, topic_id, partitions): &(&str, Uuid, &[i32])| OffsetFetchRequestGroupTopic {
            name: (*name).into(),
            topic_id: *topic_id,
            partition_indexes: partitions.to_vec(),
        };
    let topics = asked.map(|asked| asked.iter().map(topic).collect());
    let group = OffsetFetchRequestGroup { group_id: group.into(), topics, ..Default::default() };
    OffsetFetchRequest { groups: vec![group], ..Default::default() }
}

fn forget(peer: &mut Peer) {
    for (what, group, name, partition_index) in [
        ("unknown group", "unknown", "commits", 0),
        ("no group", "", "commits", 0),
        ("unknown topic", "commits", "unknown", 0),
        ("unknown partition", "commits", "commits", 9),
        ("a commit", "commits", "commits", 0),
        ("it again", "commits", "commits", 0),
    ] {
        let request = OffsetDeleteRequest {
            group_id: group.into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: name.into(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index }],
            }],
        };
        peer.newly(what, request);
    }
    peer.newly("with offsets", DeleteGroupsRequest { groups_names: texts(&["commits"]) });
    peer.newly("it again", DeleteGroupsRequest { groups_names: texts(&["commits"]) });
}
