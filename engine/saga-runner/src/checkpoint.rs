//! How far the feed has been taken in, and which sagas are active: what a start needs so as not to read the whole log.
//!
//! Kept as the snapshot of `saga_checkpoint-<partition>`, not as events: with 100 000 active sagas it has some MB and
//! would fill the log. (`saga_` is [`Process::CATEGORY_PREFIX`].) JSON `{position, partitions, saved_us, active: [{saga,
//! <subject>, id, due_us, open}]}`. The field of the subject's struct stands where `<subject>` is, and `id` is left out if it
//! is the subject's; newest wins; it is queued behind the appends that it stands on. Losing it, or an older one,
//! costs time only: what is taken in again is recognised by the versions that each saga has seen.
//!
//! *Invariant:* a checkpoint is used only under the partitioning that it was saved under. Which subjects partition 0
//! holds depends on the number of partitions (one in a single process, several where replicas share the log). With another number
//! the active sagas of the checkpoint are not those of the partition, so the events are read from the beginning instead. A
//! checkpoint without `partitions` was saved up to 0.2.0 under an unknown number and is not used either. Where the
//! events come from does not matter: positions are those of the log.
//!
//! *Invariant:* what it says of each active saga follows from at least all events of that saga at or below `position`.
//! So it does not matter who saved it last, a former owner of the partition too: whatever has happened since is
//! delivered after its own position, the sagas' events included, and the subscriber looks at those sagas again.
//!
//! A log of another process takes no event of more than 1 MiB (KurrentDB's `MaxAppendSize`), and there a snapshot is one.
//! So with many active sagas the checkpoint is kept in shares: each has the sagas whose subject falls into it, is complete
//! in itself with a position of its own, and the lowest of these is where to begin. `shares` of the first says how many
//! there are; the others are snapshots of `saga_checkpoint-<partition>.<shares>.<n>`, so that a number of shares that is
//! not written to its end leaves those before it whole.

use event_store::{EventStore, Position, ReadError, StreamName, StreamSnapshot};
use eventsourcing::Timestamp;
use saga_engine::Subject;
use saga_engine::process::{Process, SubjectOf};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The format of what is saved.
const SCHEMA: u32 = 1;

/// The most sagas in a share, with some 120 bytes each: half of what may be written at once.
const SAGAS_PER_SHARE: usize = 4_000;

/// Tells a saga from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key<S> {
    /// Its type; one of the compiled-in names, or one that this program does not know (any more).
    pub saga: std::sync::Arc<str>,
    /// Its id: the subject's, or one of its own where a subject may have several sagas of the type.
    pub id: Uuid,
    /// What it is about.
    pub subject: S,
}

/// The key of a saga of a process.
pub(crate) type KeyOf<P> = Key<SubjectOf<P>>;

impl<S> Key<S> {
    /// The name of the saga's stream.
    pub(crate) fn stream<P: Process>(&self) -> String {
        P::stream(&self.saga, self.id)
    }
}

/// A saga that has not ended, as a start needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Active<S> {
    /// Which saga it is.
    pub key: Key<S>,
    /// When it next acts by itself.
    pub due: Option<Timestamp>,
    /// Whether commands of it are open.
    pub open: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
struct Saved<S: Subject> {
    position: Position,
    /// Among how many partitions the subjects were distributed; `None` in checkpoints up to 0.2.0, which did not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partitions: Option<u32>,
    /// The time of the clock at which it was saved, which a later process's clock should not be behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_us: Option<i64>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    shares: usize,
    active: Vec<SavedSaga<S>>,
}

fn one() -> usize {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_one(shares: &usize) -> bool {
    *shares == 1
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
struct SavedSaga<S: Subject> {
    saga: String,
    #[serde(flatten)]
    subject: S,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    due_us: Option<i64>,
    open: bool,
}

/// What a start needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint<S> {
    /// Everything at or below has been taken in.
    pub position: Position,
    /// The sagas that have not ended.
    pub active: Vec<Active<S>>,
    /// The time of the clock at which it was saved.
    pub saved_at: Option<Timestamp>,
}

impl<S> Default for Checkpoint<S> {
    fn default() -> Self {
        Self { position: Position::START, active: Vec::new(), saved_at: None }
    }
}

/// A partition, and among how many the subjects are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Which partition, from 0.
    pub number: u32,
    /// How many partitions there are, at least 1.
    pub of: u32,
}

