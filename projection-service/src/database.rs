//! Postgres as the read side sees it: it may not be there yet, and it may go away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::sync::watch;

use crate::views::LIVE;

/// Connections that write, besides one a partition beyond the first: the batch, the next session's look at the
/// checkpoints, a generation that is being folded, one that is being compared, and what operators ask for.
const WRITERS: u32 = 6;
/// With however many partitions, so that some replicas fit into Postgres's usual 100 connections.
const MOST_WRITERS: u32 = 12;
/// Connections that answer queries: few, since each query is one statement of some 100 µs on a machine of few cores.
const READERS: u32 = 12;
/// How long a query waits for a connection. Longer, and the client is better told to come again.
const ACQUIRE_BOUND: Duration = Duration::from_secs(2);
/// How long a batch waits for a connection before it counts as an outage.
const WRITER_ACQUIRE_BOUND: Duration = Duration::from_secs(5);
/// What Postgres gives a query before it ends it: a list of 200 by index takes milliseconds.
const STATEMENT_TIMEOUT: &str = "5s";

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
    reader: PgPool,
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

    /// The pool that answers queries; `None`: Postgres is not there yet.
    ///
    /// # Errors
    /// [`sqlx::Error::Configuration`]: the URL is none.
    pub fn reader(&self) -> Result<Option<PgPool>, sqlx::Error> {
        Ok(self.pools()?.map(|pools| pools.reader))
    }

    /// Closes the pools, at most within the time that the running statements need.
    pub async fn close(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((_, pools)) = pools {
            pools.writer.close().await;
            pools.reader.close().await;
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
        let options = options.application_name("backstitch").disable_statement_logging();
        // A prepared statement keeps the plan that was right when its tables were empty, a scan, until they are next
        // analysed. So readers plan each query anew, and the writer, who looks rows up by their keys only, never scans.
        let writer = options.clone().options([("enable_seqscan", "off")]);
        let reader = options.options([
            ("search_path", LIVE),
            ("plan_cache_mode", "force_custom_plan"),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("default_transaction_read_only", "on"),
        ]);
        Ok(Pools {
            writer: PgPoolOptions::new()
                .max_connections(self.writers)
                .acquire_timeout(WRITER_ACQUIRE_BOUND)
                .connect_lazy_with(writer),
            reader: PgPoolOptions::new()
                .max_connections(READERS)
                .acquire_timeout(ACQUIRE_BOUND)
                .connect_lazy_with(reader),
        })
    }
}

/// Whether a transaction met another at the same rows and was chosen to give way: nothing of it is there, and it can be
/// done again at once. (`serialization_failure`, `deadlock_detected`.)
pub(crate) fn is_contention(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "40001" || code == "40P01")
}
