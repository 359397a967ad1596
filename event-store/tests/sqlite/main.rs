//! The embedded log: it passes the suite; and what is its own: its files, its failures, what damage does to it.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod backing_up;
mod checking;
mod damage;
mod exporting;
mod failing;
mod found_damaged;
mod loading;
mod missing;
mod opening;
mod readers_open;
mod suite;
mod unpolled;

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_store::conformance::{Harness, event};
use event_store::sqlite::Faults;
use event_store::{
    Append, AppendError, Appended, Direction, EventStore, Expected, Filter, Position, RecordedEvent, SqliteOptions,
    SqliteStore, StreamName,
};
use tempfile::TempDir;

/// A log in a folder of its own.
struct Sqlite {
    dir: TempDir,
    faults: Faults,
    open: Mutex<Option<Arc<SqliteStore>>>,
}

impl Sqlite {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), faults: Faults::default(), open: Mutex::new(None) }
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self) -> Arc<dyn EventStore> {
        let options = SqliteOptions { faults: self.faults.clone(), ..SqliteOptions::default() };
        let store = SqliteStore::open(self.dir.path(), options).unwrap();
        *self.open.lock().unwrap() = Some(store.clone());
        store
    }

    async fn close(&self) {
        let store = self.open.lock().unwrap().take();
        if let Some(store) = store {
            store.close().await;
        }
    }

    fn fail_next_commit(&self) -> bool {
        self.faults.fail_commits(1);
        true
    }
}

fn stream(name: &str) -> StreamName {
    name.parse().unwrap()
}

fn open(dir: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(dir, SqliteOptions::default()).unwrap()
}

/// Appends one event with a payload of about `bytes` behind `version` events of the stream, and waits until it is durable.
async fn write(store: &SqliteStore, of: &StreamName, version: u64, bytes: usize) -> Result<Appended, AppendError> {
    let expected = Expected::at(version.checked_sub(1));
    let append = Append { stream: of.clone(), expected, events: vec![event(of, version, bytes)] };
    store.append(append).await?.durable().await
}

/// A log of `commits` commits of one event each, over three streams.
async fn fill(store: &SqliteStore, commits: u64) {
    for number in 0..commits {
        write(store, &stream(&format!("order-{}", number % 3)), number / 3, 100).await.unwrap();
    }
}

/// All events, or the error that came first.
async fn read_log(store: &SqliteStore) -> Result<Vec<RecordedEvent>, event_store::ReadError> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    loop {
        let from = events.last().map_or(Position::START, |event| event.position);
        let page = store.read_all(from, Direction::Forward, 100, &Filter::default()).await?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}

/// What tells an event from another one: all of it.
fn text_of(event: &RecordedEvent) -> String {
    serde_json::to_string(event).unwrap()
}

fn texts_of(events: &[RecordedEvent]) -> Vec<String> {
    events.iter().map(text_of).collect()
}
