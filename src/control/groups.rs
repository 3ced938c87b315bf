//! What is set on groups.

use super::{Control, Result};

/// The configs of a group as they are stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct GroupConfigRow {
    /// The account's id.
    pub account: String,
    /// The group.
    pub name: String,
    /// The configs set on it, a JSON object of strings.
    pub configs: String,
}

impl Control {
    /// Every group of every account on which something is set.
    pub async fn group_configs(&self) -> Result<Vec<GroupConfigRow>> {
        sqlx::query_as("SELECT account, name, configs FROM group_config")
            .fetch_all(&self.pool)
            .await
    }

    /// Stores what is set on a group.
    pub async fn set_group_config(&self, row: &GroupConfigRow) -> Result<()> {
        sqlx::query("INSERT INTO group_config (account, name, configs) VALUES (?, ?, ?) ON CONFLICT (account, name) DO UPDATE SET configs = excluded.configs")
            .bind(&row.account)
            .bind(&row.name)
            .bind(&row.configs)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes what is set on a group.
    pub async fn remove_group_config(&self, account: &str, name: &str) -> Result<()> {
        sqlx::query("DELETE FROM group_config WHERE account = ? AND name = ?")
            .bind(account)
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
