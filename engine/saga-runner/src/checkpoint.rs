//! How far the feed has been taken in, and which sagas are active: what a start needs so as not to read the whole log.
//!
//! Kept as the snapshot of `saga_checkpoint-<partition>`, not as events: with 100 000 active sagas it has some MB and
//! would fill the log. JSON `{position, partitions, active: [{saga, order_id, id, due_us, open}]}`, where `id` is left
//! out if it is the order's; newest wins; it is queued behind the appends that it stands on. Losing it, or an older one,
//! costs time only: what is taken in again is recognised by the versions that each saga has seen.
//!
//! *Invariant:* a checkpoint is used only under the partitioning that it was saved under. Which orders partition 0 holds
//! depends on the number of partitions (one in a single process, `[bus] partitions` in a cluster). With another number
//! the active sagas of the checkpoint are not those of the partition, so the feed is read from its beginning instead. A
//! checkpoint without `partitions` was saved up to 0.2.0 under an unknown number and is not used either. The topic does
//! not matter: positions are those of the log, and every topic distributes orders alike.
//!
//! *Invariant:* what it says of each active saga follows from at least all events of that saga at or below `position`.
//! So it does not matter who saved it last, a former owner of the partition too: whatever has happened since is in the
//! feed after its own position, the sagas' events included, and the reader of the feed looks at those sagas again.
//!
//! A log of another process takes no event of more than 1 MiB (KurrentDB's `MaxAppendSize`), and there a snapshot is one.
//! So with many active sagas the checkpoint is kept in shares: each has the sagas whose order falls into it, is complete
//! in itself with a position of its own, and the lowest of these is where to begin. `shares` of the first says how many
//! there are; the others are snapshots of `saga_checkpoint-<partition>.<shares>.<n>`, so that a number of shares that is
//! not written to its end leaves those before it whole.

use domain::Timestamp;
use domain::ids::OrderId;
use event_store::{EventStore, Position, ReadError, StreamName, StreamSnapshot};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::shop::ShopSagas;
use saga_engine::process::Process as _;

/// Where the checkpoint is on one machine, whose only partition is the whole log.
pub const CHECKPOINT_STREAM: &str = "saga_checkpoint-0";

/// The format of what is saved.
const SCHEMA: u32 = 1;

/// The most sagas in a share, with some 120 bytes each: half of what may be written at once.
const SAGAS_PER_SHARE: usize = 4_000;

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
        ShopSagas::stream(&self.saga, self.id)
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
    /// Among how many partitions the orders were distributed; `None` in checkpoints up to 0.2.0, which did not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    /// The time of the clock at which it was saved, which a later process's clock should not be behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_us: Option<i64>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    shares: usize,
    active: Vec<SavedSaga>,
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_one(shares: &usize) -> bool {
    *shares == 1
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
    /// The time of the clock at which it was saved.
    pub saved_at: Option<Timestamp>,
}

/// A partition, and among how many the orders are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition {
    pub number: u32,
    pub of: u32,
}

/// Reads a partition's checkpoint; without one, or with one of another partitioning, everything is taken in from the
/// beginning.
pub(crate) async fn load(store: &dyn EventStore, partition: Partition) -> Result<Checkpoint, ReadError> {
    let number = partition.number;
    let Some(first) = load_share(store, partition, &stream(number)).await? else {
        return Ok(Checkpoint::default());
    };
    let count = first.shares;
    let mut shares = vec![first];
    for share in 1..count {
        let Some(saved) = load_share(store, partition, &stream_of(number, count, share)).await? else {
            return Ok(Checkpoint::default());
        };
        shares.push(saved);
    }
    let checkpoint = joined(shares);
    let position = checkpoint.position;
    // Where a snapshot is an event of the same log it cannot be; what this process has heard of that log's end is less.
    if !store.is_shared() && position > *store.head().borrow() {
        tracing::warn!(partition = number, %position, "the sagas' checkpoint is ahead of the log and is not used");
        return Ok(Checkpoint::default());
    }
    Ok(checkpoint)
}

