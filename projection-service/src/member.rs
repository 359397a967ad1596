//! A read model in the hands of whoever feeds it: the runner, or a rebuild that folds by itself.
//!
//! *Invariant:* rows, checkpoints and the look at the epoch are one transaction (`checkpoint.rs`). When it does not
//! commit, the member is gone with everything it remembered, and is made anew from its seat.

use std::sync::Arc;

use event_store::{EventStore, Position, RecordedEvent};
use service_kit::pg;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::batch::Batch;
use crate::checkpoint::{self, Checkpoint, Slice};
use crate::projection::{Applied, Projection, apply};
use crate::projections::ReadModel;

/// What is known of a member outside of a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub model: &'static ReadModel,
    pub slice: Slice,
    /// Where its tables lie.
    pub schema: Arc<str>,
    /// Answers come from it.
    pub live: bool,
    /// Other generations of its read model are fed as well, or it is folded by itself: its checkpoint moves with every
    /// batch, so that one can be compared with the other.
    pub exact: bool,
    pub checkpoint: Checkpoint,
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
    /// Orders whose sagas settled with it.
    pub settled: Vec<Uuid>,
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unwritten {
    #[error("another runner has taken over")]
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
    match done {
        Err(sqlx::Error::Protocol(said)) if said == FENCED => Err(Unwritten::Fenced),
        other => Ok(other?),
    }
}

/// What [`write_all`] says when the epoch is not ours any more.
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
        let from = seat.checkpoint.position;
        let new = |event: &&Arc<RecordedEvent>| event.position > *since && projection.takes(&event.stream);
        let events: Vec<Arc<RecordedEvent>> = batch.events.iter().filter(new).cloned().collect();
        let mut applied = Applied::default();
        if !events.is_empty() {
            if schema != seat.schema {
                look_in(sql, &seat.schema).await?;
                schema = Arc::clone(&seat.schema);
            }
            applied = apply(&mut **projection, sql, store, &events, from).await?;
        }
        seat.stopped = applied.stop.is_some();
        let reached = applied.stop.as_ref().map_or(batch.up_to, |stop| stop.before);
        seat.checkpoint.position = from.max(reached);
        if !events.is_empty() || (seat.exact && seat.checkpoint.position > from) {
            moves.push((seat.slice, seat.checkpoint));
        }
        outcomes.push(Outcome { applied, settled: projection.settled_orders() });
    }
    // Where nothing was written the checkpoint moves in memory only: what it passes by is passed by again.
    if !moves.is_empty() && !checkpoint::advance(sql, &moves).await? {
        return Err(sqlx::Error::Protocol(FENCED.to_owned()));
    }
    Ok((members, outcomes))
}

/// Looks tables up in another schema until the transaction ends.
async fn look_in(sql: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('search_path', $1, true)").bind(schema).execute(sql).await.map(|_| ())
}

/// Whether Postgres refused the rows themselves; anything else is an outage and tried again as it is.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    // Classes 22 (data), 23 (constraint), 42 (a column that is not there), 54 (too large).
    let classes = ["22", "23", "42", "54"];
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    code.is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
        || matches!(error, sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
}
