//! Accounts and their credentials.

use super::{Control, Result};

/// An account as it is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AccountRow {
    /// `acct_` and hex digits; names its directory.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The id of its virtual Kafka cluster, 16 bytes.
    pub cluster_id: Vec<u8>,
}

/// A credential as it is stored: never the password.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct CredentialRow {
    /// Unique over all accounts: it is how a client says which account it means.
    pub username: String,
    /// The account's id.
    pub account: String,
    /// Random bytes.
    pub salt: Vec<u8>,
    /// SHA-256 of salt and password.
    pub digest: Vec<u8>,
}

impl Control {
    /// Every account, by id.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>> {
        sqlx::query_as("SELECT id, name, cluster_id FROM account ORDER BY id")
            .fetch_all(&self.pool)
            .await
    }

    /// Every credential.
    pub async fn credentials(&self) -> Result<Vec<CredentialRow>> {
        sqlx::query_as("SELECT username, account, salt, digest FROM credential")
            .fetch_all(&self.pool)
            .await
    }

    /// Adds an account with its first credential, both or neither.
    pub async fn add_account(&self, account: &AccountRow, first: &CredentialRow) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("INSERT INTO account (id, name, cluster_id) VALUES (?, ?, ?)")
            .bind(&account.id)
            .bind(&account.name)
            .bind(&account.cluster_id)
            .execute(&mut *transaction)
            .await?;
        insert_credential(first, &mut *transaction).await?;
        transaction.commit().await
    }

    /// Adds a credential to an account that exists.
    pub async fn add_credential(&self, credential: &CredentialRow) -> Result<()> {
        insert_credential(credential, &self.pool).await
    }
}

async fn insert_credential(
    row: &CredentialRow,
    executor: impl sqlx::SqliteExecutor<'_>,
) -> Result<()> {
    sqlx::query("INSERT INTO credential (username, account, salt, digest) VALUES (?, ?, ?, ?)")
        .bind(&row.username)
        .bind(&row.account)
        .bind(&row.salt)
        .bind(&row.digest)
        .execute(executor)
        .await?;
    Ok(())
}
