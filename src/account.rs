//! Accounts and credentials: who a username and password stand for.
//!
//! A password is 256 random bits made here, so one salted SHA-256 is as good as a slow hash: there
//! is nothing to guess. It is shown once and never stored. An unknown user costs the same work and
//! gets the same answer as a wrong password.

use crate::control::{AccountRow, CredentialRow};
use crate::{clock, id};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use subtle::ConstantTimeEq;

/// An account: the owner of one virtual Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `acct_` and hex digits; names its directory, never shown to Kafka clients.
    pub id: String,
    /// What people call it: 1 to 64 letters, digits, `-` or `_`.
    pub name: String,
    /// The virtual cluster's id, as Kafka writes it.
    pub cluster_id: String,
}

/// A username and password, in the only moment the password is known.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Unique over all accounts.
    pub username: String,
    /// 43 characters of URL-safe base64.
    pub password: String,
}

/// Why an account was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Not a name; see [`is_valid_name`].
    #[error("account name '{0}' is invalid: 1 to {NAME_BYTES_MAX} letters, digits, '-' or '_'")]
    InvalidName(String),
    /// Somebody has it.
    #[error("account '{0}' already exists")]
    Exists(String),
    /// The control database failed.
    #[error(transparent)]
    Control(#[from] sqlx::Error),
}

/// The account of `tidelog dev`, and of its clients without credentials.
pub const DEV_ACCOUNT: &str = "dev";
/// Bytes of an account name.
const NAME_BYTES_MAX: usize = 64;

/// Whether people may call an account this.
pub fn is_valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        let cluster_id = row.cluster_id.try_into().map(|uuid| id::kafka_uuid(&uuid));
        Self { id: row.id, name: row.name, cluster_id: cluster_id.unwrap_or_default() }
    }
}

/// Makes a new account's row.
pub fn new_account(name: &str) -> AccountRow {
    AccountRow {
        id: id::prefixed("acct"),
        name: name.to_owned(),
        cluster_id: id::random_uuid().to_vec(),
    }
}

/// Makes a credential for an account: what to store, and what to show once.
pub fn new_credential(account_id: &str, account_name: &str) -> (CredentialRow, Secret) {
    let suffix = id::hex(&clock::random::<4>());
    let username = format!("{account_name}-{suffix}");
    let password = id::secret();
    let salt = clock::random::<16>().to_vec();
    let digest = digest(&salt, password.as_bytes()).to_vec();
    let row =
        CredentialRow { username: username.clone(), account: account_id.to_owned(), salt, digest };
    (row, Secret { username, password })
}

fn digest(salt: &[u8], password: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(password).finalize().into()
}

/// Every credential, by username.
#[derive(Debug, Default)]
pub struct Credentials {
    by_username: RwLock<HashMap<String, CredentialRow>>,
}

impl Credentials {
    /// Takes a credential in.
    pub fn insert(&self, row: CredentialRow) {
        self.by_username.write().insert(row.username.clone(), row);
    }

    /// The id of the account that `username` and `password` stand for.
    pub fn verify(&self, username: &str, password: &[u8]) -> Option<String> {
        const NOBODY: [u8; 16] = [0; 16];
        let credentials = self.by_username.read();
        let row = credentials.get(username);
        let computed = digest(row.map_or(&NOBODY, |row| &row.salt), password);
        let row = row?;
        bool::from(row.digest.ct_eq(&computed)).then(|| row.account.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_of_the_right_user_is_accepted() {
        let account = new_account("acme");
        let (row, secret) = new_credential(&account.id, &account.name);
        let credentials = Credentials::default();
        credentials.insert(row);
        let verify = |user: &str, password: &str| credentials.verify(user, password.as_bytes());
        assert_eq!(verify(&secret.username, &secret.password), Some(account.id));
        assert_eq!(verify(&secret.username, "wrong"), None);
        assert_eq!(verify("nobody", &secret.password), None);
        assert_eq!(verify("", ""), None);
    }

    #[test]
    fn account_names_are_bounded_and_plain() {
        assert!(is_valid_name("acme-2_x"));
        for bad in ["", "a b", "ä", "../x", &"x".repeat(65)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
