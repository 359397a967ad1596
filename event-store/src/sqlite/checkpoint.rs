//! The thread that moves pages from the write-ahead log into the file, so that the writer need not.
//!
//! A passive checkpoint copies what is committed while the writer goes on, so the write-ahead log is never quite empty
//! when it ends, and a log that never empties never restarts at its beginning. So the thread copies the bulk, again and
//! again until little is left, and then asks the writer to copy the last bit between two commits; the next commit
//! then restarts the log, unless a read is open that began before. Our own reads take milliseconds: where one was in the way,
//! the writer waits for it once in a while, [`RESTART_WAIT`] at most.
//!
//! *Invariant:* a commit never waits for a reader of another process. While such a reader is open the write-ahead log grows.
//! That is logged with the reader's name, shown as a number, and at `wal_limit_bytes` clients' commands are refused. The writer
//! finds out by itself that the reader has gone: nobody may send the commit that would.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pauses::Pauses;
use rusqlite::Connection;

use super::open::PASSIVE;
use super::{Shared, open};

/// The write-ahead log is checkpointed when it has this many bytes: large enough that pages written again and again
/// are copied once, small enough that a start reads it in well under 0.1 s.
pub(super) const WAL_BYTES: u64 = 16 << 20;
/// At so many times the size the writer waits for our own reads to end, so that the log can restart.
const RESTART_FACTOR: u64 = 2;
/// For how long: our statements take some milliseconds.
const RESTART_WAIT: Duration = Duration::from_millis(25);
/// The pause after a wait: what the writer loses to it stays below 3 %.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The pauses after waits in vain.
const RESTART_PAUSES: Pauses = Pauses::doubling(RESTART_PAUSE, Duration::from_secs(30));
/// The page size of our files, which is SQLite's default; given at creation all the same.
pub(super) const PAGE_BYTES: u64 = 4_096;
/// What may be left to the writer: 1 MiB is copied within milliseconds.
const FRAMES_LEFT_TO_WRITER: i64 = 256;
/// Rounds of the thread before the writer takes the rest, however much it is.
const ROUNDS: usize = 4;
/// How often the thread looks at the files and the disk; also its pause after rounds that a reader kept from their end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A write-ahead log that has been waiting so long to restart is worth a warning, and again after [`WARN_EVERY`].
const WARN_AFTER: Duration = Duration::from_secs(10);
/// See [`WARN_AFTER`].
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Does nothing but say how many frames the write-ahead log has: `busy, frames in the log, frames copied`.
const COUNT: &str = "pragma wal_checkpoint(noop)";
/// Waits for readers, as long as the connection's busy time-out says.
const RESTART: &str = "pragma wal_checkpoint(restart)";

