//! How far the read models are, for those who ask and those who wait. In memory: what it says is committed. In one
//! process the runner tells it; in a cluster `board.rs` reads it, of all replicas, while somebody waits.

pub(crate) mod board;
pub mod standing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::Position;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::dead_letters::Letters;

/// What a read model is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its checkpoint is not known yet.
    #[default]
    Starting,
    /// It follows the log.
    Running,
    /// Nothing can be applied, though Postgres is there. It is tried again now and then.
    Stopped,
    /// Postgres or the log cannot be reached; it goes on by itself.
    Down,
}

/// How one read model stands.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The name of the read model.
    pub name: &'static str,
    /// The generation that answers come from; 0 before it is known.
    pub generation: i32,
    /// Everything at or below is in its rows.
    pub position: Position,
    /// What it is doing.
    pub state: State,
    /// The last thing that did not work, until it works again.
    pub last_error: Option<String>,
    /// Events folded since the start.
    pub folded: u64,
    /// Events of unknown types, moved past since the start.
    pub skipped: u64,
    /// When the last event folded occurred.
    pub occurred_at: Option<DateTime<Utc>>,
    /// Its streams that stand still, and where.
    pub parked: Letters,
    /// In a cluster, how far each partition is, of all replicas; empty in one process.
    pub partitions: Vec<Partition>,
}

/// How far a read model is with one partition of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The partition's number, from 0.
    pub partition: u32,
    /// The position up to which the partition's events are in the rows.
    pub position: u64,
    /// Which replica feeds it, or did last; null: none has yet.
    pub owner: Option<String>,
}

impl Status {
    /// How far it is with one partition of the events; `None`: with all of them. A process alone does not divide its events.
    fn at(&self, partition: Option<u32>) -> Position {
        match partition.filter(|_| !self.partitions.is_empty()) {
            Some(number) => {
                let found = self.partitions.iter().find(|partition| partition.partition == number);
                found.map_or(Position::START, |partition| Position(partition.position))
            }
            None => self.position,
        }
    }
}

/// Waiting for more would cost memory for nothing: there are never as many requests at once.
const MOST_WAITERS: usize = 16_384;

/// How far the read models are. Shared by the runner, which moves it, and the queries.
#[derive(Debug)]
pub struct Progress {
    statuses: watch::Sender<Vec<Status>>,
    /// Set when a checkpoint is beyond the end of the log.
    beyond: watch::Sender<Option<Position>>,
    /// Who waits for a key to come to rest. Held for a map operation only.
    waiting: Mutex<HashMap<Uuid, Waiting>>,
    /// How many wait for anything.
    waits: watch::Sender<usize>,
}

/// Somebody waits; no more when dropped.
#[derive(Debug)]
struct Waits<'p>(&'p watch::Sender<usize>);

impl<'p> Waits<'p> {
    fn new(waits: &'p watch::Sender<usize>) -> Self {
        waits.send_modify(|waits| *waits += 1);
        Self(waits)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waits| *waits -= 1);
    }
}

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    wake: Arc<Notify>,
}

impl Progress {
    /// Nothing known yet of these read models.
    pub fn new(names: impl IntoIterator<Item = &'static str>) -> Arc<Self> {
        let statuses = names.into_iter().map(|name| Status { name, ..Status::default() }).collect();
        Arc::new(Self {
            statuses: watch::channel(statuses).0,
            beyond: watch::channel(None).0,
            waiting: Mutex::default(),
            waits: watch::channel(0).0,
        })
    }

    /// Waits until a read model turns out to have seen more than the log holds, and says which position; for ever if
    /// all is well. The log has lost its end then, or is another one: the process must stop. Safe to drop.
    pub async fn beyond_the_log(&self) -> Position {
        let mut beyond = self.beyond.subscribe();
        let seen = beyond.wait_for(Option::is_some).await.ok().and_then(|seen| *seen);
        match seen {
            Some(seen) => seen,
            None => std::future::pending().await, // The sender lives in `self`: not reached.
        }
    }

    /// A read model has seen this position, and the log ends before it.
    pub(crate) fn mark_beyond(&self, seen: Position) {
        self.beyond.send_replace(Some(seen));
    }

    /// How all of them stand.
    pub fn statuses(&self) -> Vec<Status> {
        self.statuses.borrow().clone()
    }

    /// The position that rows of these read models reflect at least: the lowest of theirs.
    pub fn position(&self, of: &[&str]) -> Position {
        lowest(&self.statuses.borrow(), of, None)
    }

