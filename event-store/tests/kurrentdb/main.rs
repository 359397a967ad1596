//! The log of another process: it passes the suite; and what is its own: a server that goes, comes and freezes.
//!
//! The server is our own, in this process, unless `KURRENTDB_URL` names a KurrentDB. Each rule needs an empty log, so then
//! `KURRENTDB_RESET` must be a command that empties it, such as `docker restart kurrentdb` of one that runs with
//! `--mem-db --insecure`; and the rules must run one at a time (`--test-threads 1`).

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

mod direct;
mod outages;
mod served;
mod standing;
mod suite;
mod wire;

use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use event_store::conformance::Harness;
use event_store::{EventStore, KurrentStore};
use served::Served;
use tempfile::TempDir;

/// A log, and who uses it.
struct Kurrent {
    dir: TempDir,
    served: tokio::sync::Mutex<Option<Served>>,
    open: Mutex<Option<Arc<KurrentStore>>>,
}

impl Kurrent {
    fn new() -> Self {
        if let (Some(_), Ok(reset)) = (foreign(), std::env::var("KURRENTDB_RESET")) {
            assert!(Command::new("sh").args(["-c", &reset]).status().unwrap().success(), "{reset}");
        }
        Self { dir: TempDir::new().unwrap(), served: tokio::sync::Mutex::default(), open: Mutex::default() }
    }
}

/// A real KurrentDB to test against.
fn foreign() -> Option<String> {
    std::env::var("KURRENTDB_URL").ok()
}

#[async_trait]
impl Harness for Kurrent {
    async fn open(&self) -> Arc<dyn EventStore> {
        let url = match foreign() {
            Some(url) => url,
            None => self.served.lock().await.insert(Served::start(self.dir.path(), None).await).url(),
        };
        let store = KurrentStore::connect(&url).await.unwrap();
        *self.open.lock().unwrap() = Some(store.clone());
        store
    }

    async fn close(&self) {
        let store = self.open.lock().unwrap().take();
        if let Some(store) = store {
            store.close();
        }
        if let Some(served) = self.served.lock().await.take() {
            served.stop().await;
        }
    }

    fn fail_next_commit(&self) -> bool {
        false
    }
}
