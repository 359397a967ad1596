//! What makes a projection on SQLite short: a look-up and an upsert of the rows in a buffer, one prepared statement each. In an
//! embedded store a statement costs some microseconds, so that one a row is no slower than one for all.

use std::sync::Arc;

use event_store::{RecordedEvent, StreamName};
use eventsourcing::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Statement};

use crate::embedded::SqliteError;
use crate::projecting::changes::{Changes, Head, Row};

impl<R: Default> Changes<R> {
    /// Looks up the rows that these events change and that are not in the buffer. `one` runs `select` for a stream, and makes
    /// of its row the head ([`head`]) and the value; no row is [`rusqlite::Error::QueryReturnedNoRows`].
    ///
    /// # Errors
    /// What SQLite says.
    pub fn look_up(
        &mut self,
        sql: &Connection,
        events: &[Arc<RecordedEvent>],
        select: &str,
        mut one: impl FnMut(&mut Statement<'_>, &StreamName) -> rusqlite::Result<(Head, R)>,
    ) -> Result<(), SqliteError> {
        let missing = self.missing(events.iter().map(AsRef::as_ref));
        if missing.is_empty() {
            return Ok(());
        }
        let mut statement = sql.prepare_cached(select)?;
        for stream in missing {
            if let Some((head, value)) = one(&mut statement, &stream).optional()? {
                self.loaded(stream, head, value);
            }
        }
        Ok(())
    }

    /// Writes each changed row. `one` binds a row to the statement and executes it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn upsert(
        &mut self,
        sql: &Connection,
        upsert: &str,
        mut one: impl FnMut(&mut Statement<'_>, &StreamName, &Row<R>) -> rusqlite::Result<usize>,
    ) -> Result<(), SqliteError> {
        let changed = self.changed();
        if changed.is_empty() {
            return Ok(());
        }
        let mut statement = sql.prepare_cached(upsert)?;
        for (stream, row) in changed {
            one(&mut statement, stream, row)?;
        }
        self.written();
        Ok(())
    }
}

/// The head of a row, from its columns `stream_version`, `global_position` and `updated_at` (microseconds since 1970).
///
/// # Errors
/// One of the columns is not there, or is no number.
pub fn head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    let updated_at = time(row.get("updated_at")?);
    Ok(Head::stored(row.get("stream_version")?, row.get("global_position")?, updated_at))
}

/// A moment for an `integer` column: microseconds since 1970.
pub fn micros(moment: Timestamp) -> i64 {
    moment.timestamp_micros()
}

/// A moment from an `integer` column that was written with [`micros`].
pub fn time(micros: i64) -> Timestamp {
    Timestamp::from_timestamp_micros(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}
