//! A read model as its feeder has it: the runner, or a rebuild that folds by itself.
//!
//! *Invariant:* rows, checkpoints and the look at the epoch are one transaction (`checkpoint.rs`). When it does not
//! commit, the member is gone with everything it remembered, and is made anew from its seat.

use std::sync::Arc;

use engine_runtime::pg;
use event_store::{EventStore, Position, RecordedEvent, StreamName};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::dead_letters::repair::{Refusal, Repaired, Verb, repair};
use crate::dead_letters::{Letter, MOST_PARKED, Parked};
use crate::feeding::checkpoint::{self, Checkpoint, Slice};
use crate::projecting::apart::apply_apart;
use crate::projecting::batch::Batch;
use crate::projecting::projection::{Applied, Projection, apply};
use crate::read_model::ReadModel;

/// What is known of a member outside of a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub model: ReadModel,
    pub slice: Slice,
    /// Where its tables lie.
    pub schema: Arc<str>,
    /// Answers come from it.
    pub live: bool,
    /// Other generations of its read model are fed as well, or it is folded by itself: its checkpoint moves with every
    /// batch, so that one can be compared with the other.
    pub exact: bool,
    pub checkpoint: Checkpoint,
    /// Its streams that stand still, as committed.
    pub parked: Parked,
    /// It could not go on; it waits for the next session.
    pub stopped: bool,
}

/// A read model in somebody's hands.
pub(crate) struct Member {
    pub seat: Seat,
    projection: Box<dyn Projection>,
    /// Its position when it was made: what is delivered again below it is not even looked up.
    since: Position,
}

impl Member {
    /// With nothing kept in memory yet.
    pub fn new(seat: Seat) -> Self {
        Self { projection: (seat.model.make)(), since: seat.checkpoint.position, seat }
    }
}

/// What became of a batch for one member.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub applied: Applied,
    /// Keys that came to rest with it.
    pub at_rest: Vec<Uuid>,
    /// Streams that were parked.
    pub parked: Vec<(StreamName, Letter)>,
    /// Why it goes no further.
    pub stop: Option<String>,
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritten {
    #[error("another runner has taken over, or Postgres has lost what was committed")]
    Fenced,
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
}

/// Applies a batch to members in one transaction. They go in and come out; when it fails they are gone, with all that
/// they remembered.
pub(crate) async fn write(
    pool: &PgPool,
    store: &Arc<dyn EventStore>,
    members: Vec<Member>,
    batch: Batch,
) -> Result<(Vec<Member>, Vec<Outcome>), Unwritten> {
    let store = Arc::clone(store);
    let schema = members.first().map_or_else(|| "backstitch".into(), |member| Arc::clone(&member.seat.schema));
    let first = Arc::clone(&schema);
    let done = pg::tx(pool, &first, move |sql| {
        Box::pin(async move { write_all(sql, &*store, schema, members, &batch).await })
    })
    .await;
    // Durable from here: the rows and their checkpoints have committed together.
    unfenced(done)
}

/// What a transaction says when the epoch is not ours any more.
const FENCED: &str = "fenced by a later epoch";

async fn write_all(
    sql: &mut PgConnection,
    store: &dyn EventStore,
    mut schema: Arc<str>,
    mut members: Vec<Member>,
    batch: &Batch,
) -> Result<(Vec<Member>, Vec<Outcome>), sqlx::Error> {
    let mut outcomes = Vec::with_capacity(members.len());
    let mut moves = Vec::with_capacity(members.len());
    for Member { seat, projection, since } in &mut members {
        if seat.stopped {
            outcomes.push(Outcome::default());
            continue;
        }
        let new = |event: &&Arc<RecordedEvent>| event.position > *since && projection.takes(&event.stream);
        let events: Vec<Arc<RecordedEvent>> = batch.events.iter().filter(new).cloned().collect();
        let mut outcome = Outcome::default();
        if !events.is_empty() {
            if schema != seat.schema {
                look_in(sql, &seat.schema).await?;
                schema = Arc::clone(&seat.schema);
            }
            outcome.applied = apply(&mut **projection, sql, store, &events, &mut seat.parked).await?;
            outcome.at_rest = projection.at_rest();
        }
        moves.extend(close(sql, seat, batch, !events.is_empty(), &mut outcome).await?);
        outcomes.push(outcome);
    }
    // Where nothing was written the checkpoint moves in memory only: what it passes by is passed by again.
    fenced(sql, &moves).await?;
    Ok((members, outcomes))
}

/// Looks tables up in another schema until the transaction ends.
async fn look_in(sql: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('search_path', $1, true)").bind(schema).execute(sql).await.map(|_| ())
}