fn joined(shares: Vec<Saved>) -> Checkpoint {
    let position = shares.iter().map(|share| share.position).min().unwrap_or_default();
    let saved_at = shares.iter().filter_map(|share| share.saved_us).max().and_then(Timestamp::from_timestamp_micros);
    let active = shares.into_iter().flat_map(|share| share.active);
    let active = active.map(|entry| Active {
        key: Key { saga: entry.saga.into(), id: entry.id.unwrap_or(entry.order_id.0), order_id: entry.order_id },
        due: entry.due_us.and_then(Timestamp::from_timestamp_micros),
        open: entry.open,
    });
    Checkpoint { position, active: active.collect(), saved_at }
}

async fn load_share(
    store: &dyn EventStore,
    partition: Partition,
    stream: &StreamName,
) -> Result<Option<Saved>, ReadError> {
    let number = partition.number;
    let snapshot = store.load_snapshot(stream).await?.filter(|snapshot| snapshot.schema == SCHEMA);
    let Some(snapshot) = snapshot else { return Ok(None) };
    let Ok(saved) = serde_json::from_str::<Saved>(&snapshot.state) else {
        tracing::warn!(
            partition = number,
            %stream,
            "the sagas' checkpoint cannot be read; the feed is taken in from its beginning"
        );
        return Ok(None);
    };
    if saved.partitions != Some(partition.of) {
        let under = saved.partitions.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
        tracing::info!(
            partition = number,
            partitions = partition.of,
            "the sagas' checkpoint was saved under {under} partitions; the feed is taken in from its beginning once"
        );
        return Ok(None);
    }
    Ok(Some(saved))
}

/// Saves the checkpoint of a partition in place of the one before.
pub(crate) async fn save(
    store: &dyn EventStore,
    partition: Partition,
    checkpoint: Checkpoint,
) -> Result<(), ReadError> {
    // A power of two, so that the number changes seldom.
    let needed = checkpoint.active.len().div_ceil(SAGAS_PER_SHARE).max(1).next_power_of_two();
    let shares = shared_out(checkpoint, partition.of, if store.is_shared() { needed } else { 1 });
    // The first one last: it says how many others there are.
    for (share, saved) in shares.iter().enumerate().rev() {
        save_share(store, (partition.number, share), saved).await?;
    }
    Ok(())
}

async fn save_share(store: &dyn EventStore, of: (u32, usize), saved: &Saved) -> Result<(), ReadError> {
    let (partition, share) = of;
    let stream = if share == 0 { stream(partition) } else { stream_of(partition, saved.shares, share) };
    let state = serde_json::to_string(saved).expect("a struct of strings and numbers serialises");
    store.save_snapshot(&stream, StreamSnapshot { version: saved.position.0, schema: SCHEMA, state }).await
}

fn shared_out(checkpoint: Checkpoint, partitions: u32, shares: usize) -> Vec<Saved> {
    let Checkpoint { position, active, saved_at } = checkpoint;
    let saved_us = saved_at.map(|at| at.timestamp_micros());
    let empty = |_| Saved { position, partitions: Some(partitions), saved_us, shares, active: Vec::new() };
    let mut saved: Vec<Saved> = (0..shares).map(empty).collect();
    for active in active {
        saved[share_of(active.key.order_id, shares)].active.push(SavedSaga {
            saga: active.key.saga.to_string(),
            order_id: active.key.order_id,
            id: Some(active.key.id).filter(|id| *id != active.key.order_id.0),
            due_us: active.due.map(|due| due.timestamp_micros()),
            open: active.open,
        });
    }
    saved
}

/// The share of an order's sagas. The first bytes of its id: the last ones choose the worker.
fn share_of(order_id: OrderId, shares: usize) -> usize {
    let bytes = (order_id.0.as_u128() >> 64) as u64;
    usize::try_from(bytes % shares as u64).unwrap_or(0)
}

fn stream(partition: u32) -> StreamName {
    format!("saga_checkpoint-{partition}").parse().expect("printable ASCII and a number are a stream's name")
}

