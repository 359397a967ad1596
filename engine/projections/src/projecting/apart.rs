//! A batch whose rows Postgres refuses is taken apart until the events at fault are found: they park their streams, all
//! others are applied, in one transaction with a savepoint around each part.
//!
//! *Invariant:* what is refused leaves nothing behind. A part that is refused is rolled back to its savepoint, and the
//! buffers that folded it are dropped with it; so sums are added to once, however often a part was tried.

use std::collections::HashSet;
use std::sync::Arc;

use event_store::{EventStore, RecordedEvent};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::dead_letters::{Cause, Parked};
use crate::projecting::projection::{Applied, Projection, apply, missing_before};

/// So many streams refused and none applied: it is not the events. Less than a batch, since each costs two attempts.
const EVERYTHING: usize = 64;

/// What became of a batch that was taken apart.
#[derive(Debug, Default)]
pub struct Apart {
    /// Over all parts.
    pub applied: Applied,
    /// Keys that came to rest.
    pub at_rest: Vec<Uuid>,
    /// Nothing can be applied at all, and why. Nothing was written then, and what was parked must be forgotten.
    pub stop: Option<String>,
}

/// Applies a batch in as many parts as it takes. `fresh` makes the projection with nothing in memory.
///
/// # Errors
/// What Postgres says, other than that it refuses rows.
pub async fn apply_apart(
    fresh: fn() -> Box<dyn Projection>,
    sql: &mut PgConnection,
    store: &dyn EventStore,
    events: Vec<Arc<RecordedEvent>>,
    parked: &mut Parked,
) -> Result<Apart, sqlx::Error> {
    let mut apart = Apart::default();
    let (mut refused, mut of_schema, mut parts) = (0, None, vec![events]);
    // Events that have all their predecessors in front of them in `parts`: if one is refused alone, it is at fault.
    let mut in_line = HashSet::new();
    while let Some(part) = parts.pop() {
        let before = parked.clone();
        savepoint(sql).await?;
        let mut projection = fresh();
        let error = match apply(&mut *projection, sql, store, &part, parked).await {
            Ok(applied) => {
                release(sql).await?;
                apart.applied.add(applied);
                apart.at_rest.extend(projection.at_rest());
                continue;
            }
            Err(error) if is_refusal(&error) => error,
            Err(error) => return Err(error),
        };
        roll_back(sql).await?;
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
        of_schema = is_of_schema(&error).then(|| error.to_string());
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
async fn missing(
    fresh: &mut dyn Projection,
    sql: &mut PgConnection,
    store: &dyn EventStore,
    event: &Arc<RecordedEvent>,
) -> Result<Vec<Arc<RecordedEvent>>, sqlx::Error> {
    savepoint(sql).await?;
    let found = missing_before(fresh, sql, store, event).await;
    roll_back(sql).await?;
    match found {
        Err(error) if is_refusal(&error) => Ok(Vec::new()),
        found => found,
    }
}

/// Marks where a part begins.
pub(crate) async fn savepoint(sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("savepoint part").execute(sql).await.map(|_| ())
}

/// Undoes everything since the savepoint, which is gone then.
pub(crate) async fn roll_back(sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("rollback to savepoint part").execute(&mut *sql).await?;
    release(sql).await
}

async fn release(sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("release savepoint part").execute(sql).await.map(|_| ())
}

/// Whether Postgres refused the rows themselves; anything else is an outage and tried again as it is.
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    // Classes 22 (data), 23 (constraint), 42 (a column that is not there), 54 (too large).
    ["22", "23", "42", "54"].iter().any(|class| is_of_class(error, class))
        || matches!(error, sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
}

/// Whether it is rather the table than the row: it or a column is not there (class 42).
fn is_of_schema(error: &sqlx::Error) -> bool {
    is_of_class(error, "42")
}

fn is_of_class(error: &sqlx::Error, class: &str) -> bool {
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    code.is_some_and(|code| code.starts_with(class))
}
