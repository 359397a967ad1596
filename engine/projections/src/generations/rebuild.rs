//! What is done about generations in the background: folding, comparing, switching, dropping.
//!
//! Two tasks: one folds, for as long as that takes; the other does what is short. Each looks into
//! `backstitch.generations` for what is to be done, does it, writes there that it is done, and looks again. So a server
//! that is killed anywhere goes on where it was, and two servers over one database do nothing twice: a generation's
//! checkpoint has an epoch like any other, and a step that is not due any more changes nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use engine_runtime::{Tasks, pg};
use event_store::{EventStore, Filter, Position};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::compare;
use super::generation::{self, Generation, Stage};
use super::regroup::Regroup;
use super::tables::{self, LOCK};
use super::views::{self, Switched, is_lock_timeout};
use crate::database::Database;
use crate::dead_letters::Parked;
use crate::feeding::Replica;
use crate::feeding::checkpoint::{self, Checkpoint, Share, Slice};
use crate::feeding::member::{Member, Seat, Unwritten, write, write_apart};
use crate::progress::Progress;
use crate::projecting::batch::{Batch, Gathered, gather};
use crate::projecting::log::end_of;
use crate::projecting::postgres::Postgres;
use crate::projecting::row_store::RowStore as _;
use crate::read_model::ReadModels;

/// So close to the log's end a generation joins the runner: one batch, which delays the others by less than a second.
const NEAR: u64 = 4_096;
/// After something did not work; the cause is an outage, or is told in `last_error`.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at what other replicas were asked for.
const ASKED_ELSEWHERE: Duration = Duration::from_millis(500);
/// Between two looks at generations that are about to meet: some batches.
const LOOK: Duration = Duration::from_millis(50);

const ADVANCED: &str = "
update backstitch.generations set state = $4, last_error = null, row_counts = coalesce($5, row_counts)
where projection = $1 and generation = $2 and state = $3";

const COMPARED: &str = "
update backstitch.generations set comparison = $3, last_error = null
where projection = $1 and generation = $2 and state = 'ready'";

const FAILED: &str = "update backstitch.generations set last_error = $3 where projection = $1 and generation = $2";

/// Wakes the tasks: there is something to be done.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    folds: Notify,
    moves: Notify,
}

impl Wake {
    /// Something was asked for.
    pub fn all(&self) {
        self.folds.notify_one();
        self.moves.notify_one();
    }
}

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("Postgres: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("the log cannot be read: {0}")]
    Log(#[from] event_store::ReadError),
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    #[error("it cannot go on: {0}")]
    Stopped(String),
    #[error("the log has closed")]
    Closed,
}

/// The tasks' common ground. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rebuilds {
    pub models: Arc<ReadModels>,
    pub store: Arc<dyn EventStore>,
    pub replica: Replica,
    pub database: Database,
    pub progress: Arc<Progress>,
    pub regroup: Arc<Regroup>,
    pub wake: Arc<Wake>,
    pub tasks: Tasks,
}

impl Rebuilds {
    /// Starts the task that folds and the task that moves generations.
    pub fn start(self) {
        let (folds, moves, tasks) = (self.clone(), self.clone(), self.tasks);
        tasks.spawn("generations-fold", async move { folds.until_stopped(folds.fold_all()).await });
        tasks.spawn("generations-move", async move { moves.until_stopped(moves.move_all()).await });
    }

    /// Does both until it is dropped: what is under way goes on from its checkpoint, here or elsewhere.
    pub async fn work(&self) {
        tokio::join!(self.fold_all(), self.move_all());
    }

    /// Whatever is dropped at the end goes on from its checkpoint at the next start.
    async fn until_stopped(&self, work: impl Future<Output = ()>) {
        let stopping = self.tasks.stopping();
        tokio::select! {
            () = work => {}
            () = stopping.cancelled() => {}
        }
    }

    /// The pool, once the tables are there; for ever if there will be none.
    async fn pool(&self) -> Option<PgPool> {
        self.progress.started().await;
        match self.database.writer().await {
            Ok(Some(pool)) => Some(pool),
            Ok(None) => std::future::pending().await, // No Postgres belongs to this server.
            Err(_) => None,
        }
    }

    /// Waits until there may be something to do. Other replicas, who are asked too, cannot wake us.
    async fn until_woken(&self, wake: &Notify) {
        match self.regroup.is_across() {
            false => wake.notified().await,
            true => _ = tokio::time::timeout(ASKED_ELSEWHERE, wake.notified()).await,
        }
    }

