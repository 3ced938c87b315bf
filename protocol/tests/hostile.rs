//! Bytes that mean harm: nothing panics, and nothing takes more memory than its frame allows.
//!
//! Memory is counted per thread, as the peak of what reading one frame holds at once.

use crate::{iterations, request_bytes, response_bytes, versions};
use bytes::{Bytes, BytesMut};
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::sample::Source;
use tidelog_protocol::{ApiKey, DecodeError, Reader, Request, Response, Version, Writer};

/// What a peer may make us hold while its frame is read: 64 KiB, and 16 bytes for each byte sent.
/// The slack is the reference counts of the frame itself.
fn peak_bytes_max(frame_bytes: usize) -> u64 {
    const SLACK: usize = 256;
    let counted = frame_bytes.min(Reader::BUDGET_FRAME_BYTES_MAX);
    (Reader::BUDGET_BYTES_MIN + Reader::BUDGET_PER_BYTE * counted + SLACK) as u64
}

fn read(frame: Bytes) -> Result<Request, DecodeError> {
    let mut input = Reader::new(frame);
    let header = RequestHeader::read(&mut input)?;
    if !header.key.versions().contains(&header.version.number) {
        return Ok(Request::ApiVersions(Default::default()));
    }
    let body = Request::read(header.key, header.version, &mut input)?;
    input.finish()?;
    Ok(body)
}

/// Reads a frame within its memory; whether it was a request is of no interest.
fn survives(frame: &[u8]) {
    let frame = Bytes::copy_from_slice(frame);
    let peak = peak_bytes_max(frame.len());
    let memory = allocation_counter::measure(|| drop(read(frame.clone())));
    assert!(memory.bytes_max <= peak, "{} bytes held by {frame:02x?}", memory.bytes_max);
}

fn frame(key: ApiKey, version: Version, body: &[u8]) -> BytesMut {
    let mut out = Writer::default();
    RequestHeader { key, version, correlation_id: 1, client_id: Some("mallory".into()) }
        .write(&mut out);
    out.put(body);
    BytesMut::from(&out.into_bytes()[..])
}

fn valid_frame(key: ApiKey, version: Version, source: &mut Source) -> BytesMut {
    frame(key, version, &request_bytes(&Request::sample(key, version, source), version))
}

#[test]
fn random_bodies_are_survived_by_every_request() {
    let mut source = Source::new(1);
    for (key, version) in versions() {
        for _ in 0..iterations(40) {
            // Small bytes are more often lengths and counts that go on to something.
            let bound = [256, 8, 2][source.below(3)];
            let body: Vec<_> = (0..source.below(300)).map(|_| source.below(bound) as u8).collect();
            survives(&frame(key, version, &body));
        }
    }
}

/// Our own clients read responses, perhaps of a broker that is not ours.
#[test]
fn random_and_flipped_responses_are_survived() {
    let mut source = Source::new(6);
    for (key, version) in versions() {
        for round in 0..iterations(40) {
            let valid = response_bytes(&Response::sample(key, version, &mut source), version);
            let mut bytes = BytesMut::from(&valid[..]);
            for _ in 0..(round % 2) * bytes.len() + source.below(3) {
                let at = source.below(bytes.len());
                bytes[at] ^= 1 << source.below(8);
            }
            let (bytes, peak) = (bytes.freeze(), peak_bytes_max(valid.len()));
            let memory = allocation_counter::measure(|| {
                drop(Response::read(key, version, &mut Reader::new(bytes.clone())));
            });
            assert!(memory.bytes_max <= peak, "{} held by {key:?} {bytes:02x?}", memory.bytes_max);
        }
    }
}

#[test]
fn random_frames_are_survived() {
    let mut source = Source::new(2);
    for _ in 0..iterations(20_000) {
        let mut bytes: Vec<_> = (0..source.below(100)).map(|_| source.next_u64() as u8).collect();
        if bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&[0, source.below(80) as u8, 0, source.below(14) as u8]);
        }
        survives(&bytes);
    }
}

#[test]
fn a_frame_cut_at_any_byte_is_refused() {
    for (key, version) in versions() {
        let whole = valid_frame(key, version, &mut Source::new(3)).freeze();
        assert!(read(whole.clone()).is_ok());
        for cut in 0..whole.len() {
            survives(&whole[..cut]);
            assert!(read(whole.slice(..cut)).is_err(), "{key:?} {version:?} cut at {cut}");
        }
    }
}

#[test]
fn flipped_bits_are_survived() {
    let mut source = Source::new(4);
    for (key, version) in versions() {
        for _ in 0..iterations(40) {
            let mut bytes = valid_frame(key, version, &mut source);
            for _ in 0..=source.below(3) {
                let at = source.below(bytes.len());
                bytes[at] ^= 1 << source.below(8);
            }
            survives(&bytes);
        }
    }
}

