//! Postgres as the read side sees it: it may not be there yet, it may go away, and it may come back as another server.
//!
//! Queries have a pool for each class of requests (`service_kit::Class`), so that lists never keep out the reads of one
//! row, nor waiting requests either of them. *Invariant:* within a class no read model takes more than its share of the
//! connections: where somebody has locked its tables, queries for the others go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service_kit::{Class, pg};
use sqlx::ConnectOptions as _;
use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::projections;
use crate::views::LIVE;

/// Connections that write, besides one a partition beyond the first: the batch, the next session's look at the
/// checkpoints, a generation that is being folded, one that is being compared, and what operators ask for.
const WRITERS: u32 = 6;
/// With however many partitions, so that some replicas fit into Postgres's usual 100 connections.
const MOST_WRITERS: u32 = 12;
/// Connections for each class of queries: few, since a query is one statement of some 100 µs, a list one of some
/// milliseconds, on a machine of few cores.
const READERS: [(Class, u32); 4] = [(Class::OneRow, 6), (Class::List, 4), (Class::LongWait, 4), (Class::Heavy, 2)];
/// Connections that look how far the read models are: one look at a time, and one at what the writer waits for.
const LOOKERS: u32 = 2;
/// How long a query waits for a connection. Longer, and the client is better told to come again.
const ACQUIRE_BOUND: Duration = Duration::from_secs(2);
/// How long a batch waits for a connection before it counts as an outage.
const WRITER_ACQUIRE_BOUND: Duration = Duration::from_secs(5);
/// What Postgres gives a query before it ends it: a list of 200 by index takes milliseconds.
const STATEMENT_TIMEOUT: &str = "5s";
/// How long a query waits for a table that somebody has locked: five times as long as a switch of generations takes.
const READER_LOCK_TIMEOUT: &str = "1s";
/// What Postgres takes a page that is not next to the one before to cost; a page next to it costs 1. With its usual 4 it walks
/// through tens of thousands of newer orders, which stand side by side, rather than looking up those of one customer. Pages
/// of read models are in memory or on a disk without heads.
const RANDOM_PAGE_COST: &str = "1.1";
/// How long a batch waits for a lock before Postgres itself ends it. Below the bound of a batch (`member.rs`): else a
/// backend would be left behind at the lock by each try.
const WRITER_LOCK_TIMEOUT: &str = "20s";
/// After Postgres should have ended a query by itself, it does not answer any more.
pub(crate) const ANSWER_BOUND: Duration = Duration::from_secs(7);

/// Where Postgres is, as soon as that is known, and the pools on it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    url: watch::Receiver<Option<String>>,
    /// The pools of the URL they were made for. A std mutex: held for a look or a lazy start only.
    pools: Arc<Mutex<Option<(String, Pools)>>>,
    writers: u32,
}

#[derive(Debug, Clone)]
struct Pools {
    writer: PgPool,
    looker: PgPool,
    readers: BTreeMap<Class, Lane>,
}

/// The connections for queries of one class.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pool: PgPool,
    /// By read model, how many more queries may have a connection.
    shares: Arc<BTreeMap<&'static str, Arc<Semaphore>>>,
}

/// A connection for one query, and the shares that it takes.
#[derive(Debug)]
pub(crate) struct Leased {
    connection: pg::Lent,
    _shares: Vec<OwnedSemaphorePermit>,
}

impl Database {
    /// The database whose URL the channel gives when it is ready to be asked, for runners of up to so many partitions.
    pub fn new(url: watch::Receiver<Option<String>>, partitions: u32) -> Self {
        let writers = (WRITERS + partitions.saturating_sub(1)).min(MOST_WRITERS);
        Self { url, pools: Arc::default(), writers }
    }

    /// The pool that writes, once there is a URL; `None`: there will never be one. Safe to drop while waiting.
    ///
    /// # Errors
    /// [`sqlx::Error::Configuration`]: the URL is none.
    pub async fn writer(&self) -> Result<Option<PgPool>, sqlx::Error> {
        let mut url = self.url.clone();
        if url.wait_for(Option::is_some).await.is_err() {
            return Ok(None);
        }
        Ok(self.pools()?.map(|pools| pools.writer))
    }

    /// The pool that looks how far the read models are; `None`: Postgres is not there yet.
    ///
    /// # Errors
    /// [`sqlx::Error::Configuration`]: the URL is none.
    pub fn looker(&self) -> Result<Option<PgPool>, sqlx::Error> {
        Ok(self.pools()?.map(|pools| pools.looker))
    }

    /// The connections for queries of a class; `None`: Postgres is not there yet.
    ///
    /// # Errors
    /// [`sqlx::Error::Configuration`]: the URL is none.
    pub(crate) fn reader(&self, class: Class) -> Result<Option<Lane>, sqlx::Error> {
        Ok(self.pools()?.and_then(|pools| pools.readers.get(&class).cloned()))
    }

