//! The embedded log: one SQLite file, one process that writes it, one thread in it that commits.
//!
//! # The files
//! `events.db` is the log, `events.db-wal` and `events.db-shm` are SQLite's beside it (`wal.rs` tells the first; the second
//! is only memory). `lock` is held (`flock`) by the process that serves. `events.mark` has the last position at the last
//! clean stop, in decimal (with a tab behind it while the log is served). `events.damaged` stands beside a log that was
//! found damaged (`damage_note.rs`). The log is made under another name and renamed when it is whole. `import.unfinished` stands beside
//! a log that is being filled (`load.rs`).
//!
//! # The tables (format 1, in `user_version`; `application_id` says "Bstc")
//! * `streams`: `id`, rising from 1 in the order in which streams begin, and `name`. Events carry the id: with names in their
//!   place the index on (stream, version) is several times as large and half as fast at 4 million events.
//! * `events`: `position` is the key, from 1 and dense (*Invariant:* private to this adapter, asserted before each answer
//!   and verified by `check`), so the table grows at its end only. `version` counts from 0 within `stream`; the index on
//!   both is unique: the last guard against two writers. Ids are 16 bytes, times are microseconds since 1970,
//!   `data` is the payload's JSON to the byte, `partition_key` is null where it is the stream's name.
//! * `checksum`: two CRC-32 (IEEE) in one integer. The lower half covers the event: `schema.rs` gives the bytes, the
//!   stream's name and the position among them. The upper half chains it to its predecessor: CRC-32 of the lower half (4
//!   bytes, little-endian), begun with the predecessor's upper half (the first: with 0). An event alone can be verified, and
//!   a row that was exchanged, removed or put in shows.
//! * `categories`: events and streams per category, counted in the same transaction; `check` counts again.
//! * `snapshots`: short cuts with a CRC-32 of their own; one that does not fit is ignored.
//! * The view `log` joins it all for readers, and for people: `sqlite3 events.db 'select * from log limit 3'`.
//!
//! A stream's head is not stored: it is the last entry of the stream in the index, one look-up, and cannot disagree.
//!
//! # What a crash leaves
//! Commits are transactions in WAL mode with `synchronous=FULL`: a commit is there, wholly, or it is not. Each start
//! looks through the write-ahead log first (`wal.rs`), lets SQLite recover, and empties it into the file before serving.
//! Damage that no checksum and no witness shows cannot be noticed: a log whose last commits are cut off cleanly, together
//! with the mark, looks like an older log.
//!
//! # The way of an append
//! `append.rs` gets the head, `queue.rs` compares and queues, `writer.rs` commits and answers, `subscription.rs` hands on.

mod append;
mod backup;
mod check;
mod checkpoint;
mod condition;
mod creation;
mod damage_note;
mod export;
mod faults;
mod files;
mod import;
mod in_service;
mod load;
mod log_file;
mod open;
mod queue;
mod reader;
mod readers;
mod schema;
mod structure;
mod subscription;
mod wal;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

pub use self::backup::{BackedUp, BackupError, BackupStep, Until, backup};
pub use self::check::{CheckReport, Problem, check, stats};
use self::checkpoint::Checkpointer;
use self::condition::Condition;
pub use self::condition::{LogNumbers, LogTrouble};
pub use self::export::{ExportFileError, Exported, Range, export, export_to};
pub use self::faults::Faults;
use self::files::Files;
pub use self::import::{ImportError, Imported, import};
pub use self::load::LoadError;
pub use self::log_file::LogFile;
pub use self::open::{FolderLock, LOG_FILE, hold, is_served};
use self::queue::{PendingSnapshot, Queue, State};
use self::readers::{HEAD_THREADS, Readers, Subject, THREADS};
use self::subscription::{Follower, Tail};
use self::writer::Writer;
use crate::envelope::Timestamp;
use crate::port::{Direction, EventStore, Filter, PageLimit, StoreStats, StreamInfo, StreamSnapshot, Subscription};
use crate::{Append, AppendError, Epoch, OpenError, Position, ReadError, RecordedEvent, StreamName, Ticket};

/// The most events that one read gives (the port's promise).
const READ_LIMIT: usize = 10_000;

