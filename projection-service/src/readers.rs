//! The connections of queries.
//!
//! Queries have a pool for each class of requests (`service_kit::Class`), so that lists never keep out the reads of one
//! row, nor waiting requests either of them. *Invariant:* within a class no read model takes more than its share of the
//! connections: where somebody has locked its tables, queries for the others go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use projection_engine::database::{ANSWER_BOUND, reading};
use service_kit::postgres::giving_way;
use service_kit::{Class, pg};
use sqlx::PgConnection;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::projections;

/// Connections for each class of queries: few, since a query is one statement of some 100 µs, a list one of some
/// milliseconds, on a machine of few cores.
const READERS: [(Class, u32); 4] = [(Class::OneRow, 6), (Class::List, 4), (Class::LongWait, 4), (Class::Heavy, 2)];
/// How long a query waits for a connection. Longer, and the client is better told to come again.
const ACQUIRE_BOUND: Duration = Duration::from_secs(2);

/// The pools of each class, of the URL they were made for.
type Pools = (String, BTreeMap<Class, Lane>);

/// The connections of all queries, as soon as it is known where Postgres is. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    url: watch::Receiver<Option<String>>,
    /// Held for a look or a lazy start only.
    pools: Arc<Mutex<Option<Pools>>>,
}

impl Readers {
    /// Those of the database whose URL the channel gives when it is ready to be asked.
    pub fn new(url: watch::Receiver<Option<String>>) -> Self {
        Self { url, pools: Arc::default() }
    }

    /// The connections for queries of a class; `None`: Postgres is not there yet.
    ///
    /// # Errors
    /// [`sqlx::Error::Configuration`]: what is given is not a URL.
    pub fn of(&self, class: Class) -> Result<Option<Lane>, sqlx::Error> {
        let Some(url) = self.url.borrow().clone() else { return Ok(None) };
        let mut pools = self.pools.lock();
        if let Some((_, lanes)) = pools.as_ref().filter(|(of, _)| *of == url) {
            return Ok(lanes.get(&class).cloned());
        }
        let options = reading(&url)?;
        let lane = |(class, most): &(Class, u32)| {
            let pool = pg::reading(PgPoolOptions::new().max_connections(*most).acquire_timeout(ACQUIRE_BOUND));
            let pool = match class {
                // What these ask for takes long, and there may be many who ask.
                Class::List | Class::Heavy => giving_way(pool),
                Class::Command | Class::OneRow | Class::LongWait | Class::Stream => pool,
            };
            // Pools connect when they are first asked.
            (*class, Lane::new(pool.connect_lazy_with(options.clone()), *most))
        };
        let lanes: BTreeMap<Class, Lane> = READERS.iter().map(lane).collect();
        let found = lanes.get(&class).cloned();
        *pools = Some((url, lanes));
        Ok(found)
    }

    /// Closes the pools, at most within the time that the running statements need.
    pub async fn close(&self) {
        let pools = self.pools.lock().take();
        for lane in pools.into_iter().flat_map(|(_, lanes)| lanes.into_values()) {
            lane.pool.close().await;
        }
    }
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