    /// That position, of one partition of the events or of all, and their streams that stood still then.
    pub fn position_and_parked(&self, of: &[&str], partition: Option<u32>) -> (Position, Vec<(&'static str, Letters)>) {
        let statuses = self.statuses.borrow();
        let some = |status: &&Status| !status.parked.is_empty() && of.contains(&status.name);
        let parked = statuses.iter().filter(some).map(|status| (status.name, Arc::clone(&status.parked)));
        (lowest(&statuses, of, partition), parked.collect())
    }

    /// The generation of a read model that answers come from; `None`: there is no such read model, or not yet.
    pub fn generation(&self, of: &str) -> Option<i32> {
        let statuses = self.statuses.borrow();
        statuses.iter().find(|status| status.name == of).map(|status| status.generation).filter(|number| *number > 0)
    }

    /// Whether the tables are there to be asked: all checkpoints are known.
    pub fn is_ready(&self) -> bool {
        self.statuses.borrow().iter().all(|status| status.state != State::Starting)
    }

    /// Waits until all checkpoints are known: the tables are there. Safe to drop while waiting.
    pub async fn started(&self) {
        let mut statuses = self.statuses.subscribe();
        // The sender lives in `self`: the wait ends only when it has come true.
        _ = statuses.wait_for(|statuses| statuses.iter().all(|status| status.state != State::Starting)).await;
    }

    /// Waits until these read models have reached a position with one partition of the events or with all, at most until
    /// `deadline`. `false`: they have not. Safe to drop while waiting.
    pub async fn reached(&self, of: &[&str], partition: Option<u32>, position: Position, deadline: Instant) -> bool {
        let _waits = Waits::new(&self.waits);
        let mut statuses = self.statuses.subscribe();
        let reached = statuses.wait_for(|statuses| lowest(statuses, of, partition) >= position);
        matches!(tokio::time::timeout_at(deadline, reached).await, Ok(Ok(_)))
    }

    /// Waits until all read models have started and reached a position; for tests and benches.
    pub async fn all_reached(&self, position: Position, bound: Duration) -> bool {
        let _waits = Waits::new(&self.waits);
        let mut statuses = self.statuses.subscribe();
        let there = |status: &Status| status.state != State::Starting && status.position >= position;
        let reached = statuses.wait_for(|statuses| statuses.iter().all(there));
        matches!(tokio::time::timeout(bound, reached).await, Ok(Ok(_)))
    }

    /// Changes what is known, and wakes who waits for it.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Vec<Status>)) {
        self.statuses.send_modify(change);
    }

    /// Whether anybody waits for a position or a key.
    pub(crate) fn somebody_waits(&self) -> bool {
        *self.waits.borrow() > 0
    }

    /// Waits until somebody waits. Safe to drop.
    pub(crate) async fn until_somebody_waits(&self) {
        let mut waits = self.waits.subscribe();
        // The sender lives in `self`: the wait ends only when it has come true.
        _ = waits.wait_for(|waits| *waits > 0).await;
    }

    /// Up to so many of the keys that are waited for; others each round, until it was the turn of all.
    pub(crate) fn waited(&self, most: usize, round: usize) -> Vec<Uuid> {
        let waiting = self.waiting.lock();
        let (all, before) = (waiting.len(), round.wrapping_mul(most));
        let turn = waiting.keys().cycle().skip(before.checked_rem(all).unwrap_or(0)).take(most.min(all));
        turn.copied().collect()
    }

    /// Registers a wait for a key to come to rest, as a read model says it ([`crate::Projection::at_rest`]) or the query of
    /// [`crate::ReadModels::with_at_rest`]; `None`: too many wait.
    pub fn watch(self: &Arc<Self>, key: Uuid) -> Option<Watch> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MOST_WAITERS {
            return None;
        }
        let entry = waiting.entry(key).or_default();
        entry.count += 1;
        self.waits.send_modify(|waits| *waits += 1);
        Some(Watch { progress: Arc::clone(self), key, wake: Arc::clone(&entry.wake) })
    }

    /// Wakes who waits for these keys.
    pub(crate) fn wake(&self, keys: &[Uuid]) {
        let waiting = self.waiting.lock();
        keys.iter().filter_map(|key| waiting.get(key)).for_each(|entry| entry.wake.notify_waiters());
    }
}

fn lowest(statuses: &[Status], of: &[&str], partition: Option<u32>) -> Position {
    let positions = statuses.iter().filter(|status| of.contains(&status.name)).map(|status| status.at(partition));
    positions.min().unwrap_or_default()
}

/// A registered wait for a key; it ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    progress: Arc<Progress>,
    key: Uuid,
    /// Fires when the key may have come to rest: look again.
    pub wake: Arc<Notify>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.progress.waits.send_modify(|waits| *waits -= 1);
        let mut waiting = self.progress.waiting.lock();
        if let Some(entry) = waiting.get_mut(&self.key) {
            entry.count -= 1;
            if entry.count == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_old_as_its_oldest_read_model() {
        let progress = Progress::new(["seats", "guests"]);
        progress.update(|statuses| statuses[0].position = Position(7));
        assert_eq!(progress.position(&["seats", "guests"]), Position(0));
        assert_eq!(progress.position(&["seats"]), Position(7));
    }

    #[test]
    fn what_lies_in_one_partition_waits_for_no_other() {
        let progress = Progress::new(["seats"]);
        let at = |partition, position| Partition { partition, position, owner: None };
        progress.update(|statuses| {
            (statuses[0].position, statuses[0].partitions) = (Position(3), vec![at(0, 3), at(1, 9)]);
        });
        let of = |partition| progress.position_and_parked(&["seats"], partition).0;
        assert_eq!((of(None), of(Some(0)), of(Some(1))), (Position(3), Position(3), Position(9)));
        assert_eq!(of(Some(2)), Position::START, "nobody has begun with it");
    }

    #[tokio::test]
    async fn a_wait_that_ends_leaves_nothing_behind() {
        let progress = Progress::new([]);
        let (first, second) = (progress.watch(Uuid::nil()).unwrap(), progress.watch(Uuid::nil()).unwrap());
        drop(first);
        assert_eq!(progress.waiting.lock().len(), 1);
        drop(second);
        assert!(progress.waiting.lock().is_empty());
    }
}