    /// Folds what is to be folded, one after the other.
    async fn fold_all(&self) {
        loop {
            let Some(pool) = self.pool().await else { continue };
            match self.fold_next(&pool).await {
                Ok(true) => {}
                Ok(false) => self.until_woken(&self.wake.folds).await,
                Err(error) => {
                    tracing::warn!(%error, "a generation cannot be folded; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// `false`: there is nothing to fold.
    async fn fold_next(&self, pool: &PgPool) -> Result<bool, Failed> {
        let folds = |generation: &Generation| match generation.stage {
            Stage::Building | Stage::Replaying => true,
            Stage::Ready | Stage::Differs | Stage::Live | Stage::Previous | Stage::Retiring | Stage::Replayed => false,
        };
        let Some(next) = generation::all(pool, &self.models).await?.into_iter().find(folds) else { return Ok(false) };
        let done = self.fold(pool, &next).await;
        if let Err(error) = &done {
            tell(pool, &next, error).await?;
        }
        done.map(|()| true)
    }

    /// Folds one generation to where it ends.
    async fn fold(&self, pool: &PgPool, generation: &Generation) -> Result<(), Failed> {
        let found = self.take_over(pool, generation.slice()).await?;
        let Some((slice, checkpoint)) = found.first().copied() else { return Ok(()) };
        let mut member = Member::new(Seat {
            model: generation.model,
            slice,
            schema: generation.schema.as_str().into(),
            live: false,
            exact: true,
            checkpoint,
            parked: load_parked(pool, slice).await?,
            stopped: false,
        });
        let mut subscription = self.store.subscribe(checkpoint.position, Filter::default()).await?;
        while !self.has_come(generation, member.seat.checkpoint.position).await? {
            let begun = Instant::now();
            let mut batch = match gather::<Infallible>(&mut subscription, None, None, None).await? {
                Gathered::Batch(batch) => batch,
                Gathered::Asked(_) | Gathered::Due | Gathered::Closed => return Err(Failed::Closed),
            };
            if let Some(until) = generation.until {
                batch.events.retain(|event| event.position <= until);
                batch.up_to = batch.up_to.min(until);
            }
            member = self.write_one(pool, member, batch).await?;
            self.give_way(begun.elapsed()).await;
        }
        self.folded(pool, generation).await
    }

    /// It is folded from the log itself, so all of its partitions move together.
    async fn take_over(&self, pool: &PgPool, slice: Slice) -> Result<Vec<(Slice, Checkpoint)>, sqlx::Error> {
        let share = Share::Whole(self.replica.partitions);
        checkpoint::take_over(pool, vec![slice], share, &self.replica.name).await
    }

    /// Applies a batch to a generation; what cannot be applied is parked, as the runner does it.
    async fn write_one(&self, pool: &PgPool, member: Member, batch: Batch) -> Result<Member, Failed> {
        let seat = member.seat.clone();
        let (member, outcome) = match write(pool, &self.store, vec![member], batch.clone()).await {
            Err(Unwritten::Postgres(error)) if Postgres::is_refusal(&error) => {
                write_apart(pool, &self.store, seat, batch).await?
            }
            written => {
                let (members, outcomes) = written?;
                let Some(one) = members.into_iter().zip(outcomes).next() else { return Ok(Member::new(seat)) };
                one
            }
        };
        match outcome.stop {
            Some(stop) => Err(Failed::Stopped(stop)),
            None => Ok(member),
        }
    }

    /// Whether a generation has folded what it is to fold by itself.
    async fn has_come(&self, generation: &Generation, position: Position) -> Result<bool, Failed> {
        let near = |end: Position| position.0 + NEAR >= end.0;
        match generation.until {
            Some(until) => Ok(position >= until),
            None if !near(*self.store.head().borrow()) => Ok(false),
            // Of a log that others write too, the head that is known here may be old.
            None => Ok(!self.store.is_shared() || near(end_of(&*self.store).await?)),
        }
    }

    /// The live generations go first: where they are behind, this one rests as long as it worked.
    async fn give_way(&self, worked: Duration) {
        let head = self.store.head().borrow().0;
        let behind = self.progress.statuses().iter().any(|status| status.position.0 + NEAR < head);
        match behind {
            true => tokio::time::sleep(worked).await,
            false => tokio::task::yield_now().await,
        }
    }

    /// The next stage after folding.
    async fn folded(&self, pool: &PgPool, generation: &Generation) -> Result<(), Failed> {
        let (stage, counts) = match generation.until {
            Some(_) => (Stage::Replayed, Some(Json(count(pool, generation).await?))),
            None => (Stage::Ready, None),
        };
        let (slice, was) = (generation.slice(), generation.stage);
        pg::tx(pool, "backstitch", move |sql| {
            Box::pin(async move {
                let advanced = sqlx::query(ADVANCED).bind(slice.projection).bind(slice.generation);
                advanced.bind(was.as_str()).bind(stage.as_str()).bind(counts).execute(sql).await
            })
        })
        .await?;
        // Durable from here: the next process feeds it, or shows it.
        tracing::info!(slice.projection, slice.generation, stage = stage.as_str(), "a generation is folded");
        if stage.is_fed() {
            self.regroup.ask().await;
        }
        self.wake.moves.notify_one();
        Ok(())
    }

    /// Compares, switches and drops what is due.
    async fn move_all(&self) {
        loop {
            let Some(pool) = self.pool().await else { continue };
            match self.move_on(&pool).await {
                Ok(true) => tokio::time::sleep(LOOK).await,
                Ok(false) => self.until_woken(&self.wake.moves).await,
                Err(error) => {
                    tracing::warn!(%error, "a generation cannot be moved on; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// One look at everything. Whether there is more to come.
    async fn move_on(&self, pool: &PgPool) -> Result<bool, Failed> {
        let all = generation::all(pool, &self.models).await?;
        let mut more = false;
        for generation in &all {
            let done = match generation.stage {
                Stage::Ready => {
                    let of_same = |live: &&Generation| live.model.name == generation.model.name;
                    let live = all.iter().filter(|live| live.stage == Stage::Live).find(of_same);
                    match live {
                        Some(live) => self.settle(pool, live, generation).await,
                        None => Ok(true),
                    }
                }
                Stage::Retiring => self.retire(pool, generation).await,
                Stage::Building
                | Stage::Differs
                | Stage::Live
                | Stage::Previous
                | Stage::Replaying
                | Stage::Replayed => continue,
            };
            match done {
                Ok(done) => more |= !done,
                Err(error) => {
                    tell(pool, generation, &error).await?;
                    return Err(error);
                }
            }
        }
        Ok(more)
    }

    /// Compares a generation with the live one, and lets it take over. `false`: not yet.
    async fn settle(&self, pool: &PgPool, live: &Generation, rebuilt: &Generation) -> Result<bool, Failed> {
        let Some(found) = compare::run(pool, &self.models, live, rebuilt).await? else { return Ok(false) };
        let (slice, differences) = (rebuilt.slice(), found.differences);
        let differs = differences > 0 && !rebuilt.accept_differences;
        pg::tx(pool, "backstitch", move |sql| {
            Box::pin(async move {
                let compared = sqlx::query(COMPARED).bind(slice.projection).bind(slice.generation);
                compared.bind(Json(found)).execute(&mut *sql).await?;
                if differs {
                    let advanced = sqlx::query(ADVANCED).bind(slice.projection).bind(slice.generation);
                    let advanced = advanced.bind(Stage::Ready.as_str()).bind(Stage::Differs.as_str());
                    advanced.bind(None::<Json<BTreeMap<String, i64>>>).execute(sql).await?;
                }
                Ok(())
            })
        })
        .await?;
        if differs {
            tracing::warn!(slice.projection, slice.generation, differences, "a rebuilt generation differs");
            return Ok(true);
        }
        match views::switch(pool, &self.models, rebuilt, None).await? {
            Switched::Done => {}
            Switched::Behind | Switched::Busy => return Ok(false),
        }
        // Durable from here: answers come from it.
        tracing::info!(slice.projection, slice.generation, differences, "a rebuilt generation is live");
        self.regroup.ask().await;
        self.wake.moves.notify_one(); // The one before the previous one is to be dropped.
        Ok(true)
    }

    /// Drops a generation, once nobody feeds it. `false`: somebody still looks at its tables.
    async fn retire(&self, pool: &PgPool, generation: &Generation) -> Result<bool, Failed> {
        self.regroup.ask().await;
        let (model, slice, schema) = (generation.model, generation.slice(), generation.schema.clone());
        let dropped = pg::tx(pool, "backstitch", move |sql| {
            Box::pin(async move {
                sqlx::query("select pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *sql).await?;
                sqlx::query(views::LOCK_TIMEOUT).execute(&mut *sql).await?;
                tables::drop_tables(sql, (slice.projection, slice.generation), &schema, model.tables).await
            })
        })
        .await;
        match dropped {
            Err(error) if is_lock_timeout(&error) => Ok(false),
            dropped => Ok(dropped.map(|()| true)?),
        }
    }
}

/// What a generation has parked so far.
async fn load_parked(pool: &PgPool, slice: Slice) -> Result<Parked, sqlx::Error> {
    pg::tx(pool, "backstitch", move |sql| Box::pin(async move { Parked::load(sql, slice, |_| true).await })).await
}

/// Writes down why a generation does not move on.
async fn tell(pool: &PgPool, generation: &Generation, error: &Failed) -> Result<(), sqlx::Error> {
    let (slice, error) = (generation.slice(), error.to_string());
    pg::tx(pool, "backstitch", move |sql| {
        Box::pin(async move {
            let failed = sqlx::query(FAILED).bind(slice.projection).bind(slice.generation).bind(error);
            failed.execute(sql).await.map(|_| ())
        })
    })
    .await
}

/// How many rows each table of a generation has.
async fn count(pool: &PgPool, generation: &Generation) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let mut counts = BTreeMap::new();
    for table in generation.model.tables {
        let text = format!("select count(*) from {}.{table}", generation.schema);
        let asks = async |sql: &mut PgConnection| {
            sqlx::query_scalar(AssertSqlSafe(text)).persistent(false).fetch_one(sql).await
        };
        let rows = pg::ask(pool, pg::WHOLE_TABLES, asks).await?;
        counts.insert((*table).to_owned(), rows);
    }
    Ok(counts)
}
