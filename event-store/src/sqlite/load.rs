//! Fills a log with events that another one has recorded: the same positions, versions, ids and times, hence the same
//! checksums. For imports and copies; nobody serves the folder meanwhile.
//!
//! # What a crash leaves
//! Batches are transactions, synced one by one, so the folder holds a prefix of the events, whole and in order. The file
//! `import.unfinished` stands in the folder from before the first batch until after the last: a server does not start on it,
//! and the next import goes on.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use lru::LruCache;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::open::{self, Opened};
use super::schema::{INSERT_EVENT, Place, insert_event};
use super::writer::{COUNT_CATEGORY, End, INSERT_STREAM, save_snapshot};
use super::{SqliteOptions, reader};
use crate::port::StreamSnapshot;
use crate::{NewEvent, OpenError, Position, RecordedEvent, StreamName};

/// Stands in a folder whose log is not whole yet.
pub(super) const UNFINISHED: &str = "import.unfinished";
/// Events of one commit: one sync for about 0.1 s of work.
const EVENTS_PER_BATCH: u64 = 16_384;
/// Bytes of one commit, so that large events do not fill the memory.
const BYTES_PER_BATCH: usize = 16 << 20;
/// Heads of streams kept in memory, some 10 MB; a stream beyond costs a look-up.
const HEADS: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

/// Why an event was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder cannot be filled.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot stand where it says.
    #[error("{0}")]
    Refused(String),
    /// The disk refuses. What was taken in by earlier batches is there.
    #[error(
        "the log `{path}` cannot be written: {reason}; free space, then run the same command again: it continues where it stopped"
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// A log that is being filled. Dropped before [`Self::finish`], it keeps the batches that are durable, and the sign that more
/// must come.
pub(super) struct Loader {
    /// Held as long as the log is filled.
    _lock: File,
    dir: PathBuf,
    path: PathBuf,
    connection: Connection,
    end: End,
    /// Per stream its number in the file and its next version.
    heads: LruCache<StreamName, (i64, u64)>,
    /// The batch under way.
    events: u64,
    bytes: usize,
    counts: HashMap<String, (u64, u64)>,
    signed: bool,
}

impl Loader {
    /// Opens the log of a folder, or creates one.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let Opened { lock, path, connection, end } = open::open_unfinished(dir, &SqliteOptions::default())?;
        let (heads, counts, signed) = (LruCache::new(HEADS), HashMap::new(), dir.join(UNFINISHED).exists());
        Ok(Self { _lock: lock, dir: dir.to_owned(), path, connection, end, heads, events: 0, bytes: 0, counts, signed })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last event that was taken in.
    pub fn position(&self) -> Position {
        Position(self.end.position)
    }

    /// The next events there are after a position.
    pub fn page(&self, after: Position) -> Result<Vec<RecordedEvent>, crate::ReadError> {
        let rows = reader::ROWS_PER_STATEMENT;
        reader::all(&self.connection, &self.path, after, crate::Direction::Forward, crate::PageLimit::events(rows))
    }

    /// Takes in the next event.
    pub fn push(&mut self, event: RecordedEvent) -> Result<(), LoadError> {
        if !self.signed {
            self.sign().map_err(|error| self.unwritable(&error))?;
            self.signed = true;
        }
        let next = self.end.position + 1;
        if event.position.0 != next {
            return Err(LoadError::Refused(format!("position {} stands where {next} comes next", event.position)));
        }
        if event.recorded_at.timestamp_micros() < self.end.recorded_at {
            return Err(LoadError::Refused("it was recorded before the event before it".to_owned()));
        }
        let head = match self.heads.get(&event.stream) {
            Some(head) => Some(*head),
            None => self.head_in_file(&event.stream)?,
        };
        let (key, version) = head.unwrap_or((self.end.next_key, 0));
        if event.version != version {
            let (stream, found) = (&event.stream, event.version);
            return Err(LoadError::Refused(format!("`{stream}` goes on at version {version}, not {found}")));
        }
        self.insert(event, key).map_err(|error| self.unwritable(&error))
    }

