//! Follows the log into the file: one subscription, all read models, one transaction a batch. It runs on a thread of its own,
//! and so do all statements that write.
//!
//! *Invariant:* when a transaction does not commit, everything in memory is dropped and read again from the file: nothing is lost
//! and nothing is counted twice.

use std::sync::Arc;
use std::time::Duration;

use engine_runtime::Pauses;
use event_store::{Direction, EventStore, Filter, Position, ReadError, Subscription};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dead_letters::resume::RETRIED_AT_START;
use crate::embedded::file::{Unwritten, Writer};
use crate::embedded::member::{self, Member, Seat};
use crate::embedded::{EmbeddedModel, RebuildError, Sqlite, SqliteError, Standing};
use crate::projecting::batch::{Batch, Gathered, LastBatch, gather};
use crate::projecting::log::end_of;
use crate::projecting::projection::Applied;
use crate::projecting::row_store::RowStore as _;

/// The pauses after an outage: a full disk, or a log that cannot be read.
const PAUSES: Pauses = Pauses::doubling(Duration::from_millis(100), Duration::from_secs(5));
/// A session that lasted so long was not ended by the outage before it.
const WENT_WELL: Duration = Duration::from_secs(5);
/// A position without new rows is written so often: what a start after a kill must pass by again stays some seconds' worth.
const KEEP: Duration = Duration::from_secs(3);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("the program is stopping")]
    Stopping,
    #[error("another process has taken the file of the read models over; nothing more is written to it")]
    Fenced,
    #[error("the file of the read models does not take rows: {0}")]
    Sqlite(#[from] SqliteError),
    #[error("the log cannot be followed: {0}")]
    Log(#[from] ReadError),
    #[error("the read models have seen position {seen}, the log ends at {head}")]
    Ahead { seen: Position, head: Position },
    #[error("the file holds the read models of another log")]
    OtherLog,
}

impl From<Unwritten> for Ended {
    fn from(why: Unwritten) -> Self {
        match why {
            Unwritten::Fenced => Self::Fenced,
            Unwritten::Sqlite(error) => Self::Sqlite(error),
        }
    }
}

impl From<rusqlite::Error> for Ended {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.into())
    }
}

/// A wish for a rebuild, on its way to the follower.
#[derive(Debug)]
pub(super) struct Request {
    pub model: EmbeddedModel,
    pub reply: oneshot::Sender<Result<Applied, RebuildError>>,
}

/// Follows the log until it is told to stop.
pub(super) struct Follower {
    pub models: Vec<EmbeddedModel>,
    pub store: Arc<dyn EventStore>,
    pub writer: Writer,
    pub shown: watch::Sender<Standing>,
    pub requests: mpsc::Receiver<Request>,
    pub stopping: CancellationToken,
}

/// What a session has: the read models, and since when their positions stand in the file.
struct Session {
    members: Vec<Member>,
    /// When positions without rows were last written, and whether any has moved since.
    kept: (Instant, bool),
}

