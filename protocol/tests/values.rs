//! Nulls, defaults, and the formats nested in messages.

use crate::response_bytes;
use bytes::Bytes;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment as TheirAssignment,
    ConsumerProtocolSubscription as TheirSubscription,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use tidelog_protocol::messages::*;
use tidelog_protocol::sample::{Sample, Source};
use tidelog_protocol::wire::Reason;
use tidelog_protocol::{ApiKey, Reader, Request, Version};

#[test]
fn a_null_crosses_versions_before_it_as_the_empty_value() {
    let join = JoinGroupResponse { generation_id: 1, ..Default::default() };
    let before = response_bytes(&join.clone().into(), ApiKey::JoinGroup.version(4));
    assert_eq!(before, b"\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0"[..]);
    let after = response_bytes(&join.into(), ApiKey::JoinGroup.version(7));
    assert_eq!(after, b"\0\0\0\0\0\0\0\0\0\x01\0\0\x01\x01\x01\0"[..]);
}

#[test]
fn a_null_in_versions_before_it_reads_as_the_empty_value() {
    let topics = |number| {
        let mut input = Reader::new(Bytes::from_static(b"\xff\xff\xff\xff"));
        let key = ApiKey::Metadata;
        match Request::read(key, key.version(number), &mut input) {
            Ok(Request::Metadata(request)) => request.topics,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(topics(0), Some(vec![]), "version 0 has no null");
    assert_eq!(topics(1), None);
}

#[test]
fn defaults_are_kafkas() {
    assert_eq!(FetchRequest::default().replica_state.replica_epoch, -1);
    assert_eq!(FetchRequest::default().max_bytes, i32::MAX);
    assert!(MetadataRequest::default().allow_auto_topic_creation);
    assert_eq!(MetadataResponseTopic::default().topic_authorized_operations, i32::MIN);
    assert_eq!(InitProducerIdResponse::default().producer_id, -1);
    assert_eq!(DescribeConfigsResourceResult::default().config_source, -1);
    assert_eq!(OffsetForLeaderEpochRequest::default().replica_id, -2);
}

#[test]
fn what_group_members_tell_each_other_is_the_same_to_the_other_codec() {
    for number in 0..=CONSUMER_PROTOCOL_VERSION_MAX {
        let version = Version { number, flexible: false };
        for seed in 0..200 {
            let ours = ConsumerProtocolSubscription::sample(&mut Source::new(seed), version);
            let bytes = ours.to_bytes(number);
            let mut body = bytes.slice(2..);
            let theirs = TheirSubscription::decode(&mut body, number).expect("a subscription");
            assert!(body.is_empty());
            let mut again = number.to_be_bytes().to_vec();
            theirs.encode(&mut again, number).expect("what was decoded");
            assert_eq!(again, bytes);
            assert_eq!(ConsumerProtocolSubscription::from_bytes(bytes), Ok((number, ours)));

            let ours = ConsumerProtocolAssignment::sample(&mut Source::new(seed), version);
            let bytes = ours.to_bytes(number);
            let mut body = bytes.slice(2..);
            let theirs = TheirAssignment::decode(&mut body, number).expect("an assignment");
            assert!(body.is_empty());
            let mut again = number.to_be_bytes().to_vec();
            theirs.encode(&mut again, number).expect("what was decoded");
            assert_eq!(again, bytes);
            assert_eq!(ConsumerProtocolAssignment::from_bytes(bytes), Ok((number, ours)));
        }
    }
}

#[test]
fn a_later_subscription_is_read_as_the_latest_we_know() {
    let ours = ConsumerProtocolSubscription { generation_id: 4, ..Default::default() };
    let mut later = ours.to_bytes(3).to_vec();
    later[1] = 9;
    later.extend(b"appended in version 9");
    assert_eq!(ConsumerProtocolSubscription::from_bytes(later.into()), Ok((9, ours)));
    let negative = ConsumerProtocolSubscription::from_bytes(Bytes::from_static(b"\xff\xfe"));
    assert_eq!(negative.expect_err("no such version").reason, Reason::InvalidVersion(-2));
}