/// How to open a log. The default is right for a product.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The witnesses of the log: the position that each has seen, with the name by which an operator knows it. If one
    /// has seen more than the log has, the end of the log is missing and the log is not opened. (The mark of the last
    /// clean stop is always a witness.)
    pub witnesses: Vec<(String, Position)>,
    /// The write-ahead log is copied into the file beyond this size.
    pub wal_bytes: u64,
    /// Clients' commands are refused while the write-ahead log is larger: a reader keeps it from beginning anew.
    pub wal_limit_bytes: u64,
    /// Clients' commands are refused while less of the disk is free, in percent (and less than 2 GiB). 0: never.
    pub min_free_percent: u8,
    /// Files of others in the data folder that are there only if there was a log, such as checkpoints of read models.
    pub traces: Vec<PathBuf>,
    /// Begin with an empty log even if there are traces of another one.
    pub new_log: bool,
    /// Open a log that looks like a copy without its write-ahead log.
    pub accept_missing_wal: bool,
    /// Whether others than this process's own services write to it, because it is served.
    pub shared: bool,
    /// What to do when the disk failed to sync: leave the process at once. Tests put something milder here.
    pub on_failed_sync: Arc<dyn Fn() + Send + Sync>,
    /// What to do when the writing thread has panicked, as it does on a broken invariant: leave the process at once, so
    /// that it is started again. Tests put something milder here.
    pub on_writer_panic: Arc<dyn Fn() + Send + Sync>,
    /// Failures on order, for tests.
    pub faults: Faults,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        // 74 is `EX_IOERR` of sysexits.h. `_exit` skips destructors: none of them may touch the files any more.
        // SAFETY: `_exit` has no preconditions.
        let leave: Arc<dyn Fn() + Send + Sync> = Arc::new(|| unsafe { libc::_exit(74) });
        // 70 is `EX_SOFTWARE`. SAFETY: as above.
        let give_up: Arc<dyn Fn() + Send + Sync> = Arc::new(|| unsafe { libc::_exit(70) });
        Self {
            witnesses: Vec::new(),
            wal_bytes: checkpoint::WAL_BYTES,
            wal_limit_bytes: crate::config::WAL_LIMIT_BYTES,
            min_free_percent: crate::config::MIN_FREE_PERCENT,
            traces: Vec::new(),
            new_log: false,
            accept_missing_wal: false,
            shared: false,
            on_failed_sync: leave,
            on_writer_panic: give_up,
            faults: Faults::default(),
        }
    }
}

/// The embedded log. Cheap to clone; [`Self::close`] ends all clones.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    /// Looks up heads of streams that are not in memory.
    heads: Arc<Readers>,
    threads: Arc<Threads>,
}

/// What the threads and the handles share.
struct Shared {
    path: PathBuf,
    options: SqliteOptions,
    files: Files,
    condition: Condition,
    queue: Mutex<Queue>,
    /// Wakes the writer: something waits, or the store closes.
    wake: Condvar,
    tail: Mutex<Tail>,
    head: watch::Sender<Position>,
    epoch: watch::Sender<Epoch>,
    /// The sequence of the last append that was answered.
    settled: watch::Sender<u64>,
    closed: watch::Sender<bool>,
}

impl Shared {
    // None of these locks is held while waiting or reading the disk, so a blocking mutex is enough; a panic under one leaves
    // plain data behind that the next holder can use.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock()
    }

    /// Hands durable events to the subscribers, without waiting for any.
    fn publish(&self, events: Vec<Arc<RecordedEvent>>, head: Position, sequence: Option<u64>) {
        self.tail().extend(events);
        self.head.send_if_modified(|position| std::mem::replace(position, head) != head);
        if let Some(sequence) = sequence {
            self.settled.send_replace(sequence);
        }
    }

    /// The log ends at `head`, whatever was thought before: subscribers read on from the table.
    fn skip_to(&self, head: Position) {
        self.tail().clear();
        self.head.send_if_modified(|position| std::mem::replace(position, head) != head);
    }
}

/// Ends the threads when the last handle goes.
struct Threads {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    heads: Arc<Readers>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Held until the threads have ended.
    lock: Mutex<Option<File>>,
}

