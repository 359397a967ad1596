//! How far the feed has been taken in, and which sagas are active: what a start needs so as not to read the whole log.
//!
//! Kept as the snapshot of `saga_checkpoint-0`, not as events: with 100 000 active sagas it has some MB and would fill
//! the log. JSON `{position, active: [{saga, order_id, id, due_us, open}]}`, where `id` is left out if it is the order's; newest wins; it is queued behind the appends
//! that it stands on. Losing it, or an older one, costs time only: what is taken in again is recognised by the
//! versions that each saga has seen.

use domain::Timestamp;
use domain::ids::OrderId;
use event_store::{EventStore, Position, ReadError, StreamName, StreamSnapshot};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the checkpoint is.
pub const CHECKPOINT_STREAM: &str = "saga_checkpoint-0";

/// The format of what is saved.
const SCHEMA: u32 = 1;

/// Which saga.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its type; one of the compiled-in names, or one that this program does not know (any more).
    pub saga: std::sync::Arc<str>,
    /// Its id: the order's, or one of its own where an order may have several of the type.
    pub id: Uuid,
    /// Its order.
    pub order_id: OrderId,
}

impl Key {
    pub fn stream(&self) -> String {
        crate::sagas::stream(&self.saga, self.id)
    }
}

/// An active saga.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Active {
    pub key: Key,
    /// When it next acts by itself.
    pub due: Option<Timestamp>,
    /// Whether commands of it are open.
    pub open: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    position: Position,
    active: Vec<SavedSaga>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedSaga {
    saga: String,
    order_id: OrderId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    due_us: Option<i64>,
    open: bool,
}

/// What a start needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checkpoint {
    /// Everything at or below has been taken in.
    pub position: Position,
    /// The sagas that have not ended.
    pub active: Vec<Active>,
}

/// Reads the checkpoint; without one, everything is taken in from the beginning.
pub(crate) async fn load(store: &dyn EventStore) -> Result<Checkpoint, ReadError> {
    let Some(snapshot) = store.load_snapshot(&stream()).await?.filter(|snapshot| snapshot.schema == SCHEMA) else {
        return Ok(Checkpoint::default());
    };
    let Ok(saved) = serde_json::from_str::<Saved>(&snapshot.state) else {
        tracing::warn!("the sagas' checkpoint cannot be read; the log is taken in from its beginning");
        return Ok(Checkpoint::default());
    };
    if saved.position > *store.head().borrow() {
        tracing::warn!(position = %saved.position, "the sagas' checkpoint is ahead of the log and is not used");
        return Ok(Checkpoint::default());
    }
    let active = saved.active.into_iter().map(|entry| Active {
        key: Key { saga: entry.saga.into(), id: entry.id.unwrap_or(entry.order_id.0), order_id: entry.order_id },
        due: entry.due_us.and_then(Timestamp::from_timestamp_micros),
        open: entry.open,
    });
    Ok(Checkpoint { position: saved.position, active: active.collect() })
}

/// Saves the checkpoint in place of the one before.
pub(crate) async fn save(store: &dyn EventStore, checkpoint: &Checkpoint) -> Result<(), ReadError> {
    let entry = |active: &Active| SavedSaga {
        saga: active.key.saga.to_string(),
        order_id: active.key.order_id,
        id: Some(active.key.id).filter(|id| *id != active.key.order_id.0),
        due_us: active.due.map(|due| due.timestamp_micros()),
        open: active.open,
    };
    let saved = Saved { position: checkpoint.position, active: checkpoint.active.iter().map(entry).collect() };
    let state = serde_json::to_string(&saved).expect("a struct of strings and numbers serialises");
    store.save_snapshot(&stream(), StreamSnapshot { version: checkpoint.position.0, schema: SCHEMA, state }).await
}

fn stream() -> StreamName {
    CHECKPOINT_STREAM.parse().expect("a literal of printable ASCII is a stream's name")
}
