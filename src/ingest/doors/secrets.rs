//! The secrets of a sync's doors: `PUT /v1/syncs/{sync}/doors/stripe {"secret":"whsec_.."}`.

use super::signature::SECRETS_MAX;
use crate::control::{Control, DoorRow};
use crate::http::ApiError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A door whose deliveries are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Stripe's signatures; a secret is used as it is written.
    Stripe,
    /// Standard Webhooks' signatures; a secret is `whsec_` and base64.
    Debezium,
}

/// What opens a door, as its owner writes it: one secret, or several during a rotation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    secrets: Vec<String>,
}

/// A door as it is shown: its secrets cannot be read again.
#[derive(Serialize)]
pub(super) struct DoorAnswer {
    door: &'static str,
    /// What deliveries are sent to.
    url: String,
    /// The last characters of each secret.
    secrets: Vec<String>,
}

const PREFIX: &str = "whsec_";
/// Bytes of a secret that is used as it is written.
const TEXT_BYTES: std::ops::RangeInclusive<usize> = 16..=255;
/// Bytes of a secret in base64, as Standard Webhooks wants them.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Characters of a secret that are shown.
const SHOWN: usize = 4;

impl Door {
    /// The door of this name.
    ///
    /// # Errors
    /// When there is none, naming those there are.
    pub(super) fn parse(name: &str) -> Result<Self, ApiError> {
        match name {
            "stripe" => Ok(Self::Stripe),
            "debezium" => Ok(Self::Debezium),
            "salesforce" => Err(ApiError::not_found(
                "the salesforce door has no secret: deliveries bring the account's credentials",
            )),
            _ => Err(ApiError::not_found(format!(
                "there is no door '{name}' with a secret; there are stripe and debezium"
            ))),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Debezium => "debezium",
        }
    }

    /// The key of a secret.
    fn key(self, secret: &str) -> Result<Vec<u8>, String> {
        let encoded =
            secret.strip_prefix(PREFIX).ok_or("expected a secret that starts with 'whsec_'")?;
        match self {
            Self::Stripe if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err("expected visible ASCII characters in a secret".to_owned())
            }
            Self::Stripe if !TEXT_BYTES.contains(&secret.len()) => {
                Err(format!("expected a secret of 16 to 255 bytes, found {}", secret.len()))
            }
            Self::Stripe => Ok(secret.as_bytes().to_vec()),
            Self::Debezium => {
                let key = STANDARD
                    .decode(encoded)
                    .map_err(|_| "expected base64 with padding after 'whsec_'")?;
                match BYTES.contains(&key.len()) {
                    true => Ok(key),
                    false => {
                        Err(format!("expected a secret of 24 to 64 bytes, found {}", key.len()))
                    }
                }
            }
        }
    }
}

impl Definition {
    /// The secrets, checked.
    ///
    /// # Errors
    /// When there is none, or one cannot be.
    pub(super) fn secrets(self, door: Door) -> Result<Vec<String>, ApiError> {
        let secrets: Vec<_> = self.secret.into_iter().chain(self.secrets).collect();
        if !(1..=SECRETS_MAX).contains(&secrets.len()) {
            return Err(ApiError::bad_request(format!(
                "expected 'secret', or 'secrets' with 1 to {SECRETS_MAX} of them, found {}",
                secrets.len()
            )));
        }
        for (index, secret) in secrets.iter().enumerate() {
            let wrong = |reason| ApiError::bad_request(format!("secrets[{index}]: {reason}"));
            door.key(secret).map_err(wrong)?;
        }
        Ok(secrets)
    }
}

/// What opens a door of a sync, of whichever account: each secret's key, and the account's id.
pub(super) async fn keys(
    control: &Control,
    sync: &str,
    door: Door,
) -> Result<(Vec<Vec<u8>>, Vec<String>), ApiError> {
    let rows = control.doors(sync, door.name()).await.map_err(ApiError::internal)?;
    let (mut keys, mut accounts) = (Vec::new(), Vec::new());
    for row in &rows {
        for secret in stored(row)? {
            keys.push(door.key(&secret).map_err(ApiError::internal)?);
            accounts.push(row.account.clone());
        }
    }
    Ok((keys, accounts))
}

/// A door as it is shown.
pub(super) fn answer(row: &DoorRow, door: Door, base: &str) -> Result<DoorAnswer, ApiError> {
    let shown = |secret: &String| {
        let skipped = secret.chars().count().saturating_sub(SHOWN);
        format!("whsec_...{}", secret.chars().skip(skipped).collect::<String>())
    };
    Ok(DoorAnswer {
        door: door.name(),
        url: format!("{base}/v1/ingest/{}/{}", door.name(), row.sync),
        secrets: stored(row)?.iter().map(shown).collect(),
    })
}

fn stored(row: &DoorRow) -> Result<Vec<String>, ApiError> {
    serde_json::from_str(&row.secrets).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_checked_before_they_are_kept() {
        let secrets = |text: &str, door| {
            let definition: Definition = serde_json::from_str(text).unwrap();
            definition.secrets(door).map_err(|error| error.message)
        };
        let one = r#"{"secret":"whsec_0123456789abcdef"}"#;
        assert_eq!(secrets(one, Door::Stripe).unwrap(), ["whsec_0123456789abcdef"]);
        let base64 = format!("whsec_{}", STANDARD.encode([7; 24]));
        let two = serde_json::json!({ "secrets": [base64, base64] }).to_string();
        assert_eq!(secrets(&two, Door::Debezium).unwrap().len(), 2);
        let table = [
            ("{}", "expected 'secret', or 'secrets' with 1 to 4 of them, found 0"),
            (r#"{"secrets":["","","","",""]}"#, "of them, found 5"),
            (r#"{"secret":"sk_live"}"#, "secrets[0]: expected a secret that starts with 'whsec_'"),
            (
                r#"{"secret":"whsec_a"}"#,
                "secrets[0]: expected a secret of 16 to 255 bytes, found 7",
            ),
            (r#"{"secret":"whsec_0123456789 é"}"#, "expected visible ASCII"),
        ];
        for (text, want) in table {
            let found = secrets(text, Door::Stripe).unwrap_err();
            assert!(found.contains(want), "{text}: {found}");
        }
        assert!(secrets(one, Door::Debezium).unwrap_err().contains("of 24 to 64 bytes, found 12"));
    }
}
