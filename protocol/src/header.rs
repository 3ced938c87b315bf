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
