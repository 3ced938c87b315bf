//! Doors: what the deliveries of others are signed with.

use super::{Control, Result};

/// A door of a sync, as it is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct DoorRow {
    /// The account's id.
    pub account: String,
    /// The sync's id.
    pub sync: String,
    /// `stripe` or `debezium`.
    pub door: String,
    /// Its secrets, a JSON array.
    pub secrets: String,
}

impl Control {
    /// The doors of this name that syncs of this id have, of whichever account.
    pub async fn doors(&self, sync: &str, door: &str) -> Result<Vec<DoorRow>> {
        sqlx::query_as("SELECT account, sync, door, secrets FROM door WHERE sync = ? AND door = ?")
            .bind(sync)
            .bind(door)
            .fetch_all(&self.pool)
            .await
    }

    /// Adds a door, or replaces its secrets.
    pub async fn put_door(&self, row: &DoorRow) -> Result<()> {
        sqlx::query("INSERT INTO door (account, sync, door, secrets) VALUES (?, ?, ?, ?) ON CONFLICT (sync, door, account) DO UPDATE SET secrets = excluded.secrets")
            .bind(&row.account)
            .bind(&row.sync)
            .bind(&row.door)
            .bind(&row.secrets)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes a door, and says whether it was there.
    pub async fn remove_door(&self, account: &str, sync: &str, door: &str) -> Result<bool> {
        let removed = sqlx::query("DELETE FROM door WHERE account = ? AND sync = ? AND door = ?")
            .bind(account)
            .bind(sync)
            .bind(door)
            .execute(&self.pool)
            .await?;
        Ok(removed.rows_affected() > 0)
    }
}
