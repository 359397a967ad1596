//! The runner: one feed, all read models, one transaction a batch.
//!
//! All read models are fed from one subscription and their rows commit together, so that an answer over several tables
//! reflects one position, and a batch costs one commit. Each has its own checkpoint all the same: one that stops (an
//! event that it cannot read) stays where it is while the others go on, and starts again from its own position.
//!
//! *Invariant:* rows, checkpoints and the look at the epoch are one transaction (`checkpoint.rs`). When it does not
//! commit, everything in memory is dropped and read again: nothing is lost and nothing is counted twice.

use std::sync::Arc;
use std::time::Duration;

use event_store::{Direction, EventStore, Filter, Position, RecordedEvent};
use service_kit::{Tasks, pg};
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use crate::batch::{Batch, Gathered, LastBatch, gather};
use crate::checkpoint::{self, Checkpoint, Slice};
use crate::database::Database;
use crate::progress::{Progress, State, Status};
use crate::projection::{Applied, Projection, apply};
use crate::projections;

/// The first and the longest pause after an outage: Postgres is back within seconds, or not for minutes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// After this long a read model that stopped is tried again: its cause is in the log or the program, which change slowly.
const RETRY_STOPPED: Duration = Duration::from_secs(60);

/// A read model in the runner's hands.
struct Member {
    projection: Box<dyn Projection>,
    checkpoint: Checkpoint,
    /// Its position when the session began: what is delivered again below it is not even looked up.
    since: Position,
    /// It could not go on; it waits for the next session.
    stopped: bool,
}

impl Member {
    fn new(projection: Box<dyn Projection>, checkpoint: Checkpoint, stopped: bool) -> Self {
        Self { projection, checkpoint, since: checkpoint.position, stopped }
    }
}

/// What became of a batch for one member.
#[derive(Debug, Default)]
struct Outcome {
    applied: Applied,
    settled: Vec<Uuid>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the service is stopping")]
    Stopping,
    #[error("a read model that had stopped is tried again")]
    Retry,
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
         `backstitch` and `read_<generation>` there"
    )]
    OtherLog,
}

