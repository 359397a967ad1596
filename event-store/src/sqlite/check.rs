//! Verifies a log event by event: every position exists, every checksum fits, the chain is intact, versions have no
//! gaps, the totals are right, and SQLite's own structure is intact.
//!
//! It reads page by page up to the end that it found at its begin, so it can run while another process serves the folder.
//! No read is open for long; `structure.rs` tells what is left to SQLite's own check.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rusqlite::Connection;

use super::load::UNFINISHED;
use super::log_file::LogFile;
use super::reader::ROWS_PER_STATEMENT;
use super::schema::{RowError, event_of, link};
use super::writer::End;
use super::{in_service, open, structure};
use crate::port::{Direction, StoreStats};
use crate::{OpenError, Position, RecordedEvent};

/// The newest events are verified at every start, which takes some milliseconds.
const EVENTS_AT_OPEN: usize = 256;
/// The most problems that a report describes; further ones are only counted.
const PROBLEMS_NAMED: usize = 100;

const PAGE: &str = "select * from log where position > ?1 and position <= ?2 order by position limit ?3";
const TOTALS: &str = "select name, events, streams from categories order by name";

/// A deviation of the log from what was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Position of the event with the problem; [`Position::START`] if the problem belongs to no event.
    pub position: Position,
    /// Description of the problem.
    pub what: String,
}

/// The report of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// Path of the log's file.
    pub path: String,
    /// Number of events that were verified.
    pub events: u64,
    /// Number of streams that the events belong to.
    pub streams: u64,
    /// Position of the last event when the check began.
    pub position: Position,
    /// Whether a process was serving the folder when the check began.
    pub served: bool,
    /// Whether SQLite's own check was made, too. It is left out while a server has the folder open, whose write-ahead
    /// log it would hold up.
    pub structure: bool,
    /// The first hundred problems; empty if the log is intact.
    pub problems: Vec<Problem>,
    /// Number of all problems, also those that are not described.
    pub problem_count: u64,
    /// Remarks that are no problems.
    pub notes: Vec<String>,
}

impl CheckReport {
    /// Whether the check found no problem.
    pub fn is_whole(&self) -> bool {
        self.problem_count == 0
    }

    /// Adds a problem to the report.
    pub fn add(&mut self, position: Position, what: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_NAMED {
            self.problems.push(Problem { position, what: what.into() });
        }
    }
}

