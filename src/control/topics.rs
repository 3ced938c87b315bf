//! Topics, their configs, and the sync that feeds them, if one does.

use super::{Control, Result};

/// A topic as it is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct TopicRow {
    /// The account's id.
    pub account: String,
    /// Kafka's topic name.
    pub name: String,
    /// Kafka's topic id, 16 bytes.
    pub id: Vec<u8>,
    /// How many partitions it has; negative while it is being deleted.
    pub partitions: i64,
    /// The configs set on it, a JSON object of strings.
    pub configs: String,
    /// The sync whose events it holds; nobody else may write to it.
    pub sync: Option<String>,
}

impl Control {
    /// Every topic of every account.
    pub async fn topics(&self) -> Result<Vec<TopicRow>> {
        sqlx::query_as("SELECT account, name, id, partitions, configs, sync FROM topic")
            .fetch_all(&self.pool)
            .await
    }

    /// Adds a topic.
    pub async fn add_topic(&self, row: &TopicRow) -> Result<()> {
        sqlx::query("INSERT INTO topic (account, name, id, partitions, configs, sync) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&row.account)
            .bind(&row.name)
            .bind(&row.id)
            .bind(row.partitions)
            .bind(&row.configs)
            .bind(&row.sync)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Stores a topic's partitions, configs and sync.
    pub async fn update_topic(&self, row: &TopicRow) -> Result<()> {
        sqlx::query(
            "UPDATE topic SET partitions = ?, configs = ?, sync = ? WHERE account = ? AND name = ?",
        )
        .bind(row.partitions)
        .bind(&row.configs)
        .bind(&row.sync)
        .bind(&row.account)
        .bind(&row.name)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Removes a topic.
    pub async fn remove_topic(&self, account: &str, name: &str) -> Result<()> {
        sqlx::query("DELETE FROM topic WHERE account = ? AND name = ?")
            .bind(account)
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