impl Follower {
    /// Goes on until it is told to stop: each session ends with an outage, and the next one begins. When this returns, the batch
    /// in flight has ended.
    pub async fn run(mut self) {
        let (mut pauses, mut retried) = (PAUSES, false);
        loop {
            let begun = Instant::now();
            let ended = match self.follow(&mut retried).await {
                Ok(ended) | Err(ended) => ended,
            };
            if matches!(ended, Ended::Stopping) {
                return;
            }
            if begun.elapsed() > WENT_WELL {
                pauses.went_well();
            }
            let pause = pauses.failed();
            tracing::warn!(error = %ended, retry_in_ms = pause.as_millis() as u64, "the read models stand still");
            self.shown.send_modify(|shown| shown.last_error = Some(ended.to_string()));
            if matches!(ended, Ended::Fenced) {
                return; // Two processes that take a file from each other help nobody.
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// From the checkpoints in the file to the first trouble.
    async fn follow(&mut self, retried: &mut bool) -> Result<Ended, Ended> {
        let stopping = self.stopping.clone();
        // What is dropped here is undone, and done again by the next start.
        let (mut session, mut subscription) = tokio::select! {
            begun = self.begin(retried) => begun?,
            () = stopping.cancelled() => return Ok(Ended::Stopping),
        };
        let (mut last_batch, mut live) = (None, false);
        loop {
            let due_at = session.kept.1.then(|| session.kept.0 + KEEP);
            let gathered = tokio::select! {
                biased; // When the runtime is going, no timer can be set any more.
                () = stopping.cancelled() => return self.keep(session).await.map(|_| Ended::Stopping),
                gathered = gather(&mut subscription, last_batch, due_at, Some(&mut self.requests)) => gathered?,
            };
            // From here to the next look at `stopping` nothing is dropped half-way.
            session = match gathered {
                Gathered::Batch(mut batch) => {
                    live |= batch.caught_up;
                    let (begun, events) = (Instant::now(), batch.events.len());
                    batch.keeps = session.kept.0.elapsed() >= KEEP;
                    let kept = if batch.keeps { (Instant::now(), false) } else { (session.kept.0, true) };
                    let members = self.commit(session.members, &batch).await?;
                    last_batch = Some(LastBatch { begun, events, live, rests: Duration::ZERO });
                    Session { members, kept }
                }
                Gathered::Asked(request) => self.rebuild(session, request).await?,
                Gathered::Due => self.keep(session).await?,
                Gathered::Closed => return self.keep(session).await.map(|_| Ended::Stopping),
            };
        }
    }

    /// Reads where the read models stand, tries once what is parked, and begins to follow.
    async fn begin(&mut self, retried: &mut bool) -> Result<(Session, Subscription), Ended> {
        check_log(&mut self.writer, &*self.store, &self.models).await?;
        let stored = |model: &EmbeddedModel| Seat::stored(&self.writer.connection, *model);
        let mut seats = self.models.iter().map(stored).collect::<rusqlite::Result<Vec<Seat>>>()?;
        if !std::mem::replace(retried, true) {
            seats = self.retry_parked(seats).await?;
        }
        let after = seats.iter().map(|seat| seat.position).min().unwrap_or_default();
        let subscription = self.store.subscribe(after, Filter::default()).await?;
        let members: Vec<Member> = seats.into_iter().map(Member::new).collect();
        self.show(&members, &[]);
        Ok((Session { members, kept: (Instant::now(), false) }, subscription))
    }

    /// Lets all that is parked go on, if this program can apply it: it may be another one than that which parked it.
    async fn retry_parked(&mut self, seats: Vec<Seat>) -> Result<Vec<Seat>, Ended> {
        let mut tried = Vec::with_capacity(seats.len());
        for mut seat in seats {
            let streams: Vec<_> = seat.parked.letters().keys().take(RETRIED_AT_START).cloned().collect();
            for stream in streams {
                seat = member::retry(&mut self.writer, &*self.store, seat, &stream).await?;
            }
            tried.push(seat);
        }
        Ok(tried)
    }

    /// Applies a batch to all members in one transaction; where SQLite refuses a row, in parts.
    async fn commit(&mut self, members: Vec<Member>, batch: &Batch) -> Result<Vec<Member>, Ended> {
        if !self.writer.bound && !batch.events.is_empty() {
            check_log(&mut self.writer, &*self.store, &self.models).await?;
        }
        let seats: Vec<Seat> = members.iter().map(|member| member.seat.clone()).collect();
        let (members, applied) = match member::write(&mut self.writer, &*self.store, members, batch).await {
            Err(Unwritten::Sqlite(error)) if Sqlite::is_refusal(&error) => {
                tracing::warn!(%error, "a batch was refused; taking it apart for each read model");
                member::write_apart(&mut self.writer, &*self.store, seats, batch).await?
            }
            written => written?,
        };
        self.show(&members, &applied);
        Ok(members)
    }

    /// Writes where the members stand.
    async fn keep(&mut self, session: Session) -> Result<Session, Ended> {
        if !session.kept.1 {
            return Ok(session); // Nothing has moved since.
        }
        let mut nothing = Batch::default();
        nothing.keeps = true;
        let (members, _) = member::write(&mut self.writer, &*self.store, session.members, &nothing).await?;
        Ok(Session { members, kept: (Instant::now(), false) })
    }

    /// Folds a read model again, and says what came of it.
    async fn rebuild(&mut self, mut session: Session, request: Request) -> Result<Session, Ended> {
        let Request { model, reply } = request;
        let rebuilt = member::rebuild(&mut self.writer, &*self.store, model, &self.stopping).await;
        let answer = match rebuilt {
            Ok(Some((seat, applied))) => {
                tracing::info!(read_model = model.name, events = applied.folded, "a read model was folded again");
                if let Some(member) = session.members.iter_mut().find(|member| member.seat.model.name == model.name) {
                    *member = Member::new(seat);
                }
                self.show(&session.members, &[]);
                Ok(applied)
            }
            Ok(None) => Err(RebuildError::Stopped),
            Err(Unwritten::Fenced) => return Err(Ended::Fenced), // Who asked is told that the follower is gone.
            Err(Unwritten::Sqlite(source)) => Err(RebuildError::Failed { name: model.name.to_owned(), source }),
        };
        _ = reply.send(answer); // Who asked may have gone: it is done all the same.
        Ok(session)
    }

    /// Tells those who ask and those who wait. What it says is committed.
    fn show(&self, members: &[Member], applied: &[Applied]) {
        self.shown.send_modify(|shown| {
            shown.last_error = None;
            for (status, Member { seat, .. }) in shown.models.iter_mut().zip(members) {
                status.position = seat.position;
                status.parked = Arc::clone(seat.parked.letters());
                status.stopped.clone_from(&seat.stopped);
            }
            for (status, applied) in shown.models.iter_mut().zip(applied) {
                status.folded += applied.folded;
                status.skipped += applied.skipped;
            }
        });
    }
}

/// Refuses a file that another log was folded into, or one that has seen more than the log has.
pub(super) async fn check_log(
    writer: &mut Writer,
    store: &dyn EventStore,
    models: &[EmbeddedModel],
) -> Result<(), Ended> {
    let first = store.read_all(Position::START, Direction::Forward, 1, &Filter::default()).await?;
    let known = match first.first() {
        Some(first) => writer.bind(first.id).await?,
        None => true, // The log has no name yet.
    };
    if !known {
        return Err(Ended::OtherLog);
    }
    let position = |model| super::file::position(&writer.connection, model);
    let positions = models.iter().map(position).collect::<rusqlite::Result<Vec<Position>>>()?;
    let seen = positions.into_iter().max().unwrap_or_default();
    let head = end_of(store).await?;
    match seen > head {
        true => Err(Ended::Ahead { seen, head }),
        false => Ok(()),
    }
}
