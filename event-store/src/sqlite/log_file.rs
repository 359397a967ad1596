//! The log of a folder, read page by page, beside the process that serves it.
//!
//! *Invariant:* no statement here is long, so that the write-ahead log of a served folder can restart meanwhile.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use super::reader::{self, ROWS_PER_STATEMENT};
use super::writer::End;
use super::{open, schema};
use crate::envelope::Timestamp;
use crate::port::{Direction, PageLimit, StreamSnapshot};
use crate::{OpenError, Position, ReadError, RecordedEvent, StreamName};

/// Snapshots read at once: one has up to some MB.
const SNAPSHOTS_PER_STATEMENT: i64 = 64;

const COMMIT: &str = "select stream, recorded_at from events where position = ?1";
const SNAPSHOTS: &str = "select stream, version, format, state, checksum from snapshots
    where stream > ?1 order by stream limit ?2";

/// Snapshots with the streams they are of.
pub(super) type Snapshots = Vec<(StreamName, StreamSnapshot)>;

/// The log of a folder, to be read. Nothing is written.
#[derive(Debug)]
pub struct LogFile {
    connection: Connection,
    path: PathBuf,
}

impl LogFile {
    /// Opens the log of a folder, also one that another process serves. What a server would refuse to start on is refused.
    ///
    /// # Errors
    /// [`OpenError`] if there is no log to read, or not all of it.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Ok(Self { connection: open::open_whole(dir)?, path: dir.join(open::LOG_FILE) })
    }

    /// Opens the log of a folder as it is, to look at what is left of a damaged one.
    ///
    /// # Errors
    /// [`OpenError`] if there is no log to read.
    pub fn open_as_it_is(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(open::LOG_FILE);
        Ok(Self { connection: open::open_to_read(&path)?, path })
    }

    /// Path of the log's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Position of the last event now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn head(&self) -> Result<Position, ReadError> {
        End::read(&self.connection)
            .map(|end| Position(end.position))
            .map_err(|error| reader::failed(&self.path, Position::START, &error))
    }

    /// Reads the next events after a position, up to `end` and as many as one statement reads; they are verified, and
    /// chained to the event at `after`. There are none once `after` is the end.
    ///
    /// # Errors
    /// [`ReadError`], also if the log ends before.
    pub fn page(&self, after: Position, end: Position) -> Result<Vec<RecordedEvent>, ReadError> {
        let left = usize::try_from(end.0.saturating_sub(after.0)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(Vec::new());
        }
        let limit = left.min(ROWS_PER_STATEMENT);
        let page = reader::all(&self.connection, &self.path, after, Direction::Forward, PageLimit::events(limit))?;
        if page.is_empty() {
            let path = self.path.display().to_string();
            return Err(ReadError::Damaged { path, position: after, what: "the log ends here now".to_owned() });
        }
        Ok(page)
    }

    /// Reads the event at a position.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn event(&self, position: Position) -> Result<Option<RecordedEvent>, ReadError> {
        let Some(before) = position.0.checked_sub(1).map(Position) else { return Ok(None) };
        Ok(reader::all(&self.connection, &self.path, before, Direction::Forward, PageLimit::events(1))?.pop())
    }

    /// Position of the last event that was written at or before a moment; the start if there is none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn last_at(&self, moment: Timestamp) -> Result<Position, ReadError> {
        // Times of writing never fall along the log, so the place is found by halving.
        let (mut at_or_before, mut after) = (0, self.head()?.0 + 1);
        while at_or_before + 1 < after {
            let middle = at_or_before + (after - at_or_before) / 2;
            if self.commit_of(Position(middle))?.1 <= moment.timestamp_micros() {
                at_or_before = middle;
            } else {
                after = middle;
            }
        }
        Ok(Position(at_or_before))
    }

    /// The last position at or below `wanted` behind which no append is cut in two. Neighbors in the log are of different
    /// appends if their streams or the times of their commits differ; what cannot be told apart is kept together.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn whole_appends(&self, wanted: Position) -> Result<Position, ReadError> {
        let head = self.head()?;
        let mut position = wanted.min(head);
        if position == head {
            return Ok(head); // A commit has whole appends.
        }
        let mut behind = self.commit_of(Position(position.0 + 1))?;
        while position > Position::START {
            let commit = self.commit_of(position)?;
            if commit != behind {
                break;
            }
            (position, behind) = (Position(position.0 - 1), commit);
        }
        Ok(position)
    }

    /// Version of a stream's last event.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn version_of(&self, stream: &StreamName) -> Result<Option<u64>, ReadError> {
        reader::head(&self.connection, &self.path, stream).map(|head| head.version)
    }

    /// Reads the snapshot of a stream; a damaged one counts as none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn snapshot(&self, stream: &StreamName) -> Result<Option<StreamSnapshot>, ReadError> {
        reader::snapshot(&self.connection, &self.path, stream)
    }

    /// Reads the next snapshots by the names of their streams, and the last name read: `None` at the end.
    pub(super) fn snapshots(&self, after: &str) -> Result<(Snapshots, Option<String>), ReadError> {
        let read = || {
            let mut statement = self.connection.prepare_cached(SNAPSHOTS)?;
            let rows = statement.query_map((after, SNAPSHOTS_PER_STATEMENT), |row| {
                let (name, version, format): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((name, version, format, row.get::<_, String>(3)?, row.get::<_, i64>(4)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|error| reader::failed(&self.path, Position::START, &error))?;
        let last = rows.last().map(|(name, ..)| name.clone());
        let whole = rows.into_iter().filter_map(|(name, version, format, state, checksum)| {
            let fits = schema::snapshot_checksum(&name, version, format, &state) == checksum;
            let schema = u32::try_from(format).ok().filter(|_| fits)?;
            Some((name.parse().ok()?, StreamSnapshot { version: version.cast_unsigned(), schema, state }))
        });
        Ok((whole.collect(), last))
    }

    /// Reads the number of an event's stream and when it was written, without the event, which may be damaged.
    fn commit_of(&self, position: Position) -> Result<(i64, i64), ReadError> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found = self
            .connection
            .prepare_cached(COMMIT)
            .and_then(|mut statement| statement.query_row([position.0.cast_signed()], row).optional())
            .map_err(|error| reader::failed(&self.path, position, &error))?;
        let path = self.path.display().to_string();
        found.ok_or_else(|| ReadError::Damaged { path, position, what: "it is missing".to_owned() })
    }
}
