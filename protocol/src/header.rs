//! What stands before every request and response body.
//!
//! ```text
//! request   api_key i16 | api_version i16 | correlation_id i32 | client_id nullable string | tags*
//! response  correlation_id i32 | tags*
//! ```
//!
//! `tags*` only in flexible versions (header v2 and v1). Two exceptions: `client_id` keeps its
//! old 16-bit length in every version, and a response to ApiVersions never has tags, since the
//! client cannot know yet which versions the broker speaks (KIP-511).

use crate::api::ApiKey;
use crate::wire::{Reader, Reason, Result, Str, Version, Wire, Writer, read_tags};

/// Who asks for what.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHeader {
    /// The API.
    pub key: ApiKey,
    /// The version the body and its answer are in.
    pub version: Version,
    /// Sent back with the answer.
    pub correlation_id: i32,
    /// The name the client gives itself.
    pub client_id: Option<Str>,
}

const PLAIN: Version = Version { number: 0, flexible: false };

impl RequestHeader {
    /// Takes a header off the front of a frame.
    ///
    /// Any version of ApiVersions is let through (its answer tells the client what to ask
    /// instead); of other APIs only those of [`ApiKey::versions`].
    pub fn read(input: &mut Reader) -> Result<Self> {
        let api_key = i16::read(input, PLAIN).map_err(|error| error.at("header.api_key"))?;
        let number = i16::read(input, PLAIN).map_err(|error| error.at("header.api_version"))?;
        let correlation_id =
            i32::read(input, PLAIN).map_err(|error| error.at("header.correlation_id"))?;
        let key = ApiKey::from_i16(api_key).ok_or(Reason::UnknownApi(api_key))?;
        let version = key.version(number);
        if !key.versions().contains(&number) {
            if key != ApiKey::ApiVersions {
                return Err(Reason::UnsupportedVersion { api_key, version: number }.into());
            }
            return Ok(Self { key, version, correlation_id, client_id: None });
        }
        let client_id =
            Option::<Str>::read(input, PLAIN).map_err(|error| error.at("header.client_id"))?;
        if version.flexible {
            read_tags(input, |_, _| Ok(())).map_err(|error| error.at("header.tags"))?;
        }
        Ok(Self { key, version, correlation_id, client_id })
    }

    /// Appends the header.
    pub fn write(&self, out: &mut Writer) {
        (self.key as i16).write(out, PLAIN);
        self.version.number.write(out, PLAIN);
        self.correlation_id.write(out, PLAIN);
        self.client_id.write(out, PLAIN);
        if self.version.flexible {
            out.put_uvarint(0);
        }
    }
}

/// Takes a response header off the front of a frame and gives its correlation id.
pub fn read_response_header(input: &mut Reader, key: ApiKey, version: Version) -> Result<i32> {
    let correlation_id =
        i32::read(input, PLAIN).map_err(|error| error.at("header.correlation_id"))?;
    if version.flexible && key != ApiKey::ApiVersions {
        read_tags(input, |_, _| Ok(())).map_err(|error| error.at("header.tags"))?;
    }
    Ok(correlation_id)
}

/// Appends a response header.
pub fn write_response_header(out: &mut Writer, key: ApiKey, version: Version, correlation_id: i32) {
    correlation_id.write(out, PLAIN);
    if version.flexible && key != ApiKey::ApiVersions {
        out.put_uvarint(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn written(header: &RequestHeader) -> Bytes {
        let mut out = Writer::default();
        header.write(&mut out);
        out.into_bytes()
    }

    fn answered(key: ApiKey, version: i16) -> Bytes {
        let mut out = Writer::default();
        write_response_header(&mut out, key, key.version(version), 7);
        out.into_bytes()
    }

    #[test]
    fn a_client_id_keeps_its_two_byte_length_in_flexible_headers() {
        let key = ApiKey::Produce;
        let client_id = Some(Str::from_static("cli"));
        let old = RequestHeader { key, version: key.version(8), correlation_id: 5, client_id };
        let new = RequestHeader { version: key.version(9), ..old.clone() };
        assert_eq!(written(&old), &b"\0\0\0\x08\0\0\0\x05\0\x03cli"[..]);
        assert_eq!(written(&new), &b"\0\0\0\x09\0\0\0\x05\0\x03cli\0"[..]);
        for header in [old, new] {
            let mut input = Reader::new(written(&header));
            assert_eq!(RequestHeader::read(&mut input), Ok(header));
            assert_eq!(input.remaining(), 0);
        }
    }

    #[test]
    fn unknown_tags_of_a_request_header_are_passed_over() {
        let frame = b"\0\x12\0\x03\0\0\0\x05\xff\xff\x02\x07\x01x\x80\x01\x02yzrest";
        let mut input = Reader::new(Bytes::from_static(frame));
        let header = RequestHeader::read(&mut input).expect("a header");
        assert_eq!((header.correlation_id, header.client_id), (5, None));
        assert_eq!(input.take(4).as_deref(), Ok(&b"rest"[..]));
    }

    #[test]
    fn only_an_answer_to_api_versions_has_no_tags_in_flexible_versions() {
        assert_eq!(answered(ApiKey::ApiVersions, 3), &b"\0\0\0\x07"[..]);
        assert_eq!(answered(ApiKey::Metadata, 8), &b"\0\0\0\x07"[..]);
        assert_eq!(answered(ApiKey::Metadata, 9), &b"\0\0\0\x07\0"[..]);
        for (key, number) in
            [(ApiKey::ApiVersions, 3), (ApiKey::Metadata, 8), (ApiKey::Metadata, 9)]
        {
            let mut input = Reader::new(answered(key, number));
            assert_eq!(read_response_header(&mut input, key, key.version(number)), Ok(7));
            assert_eq!(input.remaining(), 0);
        }
    }

    #[test]
    fn api_versions_of_any_version_is_let_through_without_its_client_id() {
        let mut input = Reader::new(Bytes::from_static(b"\0\x12\0\x63\0\0\0\x05whatever"));
        let header = RequestHeader::read(&mut input).expect("a header");
        assert_eq!((header.key, header.version.number), (ApiKey::ApiVersions, 99));
        assert_eq!((header.correlation_id, header.client_id), (5, None));
    }

    #[test]
    fn other_unknown_versions_and_apis_are_refused_by_number() {
        let read = |frame: &'static [u8]| {
            RequestHeader::read(&mut Reader::new(Bytes::from_static(frame)))
                .map_err(|error| error.reason)
        };
        let unsupported = Reason::UnsupportedVersion { api_key: 3, version: 99 };
        assert_eq!(read(b"\0\x03\0\x63\0\0\0\x05\xff\xff"), Err(unsupported));
        let unsupported = Reason::UnsupportedVersion { api_key: 3, version: -1 };
        assert_eq!(read(b"\0\x03\xff\xff\0\0\0\x05\xff\xff"), Err(unsupported));
        assert_eq!(read(b"\x03\xe7\0\0\0\0\0\x05\xff\xff"), Err(Reason::UnknownApi(999)));
    }
}
