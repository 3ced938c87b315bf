//! Standard Webhooks signatures (standardwebhooks.com, "Webhook authenticity"): HMAC-SHA256 over
//! `id.timestamp.body`, so that a receiver knows who sent a request, that nothing in it was
//! changed, and how old it is.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// An endpoint's signing secret. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a text is no secret. The text itself is left out: it may be somebody's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("expected a secret that starts with \"whsec_\"")]
    Prefix,
    #[error("expected base64 with padding after \"whsec_\"")]
    Base64,
    #[error("expected a secret of 24 to 64 bytes, found {found}")]
    Length { found: usize },
}

impl Secret {
    /// A secret of these random bytes, 24 to 64 of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Secret, Error> {
        if !BYTES.contains(&bytes.len()) {
            return Err(Error::Length { found: bytes.len() });
        }
        Ok(Secret(bytes.to_vec()))
    }

    /// Reads `whsec_` and base64.
    pub fn parse(text: &str) -> Result<Secret, Error> {
        let encoded = text.strip_prefix(PREFIX).ok_or(Error::Prefix)?;
        Secret::from_bytes(&STANDARD.decode(encoded).map_err(|_| Error::Base64)?)
    }

    /// The secret as its owner is shown it.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The signature of one request: `v1,` and base64. `timestamp` is the attempt's, in seconds
    /// since 1970; `id` stays the same over a record's attempts.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The `webhook-signature` header: one signature for each secret, so that a secret can be replaced
/// while receivers still know only the old one.
pub fn header(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets.iter().map(|it| it.sign(id, timestamp, body)).collect();
    signatures.join(" ")
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_standards_vector_is_signed_alike() {
        let secret = Secret::parse(SECRET).unwrap();
        assert_eq!(secret.sign(ID, TIMESTAMP, BODY), SIGNATURE);
        assert_eq!(secret.expose(), SECRET);
    }

    #[test]
    fn every_part_of_a_request_is_signed() {
        let secret = Secret::parse(SECRET).unwrap();
        let other = Secret::from_bytes(&[7; 32]).unwrap();
        let signatures = [
            secret.sign("msg_2", TIMESTAMP, BODY),
            secret.sign(ID, TIMESTAMP + 1, BODY),
            secret.sign(ID, TIMESTAMP, b""),
            other.sign(ID, TIMESTAMP, BODY),
        ];
        assert!(!signatures.iter().any(|it| it == SIGNATURE));
        assert_eq!(
            header(&[other, secret], ID, TIMESTAMP, BODY),
            format!("{} {SIGNATURE}", signatures[3])
        );
    }

    #[test]
    fn a_secret_is_read_strictly_and_never_printed() {
        let encoded = |length| format!("whsec_{}", STANDARD.encode(vec![1; length]));
        for length in [24, 25, 32, 64] {
            let secret = Secret::parse(&encoded(length)).unwrap();
            assert_eq!(secret, Secret::from_bytes(&vec![1; length]).unwrap());
            assert_eq!(secret.expose(), encoded(length));
            assert_eq!(format!("{secret:?}"), "Secret(redacted)");
        }
        let table = [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Error::Prefix),
            ("", Error::Prefix),
            ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Error::Prefix),
            ("whsec_?", Error::Base64),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwA", Error::Base64),
            ("whsec_", Error::Length { found: 0 }),
            (&encoded(23), Error::Length { found: 23 }),
            (&encoded(65), Error::Length { found: 65 }),
        ];
        for (text, want) in table {
            assert_eq!(Secret::parse(text).unwrap_err(), want, "{text}");
        }
    }
}
