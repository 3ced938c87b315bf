//! Nulls, defaults, and the formats nested in messages.

use crate::{read_request, read_response, request_bytes, response_bytes};
use bytes::Bytes;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment as TheirAssignment,
    ConsumerProtocolSubscription as TheirSubscription,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use tidelog_protocol::messages::*;
use tidelog_protocol::sample::{Sample, Source};
use tidelog_protocol::wire::Reason;
use tidelog_protocol::{ApiKey, Request, Response, Version};

#[test]
fn a_null_crosses_versions_before_it_as_the_empty_value() {
    let all = |topics| MetadataRequest { topics, ..Default::default() };
    request_null_since(1, all(None), all(Some(vec![])));
    let one = |name| all(Some(vec![MetadataRequestTopic { name, ..Default::default() }]));
    request_null_since(10, one(None), one(Some("".into())));
    let fetch = |topics| OffsetFetchRequest { topics, ..Default::default() };
    request_null_since(2, fetch(None), fetch(Some(vec![])));

    let join = |protocol_name| JoinGroupResponse { protocol_name, ..Default::default() };
    response_null_since(7, join(None), join(Some("".into())));
    let topic = |name| MetadataResponseTopic { name, ..Default::default() };
    let topics = |name| MetadataResponse { topics: vec![topic(name)], ..Default::default() };
    response_null_since(12, topics(None), topics(Some("".into())));
    let result = |name| DeletableTopicResult { name, ..Default::default() };
    let deleted =
        |name| DeleteTopicsResponse { responses: vec![result(name)], ..Default::default() };
    response_null_since(6, deleted(None), deleted(Some("".into())));
}

fn request_null_since(since: i16, null: impl Into<Request>, empty: impl Into<Request>) {
    let (null, empty) = (null.into(), empty.into());
    let key = null.api_key();
    let crossed = |number| {
        let version = key.version(number);
        read_request(request_bytes(&null, version), key, version)
    };
    assert_eq!(crossed(since - 1), empty);
    assert_eq!(crossed(since), null);
}

fn response_null_since(since: i16, null: impl Into<Response>, empty: impl Into<Response>) {
    let (null, empty) = (null.into(), empty.into());
    let key = null.api_key();
    let crossed = |number| {
        let version = key.version(number);
        let bytes = response_bytes(&null, version);
        assert_eq!(bytes == response_bytes(&empty, version), number < since, "{key:?} {number}");
        read_response(bytes, key, version)
    };
    assert_eq!(crossed(since - 1), empty);
    assert_eq!(crossed(since), null);
}

#[test]
fn a_null_from_a_client_whose_version_has_none_is_read_as_empty() {
    let key = ApiKey::Metadata;
    let read = read_request(Bytes::from_static(b"\xff\xff\xff\xff"), key, key.version(0));
    assert_eq!(read, MetadataRequest { topics: Some(vec![]), ..Default::default() }.into());
}

#[test]
fn a_string_too_long_for_its_length_is_cut_and_what_follows_is_read() {
    let key = ApiKey::CreateTopics;
    let crossed = |number: i16, text: &str| {
        let result = |name| CreatableTopicResult {
            name,
            error_message: Some(text.into()),
            ..Default::default()
        };
        let topics = vec![result("a".into()), result("b".into())];
        let response = CreateTopicsResponse { topics, ..Default::default() }.into();
        let bytes = response_bytes(&response, key.version(number));
        let Response::CreateTopics(read) = read_response(bytes, key, key.version(number)) else {
            panic!("another response");
        };
        assert_eq!(read.topics[1].name, "b");
        read.topics[0].error_message.clone().unwrap()
    };
    let (fits, long) = ("x".repeat(32_767), "\u{e9}".repeat(20_000));
    assert_eq!(crossed(4, &fits), fits);
    assert_eq!(crossed(4, &long), long[..32_766]);
    assert_eq!(crossed(5, &fits), fits);
    assert_eq!(crossed(5, &long), long[..32_766]);
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