    /// Closes the pools, at most within the time that the running statements need.
    pub async fn close(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((_, pools)) = pools {
            pools.writer.close().await;
            pools.looker.close().await;
            for lane in pools.readers.into_values() {
                lane.pool.close().await;
            }
        }
    }

    fn pools(&self) -> Result<Option<Pools>, sqlx::Error> {
        let Some(url) = self.url.borrow().clone() else { return Ok(None) };
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pools)) = pools.as_ref().filter(|(of, _)| *of == url) {
            return Ok(Some(pools.clone()));
        }
        let made = self.connect(&url)?;
        *pools = Some((url, made.clone()));
        Ok(Some(made))
    }

    /// Pools connect when they are first asked.
    fn connect(&self, url: &str) -> Result<Pools, sqlx::Error> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.application_name(APPLICATION).disable_statement_logging();
        // A prepared statement keeps the plan that was right when its tables were empty, a scan, until they are next
        // analysed. So readers plan each query anew, and the writer, who looks rows up by their keys only, never scans.
        let writer = options.clone().options([("enable_seqscan", "off"), ("lock_timeout", WRITER_LOCK_TIMEOUT)]);
        let reader = options.options([
            ("search_path", LIVE),
            ("plan_cache_mode", "force_custom_plan"),
            ("random_page_cost", RANDOM_PAGE_COST),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", READER_LOCK_TIMEOUT),
            ("default_transaction_read_only", "on"),
        ]);
        let pool = |most: u32| {
            let options = PgPoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE_BOUND);
            pg::reading(options).connect_lazy_with(reader.clone())
        };
        let options = PgPoolOptions::new().max_connections(self.writers).acquire_timeout(WRITER_ACQUIRE_BOUND);
        Ok(Pools {
            writer: pg::writing(options).connect_lazy_with(writer),
            looker: pool(LOOKERS),
            readers: READERS.iter().map(|(class, most)| (*class, Lane::new(pool(*most), *most))).collect(),
        })
    }
}

/// As what our connections are listed in `pg_stat_activity`.
const APPLICATION: &str = "backstitch";

impl Lane {
    /// A read model's share of `most` connections is half of them.
    fn new(pool: PgPool, most: u32) -> Self {
        let share = (most as usize).div_ceil(2);
        let shares = projections::ALL.iter().map(|model| (model.name, Arc::new(Semaphore::new(share))));
        Self { pool, shares: Arc::new(shares.collect()) }
    }

    /// A connection for a query about these read models.
    ///
    /// # Errors
    /// [`sqlx::Error::PoolTimedOut`]: others have them all, or the share of one of the read models; what Postgres says.
    pub async fn lease(&self, of: &[&str]) -> Result<Leased, sqlx::Error> {
        let deadline = Instant::now() + ACQUIRE_BOUND;
        let mut taken = Vec::with_capacity(of.len());
        // Always in one order, so that two queries never wait for each other; and before the connection, so that who waits
        // here holds none.
        for (_, share) in self.shares.iter().filter(|(name, _)| of.contains(name)) {
            let free = tokio::time::timeout_at(deadline, Arc::clone(share).acquire_owned()).await;
            taken.push(free.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?);
        }
        Ok(Leased { connection: pg::lend(&self.pool).await?, _shares: taken })
    }
}

impl Leased {
    /// Asks one query. A server that does not answer in time loses the connection.
    ///
    /// # Errors
    /// What Postgres says; [`sqlx::Error::Io`] (timed out).
    pub async fn ask<T>(
        mut self,
        query: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        self.connection.within(ANSWER_BOUND, query).await
    }
}

/// Whether a transaction met another at the same rows and was chosen to give way: nothing of it is there, and it can be
/// done again at once. (`serialization_failure`, `deadlock_detected`.)
pub(crate) fn is_contention(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "40001" || code == "40P01")
}

/// Those whose locks our statements wait for, for people.
const BLOCKED_BY: &str = "
select string_agg(distinct format('process %s (%s)', b.pid, coalesce(nullif(b.application_name, ''), 'no name')), ', ')
from pg_stat_activity a cross join unnest(pg_blocking_pids(a.pid)) as blocking(pid)
join pg_stat_activity b on b.pid = blocking.pid
where a.datname = current_database() and a.application_name = $1 and a.wait_event_type = 'Lock'";

/// Who holds the locks that this program's statements wait for; `None`: nobody, or Postgres does not say.
pub(crate) async fn blocked_by(database: &Database) -> Option<String> {
    let pool = database.looker().ok()??;
    let asked = async |sql: &mut PgConnection| sqlx::query_scalar(BLOCKED_BY).bind(APPLICATION).fetch_one(sql).await;
    pg::ask(&pool, ACQUIRE_BOUND, asked).await.ok()?
}