fn stream_of(partition: u32, shares: usize, share: usize) -> StreamName {
    let name = format!("saga_checkpoint-{partition}.{shares}.{share}");
    name.parse().expect("printable ASCII and numbers are a stream's name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_keeps_its_checkpoint_where_it_always_was() {
        assert_eq!(stream(0).as_str(), CHECKPOINT_STREAM);
    }

    /// So many active sagas, of orders anywhere, at position 0: this log has no events.
    fn checkpoint(sagas: u128) -> Checkpoint {
        let active = (0..sagas).map(|n| {
            let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &n.to_be_bytes());
            let key = Key { saga: "order_fulfilment".into(), id, order_id: OrderId(id) };
            Active { key, due: Timestamp::from_timestamp(5, 0), open: n % 2 == 0 }
        });
        Checkpoint { position: Position::START, active: active.collect(), saved_at: None }
    }

    fn ids(checkpoint: &Checkpoint) -> std::collections::BTreeSet<Uuid> {
        checkpoint.active.iter().map(|active| active.key.id).collect()
    }

    #[tokio::test]
    async fn a_checkpoint_in_shares_is_whole_again_and_one_that_was_not_written_to_its_end_is_as_if_it_were_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = event_store::SqliteStore::open(dir.path(), event_store::SqliteOptions::default()).unwrap();
        let (small, large) = (checkpoint(100), checkpoint(500));
        let shares = |checkpoint: &Checkpoint, count| shared_out(checkpoint.clone(), 6, count);
        for (share, saved) in shares(&small, 4).iter().enumerate() {
            assert!(saved.active.len() > 10, "each has its share");
            save_share(&*store, (3, share), saved).await.unwrap();
        }
        assert_eq!(ids(&load(&*store, Partition { number: 3, of: 6 }).await.unwrap()), ids(&small));
        assert_eq!(
            ids(&load(&*store, Partition { number: 2, of: 6 }).await.unwrap()),
            ids(&Checkpoint::default()),
            "another partition has its own"
        );
        // Killed before the first of eight shares was written: the four are still good.
        for (share, saved) in shares(&large, 8).iter().enumerate().skip(1) {
            save_share(&*store, (3, share), saved).await.unwrap();
        }
        assert_eq!(ids(&load(&*store, Partition { number: 3, of: 6 }).await.unwrap()), ids(&small));
        save_share(&*store, (3, 0), &shares(&large, 8)[0]).await.unwrap();
        assert_eq!(ids(&load(&*store, Partition { number: 3, of: 6 }).await.unwrap()), ids(&large));
        store.close().await;
    }

    #[tokio::test]
    async fn the_share_that_is_furthest_behind_says_where_to_begin() {
        let shares = [Position(40), Position(30)].map(|position| {
            let mut saved = shared_out(checkpoint(10), 6, 2).remove(0);
            saved.position = position;
            saved
        });
        assert_eq!(joined(shares.into()).position, Position(30));
    }

    #[tokio::test]
    async fn a_checkpoint_of_another_partitioning_is_as_if_it_were_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = event_store::SqliteStore::open(dir.path(), event_store::SqliteOptions::default()).unwrap();
        let whole = Partition { number: 0, of: 1 };
        let first_of = |of| Partition { number: 0, of };
        for (saved_under, read_under) in [(6, 1), (1, 6), (6, 3), (6, 8)] {
            save(&*store, first_of(saved_under), checkpoint(100)).await.unwrap();
            let read = load(&*store, first_of(read_under)).await.unwrap();
            assert_eq!(ids(&read), ids(&Checkpoint::default()), "{saved_under} partitions, then {read_under}");
            let again = load(&*store, first_of(saved_under)).await.unwrap();
            assert_eq!(ids(&again), ids(&checkpoint(100)), "under the same number it is good");
        }
        // Up to 0.2.0 nothing said under how many partitions: one process may have followed a cluster on this log.
        let mut old = shared_out(checkpoint(100), 6, 1).remove(0);
        old.partitions = None;
        save_share(&*store, (0, 0), &old).await.unwrap();
        assert_eq!(ids(&load(&*store, whole).await.unwrap()), ids(&Checkpoint::default()));
        store.close().await;
    }
}
