//! The runner: one feed, all read models, one transaction a batch.
//!
//! All read models are fed from one subscription and their rows commit together, so that an answer over several tables
//! reflects one position, and a batch costs one commit. Each has its own checkpoint all the same: one that stops (an
//! event that it cannot read) stays where it is while the others go on, and starts again from its own position.
//!
//! A read model can have several generations here (`generations.rs`): the one that answers come from, the one before it,
//! one that is about to follow it. They are fed in one transaction as well, so that they can be compared at one position
//! and either can take the other's place.
//!
//! *Invariant:* rows, checkpoints and the look at the epoch are one transaction (`member.rs`). When it does not
//! commit, everything in memory is dropped and read again: nothing is lost and nothing is counted twice.

use std::sync::Arc;
use std::time::Duration;

use event_store::{Direction, EventStore, Filter, Position};
use service_kit::{Tasks, pg};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::batch::{Batch, Gathered, LastBatch, gather};
use crate::checkpoint::{self, Checkpoint, Slice};
use crate::database::Database;
use crate::generations::{self, Stage};
use crate::member::{Member, Outcome, Seat, Unwritten, is_refusal, write};
use crate::progress::{Progress, State, Status};

/// The first and the longest pause after an outage: Postgres is back within seconds, or not for minutes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// After this long a read model that stopped is tried again: its cause is in the log or the program, which change slowly.
const RETRY_STOPPED: Duration = Duration::from_secs(60);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the service is stopping")]
    Stopping,
    #[error("a read model that had stopped is tried again")]
    Retry,
    #[error("other generations are to be fed")]
    Regroup,
    #[error("another runner has taken over the read models")]
    Fenced,
    #[error("Postgres does not answer: {0}")]
    Postgres(#[from] sqlx::Error),
    #[error("the log cannot be followed: {0}")]
    Log(#[from] event_store::ReadError),
    #[error(
        "the read models have seen position {seen}, the log ends at {head}: its end is missing, or it is another log; \
         restore it, or drop the database of the read models"
    )]
    Ahead { seen: Position, head: Position },
    #[error(
        "the database holds the read models of another log: give this log a database of its own, or drop the schemas \
         `backstitch`, `live` and `read_<generation>` there"
    )]
    OtherLog,
}

impl From<Unwritten> for Ended {
    fn from(why: Unwritten) -> Self {
        match why {
            Unwritten::Fenced => Self::Fenced,
            Unwritten::Postgres(error) => Self::Postgres(error),
        }
    }
}

/// Asks the runner to feed other generations, and tells when it does.
#[derive(Debug, Default)]
pub struct Regroup {
    asked: watch::Sender<u64>,
    done: watch::Sender<u64>,
}

impl Regroup {
    /// Lets the runner read anew which generations are to be fed; answers once it feeds those. Safe to drop.
    pub async fn ask(&self) {
        let mut done = self.done.subscribe();
        self.asked.send_modify(|asked| *asked += 1);
        let asked = *self.asked.borrow();
        // The sender lives in `self`: the wait ends only when it has come true.
        _ = done.wait_for(|done| *done >= asked).await;
    }
}

/// Follows the log until the service stops.
pub(crate) struct Runner {
    pub store: Arc<dyn EventStore>,
    pub database: Database,
    pub progress: Arc<Progress>,
    pub tasks: Tasks,
    pub regroup: Arc<Regroup>,
    /// Which read models; all, unless a bench measures some.
    pub names: Vec<&'static str>,
}

