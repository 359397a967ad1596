//! The thread that moves pages from the write-ahead log into the file, so that the writer need not.
//!
//! A passive checkpoint copies what is committed while the writer goes on, so the write-ahead log is never quite empty
//! when it ends, and a log that never empties never restarts at its beginning. So the thread copies the bulk, again and
//! again until little is left, and then asks the writer to copy the last bit between two commits; the next commit
//! then restarts the log. A reader in a long statement can delay that; all our statements are short.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, ffi};

use super::{Shared, open};

/// The write-ahead log is checkpointed when it has this many bytes: large enough that pages written again and again
/// are copied once, small enough that a start reads it in well under 0.1 s.
pub(super) const WAL_BYTES: u64 = 16 << 20;
/// At so many times the size the writer waits until it is copied, however long that takes: this bounds the log.
const HARD_FACTOR: u64 = 4;
/// The page size of our files, which is SQLite's default; given at creation all the same.
pub(super) const PAGE_BYTES: u64 = 4_096;
/// What may be left to the writer: 1 MiB is copied within milliseconds.
const FRAMES_LEFT_TO_WRITER: i64 = 256;
/// Rounds of the thread before the writer takes the rest, however much it is.
const ROUNDS: usize = 4;

/// `busy, frames in the log, frames copied`.
const PASSIVE: &str = "pragma wal_checkpoint(passive)";
/// Waits for other checkpoints and for readers, too.
const RESTART: &str = "pragma wal_checkpoint(restart)";

/// The writer's end.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    /// Pages written to the write-ahead log since it began anew.
    pages: u64,
    order: Option<SyncSender<()>>,
    bulk_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread, which has a connection of its own.
    pub fn start(shared: Arc<Shared>, connection: Connection) -> std::io::Result<Self> {
        let (order, orders) = sync_channel(1);
        let bulk_done = Arc::new(AtomicBool::new(false));
        let (its_shared, done) = (shared.clone(), bulk_done.clone());
        let thread = std::thread::Builder::new()
            .name("log-checkpoint".to_owned())
            .spawn(move || run(&its_shared, &connection, &orders, &done))?;
        Ok(Self { shared, pages: 0, order: Some(order), bulk_done, thread: Some(thread) })
    }

    /// Called by the writer between two commits.
    pub fn after_commit(&mut self, connection: &Connection) {
        self.pages += pages_written(connection);
        if self.bulk_done.swap(false, Ordering::AcqRel) {
            self.finish(connection, PASSIVE);
        }
        let bytes = self.pages * PAGE_BYTES;
        if bytes > self.shared.options.wal_bytes.saturating_mul(HARD_FACTOR) {
            self.finish(connection, RESTART);
        } else if bytes > self.shared.options.wal_bytes
            && let Some(order) = &self.order
        {
            let _ = order.try_send(()); // Full: it has been asked already.
        }
    }

    fn finish(&mut self, connection: &Connection, how: &str) {
        if checkpoint(&self.shared, connection, how) == 0 {
            self.pages = 0;
        }
    }

    /// Ends the thread and waits for it.
    pub fn stop(&mut self) {
        self.order = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, connection: &Connection, orders: &Receiver<()>, bulk_done: &AtomicBool) {
    while orders.recv().is_ok() {
        if bulk_done.load(Ordering::Acquire) {
            continue; // The order was given before the writer saw that the bulk is done.
        }
        for _ in 0..ROUNDS {
            if checkpoint(shared, connection, PASSIVE) <= FRAMES_LEFT_TO_WRITER {
                break;
            }
        }
        bulk_done.store(true, Ordering::Release);
    }
}

/// One checkpoint; how many frames are left.
fn checkpoint(shared: &Shared, connection: &Connection, how: &str) -> i64 {
    match connection.query_row(how, [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)) {
        Ok(left) => left,
        Err(error) => {
            open::exit_if_sync_failed(shared, &error);
            // A full disk, say: the frames stay in the write-ahead log, nothing is lost, and the next order tries again.
            tracing::warn!(log = %shared.path.display(), %error, "a checkpoint failed; it is tried again");
            i64::MAX
        }
    }
}

/// The pages that this connection wrote since it was last asked.
fn pages_written(connection: &Connection) -> u64 {
    let (mut current, mut highest) = (0, 0);
    // SAFETY: the handle is open as long as `connection` is, the call only reads and resets a counter of it, and both
    // pointers are to integers that outlive the call. `connection` is not used by another thread meanwhile (`!Sync`).
    let code = unsafe {
        ffi::sqlite3_db_status(
            connection.handle(),
            ffi::SQLITE_DBSTATUS_CACHE_WRITE,
            &raw mut current,
            &raw mut highest,
            1,
        )
    };
    debug_assert_eq!(code, ffi::SQLITE_OK, "a known counter of an open connection");
    u64::try_from(current).unwrap_or(0)
}
