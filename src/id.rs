//! Identifiers: how they are made and written.

use crate::clock;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `prefix_` and 16 random hex digits, such as `wh_5f1c0e8a9b7d2c34`.
pub fn prefixed(prefix: &str) -> String {
    format!("{prefix}_{}", hex(&clock::random::<8>()))
}

/// 255 random bits in URL-safe base64: a secret nobody has to remember.
///
/// The first character is of the alphabet's first half, never a `-`, which a command line would
/// take for an option.
pub fn secret() -> String {
    URL_SAFE_NO_PAD.encode(no_option(clock::random::<32>()))
}

/// Makes the first base64 digit one of `A` to `f`.
fn no_option<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    bytes[0] &= 0x7f;
    bytes
}

/// A random version 4 UUID whose base64 form is no option either, like Kafka's.
pub fn random_uuid() -> [u8; 16] {
    let mut bytes = no_option(clock::random::<16>());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
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
    fn nothing_that_is_pasted_into_a_command_line_looks_like_an_option() {
        // A `-` is 62: the upper six bits of 0xf8.
        assert!(URL_SAFE_NO_PAD.encode([0xf8; 32]).starts_with('-'));
        assert!(!URL_SAFE_NO_PAD.encode(no_option([0xf8; 32])).starts_with('-'));
        for _ in 0..1_000 {
            assert!(!secret().starts_with('-') && !kafka_uuid(&random_uuid()).starts_with('-'));
        }
    }

    #[test]
    fn secrets_and_ids_do_not_repeat() {
        assert_ne!(secret(), secret());
        assert_ne!(prefixed("wh"), prefixed("wh"));
        assert_eq!(prefixed("wh").len(), "wh_".len() + 16);
    }
}