impl Threads {
    fn stop(&self) {
        self.shared.queue().move_to(State::Closed);
        self.shared.wake.notify_all();
        self.shared.closed.send_replace(true);
        if let Some(writer) = self.writer.lock().take() {
            self.readers.stop();
            self.heads.stop();
            self.shared.options.faults.resume_commits();
            if writer.join().is_err() {
                tracing::error!(log = %self.shared.path.display(), "the writer thread panicked");
            }
        }
        drop(self.lock.lock().take());
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

impl SqliteStore {
    /// Opens the log of a folder; creates folder and log where there is none. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`OpenError`]: another process has the folder, the file is foreign, damaged or shorter than a witness has seen,
    /// or the system refuses.
    pub fn open(dir: &Path, options: SqliteOptions) -> Result<Arc<Self>, OpenError> {
        let opened = open::open(dir, &options)?;
        let path = opened.path;
        let failed = |error: rusqlite::Error| open::of_sqlite(&path, &error);
        open::begin_service(dir, &path, &opened.connection)?;
        let files = Files::of(&path).map_err(|error| open::unusable(&path, &error))?;
        let readers = Arc::new(Readers::start(&path, &options.faults, "log-read", THREADS).map_err(failed)?);
        let heads = Arc::new(Readers::start(&path, &options.faults, "log-heads", HEAD_THREADS).map_err(failed)?);
        let checkpoints = open::connect_writer(&path).map_err(failed)?;
        let shared = Arc::new(Shared {
            path: path.clone(),
            options,
            files,
            condition: Condition::default(),
            queue: Mutex::new(Queue::new(opened.end.next_key)),
            wake: Condvar::new(),
            tail: Mutex::new(Tail::default()),
            head: watch::Sender::new(Position(opened.end.position)),
            epoch: watch::Sender::new(Epoch(0)),
            settled: watch::Sender::new(0),
            closed: watch::Sender::new(false),
        });
        let no_thread = |error: std::io::Error| OpenError::Unusable {
            path: path.display().to_string(),
            reason: format!("no thread could be started: {error}"),
        };
        let checkpointer = Checkpointer::start(shared.clone(), checkpoints).map_err(no_thread)?;
        let writer = Writer::new(shared.clone(), opened.connection, opened.end, checkpointer);
        let writer = std::thread::Builder::new().name("log-write".to_owned()).spawn(move || writer.run());
        let threads = Threads {
            shared: shared.clone(),
            readers: readers.clone(),
            heads: heads.clone(),
            writer: Mutex::new(Some(writer.map_err(no_thread)?)),
            lock: Mutex::new(Some(opened.lock)),
        };
        Ok(Arc::new(Self { shared, readers, heads, threads: Arc::new(threads) }))
    }

    /// Stops cleanly: what is queued is written, the write-ahead log emptied, the mark of a clean stop left. Appends,
    /// reads and subscriptions end. Calling it again does nothing.
    pub async fn close(&self) {
        let threads = self.threads.clone();
        // Dropped while waiting: the stop goes on in its thread.
        if tokio::task::spawn_blocking(move || threads.stop()).await.is_err() {
            tracing::error!(log = %self.shared.path.display(), "closing the log panicked");
        }
    }

    /// Asks a witness that could not be asked before the log was opened, such as a projection's checkpoint in a database that
    /// started later. What it says must have been read before this is called.
    ///
    /// # Errors
    /// [`OpenError::TailMissing`] if it has seen more than the log holds: stop, the end of the log is missing.
    pub fn ask_witness(&self, witness: &str, seen: Position) -> Result<(), OpenError> {
        let log = *self.shared.head.borrow();
        if seen <= log {
            return Ok(());
        }
        let path = self.shared.path.display().to_string();
        Err(OpenError::TailMissing { path, log, witness: witness.to_owned(), seen })
    }

    /// The file of the log.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn unavailable(&self, reason: &str) -> ReadError {
        ReadError::Unavailable { path: self.shared.path.display().to_string(), reason: reason.to_owned() }
    }
}

#[async_trait]
impl EventStore for SqliteStore {
    async fn append(&self, append: Append) -> Result<Ticket, AppendError> {
        self.submit(append, None).await
    }

    async fn append_within(&self, epoch: Epoch, append: Append) -> Result<Ticket, AppendError> {
        self.submit(append, Some(epoch)).await
    }

    async fn read_stream(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.read_stream_page(stream, from, direction, PageLimit::events(limit)).await
    }

