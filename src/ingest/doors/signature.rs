//! Whether a delivery is from whoever knows a door's secret: Stripe's signatures
//! (docs.stripe.com/webhooks, "Verify manually") and those of Standard Webhooks
//! (standardwebhooks.com), which Debezium Server makes.
//!
//! **The work does not depend on what is found**: every secret is tried, and as many made-up ones
//! as make four, so that time tells nobody whether a sync is there or has a door.

use crate::id::hex;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Secrets of one door: the current one, and those of a rotation under way.
pub(super) const SECRETS_MAX: usize = 4;
/// Signatures of one delivery that are looked at.
const SIGNATURES_MAX: usize = 8;
/// How far a delivery's time may be from ours, in seconds: what Stripe's own libraries allow.
pub(super) const TOLERANCE_S: i64 = 300;

/// A delivery that a secret signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// Which secret.
    pub secret: usize,
    /// When, in seconds since 1970.
    pub at_s: i64,
}

/// Reads `Stripe-Signature: t=1492774577,v1=5257a8..,v1=..` over `t.body`, in hex.
pub(super) fn stripe(header: &str, body: &[u8], keys: &[Vec<u8>]) -> Option<Signed> {
    let fields = || header.split(',').filter_map(|field| field.trim().split_once('='));
    let time = fields().find(|(name, _)| *name == "t").map_or("", |(_, time)| time);
    let signatures = fields().filter(|(name, _)| *name == "v1").map(|(_, text)| text);
    let secret = signer(&[time.as_bytes(), b".", body], signatures, keys, hex);
    Some(Signed { secret: secret?, at_s: time.parse().ok()? })
}

/// Reads Standard Webhooks' three headers: signatures `v1,<base64> v1,..` over `id.time.body`.
pub(super) fn standard(
    [id, time, signatures]: [&str; 3],
    body: &[u8],
    keys: &[Vec<u8>],
) -> Option<Signed> {
    let signed = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    let signatures = signatures.split(' ').filter_map(|text| text.strip_prefix("v1,"));
    let secret = signer(&signed, signatures, keys, |mac| STANDARD.encode(mac));
    Some(Signed { secret: secret?, at_s: time.parse().ok()? })
}

/// Whether a delivery is neither so old that it may be somebody's copy, nor from the future.
pub(super) fn is_timely(at_s: i64, now_s: i64) -> bool {
    now_s.saturating_sub(at_s).saturating_abs() <= TOLERANCE_S
}

/// Which key one of the signatures was made with.
fn signer<'a>(
    signed: &[&[u8]],
    signatures: impl Iterator<Item = &'a str>,
    keys: &[Vec<u8>],
    write: impl Fn(&[u8]) -> String,
) -> Option<usize> {
    let signatures: Vec<_> = signatures.take(SIGNATURES_MAX).collect();
    let mut found = None;
    for index in 0..keys.len().max(SECRETS_MAX) {
        let key = keys.get(index);
        let bytes = key.map_or(&b"nobody's"[..], Vec::as_slice);
        let mut mac =
            Hmac::<Sha256>::new_from_slice(bytes).expect("HMAC takes a key of any length");
        signed.iter().for_each(|part| mac.update(part));
        let expected = write(&mac.finalize().into_bytes());
        let is_match = |text: &&str| bool::from(text.as_bytes().ct_eq(expected.as_bytes()));
        // All are compared, also after a match.
        let matches = signatures.iter().filter(|text| is_match(text)).count();
        if matches > 0 && key.is_some() && found.is_none() {
            found = Some(index);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Vec<Vec<u8>> {
        keys.iter().map(|key| key.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_stripe_signature_says_which_secret_made_it_and_when() {
        // Made with `openssl dgst -sha256 -hmac whsec_test` over `1700000000.{}`.
        let made = "35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91";
        let header = format!("t=1700000000,v1={made},v0=6ffbb59b");
        let both = keys(&["whsec_old", "whsec_test"]);
        let signed = Some(Signed { secret: 1, at_s: 1_700_000_000 });
        assert_eq!(stripe(&header, b"{}", &both), signed);
        let rolling = format!("t=1700000000,v1={}, v1={made}", "0".repeat(64));
        assert_eq!(stripe(&rolling, b"{}", &both), signed);

        let wrong = [
            (header.as_str(), &b"{ }"[..]),
            (&header.replace("t=17", "t=18"), b"{}"),
            (&header.replace("v1=", "v0="), b"{}"),
            (&header.to_uppercase(), b"{}"),
            (&format!("v1={made}"), b"{}"),
            (made, b"{}"),
            ("", b"{}"),
            ("t=1700000000,v1=", b"{}"),
        ];
        for (header, body) in wrong {
            assert_eq!(stripe(header, body, &both), None, "{header}");
        }
        assert_eq!(stripe(&header, b"{}", &keys(&["whsec_old"])), None);
        assert_eq!(stripe(&header, b"{}", &[]), None);
        let nobody = "685ac5848775457b9ef9018e04af8bd11c8a880bdffe8632394c21de186656cf";
        assert_eq!(stripe(&format!("t=1700000000,v1={nobody}"), b"{}", &[]), None, "made up");
    }

    #[test]
    fn a_standard_signature_is_that_of_the_standards_vector() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let headers = [
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            "v1a,x v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ];
        let body = br#"{"test": 2432232314}"#;
        let signed = Some(Signed { secret: 0, at_s: 1_614_265_330 });
        assert_eq!(standard(headers, body, std::slice::from_ref(&key)), signed);
        assert_eq!(
            standard(["msg_2", headers[1], headers[2]], body, std::slice::from_ref(&key)),
            None
        );
        assert_eq!(standard([headers[0], "", headers[2]], body, &[key]), None);
    }

    #[test]
    fn five_minutes_are_timely_and_a_second_more_is_not() {
        for (at, now, timely) in
            [(0, 300, true), (0, 301, false), (300, 0, true), (301, 0, false), (i64::MIN, 0, false)]
        {
            assert_eq!(is_timely(at, now), timely, "{at} {now}");
        }
    }
}
