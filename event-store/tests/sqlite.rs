//! The embedded log passes the suite.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_store::conformance::{self, Harness};
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

#[tokio::test]
async fn what_is_durable_is_read_back_to_the_byte() {
    conformance::what_is_durable_is_read_back_to_the_byte(&Sqlite::new()).await;
}
