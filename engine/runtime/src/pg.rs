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
//!
//! A server whose host is gone says nothing at all, and neither does TCP for a quarter of an hour. *Invariant:* whatever is
//! asked here ends within a bound, and a connection on which it did not is closed, also one that is only given back. So
//! connections are taken from a pool here and nowhere else (clippy bans `Pool::acquire`).

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};

/// The work inside a transaction.
pub type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// The longest that a transaction may take where the caller names no bound: some statements by key, each of which may have
/// waited for a lock (20 s at most in our own pools).
pub const USUAL: Duration = Duration::from_secs(30);

/// The longest for what reads or writes whole tables. Comparing two generations of a large read model takes minutes.
pub const WHOLE_TABLES: Duration = Duration::from_secs(30 * 60);

/// How long an idle connection may take to show that it can still be used. Half of what the shortest of our pools waits for
/// a connection, so that one that is dead leaves time to make another.
const PROVES_WITHIN: Duration = Duration::from_secs(1);

/// How long a connection may take to be given back: what was being asked on it when its caller left must end first.
const RETURNS_WITHIN: Duration = Duration::from_secs(2);

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
            let proof = sqlx::query_scalar::<_, bool>(is_of_no_use).fetch_one(connection);
            let of_no_use =
                tokio::time::timeout(PROVES_WITHIN, proof).await.unwrap_or_else(|_| Err(late(PROVES_WITHIN)));
            Ok(!of_no_use?)
        })
    })
}

/// A connection of a pool. When dropped it is given back, or closed if it does not show in time that it still lives.
#[derive(Debug)]
pub struct Lent {
    connection: PoolConnection<Postgres>,
    closes: bool,
}

/// Takes a connection from a pool, within the pool's own bound.
///
/// # Errors
/// [`sqlx::Error::PoolTimedOut`]; what Postgres says.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that takes connections, each of which is given back in time"
)]
pub async fn lend(pool: &PgPool) -> Result<Lent, sqlx::Error> {
    pool.acquire().await.map(|connection| Lent { connection, closes: false })
}

/// Takes a connection out of a pool for good: what is done on it needs bounds of its own.
///
/// # Errors
/// [`sqlx::Error::PoolTimedOut`]; what Postgres says.
#[allow(clippy::disallowed_methods, reason = "it never goes back")]
pub async fn detach(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    pool.acquire().await.map(PoolConnection::detach)
}

impl Lent {
    /// Asks something; a server that has not answered within `bound` loses the connection.
    ///
    /// # Errors
    /// What the work says; [`sqlx::Error::Io`] (timed out).
    pub async fn within<T, E: From<sqlx::Error>>(
        &mut self,
        bound: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        match tokio::time::timeout(bound, work(&mut self.connection)).await {
            Ok(done) => done,
            Err(_) => {
                self.close();
                Err(late(bound).into())
            }
        }
    }

    /// It is not used again. Half-way through a statement, its answer may come at any time.
    fn close(&mut self) {
        self.closes = true;
        self.connection.close_on_drop();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // sqlx would ask the connection whether it lives, for as long as that takes, and keep its place meanwhile.
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !self.closes
        {
            let returns = self.connection.return_to_pool();
            runtime.spawn(tokio::time::timeout(RETURNS_WITHIN, returns));
        }
    }
}

/// Asks one thing on a connection of a pool; a server that has not answered within `bound` loses the connection.
///
/// # Errors
/// [`sqlx::Error::PoolTimedOut`]; what Postgres says; [`sqlx::Error::Io`] (timed out).
pub async fn ask<T>(
    pool: &PgPool,
    bound: Duration,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, sqlx::Error> {
    lend(pool).await?.within(bound, work).await
}

/// The error of a server that has not answered within a bound.
pub fn late(bound: Duration) -> sqlx::Error {
    let late = format!("Postgres has not answered for {} s", bound.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late))
}

/// Runs `work` in one transaction whose tables are looked up in `schema` first; commits if it succeeds, rolls back if
/// not. When the caller is dropped, the transaction still ends by itself. It takes no longer than [`USUAL`].
///
/// # Errors
/// What the work or Postgres says, and [`sqlx::Error::Io`] (timed out); nothing was committed then, unless the commit's own
/// answer was lost.
pub async fn tx<T, F>(pool: &PgPool, schema: &str, work: F) -> Result<T, sqlx::Error>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
{
    tx_within(pool, schema, USUAL, work).await
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

/// As [`tx_within`], for work that may fail otherwise too: any error of it rolls back.
///
/// # Errors
/// What the work says, or Postgres.
pub async fn tx_or<T, E, F>(pool: &PgPool, schema: &str, bound: Duration, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<sqlx::Error> + Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send + 'static,
{
    run(pool, "begin", Some(schema.to_owned()), bound, work).await
}

/// Runs `work` in one transaction that reads only, and sees the database as it was when it first looked; for no longer
/// than `bound`.
///
/// # Errors
/// What the work or Postgres says.
pub async fn snapshot<T, F>(pool: &PgPool, bound: Duration, work: F) -> Result<T, sqlx::Error>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut PgConnection) -> Work<'c, T> + Send + 'static,
{
    run(pool, "begin isolation level repeatable read, read only", None, bound, work).await
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
        let mut connection = lend(&pool).await?;
        // Beginning and ending are short, however long the work may take. `None`: one of them was not.
        let whole = async |connection: &mut PgConnection| {
            let begins = async move {
                let mut transaction = connection.begin_with(begin).await?;
                if let Some(schema) = schema {
                    let look_in = sqlx::query("select set_config('search_path', $1, true)").bind(schema);
                    look_in.execute(&mut *transaction).await?;
                }
                Ok::<_, sqlx::Error>(transaction)
            };
            let Ok(begun) = tokio::time::timeout(USUAL, begins).await else { return Ok::<_, E>(None) };
            let mut transaction = begun?;
            let result = work(&mut transaction).await?; // Dropping `transaction` on an error rolls it back.
            let Ok(ended) = tokio::time::timeout(USUAL, transaction.commit()).await else { return Ok(None) };
            ended?;
            Ok(Some(result))
        };
        match connection.within(bound, whole).await? {
            Some(result) => Ok(result),
            None => {
                connection.close();
                Err(late(USUAL).into())
            }
        }
    });
    task.await.map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?
}