/// The writer's end.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    order: Option<SyncSender<()>>,
    bulk_done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    next_restart: Instant,
    restart_pauses: Pauses,
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
        let (next_restart, restart_pauses) = (Instant::now(), RESTART_PAUSES);
        Ok(Self { shared, order: Some(order), bulk_done, thread: Some(thread), next_restart, restart_pauses })
    }

    /// Called by the writer between two commits.
    pub fn after_commit(&mut self, connection: &Connection) {
        if self.shared.condition.damage().is_some() {
            return;
        }
        if self.bulk_done.swap(false, Ordering::AcqRel) && left_by(&self.shared, connection, PASSIVE) == Some(0) {
            // The next commit restarts the log, if no read is open that began before.
            self.restart_pauses.went_well();
            self.next_restart = Instant::now() + RESTART_PAUSE;
        }
        let Some(bytes) = bytes_of(connection) else { return };
        let (due, limit) = (self.shared.options.wal_bytes, self.shared.options.wal_limit_bytes);
        let overdue = bytes > due.saturating_mul(RESTART_FACTOR).min(limit);
        self.shared.condition.wal(bytes, overdue);
        if overdue && Instant::now() >= self.next_restart {
            self.restart(connection);
        } else if bytes > due
            && let Some(order) = &self.order
        {
            let _ = order.try_send(()); // Full: it has been asked already.
        }
    }

    /// Waits a moment for readers to end, so that the next commit restarts the log; whether it will. Called by the writer also
    /// when nothing waits to be written.
    pub fn restart(&mut self, connection: &Connection) -> bool {
        let restarted = connection.busy_timeout(RESTART_WAIT).and_then(|()| open::checkpoint(connection, RESTART));
        let waits_again = connection.busy_timeout(open::BUSY);
        let in_the_way = match restarted.and_then(|found| waits_again.map(|()| found)) {
            Ok((busy, left)) => busy || left > 0,
            Err(error) => {
                failed(&self.shared, &error);
                true
            }
        };
        let pause = if in_the_way {
            self.restart_pauses.failed()
        } else {
            self.restart_pauses.went_well();
            RESTART_PAUSE
        };
        self.next_restart = Instant::now() + pause;
        !in_the_way
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
    let (mut looked, mut warned, mut blocked_until) = (None::<Instant>, None::<Instant>, Instant::now());
    loop {
        let ordered = match orders.recv_timeout(LOOK_EVERY) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            looked = Some(Instant::now());
            shared.look_for_room();
            warn_of_reader(shared, &mut warned);
        }
        // With `bulk_done` the order was given before the writer saw it.
        let wanted = ordered && shared.condition.damage().is_none();
        if wanted && !bulk_done.load(Ordering::Acquire) && Instant::now() >= blocked_until {
            if copy_bulk(shared, connection) {
                bulk_done.store(true, Ordering::Release);
            } else {
                blocked_until = Instant::now() + LOOK_EVERY;
            }
        }
    }
}

/// Copies until little is left; whether the writer may take the rest. If not, a reader keeps what is left.
fn copy_bulk(shared: &Shared, connection: &Connection) -> bool {
    let mut before = i64::MAX;
    for _ in 0..ROUNDS {
        let Some(left) = left_by(shared, connection, PASSIVE) else { return false };
        if left <= FRAMES_LEFT_TO_WRITER {
            return true;
        }
        if left >= before {
            return false;
        }
        before = left;
    }
    true
}

/// A reader that keeps the write-ahead log from restarting is named, once in a while.
fn warn_of_reader(shared: &Shared, warned: &mut Option<Instant>) {
    let overdue = shared.condition.overdue();
    if overdue < WARN_AFTER {
        *warned = None;
    } else if warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
        *warned = Some(Instant::now());
        let (log, readers) = (shared.path.display(), shared.files.other_readers());
        let wal_mb = shared.condition.wal_bytes() >> 20;
        tracing::warn!(
            %log, wal_mb, overdue_s = overdue.as_secs(), readers,
            "the write-ahead log cannot restart, because a read has been open for long; it grows until that read ends"
        );
    }
}

/// One checkpoint; how many frames are left. `None`: it could not be made.
fn left_by(shared: &Shared, connection: &Connection, how: &str) -> Option<i64> {
    match open::checkpoint(connection, how) {
        // What another checkpoint is at this moment copying is not known.
        Ok((true, _)) => None,
        Ok((false, left)) => Some(left),
        Err(error) => {
            failed(shared, &error);
            None
        }
    }
}

fn failed(shared: &Shared, error: &rusqlite::Error) {
    open::exit_if_sync_failed(shared, error);
    // A full disk, say: the frames stay in the write-ahead log, nothing is lost, and the next order tries again.
    tracing::warn!(log = %shared.path.display(), %error, "a checkpoint failed; it is tried again");
}

/// Bytes of the write-ahead log that are in use.
fn bytes_of(connection: &Connection) -> Option<u64> {
    let frames = connection.prepare_cached(COUNT).and_then(|mut count| count.query_row([], |row| row.get::<_, i64>(1)));
    frames.ok().map(|frames| u64::try_from(frames).unwrap_or(0) * PAGE_BYTES)
}
