//! The tables, and how an older database becomes a current one.

use super::Result;
use sqlx::SqlitePool;

/// Each entry takes the database from the version of its index to the next; never edit one that
/// was released.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
];

/// Applies what is missing, all or nothing: one sync.
pub(super) async fn migrate(pool: &SqlitePool) -> Result<()> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(pool).await?;
    let known = MIGRATIONS.len();
    let applied = usize::try_from(version).unwrap_or(usize::MAX);
    if applied > known {
        let text = format!(
            "the data directory is of a newer tidelog: its control database has version {version}, this one knows up to {known}"
        );
        return Err(sqlx::Error::Configuration(text.into()));
    }
    if applied == known {
        return Ok(());
    }
    let mut transaction = pool.begin().await?;
    for migration in &MIGRATIONS[applied..] {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
    }
    let bump = format!("PRAGMA user_version = {known}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(bump)).execute(&mut *transaction).await?;
    transaction.commit().await
}
