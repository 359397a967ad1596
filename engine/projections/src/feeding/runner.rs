//! The runner: one partition of the feed, all read models, one transaction a batch. In one process the log itself is the
//! only partition; in a cluster each has a runner, in whichever replica.
//!
//! All read models are fed from one subscription and their rows commit together, so that an answer over several tables
//! reflects one position, and a batch costs one commit. Each has its own checkpoint all the same: one that stops
//! (its table is gone, say) stays where it is while the others go on, and starts again from its own position. An event that
//! it cannot apply does not stop it: its stream is parked (`dead_letters/`).
//!
//! A read model can have several generations here (`generations/`): the one that answers come from, the one before it,
//! one that is about to follow it. They are fed in one transaction as well, so that they can be compared at one position
//! and either can take the other's place.
//!
//! *Invariant:* rows, checkpoints and the look at the epoch are one transaction (`member.rs`). When it does not
//! commit, everything in memory is dropped and read again: nothing is lost and nothing is counted twice.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::{Pauses, pg};
use event_store::{Direction, EventStore, Filter, Position, Source, Subscription};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::database::{Database, blocked_by, is_contention};
use crate::dead_letters::Parked;
use crate::dead_letters::repair::{Refusal, Request, Verb};
use crate::dead_letters::resume::RETRIED_AT_START;
use crate::feeding::checkpoint::{self, Checkpoint, Share, Slice};
use crate::feeding::member::{Member, Outcome, Seat, Unwritten, write, write_apart, write_repair};
use crate::feeding::replica::Replica;
use crate::feeding::report::Reporter;
use crate::feeding::session::{Ended, KEEP, KEEP_ALONE, Session};
use crate::generations::Regroup;
use crate::generations::{self, Stage};
use crate::projecting::batch::{Batch, Gathered, LastBatch, gather};
use crate::projecting::log::end_of;
use crate::projecting::postgres::Postgres;
use crate::projecting::row_store::RowStore as _;
use crate::read_model::ReadModels;

/// The pauses after an outage: Postgres is back within seconds, or not for minutes.
const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(100), Duration::from_secs(5));
/// A session that lasted so long was not ended by the outage before it.
const WENT_WELL: Duration = Duration::from_secs(5);
/// After this long a read model that stopped is tried again: its cause is in the log or the program, which change slowly.
const RETRY_STOPPED: Duration = Duration::from_secs(60);

/// A batch that has not been written for so long stands still: people are told, and for whom it waits.
const STANDS_STILL: Duration = Duration::from_secs(5);

/// The longest pause between the beginnings of two batches where partitions share a Postgres.
const LONGEST_REST: Duration = Duration::from_millis(200);
/// How often a batch that met another at the same sums is written again at once. Each time one of both goes on.
const TRIES: u32 = 8;

/// Follows one partition of the log until it is told to stop.
pub(crate) struct Runner {
    pub models: Arc<ReadModels>,
    pub store: Arc<dyn EventStore>,
    pub source: Arc<dyn Source>,
    pub replica: Replica,
    pub database: Database,
    pub report: Reporter,
    pub regroup: Arc<Regroup>,
    /// The service stops, or the partition goes to somebody else.
    pub stopping: CancellationToken,
    /// Which read models; all, unless a bench measures some.
    pub names: Vec<&'static str>,
}