/// Follows the log until the service stops.
pub(crate) struct Runner {
    pub store: Arc<dyn EventStore>,
    pub database: Database,
    pub progress: Arc<Progress>,
    pub tasks: Tasks,
    pub slice: Slice,
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
        checkpoint::prepare(&pool, self.slice).await?;
        let mut members = self.take_over(&pool).await?;
        let after = members.iter().map(|member| member.checkpoint.position).min().unwrap_or_default();
        self.not_ahead(&members)?;
        let mut bound = self.bind_to_log(&pool).await?;
        let mut subscription = self.store.subscribe(after, Filter::default()).await?;
        self.mark_running(&members);
        let (mut last_batch, mut live) = (None, false);
        let mut stopped_since: Option<Instant> = None;
        loop {
            let retry_at = stopped_since.map(|since| since + RETRY_STOPPED);
            let batch = match gather(&mut subscription, last_batch, retry_at).await? {
                Gathered::Batch(batch) => batch,
                Gathered::RetryDue => return Ok(Ended::Retry),
                Gathered::Closed => return Ok(Ended::Stopping),
            };
            live |= batch.caught_up;
            last_batch = Some(LastBatch { begun: Instant::now(), events: batch.events.len(), live });
            if !bound && !batch.events.is_empty() {
                bound = self.bind_to_log(&pool).await?;
            }
            members = self.commit(&pool, members, batch).await?;
            let stopped = members.iter().any(|member| member.stopped);
            stopped_since = stopped.then(|| stopped_since.unwrap_or_else(Instant::now));
        }
    }

    async fn take_over(&self, pool: &PgPool) -> Result<Vec<Member>, Ended> {
        let names = self.names.iter().map(ToString::to_string).collect();
        let found = checkpoint::take_over(pool, self.slice, names).await?;
        let members = projections::all().into_iter().filter_map(|projection| {
            let (_, checkpoint) = found.iter().find(|(name, _)| name == projection.name())?;
            Some(Member::new(projection, *checkpoint, false))
        });
        Ok(members.collect())
    }

    /// A checkpoint beyond the log is a witness that the log has lost its end.
    fn not_ahead(&self, members: &[Member]) -> Result<(), Ended> {
        let head = *self.store.head().borrow();
        match members.iter().map(|member| member.checkpoint.position).max() {
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
        if checkpoint::bind_to_log(pool, self.slice, first.id).await? == first.id {
            Ok(true)
        } else {
            Err(Ended::OtherLog)
        }
    }

    /// Applies a batch to all members in one transaction; where a row is refused, to each in its own.
    async fn commit(&self, pool: &PgPool, members: Vec<Member>, batch: Batch) -> Result<Vec<Member>, Ended> {
        let (names, checkpoints): (Vec<_>, Vec<_>) =
            members.iter().map(|member| (member.projection.name(), (member.checkpoint, member.stopped))).unzip();
        match self.write(pool, members, batch.clone()).await {
            Ok((members, outcomes)) => {
                self.report(&members, &outcomes, &batch);
                Ok(members)
            }
            Err(Ended::Postgres(error)) if is_refusal(&error) => {
                tracing::warn!(%error, "a batch was refused; applying it to each read model by itself");
                let mut members = Vec::new();
                for (name, (checkpoint, stopped)) in names.into_iter().zip(checkpoints) {
                    let fresh = projections::all().into_iter().find(|projection| projection.name() == name);
                    let Some(projection) = fresh else { continue };
                    let alone = vec![Member::new(projection, checkpoint, stopped)];
                    members.extend(self.commit_alone(pool, alone, name, checkpoint, &batch).await?);
                }
                Ok(members)
            }
            Err(ended) => Err(ended),
        }
    }

    /// Applies a batch to one member; it stops where Postgres refuses its rows.
    async fn commit_alone(
        &self,
        pool: &PgPool,
        alone: Vec<Member>,
        name: &str,
        checkpoint: Checkpoint,
        batch: &Batch,
    ) -> Result<Vec<Member>, Ended> {
        match self.write(pool, alone, batch.clone()).await {
            Ok((members, outcomes)) => {
                self.report(&members, &outcomes, batch);
                Ok(members)
            }
            Err(Ended::Postgres(error)) if is_refusal(&error) => {
                let what = format!("its rows are refused: {error}");
                self.mark_stopped(name, &what);
                let projection = projections::all().into_iter().find(|projection| projection.name() == name);
                Ok(projection.into_iter().map(|projection| Member::new(projection, checkpoint, true)).collect())
            }
            Err(ended) => Err(ended),
        }
    }

    /// One transaction. The members go in and come out; when it fails they are gone, with all that they remembered.
    async fn write(
        &self,
        pool: &PgPool,
        members: Vec<Member>,
        batch: Batch,
    ) -> Result<(Vec<Member>, Vec<Outcome>), Ended> {
        let (store, slice) = (Arc::clone(&self.store), self.slice);
        let done = pg::tx(pool, &slice.schema(), move |sql| {
            Box::pin(async move { write_all(sql, &*store, slice, members, &batch).await })
        })
        .await;
        // Durable from here: the rows and their checkpoints have committed together.
        match done {
            Err(sqlx::Error::Protocol(said)) if said == FENCED => Err(Ended::Fenced),
            other => Ok(other?),
        }
    }

    fn report(&self, members: &[Member], outcomes: &[Outcome], batch: &Batch) {
        let occurred_at = batch.events.last().map(|event| event.metadata.occurred_at);
        self.progress.update(|statuses| {
            for (member, outcome) in members.iter().zip(outcomes) {
                let Some(status) = find(statuses, member.projection.name()) else { continue };
                status.position = member.checkpoint.position;
                status.folded += outcome.applied.folded;
                status.skipped += outcome.applied.skipped;
                if outcome.applied.folded > 0 {
                    status.occurred_at = occurred_at;
                }
                if let Some(stop) = &outcome.applied.stop {
                    tracing::error!(projection = status.name, error = %stop.error, "a read model stopped");
                    (status.state, status.last_error) = (State::Stopped, Some(stop.error.clone()));
                }
            }
        });
        for (member, outcome) in members.iter().zip(outcomes) {
            metrics::counter!("projection_events_total", "projection" => member.projection.name())
                .increment(outcome.applied.folded);
            self.progress.wake(&outcome.settled);
        }
    }

    fn mark_running(&self, members: &[Member]) {
        self.progress.update(|statuses| {
            for member in members {
                if let Some(status) = find(statuses, member.projection.name()) {
                    (status.position, status.state, status.last_error) =
                        (member.checkpoint.position, State::Running, None);
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

    fn mark_stopped(&self, name: &str, error: &str) {
        tracing::error!(projection = name, error, "a read model stopped");
        self.progress.update(|statuses| {
            if let Some(status) = find(statuses, name) {
                (status.state, status.last_error) = (State::Stopped, Some(error.to_owned()));
            }
        });
    }
}

fn find<'s>(statuses: &'s mut [Status], name: &str) -> Option<&'s mut Status> {
    statuses.iter_mut().find(|status| status.name == name)
}

/// What [`write_all`] says when the epoch is not ours any more.
const FENCED: &str = "fenced by a later epoch";

async fn write_all(
    sql: &mut PgConnection,
    store: &dyn EventStore,
    slice: Slice,
    mut members: Vec<Member>,
    batch: &Batch,
) -> Result<(Vec<Member>, Vec<Outcome>), sqlx::Error> {
    let mut outcomes = Vec::with_capacity(members.len());
    let mut moves = Vec::with_capacity(members.len());
    for member in &mut members {
        if member.stopped {
            outcomes.push(Outcome::default());
            continue;
        }
        let (since, from) = (member.since, member.checkpoint.position);
        let new = |event: &&Arc<RecordedEvent>| event.position > since && member.projection.takes(&event.stream);
        let events: Vec<Arc<RecordedEvent>> = batch.events.iter().filter(new).cloned().collect();
        let applied = match events.is_empty() {
            true => Applied::default(),
            false => apply(&mut *member.projection, sql, store, &events, from).await?,
        };
        member.stopped = applied.stop.is_some();
        let reached = applied.stop.as_ref().map_or(batch.up_to, |stop| stop.before);
        member.checkpoint.position = from.max(reached);
        if !events.is_empty() {
            moves.push((member.projection.name(), member.checkpoint));
        }
        outcomes.push(Outcome { applied, settled: member.projection.settled_orders() });
    }
    // Where nothing was written the checkpoint moves in memory only: what it passes by is passed by again.
    if !moves.is_empty() && !checkpoint::advance(sql, slice, &moves).await? {
        return Err(sqlx::Error::Protocol(FENCED.to_owned()));
    }
    Ok((members, outcomes))
}

/// Whether Postgres refused the rows themselves; anything else is an outage and tried again as it is.
fn is_refusal(error: &sqlx::Error) -> bool {
    // Classes 22 (data), 23 (constraint), 42 (a column that is not there), 54 (too large).
    let classes = ["22", "23", "42", "54"];
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    code.is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
        || matches!(error, sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
}
