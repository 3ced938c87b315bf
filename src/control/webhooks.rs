//! Webhooks: where events are pushed to.

use super::{Control, Result};

/// A webhook as it is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct WebhookRow {
    /// The account's id.
    pub account: String,
    /// `wh_` and hex digits.
    pub id: String,
    /// URL, topics and schedule, as JSON.
    pub definition: String,
    /// The signing secret, `whsec_...`.
    pub secret: String,
    /// Why it no longer delivers, if it does not.
    pub disabled: Option<String>,
}

impl Control {
    /// Every webhook of every account.
    pub async fn webhooks(&self) -> Result<Vec<WebhookRow>> {
        sqlx::query_as("SELECT account, id, definition, secret, disabled FROM webhook")
            .fetch_all(&self.pool)
            .await
    }

    /// Adds a webhook.
    pub async fn add_webhook(&self, row: &WebhookRow) -> Result<()> {
        sqlx::query("INSERT INTO webhook (account, id, definition, secret, disabled) VALUES (?, ?, ?, ?, ?)")
            .bind(&row.account)
            .bind(&row.id)
            .bind(&row.definition)
            .bind(&row.secret)
            .bind(&row.disabled)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes why a webhook no longer delivers.
    pub async fn disable_webhook(&self, account: &str, id: &str, reason: &str) -> Result<()> {
        sqlx::query("UPDATE webhook SET disabled = ? WHERE account = ? AND id = ?")
            .bind(reason)
            .bind(account)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes that a webhook delivers.
    pub async fn enable_webhook(&self, account: &str, id: &str) -> Result<()> {
        sqlx::query("UPDATE webhook SET disabled = NULL WHERE account = ? AND id = ?")
            .bind(account)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Removes a webhook.
    pub async fn remove_webhook(&self, account: &str, id: &str) -> Result<()> {
        sqlx::query("DELETE FROM webhook WHERE account = ? AND id = ?")
            .bind(account)
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
