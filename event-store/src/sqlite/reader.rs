//! What is read, one statement each. Statements are short, so that no checkpoint waits long (`readers.rs` has the threads).

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension};
use uuid::Uuid;

use super::queue::Head;
use super::schema::{Read, RowError, event_of, link, snapshot_checksum};
use crate::port::{Direction, PageLimit, StreamInfo, StreamSnapshot};
use crate::{Position, ReadError, RecordedEvent, StreamName};

/// Rows of one statement: some milliseconds.
pub(super) const ROWS_PER_STATEMENT: usize = 1_024;

const STREAM_FORWARD: &str = "select * from log where stream_key = (select id from streams where name = ?1)
    and version >= ?2 order by version limit ?3";
const STREAM_BACKWARD: &str = "select * from log where stream_key = (select id from streams where name = ?1)
    and version <= ?2 order by version desc limit ?3";
const ALL_FORWARD: &str = "select * from log where position >= ?1 order by position limit ?2";
const ALL_BACKWARD: &str = "select * from log where position < ?1 order by position desc limit ?2";
const HEAD: &str =
    "select id, (select max(version) from events where stream = streams.id) from streams where name = ?1";
const IDS: &str = "select version, id, position from events where stream = (select id from streams where name = ?1)
    and version between ?2 and ?3 order by version";
const STREAMS: &str = "select name, (select max(version) from events where stream = streams.id) from streams
    where name > ?1 order by name limit ?2";
/// `.` is the character after `-`: all names of a category lie between, and some others, which the caller drops.
const STREAMS_OF_CATEGORY: &str =
    "select name, (select max(version) from events where stream = streams.id) from streams
    where name > ?1 and name >= ?3 and name < ?3 || '.' and (name = ?3 or substr(name, 1, length(?3) + 1) = ?3 || '-')
    order by name limit ?2";
const SNAPSHOT: &str = "select version, format, state, checksum from snapshots where stream = ?1";
const CATEGORIES: &str = "select name, events, streams from categories order by name";

/// The durable head of a stream.
pub(super) fn head(connection: &Connection, path: &Path, stream: &StreamName) -> Result<Head, ReadError> {
    let found = connection
        .prepare_cached(HEAD)
        .and_then(|mut statement| {
            statement
                .query_row([stream.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))
                .optional()
        })
        .map_err(|error| failed(path, Position::START, &error))?;
    Ok(match found {
        Some((key, version)) => Head::durable(Some(key), version.map(i64::cast_unsigned)),
        None => Head::durable(None, None),
    })
}