/// What follows the rows of a batch: parked streams are written, the position moves. What is to be written of that.
async fn close(
    sql: &mut PgConnection,
    seat: &mut Seat,
    batch: &Batch,
    wrote: bool,
    outcome: &mut Outcome,
) -> Result<Option<(Slice, Checkpoint)>, sqlx::Error> {
    outcome.parked = seat.parked.lately();
    seat.parked.write(sql, seat.slice).await?;
    if seat.parked.is_full() {
        (seat.stopped, outcome.stop) = (true, Some(too_many()));
    }
    let from = seat.checkpoint.position;
    seat.checkpoint.position = from.max(batch.up_to);
    let moved = (seat.exact || batch.keeps) && seat.checkpoint.position > from;
    if !wrote && !moved {
        return Ok(None);
    }
    let to = seat.checkpoint;
    seat.checkpoint = to.written(); // If the transaction does not commit, the seat is gone.
    Ok(Some((seat.slice, to)))
}

/// Why a read model stops whose every other stream is parked.
pub(crate) fn too_many() -> String {
    format!("{MOST_PARKED} streams are parked: that is not their events; `backstitch dead-letter list` shows why")
}

/// Applies a batch that Postgres refused to one member, in as many parts as it takes; the events at fault are parked.
pub(crate) async fn write_apart(
    pool: &PgPool,
    store: &Arc<dyn EventStore>,
    seat: Seat,
    batch: Batch,
) -> Result<(Member, Outcome), Unwritten> {
    if seat.stopped {
        return Ok((Member::new(seat), Outcome::default()));
    }
    let (store, schema) = (Arc::clone(store), Arc::clone(&seat.schema));
    let done = pg::tx(pool, &schema, move |sql| {
        Box::pin(async move {
            let mut now = seat.clone();
            let taker = (seat.model.make)();
            let new =
                |event: &&Arc<RecordedEvent>| event.position > seat.checkpoint.position && taker.takes(&event.stream);
            let events: Vec<Arc<RecordedEvent>> = batch.events.iter().filter(new).cloned().collect();
            let wrote = !events.is_empty();
            let apart = apply_apart(seat.model.make, sql, &*store, events, &mut now.parked).await?;
            if apart.stop.is_some() {
                // Nothing was applied: the member stays where it was.
                let outcome = Outcome { stop: apart.stop, ..Outcome::default() };
                return Ok((Seat { stopped: true, ..seat }, outcome));
            }
            let mut outcome = Outcome { applied: apart.applied, at_rest: apart.at_rest, ..Outcome::default() };
            let moves = close(sql, &mut now, &batch, wrote, &mut outcome).await?;
            fenced(sql, moves.as_slice()).await?;
            Ok((now, outcome))
        })
    })
    .await;
    // Durable from here.
    let (seat, outcome) = unfenced(done)?;
    Ok((Member::new(seat), outcome))
}

/// Does what an operator asks with a parked stream of a member. Its buffers are made anew: rows have moved beneath them.
pub(crate) async fn write_repair(
    pool: &PgPool,
    store: &Arc<dyn EventStore>,
    seat: Seat,
    (stream, verb): (StreamName, Verb),
) -> Result<(Seat, Result<Repaired, Refusal>), Unwritten> {
    let (store, schema) = (Arc::clone(store), Arc::clone(&seat.schema));
    let done = pg::tx(pool, &schema, move |sql| {
        Box::pin(async move {
            let mut now = seat.clone();
            let wish = (&stream, &verb);
            let repaired = repair(&seat.model, sql, &*store, seat.slice, wish, &mut now.parked).await?;
            now.parked.write(sql, seat.slice).await?;
            fenced(sql, &[(now.slice, now.checkpoint)]).await?;
            now.checkpoint = now.checkpoint.written();
            Ok((now, repaired))
        })
    })
    .await;
    // Durable from here.
    unfenced(done)
}

/// Moves checkpoints, if the epoch is ours.
async fn fenced(sql: &mut PgConnection, moves: &[(Slice, Checkpoint)]) -> Result<(), sqlx::Error> {
    match moves.is_empty() || checkpoint::advance(sql, moves).await? {
        true => Ok(()),
        false => Err(sqlx::Error::Protocol(FENCED.to_owned())),
    }
}

fn unfenced<T>(done: Result<T, sqlx::Error>) -> Result<T, Unwritten> {
    match done {
        Err(sqlx::Error::Protocol(said)) if said == FENCED => Err(Unwritten::Fenced),
        other => Ok(other?),
    }
}