impl Runner {
    /// Goes on until it is told to stop: each session ends with an outage or a retry, and the next one begins. When this
    /// returns, the batch in flight has ended.
    pub async fn run(self, requests: &mut mpsc::Receiver<Request>) {
        let (mut pauses, mut retried) = (PAUSES, false);
        loop {
            let begun = Instant::now();
            let ended = match self.follow(requests, &mut retried).await {
                Ok(ended) | Err(ended) => ended,
            };
            if begun.elapsed() > WENT_WELL {
                pauses.went_well();
            }
            let pause = match &ended {
                Ended::Stopping => return self.report.ended(),
                Ended::Regroup => continue,
                Ended::Retry => pauses.failed(),
                Ended::Fenced | Ended::Postgres(_) | Ended::Log(_) | Ended::Ahead { .. } | Ended::OtherLog => {
                    let pause = pauses.failed();
                    let (partition, retry_in_ms) = (self.source.partition(), pause.as_millis() as u64);
                    tracing::warn!(error = %ended, partition, retry_in_ms, "the read models stand still");
                    self.report.down(&ended.to_string());
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stopping.cancelled() => return self.report.ended(),
            }
        }
    }

    /// From taking over to the first trouble.
    async fn follow(&self, requests: &mut mpsc::Receiver<Request>, retried: &mut bool) -> Result<Ended, Ended> {
        // What is dropped here ends by itself, or takes nothing over that is not taken over again: see `pg::tx`.
        let (mut session, mut subscription) = tokio::select! {
            begun = self.begin(retried) => match begun? {
                Some(begun) => begun,
                None => return Ok(Ended::Stopping),
            },
            () = self.stopping.cancelled() => return Ok(Ended::Stopping),
        };
        let (mut last_batch, mut live) = (None, false);
        loop {
            let due_at = self.due_at(&session);
            let gathered = tokio::select! {
                gathered = gather(&mut subscription, last_batch, due_at, Some(&mut *requests)) => gathered?,
                // What was gathered is delivered again to the next session.
                () = self.regroup.outdated(session.revision) => return self.keep(&mut session).await.map(|()| Ended::Regroup),
                () = self.stopping.cancelled() => {
                    session.keep_at_stop().await;
                    return Ok(Ended::Stopping);
                }
            };
            // From here to the next look at `stopping` nothing is dropped half-way.
            match gathered {
                Gathered::Batch(mut batch) => {
                    live |= batch.caught_up;
                    let (begun, events) = (Instant::now(), batch.events.len());
                    if !session.bound && !batch.events.is_empty() {
                        session.bound = self.bind_to_log(&session.pool).await?;
                    }
                    batch.keeps = session.kept.0.elapsed() >= self.keeps_every();
                    session.kept = if batch.keeps { (Instant::now(), false) } else { (session.kept.0, true) };
                    session = self.commit(session, batch).await?;
                    // Where several share a Postgres, each leaves it to the others for as long as it has had it: the busier
                    // it is, the more is written at once.
                    let rests = if self.is_shared() { (begun.elapsed() * 2).min(LONGEST_REST) } else { Duration::ZERO };
                    last_batch = Some(LastBatch { begun, events, live, rests });
                }
                Gathered::Asked(request) => self.act(&mut session, request).await?,
                Gathered::Due if session.stopped_since.is_some_and(|since| since.elapsed() >= RETRY_STOPPED) => {
                    return self.keep(&mut session).await.map(|()| Ended::Retry);
                }
                Gathered::Due => self.keep(&mut session).await?,
                Gathered::Closed => return Ok(Ended::Stopping),
            }
        }
    }

    /// Takes over and begins to follow; `None`: no Postgres belongs to this service.
    async fn begin(&self, retried: &mut bool) -> Result<Option<(Session, Subscription)>, Ended> {
        let Some(pool) = self.database.writer().await? else { return Ok(None) };
        let taking = async {
            generations::prepare(&pool, &self.models, self.replica.partitions).await?;
            let revision = self.regroup.begin(&pool).await?;
            Ok::<_, Ended>((revision, self.take_over(&pool).await?))
        };
        let (revision, mut members) = self.watched("taking the partition over", taking, &mut false).await?;
        if !*retried {
            *retried = true; // Once, also if it fails: what cannot be tried must not keep the rest from going on.
            members = self.retry_parked(&pool, members).await?;
        }
        let positions: Vec<Position> = members.iter().map(|member| member.seat.checkpoint.position).collect();
        let after = positions.iter().min().copied().unwrap_or_default();
        let seen = positions.iter().max().copied().unwrap_or_default();
        self.not_ahead(seen).await?;
        let bound = self.bind_to_log(&pool).await?;
        let subscription = self.source.follow(after, Filter::default()).await?;
        self.report.running(&members);
        self.regroup.feeds(&pool, (self.source.partition(), &self.replica.name), revision).await?;
        let kept = (Instant::now(), false);
        Ok(Some((Session { pool, members, revision, bound, stopped_since: None, kept }, subscription)))
    }

    /// Whether other replicas read here how far this one is.
    fn is_shared(&self) -> bool {
        self.report.board.is_some()
    }

    /// How often positions without new rows are written.
    fn keeps_every(&self) -> Duration {
        if self.is_shared() { KEEP } else { KEEP_ALONE }
    }

    /// When something is to be done that no event brings.
    fn due_at(&self, session: &Session) -> Option<Instant> {
        let retry = session.stopped_since.map(|since| since + RETRY_STOPPED);
        let keep = session.kept.1.then(|| session.kept.0 + self.keeps_every());
        retry.into_iter().chain(keep).min()
    }

    /// What is to be fed, those with the same schema beside each other.
    async fn take_over(&self, pool: &PgPool) -> Result<Vec<Member>, Ended> {
        let mut fed = generations::all(pool, &self.models).await?;
        fed.retain(|generation| generation.stage.is_fed() && self.names.contains(&generation.model.name));
        let (slices, share) =
            (fed.iter().map(generations::Generation::slice).collect(), Share::Partition(self.source.partition()));
        let found = checkpoint::take_over(pool, slices, share, &self.replica.name).await?;
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
        let (replica, partition) = (self.replica.clone(), self.source.partition());
        let seats = pg::tx(pool, "backstitch", move |sql| {
            Box::pin(async move {
                let ours = |key: &str| replica.partition_of(key) == partition;
                for seat in &mut seats {
                    seat.parked = Parked::load(&mut *sql, seat.slice, ours).await?;
                    seat.stopped = seat.parked.is_full();
                }
                Ok(seats)
            })
        });
        Ok(seats.await?.into_iter().map(Member::new).collect())
    }

    /// A checkpoint beyond the log is a witness that the log has lost its end. The head that is known here may be old, by a
    /// moment for this process's log, by more for one that others write too: the log itself is asked.
    async fn not_ahead(&self, seen: Position) -> Result<(), Ended> {
        let mut head = *self.store.head().borrow();
        if seen > head {
            head = head.max(end_of(&*self.store).await?);
        }
        if seen <= head {
            return Ok(());
        }
        self.report.progress.mark_beyond(seen);
        Err(Ended::Ahead { seen, head })
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

    /// Writes where the members stand: also before they are made anew, here or elsewhere, since positions that were told do
    /// not go backwards.
    async fn keep(&self, session: &mut Session) -> Result<(), Ended> {
        let mut stood_still = false;
        self.watched("writing down the position", session.keep(), &mut stood_still).await?;
        if stood_still {
            self.report.running(&session.members);
        }
        Ok(())
    }

    /// Applies a batch to all members in one transaction; where a row is refused, to each in its own and in parts. Where
    /// it met another partition's batch at the same sums, it is done again.
    async fn commit(&self, session: Session, batch: Batch) -> Result<Session, Ended> {
        let Session { pool, mut members, .. } = session;
        let seats: Vec<Seat> = members.iter().map(|member| member.seat.clone()).collect();
        let (mut tries, mut stood_still) = (1..=TRIES, false);
        members = loop {
            let writing = write(&pool, &self.store, members, batch.clone());
            match self.watched("a batch", writing, &mut stood_still).await {
                Ok((members, outcomes)) => {
                    if stood_still {
                        self.report.running(&members);
                    }
                    self.report.batch(&members, &outcomes, &batch);
                    self.tell(&pool, stops(&members, &outcomes)).await?;
                    break members;
                }
                Err(Unwritten::Postgres(error)) if is_contention(&error) && tries.next().is_some() => {
                    tracing::debug!(%error, "a batch met another at the same rows; writing it again");
                    members = seats.iter().cloned().map(Member::new).collect();
                }
                Err(Unwritten::Postgres(error)) if Postgres::is_refusal(&error) => {
                    tracing::warn!(%error, "a batch was refused; taking it apart for each read model");
                    break self.commit_apart(&pool, seats, &batch).await?;
                }
                Err(why) => return Err(why.into()),
            }
        };
        let stopped = members.iter().any(|member| member.seat.stopped);
        let stopped_since = stopped.then(|| session.stopped_since.unwrap_or_else(Instant::now));
        Ok(Session { pool, members, stopped_since, ..session })
    }

    /// Waits for what is written; where that takes long, says that the read models stand still, and for whom they wait.
    async fn watched<T, E>(
        &self,
        what: &str,
        writing: impl Future<Output = Result<T, E>>,
        stood_still: &mut bool,
    ) -> Result<T, E> {
        let mut writing = std::pin::pin!(writing); // Its transaction goes on by itself while we look.
        if let Ok(written) = tokio::time::timeout(STANDS_STILL, &mut writing).await {
            return written;
        }
        *stood_still = true;
        let waits = match blocked_by(&self.database).await {
            Some(holders) => format!("a lock in Postgres that {holders} holds"),
            None => "Postgres, which has not answered yet".to_owned(),
        };
        let why = format!("{what} has been waiting for {} s for {waits}", STANDS_STILL.as_secs());
        tracing::warn!(partition = self.source.partition(), "the read models stand still: {why}");
        self.report.down(&why);
        writing.await
    }

    async fn commit_apart(&self, pool: &PgPool, seats: Vec<Seat>, batch: &Batch) -> Result<Vec<Member>, Ended> {
        let mut members = Vec::with_capacity(seats.len());
        for seat in seats {
            let mut tries = 1..=TRIES;
            let (member, outcome) = loop {
                let (writing, mut stood_still) = (write_apart(pool, &self.store, seat.clone(), batch.clone()), false);
                match self.watched("a batch", writing, &mut stood_still).await {
                    Err(Unwritten::Postgres(error)) if is_contention(&error) && tries.next().is_some() => {}
                    written => break written?,
                }
            };
            let (one, of) = (std::slice::from_ref(&member), [outcome]);
            self.report.batch(one, &of, batch);
            let stops = stops(one, &of);
            members.push(member);
            self.tell(pool, stops).await?;
        }
        Ok(members)
    }

    /// Who looks from another replica reads in Postgres what stopped.
    async fn tell(&self, pool: &PgPool, stops: Vec<(Slice, Checkpoint, String)>) -> Result<(), Ended> {
        for (slice, at, why) in stops.into_iter().filter(|_| self.is_shared()) {
            checkpoint::tell_stopped(pool, slice, at, why).await?;
        }
        Ok(())
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
    async fn act(&self, session: &mut Session, request: Request) -> Result<(), Ended> {
        let Request { slice, stream, verb, reply } = request;
        if reply.is_closed() {
            return Ok(()); // Who asked has been told that nothing was done.
        }
        let Some(member) = session.members.iter_mut().find(|member| member.seat.slice == slice) else {
            _ = reply.send(Err(Refusal::NotFed(slice.generation))); // Who asked may have gone.
            return Ok(());
        };
        let only_try = matches!(verb, Verb::Try);
        let (mut seat, repaired) =
            write_repair(&session.pool, &self.store, member.seat.clone(), (stream, verb)).await?;
        if !only_try {
            // What stopped because of too many parked streams goes on with fewer.
            seat.stopped &= seat.parked.is_full();
            *member = Member::new(seat);
            self.report.running(std::slice::from_ref(member));
        }
        if let Ok(repaired) = &repaired {
            self.report.progress.wake(&repaired.at_rest);
        }
        _ = reply.send(repaired); // Who asked may have gone: it is done all the same.
        Ok(())
    }
}

/// What stopped with a batch, where, and why.
fn stops(members: &[Member], outcomes: &[Outcome]) -> Vec<(Slice, Checkpoint, String)> {
    let stop = |(member, outcome): (&Member, &Outcome)| {
        Some((member.seat.slice, member.seat.checkpoint, outcome.stop.clone()?))
    };
    members.iter().zip(outcomes).filter_map(stop).collect()
}
