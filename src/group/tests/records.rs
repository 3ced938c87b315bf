//! The bytes of records.

use super::*;

#[test]
fn a_committed_offset_is_laid_out_as_in_kafka() {
    let committed = Committed {
        offset: 5,
        leader_epoch: 3,
        metadata: text("n"),
        commit_ms: 7,
        expire_ms: None,
    };
    let record = Record::Offset { topic: text("t"), partition: 9, committed: Some(committed) };
    let (key, value) = record.encode(&text("g"));
    assert_eq!(&key[..], b"\0\x01\0\x01g\0\x01t\0\0\0\x09");
    let value = value.unwrap();
    assert_eq!(&value[..], b"\0\x03\0\0\0\0\0\0\0\x05\0\0\0\x03\0\x01n\0\0\0\0\0\0\0\x07");
}

#[test]
fn a_group_is_laid_out_as_in_kafka() {
    let member = MemberState {
        group_instance_id: Some(text("i")),
        client_id: text("c"),
        client_host: text("h"),
        rebalance_timeout_ms: 2,
        session_timeout_ms: 3,
        subscription: blob("s"),
        assignment: blob("a"),
    };
    let metadata = Metadata {
        protocol_type: text("t"),
        generation: 1,
        protocol: Some(text("p")),
        leader: None,
        since_ms: 4,
        members: BTreeMap::from([(text("m"), member)]),
    };
    let (key, value) = Record::Group(Some(metadata)).encode(&text("g"));
    assert_eq!(&key[..], b"\0\x02\0\x01g");
    let want = b"\0\x03\0\x01t\0\0\0\x01\0\x01p\xff\xff\0\0\0\0\0\0\0\x04\0\0\0\x01\
        \0\x01m\0\x01i\0\x01c\0\x01h\0\0\0\x02\0\0\0\x03\0\0\0\x01s\0\0\0\x01a";
    assert_eq!(&value.unwrap()[..], want);
}

#[test]
fn groups_of_the_consumer_protocol_are_laid_out_as_in_kafka() {
    let id = "\x07".repeat(16);
    let owned = format!("\x02{id}\x03\0\0\0\0\0\0\0\x01\0");
    let lost = format!("\x02{id}\x02\0\0\0\x02\0");
    let (group, member) = ("\0\x01g", "\0\x01g\0\x01m");
    // A tagged struct that may be null has a byte of its own for that.
    let classic = "\x01\0\x0c\x01\0\0\0\x03\x02\x02p\x02s\0\0";
    let layouts = [
        (format!("\0\x03{group}"), "\0\0\0\0\0\x05\x01\0\x08\0\0\0\0\0\0\0\x09".to_owned()),
        (
            format!("\0\x05{member}"),
            format!("\0\0\x02i\0\x02c\x02h\x02\x02t\0\0\0\0\x02\x02u{classic}"),
        ),
        (format!("\0\x06{group}"), "\0\0\0\0\0\x05\0".to_owned()),
        (format!("\0\x07{member}"), format!("\0\0{owned}\0")),
        (format!("\0\x08{member}"), format!("\0\0\0\0\0\x05\0\0\0\x04\x02{owned}{lost}\0")),
    ];
    let mut state = ConsumerState::default();
    for (key, value) in &layouts {
        let (key, value) = (blob(key), blob(value));
        let (name, record) = Record::decode(key.clone(), Some(value.clone())).unwrap();
        assert_eq!((&*name, record.encode(&name)), ("g", (key.clone(), Some(value))));
        let Record::Consumer(read) = record else { panic!("{record:?}") };
        state.apply(&read);
        let (_, gone) = Record::decode(key.clone(), None).unwrap();
        assert_eq!(gone.encode(&name), (key, None));
    }
    assert_eq!((state.epoch, state.metadata_hash, state.assignment_epoch), (5, 9, 5));
    let (member, current) = (&state.members["m"], state.current("m"));
    assert_eq!((member.instance_id.as_deref(), member.rack_id.as_deref()), (Some("i"), None));
    assert_eq!((&*member.client_id, &*member.client_host), ("c", "h"));
    assert_eq!((&member.topics[..], member.regex.as_deref()), (&[text("t")][..], None));
    assert_eq!((member.rebalance_timeout_ms, member.assignor.as_deref()), (2, Some("u")));
    let classic = member.classic.as_ref().unwrap();
    assert_eq!((classic.session_timeout_ms, &*classic.protocols[0].name), (3, "p"));
    assert_eq!((current.epoch, current.previous_epoch), (5, 4));
    assert_eq!(current.state, ConsumerMemberState::UnrevokedPartitions);
    let all = Partitions::from_iter([([7; 16], 0), ([7; 16], 1)]);
    assert_eq!((state.target("m"), &current.assigned), (&all, &all));
    assert_eq!(current.revoking, Partitions::from_iter([([7; 16], 2)]));
}

#[test]
fn older_and_newer_values_are_read() {
    let group = blob("\0\x02\0\x01g");
    let oldest = b"\0\0\0\x01t\0\0\0\x01\0\x01p\0\x01m\0\0\0\x01\
        \0\x01m\0\x01c\0\x01h\0\0\0\x03\0\0\0\x01s\0\0\0\x01a";
    let (_, record) = Record::decode(group.clone(), Some(Bytes::from_static(oldest))).unwrap();
    let Record::Group(Some(metadata)) = record else { panic!("{record:?}") };
    let member = &metadata.members["m"];
    assert_eq!((member.rebalance_timeout_ms, member.session_timeout_ms), (3, 3));
    assert_eq!((metadata.since_ms, metadata.leader.as_deref()), (-1, Some("m")));

    let flexible = b"\0\x04\x02t\0\0\0\x01\0\0\0\0\0\0\0\0\0\x04\x01\0";
    let (_, record) = Record::decode(group, Some(Bytes::from_static(flexible))).unwrap();
    let Record::Group(Some(metadata)) = record else { panic!("{record:?}") };
    assert_eq!((metadata.generation, metadata.since_ms, metadata.protocol), (1, 4, None));
}

#[test]
fn unknown_versions_are_named_and_damage_is_an_error() {
    let decode = |key: &'static [u8], value: &'static [u8]| {
        Record::decode(Bytes::from_static(key), Some(Bytes::from_static(value))).unwrap_err()
    };
    let expected = "unknown key version 4, expected 0 to 3 or 5 to 8";
    assert_eq!(decode(b"\0\x04", b"").to_string(), expected);
    let group = b"\0\x02\0\x01g";
    let consumers = b"\0\x03\0\x01g";
    assert_eq!(
        decode(consumers, b"\0\x01").to_string(),
        "unknown value version 1, expected 0 to 0"
    );
    assert_eq!(decode(group, b"\0\x05").to_string(), "unknown value version 5, expected 0 to 4");
    assert!(matches!(decode(group, b"\0\x03\0\x01t"), RecordError::Decode(_)));
    assert!(matches!(decode(b"\0\x02\0\x01gg", b""), RecordError::Decode(_)));
}