/// Verifies the log of a folder, also one that another process serves; writes nothing. `progress` gets the number of
/// events verified and the number of all events. Memory grows by about 30 bytes per stream.
///
/// # Errors
/// [`OpenError`] if there is no log to verify. The problems of a log are in the report.
pub fn check(dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, OpenError> {
    let mut report = check_file(&dir.join(open::LOG_FILE), progress)?;
    witnesses(dir, &mut report)?;
    Ok(report)
}

/// Compares the log with other files of the folder that have seen it: the mark of the last clean stop, an import,
/// snapshots.
fn witnesses(dir: &Path, report: &mut CheckReport) -> Result<(), OpenError> {
    let log = LogFile::open_as_it_is(dir)?;
    match open::read_mark(dir) {
        Ok(Some(mark)) if mark > report.position => {
            let what =
                format!("the mark of the last clean stop has seen position {mark}: the end of the log is missing");
            report.add(Position::START, what);
        }
        Ok(_) => {}
        Err(error) => report.add(Position::START, error.to_string()),
    }
    if dir.join(UNFINISHED).exists() {
        let what = "an import into this folder has not ended; `backstitch store import` of the same file goes on";
        report.add(Position::START, what);
    }
    let mut after = String::new();
    let unreadable = |error| open::of_read(log.path(), error);
    loop {
        let (page, last) = log.snapshots(&after).map_err(unreadable)?;
        for (stream, snapshot) in page {
            // A stream without events has other things in its snapshot than a version.
            if let Some(version) = log.version_of(&stream).map_err(unreadable)?
                && snapshot.version > version
            {
                let (seen, what) = (snapshot.version, "its snapshot has seen version");
                report.add(Position::START, format!("`{stream}` ends at version {version}, but {what} {seen}"));
            }
        }
        let Some(last) = last else { return Ok(()) };
        after = last;
    }
}

/// Counts the events, streams and bytes of the log of a folder, also one that another process serves.
///
/// # Errors
/// [`OpenError`] if there is no log to read.
pub fn stats(dir: &Path) -> Result<StoreStats, OpenError> {
    let path = dir.join(open::LOG_FILE);
    let connection = open::open_whole(dir)?;
    super::stats_of(&connection, &path)
        .map_err(|error| OpenError::Damaged { path: path.display().to_string(), what: error.to_string() })
}

/// Verifies a log file, wherever it is.
pub(super) fn check_file(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, OpenError> {
    let dir = path.parent().unwrap_or(path);
    let served = open::is_served(dir);
    // Beside a server the write-ahead log changes while it is read; the server looked at it before SQLite did.
    let wal = if served { Ok(0) } else { super::wal::check(path) };
    let wal_bytes = in_service::wal_bytes(path);
    let connection = open::open_to_read(path)?;
    let failed = |error: rusqlite::Error| open::of_sqlite(path, &error);
    let (end, totals) = snapshot(&connection).map_err(failed)?;
    let position = Position(end.position);
    let mut report = CheckReport { path: path.display().to_string(), position, served, ..CheckReport::default() };
    report.notes.extend(wal.as_ref().ok().and_then(|bytes| super::wal::torn(path, *bytes)));
    for refused in [wal.map(drop), in_service::check_copy(dir, path, &connection, wal_bytes, position)] {
        match refused {
            Ok(()) => {}
            Err(error @ (OpenError::Damaged { .. } | OpenError::WalMissing { .. })) => {
                report.add(Position::START, error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    let found_before = report.problem_count;
    let mut walk = Walk::default();
    while walk.position < end.position {
        progress(walk.position, end.position);
        if let Err(error) = walk.page(&connection, end.position, &mut report) {
            report.add(Position(walk.position + 1), format!("SQLite cannot read on: {error}"));
            break;
        }
    }
    report.streams = walk.versions.len() as u64;
    if report.problem_count == found_before && totals != walk.totals {
        report.add(Position::START, format!("the totals per category are {totals:?}, counted were {:?}", walk.totals));
    }
    progress(walk.position, end.position);
    if report.problem_count == found_before {
        structure::index(&connection, end.position, &walk.entries, &mut report);
    }
    structure::of_sqlite(&connection, &mut report);
    Ok(report)
}

/// Verifies the newest events at a start.
pub(super) fn check_end(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    super::reader::all(
        connection,
        path,
        Position(u64::MAX),
        Direction::Backward,
        crate::PageLimit::events(EVENTS_AT_OPEN),
    )
    .map(drop)
    .map_err(|error| open::of_read(path, error))
}

/// By category, the number of events and of streams.
type Totals = BTreeMap<String, (u64, u64)>;

/// Reads the end and the totals at one moment.
fn snapshot(connection: &Connection) -> rusqlite::Result<(End, Totals)> {
    let transaction = connection.unchecked_transaction()?;
    let end = End::read(&transaction)?;
    let mut statement = transaction.prepare(TOTALS)?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, (row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(2)?.cast_unsigned())))
    })?;
    Ok((end, rows.collect::<rusqlite::Result<_>>()?))
}

/// The progress of a check.
#[derive(Default)]
struct Walk {
    position: u64,
    /// The chain after `position`; `None` if it is unknown, because the event there is damaged.
    chain: Option<u32>,
    /// By stream, its next version.
    versions: HashMap<i64, u64>,
    totals: Totals,
    /// The sum that the index on (stream, version) must have.
    entries: structure::Sum,
}

impl Walk {
    /// Verifies the next events up to `end`; every call advances.
    fn page(&mut self, connection: &Connection, end: u64, report: &mut CheckReport) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(PAGE)?;
        let bounds =
            (self.position.cast_signed(), end.cast_signed(), i64::try_from(ROWS_PER_STATEMENT).unwrap_or(i64::MAX));
        let mut rows = statement.query(bounds)?;
        let mut any = false;
        while let Some(row) = rows.next()? {
            any = true;
            let (position, key) = (row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(17)?);
            self.expect(position, report);
            match event_of(row) {
                Ok(read) => {
                    let holds = self.chain.is_none_or(|chain| link(chain, read.body) == read.chain);
                    if !holds {
                        report.add(Position(position), "it does not follow the event before it (broken chain)");
                    }
                    self.chain = Some(read.chain);
                    self.count(key, &read.event, report);
                    report.events += 1;
                }
                Err(RowError::Damaged(at, what)) => {
                    report.add(at, what);
                    self.chain = None;
                    // Its version cannot be trusted: the stream is taken up again with its next event.
                    self.versions.remove(&key);
                }
                Err(RowError::Sqlite(error)) => return Err(error),
            }
        }
        if !any {
            self.expect(end + 1, report);
            self.position = end;
        }
        Ok(())
    }

    /// Reports the missing positions before the next event, which is at `position`.
    fn expect(&mut self, position: u64, report: &mut CheckReport) {
        if position > self.position + 1 {
            let first = self.position + 1;
            let what = if position - first == 1 {
                "it is missing".to_owned()
            } else {
                format!("missing up to {}", position - 1)
            };
            report.add(Position(first), what);
            self.chain = None;
        } else if self.position == 0 {
            self.chain = Some(0); // The chain begins with 0.
        }
        self.position = position;
    }

    fn count(&mut self, key: i64, event: &RecordedEvent, report: &mut CheckReport) {
        let known = self.versions.get(&key).copied();
        // After a damaged event of the stream any version is taken; else a stream begins at 0.
        let expected = known.or(report.is_whole().then_some(0));
        if let Some(expected) = expected
            && expected != event.version
        {
            let what = format!("`{}` goes on at version {}, not {expected}", event.stream, event.version);
            report.add(event.position, what);
        }
        self.versions.insert(key, event.version + 1);
        self.entries.add(key, event.version, event.position.0);
        let total = self.totals.entry(event.stream.category().to_owned()).or_default();
        total.0 += 1;
        total.1 += u64::from(event.version == 0);
    }
}
