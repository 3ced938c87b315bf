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
