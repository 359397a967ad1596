//! A batch whose rows the store refuses is taken apart until the events at fault are found: they park their streams, all
//! others are applied, in one transaction with a savepoint around each part.
//!
//! *Invariant:* what is refused leaves nothing behind. A part that is refused is rolled back to its savepoint, and the
//! buffers that folded it are dropped with it; so sums are added to once, however often a part was tried.

use std::collections::HashSet;
use std::sync::Arc;

use event_store::{EventStore, RecordedEvent};
use uuid::Uuid;

use crate::dead_letters::{Cause, Parked};
use crate::projecting::projection::{Applied, Projection, apply, missing_before};
use crate::projecting::row_store::{RowStore, release, roll_back, savepoint};

/// So many streams refused and none applied: it is not the events. Less than a batch, since each costs two attempts.
const EVERYTHING: usize = 64;

/// What became of a batch that was taken apart.
#[derive(Debug, Default)]
pub struct Apart {
    /// What became of all parts together.
    pub applied: Applied,
    /// Keys that came to rest.
    pub at_rest: Vec<Uuid>,
    /// Nothing can be applied at all, and why. Nothing was written then, and what was parked must be forgotten.
    pub stop: Option<String>,
}

/// Applies a batch in as many parts as it takes. `fresh` makes the projection with nothing in memory.
///
/// # Errors
/// What the store says, other than that it refuses rows.
pub async fn apply_apart<S: RowStore>(
    fresh: fn() -> Box<dyn Projection<S>>,
    sql: &mut S::Connection,
    store: &dyn EventStore,
    events: Vec<Arc<RecordedEvent>>,
    parked: &mut Parked,
) -> Result<Apart, S::Error> {
    let mut apart = Apart::default();
    let (mut refused, mut of_schema, mut parts) = (0, None, vec![events]);
    // Events that have all their predecessors in front of them in `parts`: if one is refused alone, it is at fault.
    let mut in_line = HashSet::new();
    while let Some(part) = parts.pop() {
        let before = parked.clone();
        savepoint::<S>(sql).await?;
        let mut projection = fresh();
        let error = match apply(&mut *projection, sql, store, &part, parked).await {
            Ok(applied) => {
                release::<S>(sql).await?;
                apart.applied.add(applied);
                apart.at_rest.extend(projection.at_rest());
                continue;
            }
            Err(error) if S::is_refusal(&error) => error,
            Err(error) => return Err(error),
        };
        roll_back::<S>(sql).await?;
        *parked = before;
        let [one] = part.as_slice() else {
            // The first half goes first: a stream's events stay in the order of their versions.
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([second.to_vec(), first.to_vec()]);
            continue;
        };
        if !in_line.contains(&one.id) {
            let mut line = missing(&mut *fresh(), sql, store, one).await?;
            line.push(Arc::clone(one));
            in_line.extend(line.iter().map(|event| event.id));
            if line.len() > 1 {
                parts.push(line);
                continue;
            }
        }
        parked.park(one, Cause::Refused, &error.to_string());
        apart.applied.waiting += 1;
        refused += 1;
        of_schema = S::is_of_schema(&error).then(|| error.to_string());
        if !apart.applied.moved() && refused >= EVERYTHING {
            apart.stop = Some(format!("all rows are refused: {error}"));
            return Ok(apart);
        }
    }
    if let (false, Some(error)) = (apart.applied.moved(), of_schema) {
        apart.stop = Some(format!("its tables are not as they should be: {error}"));
    }
    Ok(apart)
}

/// What the stream misses before this event; nothing where its rows cannot even be looked up.
async fn missing<S: RowStore>(
    fresh: &mut dyn Projection<S>,
    sql: &mut S::Connection,
    store: &dyn EventStore,
    event: &Arc<RecordedEvent>,
) -> Result<Vec<Arc<RecordedEvent>>, S::Error> {
    savepoint::<S>(sql).await?;
    let found = missing_before(fresh, sql, store, event).await;
    roll_back::<S>(sql).await?;
    match found {
        Err(error) if S::is_refusal(&error) => Ok(Vec::new()),
        found => found,
    }
}
