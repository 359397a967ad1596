//! Connections for queries. Each runs on the threads for blocking work, beside the one that writes: in a write-ahead log readers
//! and the writer do not wait for each other.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::embedded::{SqliteError, file};

/// Queries that run at once; more wait. Their work is the processor's, and machines of this kind have some cores.
const READERS: usize = 8;

/// The connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    /// Those that nobody uses now. Held for a push or a pop only.
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub fn of(path: PathBuf) -> Self {
        Self { path, permits: Arc::new(Semaphore::new(READERS)), idle: Arc::default() }
    }

    /// Runs a query in a transaction of its own. Dropped while it waits, nothing has happened; while the query runs, that ends
    /// by itself.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SqliteError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
        let readers = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let answer = readers.ask(query);
            drop(permit);
            answer
        });
        Ok(reading.await.map_err(io::Error::other)??)
    }

    fn ask<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => file::connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
        };
        connection.execute_batch("begin")?;
        let answer = query(&connection);
        connection.execute_batch("rollback")?;
        // A connection on which anything of this failed is closed.
        self.lock().push(connection);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock()
    }
}
