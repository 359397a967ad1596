//! The only way into a Postgres transaction.
//!
//! sqlx 0.9.0 gives a connection back to the pool *inside an open transaction* when `pool.begin()` is dropped half-way
//! (transact-rs/sqlx#4385), which every client that hangs up can cause. Here the beginning, the work and the end run in
//! a task of their own, which nobody drops.

use std::future::Future;
use std::pin::Pin;

use sqlx::{PgConnection, PgPool};

/// The work inside a transaction.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// Runs `work` in one transaction whose tables are looked up in `schema` first; commits if it succeeds, rolls back if
/// not. When the caller is dropped, the transaction still ends by itself.
///
/// # Errors
/// What the work or Postgres says; nothing was committed then, unless the commit's own answer was lost.
pub async fn tx<T, F>(pool: &PgPool, schema: &str, work: F) -> Result<T, sqlx::Error>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
{
    tx_or(pool, schema, work).await
}

/// As [`tx`], for work that may fail otherwise too: any error of it rolls back.
///
/// # Errors
/// What the work says, or Postgres.
#[allow(clippy::disallowed_methods, reason = "the one place that begins a transaction, in a task that nobody drops")]
pub async fn tx_or<T, E, F>(pool: &PgPool, schema: &str, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<sqlx::Error> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send + 'static,
{
    let (pool, schema) = (pool.clone(), schema.to_owned());
    let task = tokio::spawn(async move {
        let mut transaction = pool.begin().await?;
        sqlx::query("select set_config('search_path', $1, true)").bind(schema).execute(&mut *transaction).await?;
        let result = work(&mut transaction).await?; // Dropping `transaction` on an error rolls it back.
        transaction.commit().await?;
        Ok(result)
    });
    task.await.map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?
}

/// Runs `work` in one transaction that reads only, and sees the database as it was when it first looked.
///
/// # Errors
/// What the work or Postgres says.
#[allow(clippy::disallowed_methods, reason = "begins a transaction in a task that nobody drops, as above")]
pub async fn snapshot<T, F>(pool: &PgPool, work: F) -> Result<T, sqlx::Error>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
{
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let mut transaction = pool.begin_with("begin isolation level repeatable read, read only").await?;
        let result = work(&mut transaction).await?;
        transaction.commit().await?;
        Ok(result)
    });
    task.await.map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?
}
