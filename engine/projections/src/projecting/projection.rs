//! What a projection is, and how a batch is applied to one.
//!
//! *Invariant:* an event is applied only if it is the next of its stream. Duplicates fall away; on a gap the missing
//! versions are read from the log. So any duplication, redelivery and permutation across streams ends in the same rows.
//! *Invariant:* an event that cannot be applied parks its stream (`dead_letters/`) and nothing else.
//! *Invariant:* a fold sees one event and its own rows. It cannot wait, send or ask the time: a replay has no side effects.

use std::sync::Arc;

use async_trait::async_trait;
use event_store::{Direction, EventStore, ReadError, RecordedEvent, StreamName};
use eventsourcing::DecodeError;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::dead_letters::{Cause, Parked};

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

    /// Folds the next event of its stream into the rows. One that cannot be decoded leaves everything as it was.
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError>;

    /// Moves past an event that means nothing to it.
    fn skip(&mut self, event: &RecordedEvent);

    /// Writes the changed rows, in a few statements.
    async fn write(&mut self, sql: &mut PgConnection) -> Result<(), sqlx::Error>;

    /// Keys that came to rest with what was last written: those who wait for one look again after the commit
    /// ([`crate::Progress::watch`]).
    fn at_rest(&mut self) -> Vec<Uuid> {
        Vec::new()
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Applied {
    /// Events folded.
    pub folded: u64,
    /// Events of unknown types, or discarded ones, moved past.
    pub skipped: u64,
    /// Events that had been applied before.
    pub duplicates: u64,
    /// Events of streams that are parked, those that park them included.
    pub waiting: u64,
}

impl Applied {
    /// Whether rows moved: something was folded, or moved past.
    pub fn moved(&self) -> bool {
        self.folded + self.skipped > 0
    }

    /// With what became of another part of the batch.
    pub fn add(&mut self, other: Self) {
        self.folded += other.folded;
        self.skipped += other.skipped;
        self.duplicates += other.duplicates;
        self.waiting += other.waiting;
    }
}

/// Applies a batch, in position order, to one projection inside a transaction. An event that cannot be decoded parks its
/// stream, and only that: what was folded before it is written, what comes after it waits.
///
/// # Errors
/// What Postgres says; a log that cannot be read in a gap is an [`sqlx::Error::Io`].
pub async fn apply(
    projection: &mut dyn Projection,
    sql: &mut PgConnection,
    store: &dyn EventStore,
    events: &[Arc<RecordedEvent>],
    parked: &mut Parked,
) -> Result<Applied, sqlx::Error> {
    let mut applied = Applied::default();
    projection.load(sql, events).await?;
    for event in events {
        if parked.holds(&event.stream) {
            applied.waiting += 1;
            continue;
        }
        let next = projection.version(&event.stream).map_or(0, |version| version + 1);
        if event.version < next {
            applied.duplicates += 1;
            continue;
        }
        for missing in gap(store, &event.stream, next, event.version).await? {
            projection.load(sql, std::slice::from_ref(&missing)).await?;
            step(projection, &missing, parked, &mut applied);
        }
        step(projection, event, parked, &mut applied);
    }
    projection.write(sql).await?;
    Ok(applied)
}

/// The events that a projection misses before this one.
///
/// # Errors
/// As [`apply`].
pub(crate) async fn missing_before(
    projection: &mut dyn Projection,
    sql: &mut PgConnection,
    store: &dyn EventStore,
    event: &Arc<RecordedEvent>,
) -> Result<Vec<Arc<RecordedEvent>>, sqlx::Error> {
    projection.load(sql, std::slice::from_ref(event)).await?;
    let next = projection.version(&event.stream).map_or(0, |version| version + 1);
    gap(store, &event.stream, next, event.version).await
}

/// Folds one event that is the next of its stream, unless one before it has parked the stream.
fn step(projection: &mut dyn Projection, event: &RecordedEvent, parked: &mut Parked, applied: &mut Applied) {
    if parked.holds(&event.stream) {
        applied.waiting += 1;
        return;
    }
    if parked.discards(event) {
        projection.skip(event);
        applied.skipped += 1;
        return;
    }
    match projection.fold(event) {
        Ok(()) => applied.folded += 1,
        Err(DecodeError::UnknownType(_)) => {
            projection.skip(event);
            applied.skipped += 1;
        }
        Err(error @ (DecodeError::NewerSchema { .. } | DecodeError::Malformed { .. })) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            parked.park(event, Cause::Unreadable, &format!("{error}{source}"));
            applied.waiting += 1;
        }
    }
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
