//! The control plane: accounts, credentials, topics, configs, syncs and webhooks, in SQLite.
//!
//! **A method that returns has its change on disk** (`synchronous = FULL`). Everything here is
//! small and read once, at start; the broker keeps what it needs in memory and writes through.

mod accounts;
mod doors;
mod groups;
mod schema;
mod syncs;
mod topics;
mod webhooks;

pub use accounts::{AccountRow, CredentialRow};
pub use doors::DoorRow;
pub use groups::GroupConfigRow;
pub use syncs::SyncRow;
pub use topics::TopicRow;
pub use webhooks::WebhookRow;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

/// What the database said.
pub type Result<T, E = Error> = std::result::Result<T, E>;

pub use sqlx::Error;

/// The embedded database.
#[derive(Clone, Debug)]
pub struct Control {
    pool: SqlitePool,
}

/// SQLite has one writer; more connections would only wait for each other.
const CONNECTIONS_MAX: u32 = 2;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl Control {
    /// Opens the database at `path`, creating it or bringing its tables up to date.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool =
            SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        schema::migrate(&pool).await?;
        Ok(Self { pool })
    }

    /// Waits for what is under way and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Reads a named value, such as the admin token.
    pub async fn setting(&self, name: &str) -> Result<Option<String>> {
        sqlx::query_scalar("SELECT value FROM setting WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await
    }

    /// Stores named values, all or none.
    pub async fn set_settings(&self, values: &[(&str, &str)]) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        for (name, value) in values {
            sqlx::query("INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
                .bind(name)
                .bind(value)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }
}