/// Every byte is taken for the start of a length, of each width, so the true ones are among them.
#[test]
fn lengths_that_lie_are_survived_wherever_they_stand() {
    for (key, version) in versions() {
        let whole = valid_frame(key, version, &mut Source::new(5));
        for at in 0..whole.len().min(iterations(400)) {
            let left = (whole.len() - at) as i32;
            for lie in [-2, 0, left - 3, left + 1, i32::MAX, i32::MIN] {
                overwritten(&whole, at, &lie.to_be_bytes());
                overwritten(&whole, at, &(lie as i16).to_be_bytes());
            }
            for varint in
                [&b"\xff\xff\xff\xff\x0f"[..], b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80"]
            {
                overwritten(&whole, at, varint);
            }
        }
    }
}

fn overwritten(whole: &[u8], at: usize, with: &[u8]) {
    let mut bytes = whole.to_vec();
    bytes.splice(at..(at + with.len()).min(whole.len()), with.iter().copied());
    survives(&bytes);
}

#[test]
fn twenty_million_tags_in_a_header_cost_nothing() {
    let mut bytes = b"\0\x03\0\x0c\0\0\0\x01\xff\xff".to_vec();
    bytes.extend(b"\x80\xda\xc4\x09");
    survives(&bytes);
    assert!(read(bytes.into()).is_err());
}

#[test]
fn a_tag_sent_again_and_again_is_held_once() {
    let version = ApiKey::Fetch.version(12);
    let mut out = Writer::default();
    Request::Fetch(Default::default()).write(&mut out, version);
    let mut body = out.into_bytes().to_vec();
    assert_eq!(body.pop(), Some(0), "no tags");
    body.extend(b"\xff\x7f");
    (0..0x3fff).for_each(|_| body.extend(b"\0\x05\x05clus"));
    let bytes = frame(ApiKey::Fetch, version, &body);
    survives(&bytes);
    assert!(read(bytes.freeze()).is_ok());
}

/// The shortest elements that take the most memory: what Metadata holds of a one-letter topic.
#[test]
fn a_frame_full_of_the_smallest_elements_is_cut_off_before_it_grows() {
    let version = ApiKey::Metadata.version(0);
    for count in [1_000, 100_000, 1_000_000_u32] {
        let mut body = count.to_be_bytes().to_vec();
        body.resize(4 + 2 * count as usize, 0);
        survives(&frame(ApiKey::Metadata, version, &body));
    }
}

#[test]
fn an_honest_list_of_short_topic_names_is_read() {
    let version = ApiKey::Metadata.version(1);
    let mut body = 100_000_u32.to_be_bytes().to_vec();
    (0..100_000).for_each(|_| body.extend(b"\0\x04name"));
    let bytes = frame(ApiKey::Metadata, version, &body);
    survives(&bytes);
    assert!(read(bytes.freeze()).is_ok());
}

/// Kafka's too: the lengths of flexible versions would allow a string as long as the frame.
#[test]
fn a_string_is_no_longer_in_flexible_versions_than_in_others() {
    let version = ApiKey::Metadata.version(9);
    for (length, is_read) in [(32_767_usize, true), (32_768, false)] {
        let mut body = b"\x02".to_vec();
        body.extend(
            [0x80 | (length + 1) & 0x7f, 0x80 | (length + 1) >> 7 & 0x7f].map(|it| it as u8),
        );
        body.push(((length + 1) >> 14) as u8);
        body.resize(body.len() + length, b'n');
        body.extend(b"\0\x01\0\0\0");
        let bytes = frame(ApiKey::Metadata, version, &body);
        survives(&bytes);
        assert_eq!(read(bytes.freeze()).is_ok(), is_read);
    }
}

/// Each is answered in dozens of bytes, or hundreds where the answer quotes a name.
#[test]
fn no_more_elements_are_read_than_can_be_answered() {
    let version = ApiKey::DescribeProducers.version(0);
    let indexes_max =
        Reader::BUDGET_PER_BYTE * Reader::BUDGET_FRAME_BYTES_MAX / Reader::BUDGET_PER_ELEMENT_MIN;
    for (count, is_read) in [(indexes_max, true), (indexes_max + 2000, false)] {
        let mut body = b"\x02\x02n".to_vec();
        let varint = [count + 1, (count + 1) >> 7, (count + 1) >> 14].map(|it| it as u8);
        body.extend([varint[0] | 0x80, varint[1] | 0x80, varint[2]]);
        body.resize(body.len() + 4 * count, 0);
        body.extend(b"\0\0");
        let bytes = frame(ApiKey::DescribeProducers, version, &body);
        assert_eq!(read(bytes.freeze()).is_ok(), is_read, "{count}");
    }
}
