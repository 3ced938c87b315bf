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

    /// Adds topics, all or none.
    pub async fn add_topics(&self, rows: &[TopicRow]) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        for row in rows {
            sqlx::query("INSERT INTO topic (account, name, id, partitions, configs, sync) VALUES (?, ?, ?, ?, ?, ?)")
                .bind(&row.account)
                .bind(&row.name)
                .bind(&row.id)
                .bind(row.partitions)
                .bind(&row.configs)
                .bind(&row.sync)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }

    /// Stores a topic's partitions, configs and sync.
    pub async fn update_topic(&self, row: &TopicRow) -> Result<()> {
        self.update_topics(std::slice::from_ref(row)).await
    }

    /// The same of many, all or none.
    pub async fn update_topics(&self, rows: &[TopicRow]) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        for row in rows {
            sqlx::query(
                "UPDATE topic SET partitions = ?, configs = ?, sync = ? \
                 WHERE account = ? AND name = ?",
            )
            .bind(row.partitions)
            .bind(&row.configs)
            .bind(&row.sync)
            .bind(&row.account)
            .bind(&row.name)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }

    /// Removes topics of an account, all or none.
    pub async fn remove_topics(&self, account: &str, names: &[String]) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        for name in names {
            sqlx::query("DELETE FROM topic WHERE account = ? AND name = ?")
                .bind(account)
                .bind(name)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }
}
