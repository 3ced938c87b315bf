//! Identifiers: how they are made and written.

use crate::clock;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `prefix_` and 16 random hex digits, such as `wh_5f1c0e8a9b7d2c34`.
pub fn prefixed(prefix: &str) -> String {
    format!("{prefix}_{}", hex(&clock::random::<8>()))
}

/// 256 random bits in URL-safe base64: a secret nobody has to remember.
pub fn secret() -> String {
    URL_SAFE_NO_PAD.encode(clock::random::<32>())
}

/// 22 characters of URL-safe base64, as Kafka writes cluster and topic ids.
pub fn kafka_uuid(uuid: &[u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(uuid)
}

/// 8-4-4-4-12 hex digits, as member ids have them.
pub fn dashed_uuid(uuid: &[u8; 16]) -> String {
    let hex = hex(uuid);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_both_ways() {
        let uuid = std::array::from_fn(|index| index as u8);
        assert_eq!(dashed_uuid(&uuid), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(kafka_uuid(&uuid), "AAECAwQFBgcICQoLDA0ODw");
    }

    #[test]
    fn secrets_and_ids_do_not_repeat() {
        assert_ne!(secret(), secret());
        assert_ne!(prefixed("wh"), prefixed("wh"));
        assert_eq!(prefixed("wh").len(), "wh_".len() + 16);
    }
}