/// Version, id and position of the events of a stream between two versions, both included.
pub(super) fn ids(
    connection: &Connection,
    path: &Path,
    stream: &StreamName,
    from: u64,
    to: u64,
) -> Result<Vec<(u64, Uuid, Position)>, ReadError> {
    let read = || {
        let mut statement = connection.prepare_cached(IDS)?;
        let bounds = (stream.as_str(), signed(from), signed(to));
        let rows = statement.query_map(bounds, |row| {
            let id = row.get::<_, Vec<u8>>(1)?;
            let position = Position(row.get::<_, i64>(2)?.cast_unsigned());
            // An id that is no UUID equals none that anybody asks for.
            Ok((row.get::<_, i64>(0)?.cast_unsigned(), Uuid::from_slice(&id).unwrap_or_default(), position))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(|error| failed(path, Position::START, &error))
}

/// A part of a stream; verifies that its versions have no holes.
pub(super) fn stream(
    connection: &Connection,
    path: &Path,
    name: &StreamName,
    from: u64,
    direction: Direction,
    limit: PageLimit,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let (sql, step) = match direction {
        Direction::Forward => (STREAM_FORWARD, 1),
        Direction::Backward => (STREAM_BACKWARD, -1),
    };
    let read = || {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query((name.as_str(), signed(from), count(limit.events)))?;
        let mut bytes = 0;
        let mut events: Vec<RecordedEvent> = Vec::new();
        while let Some(row) = rows.next()? {
            let event = event_of(row)?.event;
            let expected = events.last().and_then(|last| last.version.checked_add_signed(step));
            if let Some(last) = events.last()
                && expected != Some(event.version)
            {
                let what = format!("`{name}` goes from version {} to {}", last.version, event.version);
                return Err(RowError::Damaged(event.position, what));
            }
            bytes += event.size();
            events.push(event);
            if bytes >= limit.bytes {
                break;
            }
        }
        if direction == Direction::Forward
            && let Some(first) = events.first()
            && first.version != from
        {
            return Err(RowError::Damaged(first.position, format!("`{name}` has no version {from}")));
        }
        Ok(events)
    };
    read().map_err(|error| row_failed(path, Position::START, error))
}

/// A part of the whole log; verifies that positions have no holes and that the chain holds.
pub(super) fn all(
    connection: &Connection,
    path: &Path,
    from: Position,
    direction: Direction,
    limit: PageLimit,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let read = || match direction {
        // The event at `from` itself is read too, where there can be one: the chain is checked from there.
        Direction::Forward => {
            let mut statement = connection.prepare_cached(ALL_FORWARD)?;
            let rows =
                statement.query((signed(from.0), count(limit.events.saturating_add(usize::from(from.0 > 0)))))?;
            let mut events = linked(rows, direction, from, limit.bytes)?;
            if events.first().is_some_and(|first| first.position <= from) {
                events.remove(0);
            } else {
                events.truncate(limit.events);
            }
            match events.first() {
                Some(first) if first.position.0 != from.0 + 1 => {
                    Err(RowError::Damaged(first.position, format!("the event at position {} is missing", from.0 + 1)))
                }
                Some(_) | None => Ok(events),
            }
        }
        Direction::Backward => {
            let mut statement = connection.prepare_cached(ALL_BACKWARD)?;
            let rows = statement.query((signed(from.0), count(limit.events)))?;
            linked(rows, direction, from, limit.bytes)
        }
    };
    // Backward from the end nobody has said a position: what SQLite cannot give then belongs to none.
    let near = if from.0 == u64::MAX { Position::START } else { from };
    read().map_err(|error| row_failed(path, near, error))
}

/// Events that follow one another, up to the one that makes them `most` bytes; the event at `from` does not count.
fn linked(
    mut rows: rusqlite::Rows<'_>,
    direction: Direction,
    from: Position,
    most: usize,
) -> Result<Vec<RecordedEvent>, RowError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    let mut last: Option<(Position, u32, u32)> = None;
    while let Some(row) = rows.next()? {
        let Read { event, chain, body } = event_of(row)?;
        if let Some((position, last_chain, last_body)) = last {
            let (older, newer) = match direction {
                Direction::Forward => ((position.0, last_chain), (event.position.0, chain, body)),
                Direction::Backward => ((event.position.0, chain), (position.0, last_chain, last_body)),
            };
            if older.0 + 1 != newer.0 {
                return Err(RowError::Damaged(Position(newer.0), format!("the event before it is at {}", older.0)));
            }
            if link(older.1, newer.2) != newer.1 {
                let what = "it does not follow the event before it (the chain of checksums is broken)";
                return Err(RowError::Damaged(Position(newer.0), what.to_owned()));
            }
        }
        last = Some((event.position, chain, body));
        bytes += if event.position == from { 0 } else { event.size() };
        events.push(event);
        if bytes >= most {
            break;
        }
    }
    Ok(events)
}

/// Streams by name.
pub(super) fn streams(
    connection: &Connection,
    path: &Path,
    category: Option<&str>,
    after: &str,
    limit: usize,
) -> Result<Vec<StreamInfo>, ReadError> {
    let read = || {
        let row_of = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?));
        match category {
            None => connection
                .prepare_cached(STREAMS)?
                .query_map((after, count(limit)), row_of)?
                .collect::<Result<Vec<_>, _>>(),
            Some(category) => connection
                .prepare_cached(STREAMS_OF_CATEGORY)?
                .query_map((after, count(limit), category), row_of)?
                .collect::<Result<Vec<_>, _>>(),
        }
    };
    let rows = read().map_err(|error| failed(path, Position::START, &error))?;
    rows.into_iter()
        .map(|(name, version)| {
            let damaged = |what: &str| ReadError::Damaged {
                path: path.display().to_string(),
                position: Position::START,
                what: format!("stream `{name}` {what}"),
            };
            let stream = name.parse().map_err(|_| damaged("has no valid name"))?;
            Ok(StreamInfo { stream, version: version.ok_or_else(|| damaged("has no events"))?.cast_unsigned() })
        })
        .collect()
}

/// A stream's snapshot; one that is damaged is none: it is only a short cut.
pub(super) fn snapshot(
    connection: &Connection,
    path: &Path,
    stream: &StreamName,
) -> Result<Option<StreamSnapshot>, ReadError> {
    let found = connection
        .prepare_cached(SNAPSHOT)
        .and_then(|mut statement| {
            statement
                .query_row([stream.as_str()], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, i64>(3)?))
                })
                .optional()
        })
        .map_err(|error| failed(path, Position::START, &error))?;
    let Some((version, format, state, checksum)) = found else { return Ok(None) };
    let whole = snapshot_checksum(stream.as_str(), version, format, &state) == checksum;
    if !whole {
        tracing::warn!(log = %path.display(), %stream, "a snapshot is damaged and not used");
    }
    Ok(u32::try_from(format).ok().filter(|_| whole).map(|schema| StreamSnapshot {
        version: version.cast_unsigned(),
        schema,
        state,
    }))
}

/// Per category: its name, its events, its streams.
pub(super) fn categories(connection: &Connection, path: &Path) -> Result<Vec<(String, u64, u64)>, ReadError> {
    let read = || {
        connection
            .prepare_cached(CATEGORIES)?
            .query_map([], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get::<_, i64>(2)?.cast_unsigned()))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(|error| failed(path, Position::START, &error))
}

/// Numbers beyond SQLite's largest mean "the end".
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(limit: usize) -> i64 {
    signed(limit as u64)
}

fn row_failed(path: &Path, near: Position, error: RowError) -> ReadError {
    match error {
        RowError::Sqlite(error) => failed(path, near, &error),
        RowError::Damaged(position, what) => ReadError::Damaged { path: path.display().to_string(), position, what },
    }
}

/// What SQLite's refusal means to the reader.
pub(super) fn failed(path: &Path, near: Position, error: &rusqlite::Error) -> ReadError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            ReadError::Damaged { path: path.display().to_string(), position: near, what: error.to_string() }
        }
        Some(_) | None => unavailable(path, &error.to_string()),
    }
}

pub(super) fn unavailable(path: &Path, reason: &str) -> ReadError {
    ReadError::Unavailable { path: path.display().to_string(), reason: reason.to_owned() }
}
