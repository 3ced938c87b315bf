//! Syncs: what is known of each source of records.

use super::{Control, Result};

/// A sync as it is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct SyncRow {
    /// The account's id.
    pub account: String,
    /// `sync_` and hex digits, or what the user chose.
    pub id: String,
    /// Provider, collections and mappings, as JSON.
    pub definition: String,
    /// The mappings its collections had, as JSON.
    pub history: String,
}

impl Control {
    /// Every sync of every account.
    pub async fn syncs(&self) -> Result<Vec<SyncRow>> {
        sqlx::query_as("SELECT account, id, definition, history FROM sync")
            .fetch_all(&self.pool)
            .await
    }

    /// Adds a sync, or replaces its definition.
    pub async fn put_sync(&self, row: &SyncRow) -> Result<()> {
        sqlx::query("INSERT INTO sync (account, id, definition, history) VALUES (?, ?, ?, ?) ON CONFLICT (account, id) DO UPDATE SET definition = excluded.definition, history = excluded.history")
            .bind(&row.account)
            .bind(&row.id)
            .bind(&row.definition)
            .bind(&row.history)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes a sync.
    pub async fn remove_sync(&self, account: &str, id: &str) -> Result<()> {
        sqlx::query("DELETE FROM sync WHERE account = ? AND id = ?")
            .bind(account)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
