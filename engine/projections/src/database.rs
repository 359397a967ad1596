//! Postgres as the engine sees it: it may not be there yet, it may go away, and it may come back as another server.
//!
//! What writes has a pool of its own, and so has what looks how far the read models are. Queries are no matter of the engine:
//! [`reading`] gives the options with which a program's own pools find the tables.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::pg;
use parking_lot::Mutex;
use sqlx::ConnectOptions as _;
use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::watch;

use crate::generations::views::LIVE;

/// Connections that write, besides one a partition beyond the first: the batch, the next session's look at the
/// checkpoints, a generation that is being folded, one that is being compared, and what operators ask for.
const WRITERS: u32 = 6;
/// With however many partitions, so that some replicas fit into Postgres's usual 100 connections.
const MOST_WRITERS: u32 = 12;
/// Connections that look how far the read models are: one look at a time, and one at what the writer waits for.
const LOOKERS: u32 = 2;
/// How long a look waits for a connection.
const ACQUIRE_BOUND: Duration = Duration::from_secs(2);
/// How long a batch waits for a connection before it counts as an outage.
const WRITER_ACQUIRE_BOUND: Duration = Duration::from_secs(5);
/// What Postgres gives a query before it ends it: a list of 200 by index takes milliseconds.
const STATEMENT_TIMEOUT: &str = "5s";
/// How long a query waits for a table that somebody has locked: five times as long as a switch of generations takes.
const READER_LOCK_TIMEOUT: &str = "1s";
/// What Postgres takes a page that is not next to the one before to cost; a page next to it costs 1. With its usual 4 it walks
/// through tens of thousands of newer rows, which stand side by side, rather than looking up the few that are wanted. Pages
/// of read models are in memory or on a disk without heads.
const RANDOM_PAGE_COST: &str = "1.1";
/// How long a batch waits for a lock before Postgres itself ends it. Below the bound of a batch (`member.rs`): else a
/// backend would be left behind at the lock by each try.
const WRITER_LOCK_TIMEOUT: &str = "20s";
/// After Postgres should have ended a query by itself, it does not answer any more.
pub const ANSWER_BOUND: Duration = Duration::from_secs(7);

/// Where Postgres is, as soon as that is known, and the pools on it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    url: watch::Receiver<Option<String>>,
    /// The pools of the URL they were made for. Held for a look or a lazy start only.
    pools: Arc<Mutex<Option<(String, Pools)>>>,
    writers: u32,
}

#[derive(Debug, Clone)]
struct Pools {
    writer: PgPool,
    looker: PgPool,
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
    /// [`sqlx::Error::Configuration`]: what is given is not a URL.
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
    /// [`sqlx::Error::Configuration`]: what is given is not a URL.
    pub fn looker(&self) -> Result<Option<PgPool>, sqlx::Error> {
        Ok(self.pools()?.map(|pools| pools.looker))
    }

    /// Closes the pools, at most within the time that the running statements need.
    pub async fn close(&self) {
        let pools = self.pools.lock().take();
        if let Some((_, pools)) = pools {
            pools.writer.close().await;
            pools.looker.close().await;
        }
    }

    fn pools(&self) -> Result<Option<Pools>, sqlx::Error> {
        let Some(url) = self.url.borrow().clone() else { return Ok(None) };
        let mut pools = self.pools.lock();
        if let Some((_, pools)) = pools.as_ref().filter(|(of, _)| *of == url) {
            return Ok(Some(pools.clone()));
        }
        let made = self.connect(&url)?;
        *pools = Some((url, made.clone()));
        Ok(Some(made))
    }

    /// Pools connect when they are first asked.
    fn connect(&self, url: &str) -> Result<Pools, sqlx::Error> {
        // A prepared statement keeps the plan that was right when its tables were empty, a scan, until they are next
        // analysed. So readers plan each query anew, and the writer, who looks rows up by their keys only, never scans.
        let writer = named(url)?.options([("enable_seqscan", "off"), ("lock_timeout", WRITER_LOCK_TIMEOUT)]);
        let writers = PgPoolOptions::new().max_connections(self.writers).acquire_timeout(WRITER_ACQUIRE_BOUND);
        let lookers = PgPoolOptions::new().max_connections(LOOKERS).acquire_timeout(ACQUIRE_BOUND);
        Ok(Pools {
            writer: pg::writing(writers).connect_lazy_with(writer),
            looker: pg::reading(lookers).connect_lazy_with(reading(url)?),
        })
    }
}

/// As what our connections are listed in `pg_stat_activity`.
const APPLICATION: &str = "backstitch";

fn named(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.application_name(APPLICATION).disable_statement_logging())
}

/// How a connection finds the tables from which answers come: it looks them up in the schema `live`, only reads, and never
/// waits longer than [`ANSWER_BOUND`].
///
/// # Errors
/// [`sqlx::Error::Configuration`]: what is given is not a URL.
pub fn reading(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(named(url)?.options([
        ("search_path", LIVE),
        ("plan_cache_mode", "force_custom_plan"),
        ("random_page_cost", RANDOM_PAGE_COST),
        ("statement_timeout", STATEMENT_TIMEOUT),
        ("lock_timeout", READER_LOCK_TIMEOUT),
        ("default_transaction_read_only", "on"),
    ]))
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