    /// Keeps a snapshot, if the log has its stream up to there.
    pub fn snapshot(&mut self, stream: &StreamName, snapshot: &StreamSnapshot) -> Result<bool, LoadError> {
        let fits = self.head_in_file(stream)?.is_some_and(|(_, next)| snapshot.version < next);
        if fits {
            let saved = self.begin().and_then(|()| save_snapshot(&self.connection, stream, snapshot));
            saved.map_err(|error| self.unwritable(&error))?;
            self.events += 1;
        }
        Ok(fits)
    }

    /// Makes the batch under way durable.
    pub fn flush(&mut self) -> Result<(), LoadError> {
        self.commit().map_err(|error| self.unwritable(&error))
    }

    /// All is there: makes it durable, leaves the mark of a clean stop, and takes the sign away.
    pub fn finish(mut self) -> Result<Position, LoadError> {
        self.flush()?;
        let position = self.end.position;
        // Nobody else has it open: closing it takes the empty write-ahead log away.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        let last = || -> std::io::Result<()> {
            open::write_mark(&self.dir, position)?;
            match fs::remove_file(self.dir.join(UNFINISHED)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            File::open(&self.dir)?.sync_all()
        };
        last().map_err(|error| self.unwritable(&error))?;
        Ok(Position(position))
    }

    fn sign(&self) -> std::io::Result<()> {
        let mut file = File::create(self.dir.join(UNFINISHED))?;
        writeln!(
            file,
            "An import into this folder has not ended. `backstitch store import` of the same file goes on."
        )?;
        file.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }

    fn head_in_file(&self, stream: &StreamName) -> Result<Option<(i64, u64)>, LoadError> {
        let head = reader::head(&self.connection, &self.path, stream).map_err(|error| self.unwritable(&error))?;
        Ok(head.key.zip(head.version).map(|(key, version)| (key, version + 1)))
    }

    /// A batch is a transaction; it is rolled back when the loader is dropped.
    fn begin(&self) -> rusqlite::Result<()> {
        if self.events == 0 { self.connection.execute_batch("begin immediate") } else { Ok(()) }
    }

    fn insert(&mut self, event: RecordedEvent, key: i64) -> rusqlite::Result<()> {
        self.begin()?;
        let RecordedEvent { id, stream, version, position, event_type, schema_version, data, metadata, recorded_at } =
            event;
        let begins = version == 0;
        if begins {
            self.connection.prepare_cached(INSERT_STREAM)?.execute((key, stream.as_str()))?;
            self.end.next_key = key + 1;
        }
        let event = NewEvent { id, event_type, schema_version, data, metadata };
        let place = Place { position: position.0, stream: &stream, stream_key: key, version, recorded_at };
        let mut insert = self.connection.prepare_cached(INSERT_EVENT)?;
        self.end.chain = insert_event(&mut insert, &place, &event, self.end.chain)?;
        drop(insert);
        (self.end.position, self.end.recorded_at) = (position.0, recorded_at.timestamp_micros());
        let count = self.counts.entry(stream.category().to_owned()).or_default();
        (count.0, count.1) = (count.0 + 1, count.1 + u64::from(begins));
        (self.events, self.bytes) = (self.events + 1, self.bytes + event.size());
        self.heads.put(stream, (key, version + 1));
        if self.events >= EVENTS_PER_BATCH || self.bytes >= BYTES_PER_BATCH { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        if self.events > 0 {
            let mut count = self.connection.prepare_cached(COUNT_CATEGORY)?;
            for (category, (events, streams)) in self.counts.drain() {
                count.execute((category, events.cast_signed(), streams.cast_signed()))?;
            }
            drop(count);
            self.connection.execute_batch("commit")?;
            // Durable from here.
            (self.events, self.bytes) = (0, 0);
        }
        open::empty_wal(&self.connection)
    }

    fn unwritable(&self, error: &dyn std::fmt::Display) -> LoadError {
        LoadError::Unwritable { path: self.path.clone(), reason: error.to_string() }
    }
}
