//! The runner: one feed, all read models, one transaction a batch.
//!
//! All read models are fed from one subscription and their rows commit together, so that an answer over several tables
//! reflects one position, and a batch costs one commit. Each has its own checkpoint all the same: one that stops
//! (its table is gone, say) stays where it is while the others go on, and starts again from its own position. An event that
//! it cannot apply does not stop it: its stream is parked (`dead_letters.rs`).
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
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::apart::is_refusal;
use crate::batch::{Batch, Gathered, LastBatch, gather};
use crate::checkpoint::{self, Checkpoint, Slice};
use crate::database::Database;
use crate::dead_letters::Parked;
use crate::generations::{self, Stage};
use crate::member::{Member, Outcome, Seat, Unwritten, too_many, write, write_apart, write_repair};
use crate::progress::{Progress, State, Status};
use crate::repair::{Refusal, Request, Verb};

/// The first and the longest pause after an outage: Postgres is back within seconds, or not for minutes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// After this long a read model that stopped is tried again: its cause is in the log or the program, which change slowly.
const RETRY_STOPPED: Duration = Duration::from_secs(60);

/// So many parked streams of a read model are tried again by themselves when the program starts: some seconds' worth.
const RETRIED_AT_START: usize = 1_000;

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
    pub async fn run(self, mut requests: mpsc::Receiver<Request>) {
        let stopping = self.tasks.stopping();
        let (mut pause, mut retried) = (PAUSES.0, false);
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                ended = self.session(&mut requests, &mut retried) => ended,
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
    async fn session(&self, requests: &mut mpsc::Receiver<Request>, retried: &mut bool) -> Ended {
        match self.follow(requests, retried).await {
            Ok(never) => never,
            Err(ended) => ended,
        }
    }

    async fn follow(&self, requests: &mut mpsc::Receiver<Request>, retried: &mut bool) -> Result<Ended, Ended> {
        let Some(pool) = self.database.writer().await? else { return Ok(Ended::Stopping) };
        let mut asked = self.regroup.asked.subscribe();
        let answered = *asked.borrow_and_update();
        generations::prepare(&pool).await?;
        let mut members = self.take_over(&pool).await?;
        if !*retried {
            *retried = true; // Once, also if it fails: what cannot be tried must not keep the rest from going on.
            members = self.retry_parked(&pool, members).await?;
        }
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
                gathered = gather(&mut subscription, last_batch, retry_at, Some(&mut *requests)) => gathered?,
                // What was gathered is delivered again to the next session.
                Ok(()) = asked.changed() => return keep_positions(&pool, moves(&members)).await.and(Ok(Ended::Regroup)),
            };
            let batch = match gathered {
                Gathered::Batch(batch) => batch,
                Gathered::Asked(request) => {
                    self.act(&pool, &mut members, request).await?;
                    continue;
                }
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
                parked: Parked::default(),
                stopped: false,
            })
        };
        let mut seats: Vec<Seat> = fed.iter().filter_map(seat).collect();
        let seats = pg::tx(pool, "backstitch", |sql| {
            Box::pin(async move {
                for seat in &mut seats {
                    seat.parked = Parked::load(&mut *sql, seat.slice).await?;
                    seat.stopped = seat.parked.is_full();
                }
                Ok(seats)
            })
        });
        Ok(seats.await?.into_iter().map(Member::new).collect())
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

    /// Applies a batch to all members in one transaction; where a row is refused, to each in its own and in parts.
    async fn commit(&self, pool: &PgPool, members: Vec<Member>, batch: Batch) -> Result<Vec<Member>, Ended> {
        let seats: Vec<Seat> = members.iter().map(|member| member.seat.clone()).collect();
        match write(pool, &self.store, members, batch.clone()).await {
            Ok((members, outcomes)) => {
                self.report(&members, &outcomes, &batch);
                Ok(members)
            }
            Err(Unwritten::Postgres(error)) if is_refusal(&error) => {
                tracing::warn!(%error, "a batch was refused; taking it apart for each read model");
                let mut members = Vec::with_capacity(seats.len());
                for seat in seats {
                    let (member, outcome) = write_apart(pool, &self.store, seat, batch.clone()).await?;
                    self.report(std::slice::from_ref(&member), &[outcome], &batch);
                    members.push(member);
                }
                Ok(members)
            }
            Err(why) => Err(why.into()),
        }
    }

    /// Lets all that is parked go on, if this program can apply it: it may be another one than that which parked it.
    async fn retry_parked(&self, pool: &PgPool, members: Vec<Member>) -> Result<Vec<Member>, Ended> {
        let mut seats: Vec<Seat> = members.into_iter().map(|member| member.seat).collect();
        for seat in &mut seats {
            let streams: Vec<_> = seat.parked.letters().keys().take(RETRIED_AT_START).cloned().collect();
            for stream in streams {
                *seat = write_repair(pool, &self.store, seat.clone(), (stream, Verb::Retry)).await?.0;
            }
        }
        Ok(seats.into_iter().map(Member::new).collect())
    }

    /// Does what an operator asks, and says what came of it once that is durable.
    async fn act(&self, pool: &PgPool, members: &mut [Member], request: Request) -> Result<(), Ended> {
        let Request { slice, stream, verb, reply } = request;
        if reply.is_closed() {
            return Ok(()); // Who asked has been told that nothing was done.
        }
        let Some(member) = members.iter_mut().find(|member| member.seat.slice == slice) else {
            _ = reply.send(Err(Refusal::NotFed(slice.generation))); // Who asked may have gone.
            return Ok(());
        };
        let only_try = matches!(verb, Verb::Try);
        let (mut seat, repaired) = write_repair(pool, &self.store, member.seat.clone(), (stream, verb)).await?;
        if !only_try {
            // What stopped because of too many parked streams goes on with fewer.
            seat.stopped &= seat.parked.is_full();
            *member = Member::new(seat);
            self.mark_running(std::slice::from_ref(member));
        }
        if let Ok(repaired) = &repaired {
            self.progress.wake(&repaired.settled);
        }
        _ = reply.send(repaired); // Who asked may have gone: it is done all the same.
        Ok(())
    }

    fn report(&self, members: &[Member], outcomes: &[Outcome], batch: &Batch) {
        let occurred_at = batch.events.last().map(|event| event.metadata.occurred_at);
        self.progress.update(|statuses| {
            for (member, outcome) in members.iter().zip(outcomes) {
                let Seat { slice, .. } = &member.seat;
                if let Some(stop) = &outcome.stop {
                    tracing::error!(slice.projection, slice.generation, error = stop, "a read model stopped");
                }
                for (stream, letter) in &outcome.parked {
                    let (version, error) = (letter.version, &letter.error);
                    tracing::error!(slice.projection, slice.generation, %stream, version, error, "a stream is parked");
                }
                let Some(status) = find(statuses, &member.seat) else { continue };
                status.position = member.seat.checkpoint.position;
                status.folded += outcome.applied.folded;
                status.skipped += outcome.applied.skipped;
                if outcome.applied.folded > 0 {
                    status.occurred_at = occurred_at;
                }
                status.parked = Arc::clone(member.seat.parked.letters());
                if let Some(stop) = &outcome.stop {
                    (status.state, status.last_error) = (State::Stopped, Some(stop.clone()));
                }
            }
        });
        for (member, outcome) in members.iter().zip(outcomes).filter(|(member, _)| member.seat.live) {
            metrics::counter!("projection_events_total", "projection" => member.seat.model.name)
                .increment(outcome.applied.folded);
            self.progress.wake(&outcome.settled);
            // Who waits for a parked order to settle waits for nothing.
            let stale = outcome.parked.iter().filter_map(|(_, letter)| letter.partition_key.parse().ok());
            self.progress.wake(&stale.collect::<Vec<_>>());
            count_parked(&member.seat, outcome.parked.len());
        }
    }

    fn mark_running(&self, members: &[Member]) {
        self.progress.update(|statuses| {
            for member in members {
                if let Some(status) = find(statuses, &member.seat) {
                    status.generation = member.seat.slice.generation;
                    status.position = member.seat.checkpoint.position;
                    status.parked = Arc::clone(member.seat.parked.letters());
                    (status.state, status.last_error) = match member.seat.stopped {
                        true => (State::Stopped, status.last_error.take().or_else(|| Some(too_many()))),
                        false => (State::Running, None),
                    };
                    count_parked(&member.seat, 0);
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
}

/// The status that a member's state is told in: that of its read model, if answers come from it.
fn find<'s>(statuses: &'s mut [Status], seat: &Seat) -> Option<&'s mut Status> {
    statuses.iter_mut().find(|status| seat.live && status.name == seat.model.name)
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float, and there are never 2⁵³ parked streams")]
fn count_parked(seat: &Seat, lately: usize) {
    if seat.live {
        let name = seat.model.name;
        metrics::gauge!("projection_parked_streams", "projection" => name).set(seat.parked.letters().len() as f64);
        metrics::counter!("projection_parked_total", "projection" => name).increment(lately as u64);
    }
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
