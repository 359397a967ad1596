//! How far all partitions are, those of other replicas included, as Postgres has it. In a cluster [`Progress`] says what
//! was last read here; in one process nobody reads, and the runner itself says it.
//!
//! It is read when a query is about to be answered and the last look is older than [`LOOK`]; as often while somebody waits
//! for a position or a key, by one task for all of them; and now and then in between, for `/health` and to hear that
//! other generations are to be fed.
//!
//! *Invariant:* positions are read first, parked streams after them, rows last: an answer is at least as new as the
//! position that it names, and names what was parked up to there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use engine_runtime::{Tasks, pg};
use event_store::Position;
use parking_lot::Mutex;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use crate::database::{ANSWER_BOUND, Database};
use crate::dead_letters::{Letters, Parked};
use crate::feeding::checkpoint::Slice;
use crate::generations;
use crate::generations::Regroup;
use crate::progress::{Partition, Progress, State, Status};
use crate::projecting::changes::unsigned;
use crate::read_model::ReadModels;

/// The age at which what was read is read again: well below what people notice, well above what it costs (a millisecond).
const LOOK: Duration = Duration::from_millis(25);
/// As often while nobody asks or waits.
const IDLE: Duration = Duration::from_millis(500);
/// So many keys are looked for at once; the rest is at the next look.
const KEYS: usize = 1_000;

const STANDS: &str = "
select g.projection, g.generation, c.partition, c.position, c.owner, c.stopped
from backstitch.generations g join backstitch.projection_checkpoints c using (projection, generation)
where g.state = 'live' order by g.projection, c.partition";

const FEED: &str = "select partitions, revision from backstitch.feed";

/// Changes with every row that comes, goes or changes: a new row version has a newer transaction.
const PARKED: &str = "select count(*), coalesce(max(xmin::text::bigint), 0) from backstitch.dead_letters";

/// A row of [`STANDS`].
type Stand = (String, i32, i32, i64, Option<String>, Option<String>);

/// Reads how far everything is. One a process.
#[derive(Debug)]
pub(crate) struct Board {
    models: Arc<ReadModels>,
    database: Database,
    progress: Arc<Progress>,
    regroup: Arc<Regroup>,
    partitions: u32,
    /// The last look. An async mutex: a request that comes during a look waits for that look.
    last: tokio::sync::Mutex<Look>,
    /// What keeps this replica's partitions from going on. Held for a map operation only.
    troubles: Mutex<BTreeMap<u32, String>>,
}

#[derive(Debug, Default)]
struct Look {
    at: Option<Instant>,
    /// When a look last failed, and why.
    failed: Option<(Instant, String)>,
    /// As [`PARKED`] says, and of which generations.
    seen: (i64, i64, Vec<i32>),
    letters: HashMap<&'static str, Letters>,
}

impl Board {
    /// Nothing read yet. `partitions`: how many there are.
    pub fn new(
        models: Arc<ReadModels>,
        database: Database,
        (progress, regroup): (Arc<Progress>, Arc<Regroup>),
        partitions: u32,
    ) -> Arc<Self> {
        let (last, troubles) = (tokio::sync::Mutex::default(), Mutex::default());
        Arc::new(Self { models, database, progress, regroup, partitions, last, troubles })
    }

