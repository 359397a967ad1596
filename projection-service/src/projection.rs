//! What a projection is, and how a batch is applied to one.
//!
//! *Invariant:* an event is applied only if it is the next of its stream. Duplicates fall away; on a gap the missing
//! versions are read from the log. So any duplication, redelivery and permutation across streams ends in the same rows.
//! *Invariant:* a fold sees one event and its own rows. It cannot wait, send or ask the time: a replay has no side effects.

use std::sync::Arc;

use async_trait::async_trait;
use domain::DecodeError;
use event_store::{Direction, EventStore, Position, ReadError, RecordedEvent, StreamName};
use sqlx::PgConnection;
use uuid::Uuid;

/// How many missing events are read at once: a page of about 1 MB.
const GAP_PAGE: usize = 1_000;

/// A read model: some tables, and how events change them. Its rows live in the schema that the transaction names.
#[async_trait]
pub trait Projection: Send {
    /// Its name, for ever: checkpoints are kept under it.
    fn name(&self) -> &'static str;

    /// Whether it follows this stream.
    fn takes(&self, stream: &StreamName) -> bool;

    /// Looks up the rows that these events change, in one query per table, and keeps them.
    async fn load(&mut self, sql: &mut PgConnection, events: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error>;

    /// The version up to which it has followed a stream whose rows were looked up; `None`: not at all.
    fn version(&self, stream: &StreamName) -> Option<u64>;

    /// Folds the next event of its stream into the rows.
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError>;

    /// Moves past an event that means nothing to it.
    fn skip(&mut self, event: &RecordedEvent);

    /// Writes the changed rows, in a few statements.
    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error>;

    /// The orders whose sagas settled with what was last written. They are asked for after the commit.
    fn settled_orders(&mut self) -> Vec<Uuid> {
        Vec::new()
    }
}

/// The event at which a projection had to stop.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Everything at or below is applied.
    pub before: Position,
    /// What happened, with the event's stream and version.
    pub error: String,
}

/// What became of a batch.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Events folded.
    pub folded: u64,
    /// Events of unknown types, moved past.
    pub skipped: u64,
    /// Events that had been applied before.
    pub duplicates: u64,
    /// Where it could not go on.
    pub stop: Option<Stop>,
}

/// Applies a batch, in position order, to one projection inside a transaction.
///
/// # Errors
/// What Postgres says; a log that cannot be read in a gap is an [`sqlx::Error::Io`].
pub async fn apply(
    projection: &mut dyn Projection,
    sql: &mut PgConnection,
    store: &dyn EventStore,
    events: &[Arc<RecordedEvent>],
    after: Position,
) -> Result<Applied, sqlx::Error> {
    let mut applied = Applied::default();
    let mut before = after;
    projection.load(sql, events).await?;
    for event in events {
        let next = projection.version(&event.stream).map_or(0, |version| version + 1);
        if event.version < next {
            applied.duplicates += 1;
            before = before.max(event.position);
            continue;
        }
        let mut result = Ok(());
        for missing in gap(store, &event.stream, next, event.version).await? {
            projection.load(sql, std::slice::from_ref(&missing)).await?;
            result = result.and_then(|()| step(projection, &missing, &mut applied));
        }
        if let Err(error) = result.and_then(|()| step(projection, event, &mut applied)) {
            applied.stop = Some(Stop { before, error });
            break;
        }
        before = before.max(event.position);
    }
    projection.write(sql).await?;
    Ok(applied)
}

/// Folds one event that is the next of its stream.
fn step(projection: &mut dyn Projection, event: &RecordedEvent, applied: &mut Applied) -> Result<(), String> {
    match projection.fold(event) {
        Ok(()) => applied.folded += 1,
        Err(DecodeError::UnknownType(_)) => {
            projection.skip(event);
            applied.skipped += 1;
        }
        Err(error @ (DecodeError::NewerSchema { .. } | DecodeError::Malformed { .. })) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            return Err(format!("{error}{source} (stream `{}`, version {})", event.stream, event.version));
        }
    }
    Ok(())
}

/// The events of a stream from version `from` to before version `to`, from the log.
async fn gap(
    store: &dyn EventStore,
    stream: &StreamName,
    from: u64,
    to: u64,
) -> Result<Vec<Arc<RecordedEvent>>, sqlx::Error> {
    let mut missing = Vec::new();
    let mut next = from;
    while next < to {
        let limit = GAP_PAGE.min(usize::try_from(to - next).unwrap_or(GAP_PAGE));
        let page = store.read_stream(stream, next, Direction::Forward, limit).await.map_err(unreadable)?;
        let Some(last) = page.last() else {
            let what = format!("the log has no version {next} of `{stream}`, but a later one was delivered");
            return Err(sqlx::Error::Io(std::io::Error::other(what)));
        };
        next = last.version + 1;
        missing.extend(page.into_iter().map(Arc::new));
    }
    Ok(missing)
}

fn unreadable(error: ReadError) -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(error))
}