    async fn read_stream_page(
        &self,
        stream: &StreamName,
        from: u64,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let stream = stream.clone();
        let limit = PageLimit { events: limit.events.min(READ_LIMIT), ..limit };
        let subject = Subject::Stream(stream.clone());
        self.run(subject, move |connection, path| reader::stream(connection, path, &stream, from, direction, limit))
            .await
    }

    async fn read_all_page(
        &self,
        from: Position,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let limit = PageLimit { events: limit.events.min(reader::ROWS_PER_STATEMENT), ..limit };
        let read = move |connection: &Connection, path: &Path| reader::all(connection, path, from, direction, limit);
        self.run(Subject::Log(from), read).await
    }

    async fn read_all(
        &self,
        from: Position,
        direction: Direction,
        limit: usize,
        filter: &Filter,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let limit = limit.min(READ_LIMIT);
        let mut found = Vec::new();
        let mut from = from;
        while found.len() < limit {
            // Unfiltered, no more than asked; filtered, a statement's worth, because most may not pass.
            let rows = if filter.categories.is_empty() { limit - found.len() } else { reader::ROWS_PER_STATEMENT };
            let rows = rows.min(reader::ROWS_PER_STATEMENT);
            let events = self.read_all_page(from, direction, PageLimit::events(rows)).await?;
            let last_page = events.len() < rows;
            if let Some(last) = events.last() {
                from = last.position;
            }
            let room = limit - found.len();
            found.extend(events.into_iter().filter(|event| filter.admits(&event.stream)).take(room));
            if last_page {
                break;
            }
        }
        Ok(found)
    }

    async fn subscribe(&self, after: Position, filter: Filter) -> Result<Subscription, ReadError> {
        if *self.shared.closed.borrow() {
            return Err(self.unavailable("the store is closed"));
        }
        Ok(Subscription::new(Follower::new(self.clone(), after, filter)))
    }

    async fn list_streams(
        &self,
        category: Option<&str>,
        after: Option<&StreamName>,
        limit: usize,
    ) -> Result<Vec<StreamInfo>, ReadError> {
        let category = category.map(str::to_owned);
        let after = after.map(|name| name.as_str().to_owned()).unwrap_or_default();
        let limit = limit.min(READ_LIMIT);
        self.run(Subject::Streams, move |connection, path| {
            reader::streams(connection, path, category.as_deref(), &after, limit)
        })
        .await
    }

    async fn load_snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
        let stream = stream.clone();
        let subject = Subject::Snapshot(stream.clone());
        self.run(subject, move |connection, path| reader::snapshot(connection, path, &stream)).await
    }

    async fn save_snapshot(&self, stream: &StreamName, snapshot: StreamSnapshot) -> Result<(), ReadError> {
        let (reply, answer) = oneshot::channel();
        let waiting = PendingSnapshot { stream: stream.clone(), snapshot, reply };
        if !self.shared.queue().push_snapshot(waiting) {
            return Err(self.unavailable("too many snapshots wait, or the log is not writable"));
        }
        self.shared.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(self.unavailable("the store is closed")))
    }

    fn head(&self) -> watch::Receiver<Position> {
        self.shared.head.subscribe()
    }

    fn is_shared(&self) -> bool {
        self.shared.options.shared
    }

    fn refuses_clients(&self) -> Option<Arc<str>> {
        self.shared.condition.short()
    }

    fn damage(&self) -> Option<Arc<str>> {
        self.shared.condition.damage().map(Into::into)
    }

    fn epoch(&self) -> watch::Receiver<Epoch> {
        self.shared.epoch.subscribe()
    }

    async fn stats(&self) -> Result<StoreStats, ReadError> {
        self.run(Subject::Numbers, stats_of).await
    }
}

/// The numbers of a log as one connection sees it.
fn stats_of(connection: &Connection, path: &Path) -> Result<StoreStats, ReadError> {
    let categories = reader::categories(connection, path)?;
    let end = writer::End::read(connection).map_err(|error| reader::failed(path, Position::START, &error))?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    Ok(StoreStats {
        events: categories.iter().map(|(_, events, _)| events).sum(),
        streams: categories.iter().map(|(_, _, streams)| streams).sum(),
        bytes: size(path) + size(&open::wal_path(path)),
        position: Position(end.position),
        last_recorded_at: (end.position > 0).then(|| Timestamp::from_timestamp_micros(end.recorded_at)).flatten(),
        categories: categories.into_iter().map(|(name, events, _)| (name, events)).collect(),
    })
}