impl Runner {
    /// Goes on until the service stops: each session ends with an outage or a retry, and the next one begins.
    pub async fn run(self) {
        let stopping = self.tasks.stopping();
        let mut pause = PAUSES.0;
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                ended = self.session() => ended,
                () = stopping.cancelled() => Ended::Stopping, // A batch in flight ends by itself: see `pg::tx`.
            };
            match &ended {
                Ended::Stopping => return self.database.close().await,
                Ended::Regroup => continue,
                Ended::Retry => {}
                Ended::Fenced | Ended::Postgres(_) | Ended::Log(_) | Ended::Ahead { .. } | Ended::OtherLog => {
                    tracing::warn!(error = %ended, retry_in_ms = pause.as_millis() as u64, "the read models stand still");
                    self.mark_down(&ended.to_string());
                }
            }
            // A session that lasted was not the same outage.
            pause = if begun.elapsed() > PAUSES.1 { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopping.cancelled() => return self.database.close().await,
            }
        }
    }

    /// From taking over to the first trouble.
    async fn session(&self) -> Ended {
        match self.follow().await {
            Ok(never) => never,
            Err(ended) => ended,
        }
    }

    async fn follow(&self) -> Result<Ended, Ended> {
        let Some(pool) = self.database.writer().await? else { return Ok(Ended::Stopping) };
        let mut asked = self.regroup.asked.subscribe();
        let answered = *asked.borrow_and_update();
        generations::prepare(&pool).await?;
        let mut members = self.take_over(&pool).await?;
        let after = members.iter().map(|member| member.seat.checkpoint.position).min().unwrap_or_default();
        self.not_ahead(&members)?;
        let mut bound = self.bind_to_log(&pool).await?;
        let mut subscription = self.store.subscribe(after, Filter::default()).await?;
        self.mark_running(&members);
        self.regroup.done.send_replace(answered);
        let (mut last_batch, mut live) = (None, false);
        let mut stopped_since: Option<Instant> = None;
        loop {
            let retry_at = stopped_since.map(|since| since + RETRY_STOPPED);
            let gathered = tokio::select! {
                gathered = gather(&mut subscription, last_batch, retry_at) => gathered?,
                // What was gathered is delivered again to the next session.
                Ok(()) = asked.changed() => return keep_positions(&pool, moves(&members)).await.and(Ok(Ended::Regroup)),
            };
            let batch = match gathered {
                Gathered::Batch(batch) => batch,
                Gathered::RetryDue => return keep_positions(&pool, moves(&members)).await.and(Ok(Ended::Retry)),
                Gathered::Closed => return Ok(Ended::Stopping),
            };
            live |= batch.caught_up;
            last_batch = Some(LastBatch { begun: Instant::now(), events: batch.events.len(), live });
            if !bound && !batch.events.is_empty() {
                bound = self.bind_to_log(&pool).await?;
            }
            members = self.commit(&pool, members, batch).await?;
            let stopped = members.iter().any(|member| member.seat.stopped);
            stopped_since = stopped.then(|| stopped_since.unwrap_or_else(Instant::now));
        }
    }

    /// What is to be fed, those with the same schema beside each other.
    async fn take_over(&self, pool: &PgPool) -> Result<Vec<Member>, Ended> {
        let mut fed = generations::all(pool).await?;
        fed.retain(|generation| generation.stage.is_fed() && self.names.contains(&generation.model.name));
        let found = checkpoint::take_over(pool, fed.iter().map(generations::Generation::slice).collect()).await?;
        let seat = |generation: &generations::Generation| {
            let (_, checkpoint) = found.iter().find(|(slice, _)| *slice == generation.slice())?;
            let others = fed.iter().filter(|other| other.model.name == generation.model.name).count();
            Some(Seat {
                model: generation.model,
                slice: generation.slice(),
                schema: generation.schema.as_str().into(),
                live: generation.stage == Stage::Live,
                exact: others > 1,
                checkpoint: *checkpoint,
                stopped: false,
            })
        };
        Ok(fed.iter().filter_map(seat).map(Member::new).collect())
    }

    /// A checkpoint beyond the log is a witness that the log has lost its end.
    fn not_ahead(&self, members: &[Member]) -> Result<(), Ended> {
        let head = *self.store.head().borrow();
        match members.iter().map(|member| member.seat.checkpoint.position).max() {
            Some(seen) if seen > head => {
                self.progress.mark_beyond(seen);
                Err(Ended::Ahead { seen, head })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a database that another log was folded into. `false`: the log is empty, so it has no name yet.
    async fn bind_to_log(&self, pool: &PgPool) -> Result<bool, Ended> {
        let first = self.store.read_all(Position::START, Direction::Forward, 1, &Filter::default()).await?;
        let Some(first) = first.first() else { return Ok(false) };
        match generations::bind_to_log(pool, first.id).await? {
            true => Ok(true),
            false => Err(Ended::OtherLog),
        }
    }

    /// Applies a batch to all members in one transaction; where a row is refused, to each in its own.
    async fn commit(&self, pool: &PgPool, members: Vec<Member>, batch: Batch) -> Result<Vec<Member>, Ended> {
        let seats: Vec<Seat> = members.iter().map(|member| member.seat.clone()).collect();
        match write(pool, &self.store, members, batch.clone()).await {
            Ok((members, outcomes)) => {
                self.report(&members, &outcomes, &batch);
                Ok(members)
            }
            Err(Unwritten::Postgres(error)) if is_refusal(&error) => {
                tracing::warn!(%error, "a batch was refused; applying it to each read model by itself");
                let mut members = Vec::with_capacity(seats.len());
                for seat in seats {
                    members.extend(self.commit_alone(pool, seat, &batch).await?);
                }
                Ok(members)
            }
            Err(why) => Err(why.into()),
        }
    }

    /// Applies a batch to one member; it stops where Postgres refuses its rows.
    async fn commit_alone(&self, pool: &PgPool, seat: Seat, batch: &Batch) -> Result<Vec<Member>, Ended> {
        match write(pool, &self.store, vec![Member::new(seat.clone())], batch.clone()).await {
            Ok((members, outcomes)) => {
                self.report(&members, &outcomes, batch);
                Ok(members)
            }
            Err(Unwritten::Postgres(error)) if is_refusal(&error) => {
                self.mark_stopped(&seat, &format!("its rows are refused: {error}"));
                Ok(vec![Member::new(Seat { stopped: true, ..seat })])
            }
            Err(why) => Err(why.into()),
        }
    }

    fn report(&self, members: &[Member], outcomes: &[Outcome], batch: &Batch) {
        let occurred_at = batch.events.last().map(|event| event.metadata.occurred_at);
        self.progress.update(|statuses| {
            for (member, outcome) in members.iter().zip(outcomes) {
                if let Some(stop) = &outcome.applied.stop {
                    let Seat { slice, .. } = &member.seat;
                    tracing::error!(slice.projection, slice.generation, error = %stop.error, "a read model stopped");
                }
                let Some(status) = find(statuses, &member.seat) else { continue };
                status.position = member.seat.checkpoint.position;
                status.folded += outcome.applied.folded;
                status.skipped += outcome.applied.skipped;
                if outcome.applied.folded > 0 {
                    status.occurred_at = occurred_at;
                }
                if let Some(stop) = &outcome.applied.stop {
                    (status.state, status.last_error) = (State::Stopped, Some(stop.error.clone()));
                }
            }
        });
        for (member, outcome) in members.iter().zip(outcomes).filter(|(member, _)| member.seat.live) {
            metrics::counter!("projection_events_total", "projection" => member.seat.model.name)
                .increment(outcome.applied.folded);
            self.progress.wake(&outcome.settled);
        }
    }

    fn mark_running(&self, members: &[Member]) {
        self.progress.update(|statuses| {
            for member in members {
                if let Some(status) = find(statuses, &member.seat) {
                    status.generation = member.seat.slice.generation;
                    (status.position, status.state, status.last_error) =
                        (member.seat.checkpoint.position, State::Running, None);
                }
            }
        });
    }

    fn mark_down(&self, error: &str) {
        self.progress.update(|statuses| {
            for status in statuses.iter_mut() {
                // One that has not started stays so: its tables may not be there.
                if status.state != State::Starting {
                    status.state = State::Down;
                }
                status.last_error = Some(error.to_owned());
            }
        });
    }

    fn mark_stopped(&self, seat: &Seat, error: &str) {
        tracing::error!(seat.slice.projection, seat.slice.generation, error, "a read model stopped");
        self.progress.update(|statuses| {
            if let Some(status) = find(statuses, seat) {
                (status.state, status.last_error) = (State::Stopped, Some(error.to_owned()));
            }
        });
    }
}

/// The status that a member's state is told in: that of its read model, if answers come from it.
fn find<'s>(statuses: &'s mut [Status], seat: &Seat) -> Option<&'s mut Status> {
    statuses.iter_mut().find(|status| seat.live && status.name == seat.model.name)
}

/// Where the members stand.
fn moves(members: &[Member]) -> Vec<(Slice, Checkpoint)> {
    members.iter().map(|member| (member.seat.slice, member.seat.checkpoint)).collect()
}

/// Writes where the members stand, before they are made anew: positions that were told do not go backwards.
async fn keep_positions(pool: &PgPool, moves: Vec<(Slice, Checkpoint)>) -> Result<(), Ended> {
    let ours = pg::tx(pool, "backstitch", |sql| Box::pin(async move { checkpoint::advance(sql, &moves).await }));
    match ours.await? {
        true => Ok(()),
        false => Err(Ended::Fenced),
    }
}
