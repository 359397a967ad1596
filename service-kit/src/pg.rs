//! The only way into a Postgres transaction, and what a pool must prove before a connection of it is used again.
//!
//! sqlx 0.9.0 gives a connection back to the pool *inside an open transaction* when `pool.begin()` is dropped half-way
//! (transact-rs/sqlx#4385), which every client that hangs up can cause. Here the beginning, the work and the end run in
//! a task of their own, which nobody drops.
//!
//! A connection can outlive what it was good for: after a failover the server at its other end is a standby, or refuses
//! to write (SQLSTATE 25006), and answers every ping all the same. So a pool asks each idle connection what it is about to
//! be used for ([`writing`], [`reading`]); one that cannot do that is closed, and a new one goes to wherever the URL leads
//! now. That costs what sqlx's own ping costs: one round trip.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool};

/// The work inside a transaction.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// The longest that a transaction may take where the caller names no bound. Comparing two generations of a large read
/// model takes minutes; longer than this, the connection is dead and the server will never say so.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// `on` also at a standby.
const IS_READ_ONLY: &str = "select current_setting('transaction_read_only') = 'on'";
const IS_STANDBY: &str = "select pg_is_in_recovery()";

/// A pool that writes: a connection whose server no longer takes writes is closed, not used again.
pub fn writing(options: PgPoolOptions) -> PgPoolOptions {
    tested(options, IS_READ_ONLY)
}

/// A pool that only reads: a connection to a server that has become a standby, whose rows may be old, is closed.
pub fn reading(options: PgPoolOptions) -> PgPoolOptions {
    tested(options, IS_STANDBY)
}

/// Before an idle connection is used again, `is_of_no_use` must say `false`. A connection that has ended answers nothing,
/// which closes it as well.
fn tested(options: PgPoolOptions, is_of_no_use: &'static str) -> PgPoolOptions {
    options.test_before_acquire(false).before_acquire(move |connection, _| {
        Box::pin(async move {
            let of_no_use: bool = sqlx::query_scalar(is_of_no_use).fetch_one(connection).await?;
            Ok(!of_no_use)
        })
    })
}

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

/// As [`tx`], ended after `bound` at the latest: the connection is closed then, since a server that is gone without a
/// word never answers, and one that answers later must not find the connection in use for something else.
///
/// # Errors
/// What the work or Postgres says; [`sqlx::Error::Io`] (timed out) after `bound`.
pub async fn tx_within<T, F>(pool: &PgPool, schema: &str, bound: Duration, work: F) -> Result<T, sqlx::Error>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
{
    run(pool, "begin", Some(schema.to_owned()), bound, work).await
}

/// As [`tx`], for work that may fail otherwise too: any error of it rolls back.
///
/// # Errors
/// What the work says, or Postgres.
pub async fn tx_or<T, E, F>(pool: &PgPool, schema: &str, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<sqlx::Error> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send + 'static,
{
    run(pool, "begin", Some(schema.to_owned()), LONGEST, work).await
}

/// Runs `work` in one transaction that reads only, and sees the database as it was when it first looked.
///
/// # Errors
/// What the work or Postgres says.
pub async fn snapshot<T, F>(pool: &PgPool, work: F) -> Result<T, sqlx::Error>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
{
    run(pool, "begin isolation level repeatable read, read only", None, LONGEST, work).await
}

#[allow(clippy::disallowed_methods, reason = "the one place that begins a transaction, in a task that nobody drops")]
async fn run<T, E, F>(
    pool: &PgPool,
    begin: &'static str,
    schema: Option<String>,
    bound: Duration,
    work: F,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<sqlx::Error> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send + 'static,
{
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let mut connection = pool.acquire().await?;
        let whole = async {
            let mut transaction = connection.begin_with(begin).await?;
            if let Some(schema) = schema {
                let look_in = sqlx::query("select set_config('search_path', $1, true)").bind(schema);
                look_in.execute(&mut *transaction).await?;
            }
            let result = work(&mut transaction).await?; // Dropping `transaction` on an error rolls it back.
            transaction.commit().await?;
            Ok(result)
        };
        let done = tokio::time::timeout(bound, whole).await;
        done.unwrap_or_else(|_| {
            connection.close_on_drop(); // Half-way through a statement: its answer may come at any time.
            let late = format!("Postgres has not answered for {} s", bound.as_secs());
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late)).into())
        })
    });
    task.await.map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?
}
