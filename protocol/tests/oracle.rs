//! Every message at every version, against an independent codec.
//!
//! The other codec only ever sees bytes that ours wrote: hostile counts would make it abort.

use crate::{iterations, read_request, read_response, request_bytes, response_bytes, versions};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};
use tidelog_protocol::sample::Source;
use tidelog_protocol::{ApiKey, Request, Response, Version};

/// Versions the other codec does not know: those that Kafka 4 dropped and what came after it was
/// written. Vectors cover them.
const UNKNOWN_TO_ORACLE: &[(ApiKey, &[i16])] = &[
    (ApiKey::Produce, &[0, 1, 2]),
    (ApiKey::ListOffsets, &[11]),
    (ApiKey::OffsetCommit, &[0, 1]),
    (ApiKey::ApiVersions, &[5]),
    (ApiKey::CreateTopics, &[0, 1]),
    (ApiKey::DeleteTopics, &[0]),
    (ApiKey::OffsetForLeaderEpoch, &[0, 1]),
    (ApiKey::WriteTxnMarkers, &[2]),
    (ApiKey::DescribeAcls, &[0]),
    (ApiKey::CreateAcls, &[0]),
    (ApiKey::DeleteAcls, &[0]),
    (ApiKey::DescribeConfigs, &[0]),
    (ApiKey::DescribeLogDirs, &[5]),
    (ApiKey::DeleteGroups, &[3]),
];

/// Versions that only the other codec knows: one between brokers, and one that Kafka hides.
const UNKNOWN_TO_US: [(ApiKey, i16); 2] = [(ApiKey::Fetch, 18), (ApiKey::InitProducerId, 6)];

/// Versions of which the other codec knows the response only.
const UNKNOWN_REQUESTS: [(ApiKey, i16); 2] =
    [(ApiKey::OffsetCommit, 10), (ApiKey::OffsetFetch, 10)];

fn their_key(key: ApiKey) -> TheirKey {
    TheirKey::try_from(key as i16).expect("an API the other codec knows")
}

fn oracle_knows(key: ApiKey, version: Version) -> bool {
    their_versions(key).any(|known| known == (key, version.number))
}

#[test]
fn both_codecs_know_the_same_versions_but_for_those_listed() {
    let ours: Vec<_> = versions().map(|(key, version)| (key, version.number)).collect();
    let theirs: Vec<_> = ApiKey::ALL.iter().flat_map(|&key| their_versions(key)).collect();
    let only_ours: Vec<_> = ours.iter().filter(|it| !theirs.contains(it)).copied().collect();
    let only_theirs: Vec<_> = theirs.iter().filter(|it| !ours.contains(it)).copied().collect();
    let listed = UNKNOWN_TO_ORACLE.iter();
    let listed: Vec<_> =
        listed.flat_map(|&(key, them)| them.iter().map(move |&it| (key, it))).collect();
    assert_eq!(only_ours, listed);
    assert_eq!(only_theirs, UNKNOWN_TO_US);
}

fn their_versions(key: ApiKey) -> impl Iterator<Item = (ApiKey, i16)> {
    let known = their_key(key).valid_versions();
    (known.min..=known.max).map(move |number| (key, number))
}

#[test]
fn headers_are_flexible_in_the_same_versions() {
    for (key, version) in versions() {
        let request_header = 1 + i16::from(version.flexible);
        let response_header = i16::from(version.flexible && key != ApiKey::ApiVersions);
        let theirs = their_key(key);
        assert_eq!(theirs.request_header_version(version.number), request_header, "{key:?}");
        assert_eq!(theirs.response_header_version(version.number), response_header, "{key:?}");
    }
}

#[test]
fn every_request_at_every_version_means_the_same_to_the_other_codec() {
    for (key, version) in versions() {
        for seed in 0..iterations(200) {
            let request = Request::sample(key, version, &mut Source::new(seed as u64));
            let bytes = request_bytes(&request, version);
            let what = format!("{key:?} request v{} of seed {seed}: {request:?}", version.number);
            if oracle_knows(key, version) && !UNKNOWN_REQUESTS.contains(&(key, version.number)) {
                let mut input = bytes.clone();
                let theirs = RequestKind::decode(their_key(key), &mut input, version.number);
                let theirs = theirs.unwrap_or_else(|error| panic!("{error:#}: {what}"));
                assert!(input.is_empty(), "{} bytes unread by {what}", input.len());
                let mut output = BytesMut::new();
                theirs.encode(&mut output, version.number).expect("what was decoded");
                same_bytes(&bytes, &output.freeze(), &what);
            }
            assert_eq!(read_request(bytes, key, version), request, "{what}");
        }
    }
}

#[test]
fn every_response_at_every_version_means_the_same_to_the_other_codec() {
    for (key, version) in versions() {
        for seed in 0..iterations(200) {
            let response = Response::sample(key, version, &mut Source::new(seed as u64));
            let bytes = response_bytes(&response, version);
            let what = format!("{key:?} response v{} of seed {seed}: {response:?}", version.number);
            if oracle_knows(key, version) {
                let mut input = bytes.clone();
                let theirs = ResponseKind::decode(their_key(key), &mut input, version.number);
                let theirs = theirs.unwrap_or_else(|error| panic!("{error:#}: {what}"));
                assert!(input.is_empty(), "{} bytes unread by {what}", input.len());
                let mut output = BytesMut::new();
                theirs.encode(&mut output, version.number).expect("what was decoded");
                same_bytes(&bytes, &output.freeze(), &what);
            }
            assert_eq!(read_response(bytes, key, version), response, "{what}");
        }
    }
}

fn same_bytes(ours: &Bytes, theirs: &Bytes, what: &str) {
    let differs = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let differs = differs.or((ours.len() != theirs.len()).then_some(ours.len().min(theirs.len())));
    assert_eq!(differs, None, "first differing byte of {what}\n{ours:02x?}\n{theirs:02x?}");
}