/// Reads a partition's checkpoint; without one, or with one of another partitioning, everything is taken in from the
/// beginning.
///
/// # Errors
/// [`ReadError`]
pub async fn load<P: Process>(
    store: &dyn EventStore,
    partition: Partition,
) -> Result<Checkpoint<SubjectOf<P>>, ReadError> {
    let number = partition.number;
    let Some(first) = load_share(store, partition, &stream::<P>(number)).await? else {
        return Ok(Checkpoint::default());
    };
    let count = first.shares;
    let mut shares = vec![first];
    for share in 1..count {
        let Some(saved) = load_share(store, partition, &stream_of::<P>(number, count, share)).await? else {
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

fn joined<S: Subject>(shares: Vec<Saved<S>>) -> Checkpoint<S> {
    let position = shares.iter().map(|share| share.position).min().unwrap_or_default();
    let saved_at = shares.iter().filter_map(|share| share.saved_us).max().and_then(Timestamp::from_timestamp_micros);
    let active = shares.into_iter().flat_map(|share| share.active);
    let active = active.map(|entry| Active {
        key: Key { saga: entry.saga.into(), id: entry.id.unwrap_or(entry.subject.id()), subject: entry.subject },
        due: entry.due_us.and_then(Timestamp::from_timestamp_micros),
        open: entry.open,
    });
    Checkpoint { position, active: active.collect(), saved_at }
}

async fn load_share<S: Subject>(
    store: &dyn EventStore,
    partition: Partition,
    stream: &StreamName,
) -> Result<Option<Saved<S>>, ReadError> {
    let number = partition.number;
    let snapshot = store.load_snapshot(stream).await?.filter(|snapshot| snapshot.schema == SCHEMA);
    let Some(snapshot) = snapshot else { return Ok(None) };
    let Ok(saved) = serde_json::from_str::<Saved<S>>(&snapshot.state) else {
        tracing::warn!(
            partition = number,
            %stream,
            "the sagas' checkpoint cannot be read; the events are read from the beginning"
        );
        return Ok(None);
    };
    if saved.partitions != Some(partition.of) {
        let under = saved.partitions.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
        tracing::info!(
            partition = number,
            partitions = partition.of,
            "the sagas' checkpoint was saved under {under} partitions; the events are read from the beginning once"
        );
        return Ok(None);
    }
    Ok(Some(saved))
}

/// Saves the checkpoint of a partition in place of the one before.
///
/// # Errors
/// [`ReadError`]: it was not saved, and the one before still holds.
pub async fn save<P: Process>(
    store: &dyn EventStore,
    partition: Partition,
    checkpoint: Checkpoint<SubjectOf<P>>,
) -> Result<(), ReadError> {
    // A power of two, so that the number changes seldom.
    let needed = checkpoint.active.len().div_ceil(SAGAS_PER_SHARE).max(1).next_power_of_two();
    let shares = shared_out(checkpoint, partition.of, if store.is_shared() { needed } else { 1 });
    // The first one last: it says how many others there are.
    for (share, saved) in shares.iter().enumerate().rev() {
        save_share::<P>(store, (partition.number, share), saved).await?;
    }
    Ok(())
}

async fn save_share<P: Process>(
    store: &dyn EventStore,
    of: (u32, usize),
    saved: &Saved<SubjectOf<P>>,
) -> Result<(), ReadError> {
    let (partition, share) = of;
    let stream = if share == 0 { stream::<P>(partition) } else { stream_of::<P>(partition, saved.shares, share) };
    let state = serde_json::to_string(saved).expect("a struct of strings and numbers serialises");
    store.save_snapshot(&stream, StreamSnapshot { version: saved.position.0, schema: SCHEMA, state }).await
}

fn shared_out<S: Subject>(checkpoint: Checkpoint<S>, partitions: u32, shares: usize) -> Vec<Saved<S>> {
    let Checkpoint { position, active, saved_at } = checkpoint;
    let saved_us = saved_at.map(|at| at.timestamp_micros());
    let empty = |_| Saved { position, partitions: Some(partitions), saved_us, shares, active: Vec::new() };
    let mut saved: Vec<Saved<S>> = (0..shares).map(empty).collect();
    for active in active {
        saved[share_of(&active.key.subject, shares)].active.push(SavedSaga {
            saga: active.key.saga.to_string(),
            subject: active.key.subject,
            id: Some(active.key.id).filter(|id| *id != active.key.subject.id()),
            due_us: active.due.map(|due| due.timestamp_micros()),
            open: active.open,
        });
    }
    saved
}

/// The share of a subject's sagas. The first bytes of its id: the last ones choose the worker.
fn share_of(subject: &impl Subject, shares: usize) -> usize {
    let bytes = (subject.id().as_u128() >> 64) as u64;
    usize::try_from(bytes % shares as u64).unwrap_or(0)
}

/// The stream whose snapshot is the checkpoint of a partition: `<prefix>checkpoint-<partition>`. On one machine the only
/// partition is 0, the whole log.
///
/// # Panics
/// If [`Process::CATEGORY_PREFIX`] cannot begin a stream's name.
pub fn stream<P: Process>(partition: u32) -> StreamName {
    let name = format!("{}checkpoint-{partition}", P::CATEGORY_PREFIX);
    name.parse().expect("printable ASCII and a number are a stream's name")
}

fn stream_of<P: Process>(partition: u32, shares: usize, share: usize) -> StreamName {
    let name = format!("{}checkpoint-{partition}.{shares}.{share}", P::CATEGORY_PREFIX);
    name.parse().expect("printable ASCII and numbers are a stream's name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{BOOKING, Booking, BoxOffice};

    /// So many active sagas, of subjects anywhere, at position 0: this log has no events.
    fn checkpoint(sagas: u128) -> Checkpoint<Booking> {
        let active = (0..sagas).map(|n| {
            let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &n.to_be_bytes());
            let key = Key { saga: BOOKING.into(), id, subject: Booking { booking_id: id } };
            Active { key, due: Timestamp::from_timestamp(5, 0), open: n % 2 == 0 }
        });
        Checkpoint { position: Position::START, active: active.collect(), saved_at: None }
    }

    fn ids(checkpoint: &Checkpoint<Booking>) -> std::collections::BTreeSet<Uuid> {
        checkpoint.active.iter().map(|active| active.key.id).collect()
    }

    #[tokio::test]
    async fn a_checkpoint_in_shares_is_whole_again_or_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let store = event_store::SqliteStore::open(dir.path(), event_store::SqliteOptions::default()).unwrap();
        let (small, large) = (checkpoint(100), checkpoint(500));
        let shares = |checkpoint: &Checkpoint<Booking>, count| shared_out(checkpoint.clone(), 6, count);
        for (share, saved) in shares(&small, 4).iter().enumerate() {
            assert!(saved.active.len() > 10, "each has its share");
            save_share::<BoxOffice>(&*store, (3, share), saved).await.unwrap();
        }
        assert_eq!(ids(&load::<BoxOffice>(&*store, Partition { number: 3, of: 6 }).await.unwrap()), ids(&small));
        assert_eq!(
            ids(&load::<BoxOffice>(&*store, Partition { number: 2, of: 6 }).await.unwrap()),
            ids(&Checkpoint::default()),
            "another partition has its own"
        );
        // Killed before the first of eight shares was written: the four are still good.
        for (share, saved) in shares(&large, 8).iter().enumerate().skip(1) {
            save_share::<BoxOffice>(&*store, (3, share), saved).await.unwrap();
        }
        assert_eq!(ids(&load::<BoxOffice>(&*store, Partition { number: 3, of: 6 }).await.unwrap()), ids(&small));
        save_share::<BoxOffice>(&*store, (3, 0), &shares(&large, 8)[0]).await.unwrap();
        assert_eq!(ids(&load::<BoxOffice>(&*store, Partition { number: 3, of: 6 }).await.unwrap()), ids(&large));
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
            save::<BoxOffice>(&*store, first_of(saved_under), checkpoint(100)).await.unwrap();
            let read = load::<BoxOffice>(&*store, first_of(read_under)).await.unwrap();
            assert_eq!(ids(&read), ids(&Checkpoint::default()), "{saved_under} partitions, then {read_under}");
            let again = load::<BoxOffice>(&*store, first_of(saved_under)).await.unwrap();
            assert_eq!(ids(&again), ids(&checkpoint(100)), "under the same number it is good");
        }
        // Up to 0.2.0 nothing said under how many partitions: one process may have followed a cluster on this log.
        let mut old = shared_out(checkpoint(100), 6, 1).remove(0);
        old.partitions = None;
        save_share::<BoxOffice>(&*store, (0, 0), &old).await.unwrap();
        assert_eq!(ids(&load::<BoxOffice>(&*store, whole).await.unwrap()), ids(&Checkpoint::default()));
        store.close().await;
    }

    #[test]
    fn an_active_saga_is_saved_with_its_subject_and_with_an_id_of_its_own() {
        let of = |id| Key {
            saga: BOOKING.into(),
            id: Uuid::from_u128(id),
            subject: Booking { booking_id: Uuid::from_u128(7) },
        };
        let active = |id| Active { key: of(id), due: Timestamp::from_timestamp(5, 0), open: false };
        let checkpoint = Checkpoint { position: Position(3), active: vec![active(7), active(9)], saved_at: None };
        let saved = shared_out(checkpoint.clone(), 1, 1).remove(0);
        let booking = "00000000-0000-0000-0000-000000000007";
        let json = format!(
            r#"{{"position":3,"partitions":1,"active":[\
            {{"saga":"booking","booking_id":"{booking}","due_us":5000000,"open":false}},\
            {{"saga":"booking","booking_id":"{booking}","id":"00000000-0000-0000-0000-000000000009","due_us":5000000,"open":false}}]}}"#
        )
        .replace("\\\n            ", "");
        assert_eq!(serde_json::to_string(&saved).unwrap(), json);
        assert_eq!(joined(vec![serde_json::from_str(&json).unwrap()]), checkpoint);
        assert_eq!(stream::<BoxOffice>(0).as_str(), "saga_checkpoint-0");
    }
}
