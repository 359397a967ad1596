//! What a projection is, and how a batch is applied to one.
//!
//! *Invariant:* an event is applied only if it is the next of its stream. Duplicates fall away; on a gap the missing
//! versions are read from the log. So any duplication, redelivery and permutation across streams ends in the same rows.
//! *Invariant:* an event that cannot be applied parks its stream (`dead_letters/`) and nothing else.
//! *Invariant:* a fold sees one event and its own rows. It cannot wait, send or ask the time: a replay has no side effects.

use std::sync::Arc;

use async_trait::async_trait;
use event_store::{EventStore, RecordedEvent, StreamName};
use eventsourcing::DecodeError;
use uuid::Uuid;

use crate::dead_letters::{Cause, Parked};
use crate::projecting::log::gap;
#[cfg(feature = "postgres")]
use crate::projecting::postgres::Postgres;
use crate::projecting::row_store::RowStore;

/// A read model: some tables, and how events change them. Its rows live in one kind of store: in Postgres, in the schema that
/// the transaction names, unless another is said (`Projection<Sqlite>`).
#[async_trait]
pub trait Projection<#[cfg(feature = "postgres")] S: RowStore = Postgres, #[cfg(not(feature = "postgres"))] S: RowStore>:
    Send
{
    /// Its name, for ever: checkpoints are kept under it.
    fn name(&self) -> &'static str;

    /// Whether it follows this stream.
    fn takes(&self, stream: &StreamName) -> bool;

    /// Looks up the rows that these events change, in one query per table, and keeps them.
    async fn load(&mut self, sql: &mut S::Connection, events: &[Arc<RecordedEvent>]) -> Result<(), S::Error>;

    /// The version up to which it has followed a stream whose rows were looked up; `None`: not at all.
    fn version(&self, stream: &StreamName) -> Option<u64>;

    /// Folds the next event of its stream into the rows. One that cannot be decoded leaves everything as it was.
    fn fold(&mut self, event: &RecordedEvent) -> Result<(), DecodeError>;

    /// Moves past an event that means nothing to it.
    fn skip(&mut self, event: &RecordedEvent);

    /// Writes the changed rows, in a few statements.
    async fn write(&mut self, sql: &mut S::Connection) -> Result<(), S::Error>;

    /// Keys that came to rest with what was last written: those who wait for one look again after the commit (in Postgres,
    /// by `Progress::watch`).
    fn at_rest(&mut self) -> Vec<Uuid> {
        Vec::new()
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Applied {
    /// How many events were folded.
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
/// What the store of rows says; a log that cannot be read in a gap is an [`std::io::Error`] in it.
pub async fn apply<S: RowStore>(
    projection: &mut dyn Projection<S>,
    sql: &mut S::Connection,
    store: &dyn EventStore,
    events: &[Arc<RecordedEvent>],
    parked: &mut Parked,
) -> Result<Applied, S::Error> {
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
pub(crate) async fn missing_before<S: RowStore>(
    projection: &mut dyn Projection<S>,
    sql: &mut S::Connection,
    store: &dyn EventStore,
    event: &Arc<RecordedEvent>,
) -> Result<Vec<Arc<RecordedEvent>>, S::Error> {
    projection.load(sql, std::slice::from_ref(event)).await?;
    let next = projection.version(&event.stream).map_or(0, |version| version + 1);
    Ok(gap(store, &event.stream, next, event.version).await?)
}

/// Folds one event that is the next of its stream, unless one before it has parked the stream.
fn step<S: RowStore>(
    projection: &mut dyn Projection<S>,
    event: &RecordedEvent,
    parked: &mut Parked,
    applied: &mut Applied,
) {
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