    /// Makes sure that what [`Progress`] says is not older than [`LOOK`].
    ///
    /// # Errors
    /// What Postgres says; what was read before stays then.
    pub async fn fresh(&self) -> Result<(), sqlx::Error> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        match (last.at, &last.failed) {
            (Some(at), _) if at.elapsed() < LOOK => return Ok(()),
            // Of those who waited for a look that failed each would wait for one of its own, one after the other.
            (_, Some((at, why))) if *at >= asked => return Err(sqlx::Error::Io(std::io::Error::other(why.clone()))),
            (Some(_) | None, _) => {}
        }
        let looked = self.look(&mut last).await;
        last.failed = looked.as_ref().err().map(|error| (Instant::now(), error.to_string()));
        looked
    }

    /// A partition's runner of this replica stands still, or (`None`) goes on.
    pub fn trouble(&self, partition: u32, why: Option<String>) {
        let mut troubles = self.troubles.lock();
        match why {
            Some(why) => _ = troubles.insert(partition, format!("partition {partition}: {why}")),
            None => _ = troubles.remove(&partition),
        }
    }

    /// Makes the tables, then looks until the service stops.
    pub async fn run(self: Arc<Self>, tasks: Tasks) {
        let stopping = tasks.stopping();
        tokio::select! {
            () = self.watch() => {}
            () = stopping.cancelled() => {}
        }
    }

    async fn watch(&self) {
        let mut prepared = false;
        for round in 0_usize.. {
            let begun = Instant::now();
            let looked = async {
                if !prepared {
                    let Some(pool) = self.database.writer().await? else { return std::future::pending().await };
                    generations::prepare(&pool, &self.models, self.partitions).await?;
                    prepared = true;
                }
                self.fresh().await?;
                self.wake_at_rest(round).await
            };
            let waited = match looked.await {
                Ok(()) => self.progress.somebody_waits(),
                Err(error) => {
                    tracing::warn!(%error, "it cannot be seen how far the read models are; trying again");
                    self.mark_down(&format!("Postgres does not answer: {error}"));
                    false
                }
            };
            match waited {
                // Never busier than idle, whatever a look takes.
                true => tokio::time::sleep(LOOK.max(begun.elapsed())).await,
                false => _ = tokio::time::timeout(IDLE, self.progress.until_somebody_waits()).await,
            }
        }
    }

    async fn look(&self, last: &mut Look) -> Result<(), sqlx::Error> {
        let Some(pool) = self.database.looker()? else {
            return Err(sqlx::Error::Configuration("Postgres is not there yet".into()));
        };
        let looks = async |sql: &mut PgConnection| {
            let stands: Vec<Stand> = sqlx::query_as(STANDS).fetch_all(&mut *sql).await?;
            let feed: (i32, i64) = sqlx::query_as(FEED).fetch_one(&mut *sql).await?;
            let parked: (i64, i64) = sqlx::query_as(PARKED).fetch_one(sql).await?;
            Ok((stands, feed, parked))
        };
        let (stands, (partitions, revision), parked) = pg::ask(&pool, ANSWER_BOUND, looks).await?;
        self.look_at_parked(&pool, &stands, parked, last).await?;
        self.regroup.notice(revision);
        let divided = u32::try_from(partitions).is_ok_and(|partitions| partitions == self.partitions);
        let trouble = match divided {
            true => self.troubles.lock().values().next().cloned(),
            false => Some(format!(
                "another replica divides the events into {partitions} partitions, this one into {}: give all the same \
                 `[bus] partitions`",
                self.partitions
            )),
        };
        self.progress.update(|statuses| {
            for status in statuses.iter_mut() {
                self.show(status, &stands, trouble.as_ref(), last);
            }
        });
        last.at = Some(Instant::now());
        Ok(())
    }

    fn show(&self, status: &mut Status, stands: &[Stand], trouble: Option<&String>, last: &Look) {
        let own: Vec<&Stand> = stands.iter().filter(|(name, ..)| name == status.name).collect();
        let partition = |(_, _, partition, position, owner, _): &&Stand| Partition {
            partition: u32::try_from(*partition).unwrap_or(0),
            position: unsigned(*position),
            owner: owner.clone(),
        };
        status.partitions = own.iter().map(partition).collect();
        status.generation = own.first().map_or(0, |(_, generation, ..)| *generation);
        // A partition without a checkpoint is nowhere, and so is the lowest of all.
        let complete = status.partitions.len() == self.partitions as usize;
        let lowest = status.partitions.iter().map(|partition| partition.position).min().filter(|_| complete);
        status.position = Position(lowest.unwrap_or_default());
        status.parked = last.letters.get(status.name).cloned().unwrap_or_default();
        let stopped = own.iter().find_map(|(.., stopped)| stopped.clone());
        (status.state, status.last_error) = match (own.is_empty(), stopped, trouble) {
            (true, ..) => (State::Starting, trouble.cloned()),
            (false, Some(stopped), _) => (State::Stopped, Some(stopped)),
            (false, None, Some(trouble)) => (State::Down, Some(trouble.clone())),
            (false, None, None) => (State::Running, None),
        };
    }

    /// Reads what is parked, where anything has changed.
    async fn look_at_parked(
        &self,
        pool: &PgPool,
        stands: &[Stand],
        (count, newest): (i64, i64),
        last: &mut Look,
    ) -> Result<(), sqlx::Error> {
        let mut slices: Vec<Slice> = Vec::new();
        for (name, generation, ..) in stands {
            let Some(model) = self.models.named(name) else { continue };
            let slice = Slice { projection: model.name, generation: *generation };
            if slices.last() != Some(&slice) {
                slices.push(slice);
            }
        }
        let seen = (count, newest, slices.iter().map(|slice| slice.generation).collect());
        if seen == last.seen {
            return Ok(());
        }
        let letters = pg::snapshot(pool, ANSWER_BOUND, move |sql| {
            Box::pin(async move {
                let mut all = HashMap::new();
                for slice in slices {
                    let parked = Parked::load(sql, slice, |_| true).await?;
                    all.insert(slice.projection, Arc::clone(parked.letters()));
                }
                Ok(all)
            })
        });
        (last.letters, last.seen) = (letters.await?, seen);
        Ok(())
    }

    /// Wakes who waits for a key that is at rest, or that a parked stream keeps from it.
    async fn wake_at_rest(&self, round: usize) -> Result<(), sqlx::Error> {
        let waited = self.progress.waited(KEYS, round);
        let statuses = self.progress.statuses();
        let parked = statuses.iter().flat_map(|status| status.parked.values());
        let parked = parked.filter_map(|letter| letter.partition_key.parse().ok());
        let parked: Vec<Uuid> = parked.filter(|key| waited.contains(key)).collect();
        self.progress.wake(&parked);
        let Some(query) = self.models.at_rest().filter(|_| !waited.is_empty()) else { return Ok(()) };
        let Some(pool) = self.database.looker()? else { return Ok(()) };
        let asks = async |sql: &mut PgConnection| sqlx::query_scalar(query).bind(waited).fetch_all(sql).await;
        let at_rest: Vec<Uuid> = pg::ask(&pool, ANSWER_BOUND, asks).await?;
        self.progress.wake(&at_rest);
        Ok(())
    }

    fn mark_down(&self, error: &str) {
        self.progress.update(|statuses| {
            for status in statuses.iter_mut() {
                if status.state != State::Starting {
                    status.state = State::Down;
                }
                status.last_error = Some(error.to_owned());
            }
        });
    }
}
