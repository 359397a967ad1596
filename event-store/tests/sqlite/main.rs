//! The embedded log: it passes the suite, and what is its own: its files, its crashes, its failures.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod suite;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_store::conformance::Harness;
use event_store::sqlite::Faults;
use event_store::{EventStore, SqliteOptions, SqliteStore};
use tempfile::TempDir;

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
