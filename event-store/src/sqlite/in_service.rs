//! The mark inside the log file that says that a process serves it.
//!
//! While a log is served, its newest events stand in `events.db-wal` only. A copy of `events.db` alone can be opened without
//! a complaint, and lacks those events. So a row stands in the table `snapshots` of the file from the start of a server until
//! its clean stop. The name of the row is the name of no stream (it has a space), so readers of snapshots pass over it, those
//! of earlier releases too.
//!
//! *Invariant:* while the row stands in the file, the write-ahead log beside it is there and not empty. Each start writes the
//! row anew, into the write-ahead log, before anything is served, and nothing truncates the write-ahead log before the row
//! is gone. So a file that has the row, and no write-ahead log beside it, was copied without it.
//!
//! There are two exceptions. An earlier release does not know the row: its clean stop leaves it in the file, and the mark
//! `events.mark` tells (a start writes a tab behind the position; a clean stop of any release writes none). And a tool such as
//! `sqlite3` that opens the folder of a killed server merges the write-ahead log into the file and removes it: nothing can
//! tell that from a copy, so the operator has to.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::open;
use crate::{OpenError, Position};

const ROW: &str = "(in service)";
const SET: &str =
    "insert or replace into snapshots (stream, version, format, state, checksum) values (?1, 0, 0, '', 0)";
const CLEAR: &str = "delete from snapshots where stream = ?1";
const IS_SET: &str = "select 1 from snapshots where stream = ?1";

/// Writes the row, also where it stands already: a commit.
pub(super) fn set(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached(SET)?.execute([ROW]).map(drop)
}

/// Takes the row away: a commit.
pub(super) fn clear(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(CLEAR, [ROW]).map(drop)
}

/// Whether the row stands in the log.
pub(super) fn is_set(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(IS_SET, [ROW], |_| Ok(())).optional().map(|found| found.is_some())
}

/// Bytes of the write-ahead log of a file; 0 where there is none.
pub(super) fn wal_bytes(log: &Path) -> u64 {
    std::fs::metadata(open::wal_path(log)).map_or(0, |file| file.len())
}

/// Refuses a log that was copied without its write-ahead log. `wal_bytes` is how large that was before SQLite opened the file.
pub(super) fn check_copy(
    dir: &Path,
    path: &Path,
    connection: &Connection,
    wal_bytes: u64,
    end: Position,
) -> Result<(), OpenError> {
    let marked = is_set(connection).map_err(|error| open::of_sqlite(path, &error))?;
    if !marked || wal_bytes > 0 || open::stopped_cleanly_at(dir) == Some(end) {
        return Ok(());
    }
    let wal = open::wal_path(path).display().to_string();
    Err(OpenError::WalMissing { path: path.display().to_string(), wal, log: end })
}
