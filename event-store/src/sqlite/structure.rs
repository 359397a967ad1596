//! What `check` asks of the file's structure, beside its events: that the index on (stream, version) has exactly the events of
//! the table, for heads and streams are read by it; and SQLite's own check.
//!
//! The index is walked in pages, beside a server. SQLite's own check is one long statement, which would keep the
//! write-ahead log of a served folder from restarting: it is made only where nobody serves the folder.

use rusqlite::Connection;

use super::check::CheckReport;
use super::reader::ROWS_PER_STATEMENT;
use crate::Position;

/// The index holds all three columns; the table is not touched. Its name is SQLite's for the table's `unique`.
const INDEX: &str = "select stream, version, position from events indexed by sqlite_autoindex_events_1
    where (stream, version) > (?1, ?2) order by stream, version limit ?3";
const STRUCTURE: &str = "pragma integrity_check(20)";

/// A sum over (stream, version, position) that does not depend on the order, to compare table and index by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    entries: u64,
    mixed: u64,
}

impl Sum {
    /// Counts one entry in.
    pub fn add(&mut self, stream: i64, version: u64, position: u64) {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&stream.to_le_bytes());
        crc.update(&version.to_le_bytes());
        let low = u64::from(crc.clone().finalize());
        crc.update(&position.to_le_bytes());
        self.entries += 1;
        self.mixed =
            self.mixed.wrapping_add((low << 32 | u64::from(crc.finalize())).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

/// Walks the index up to the events at `end`, and compares it with the table, whose entries are `table`.
pub(super) fn index(connection: &Connection, end: u64, table: &Sum, report: &mut CheckReport) {
    match sum_of_index(connection, end) {
        Ok(sum) if sum == *table => {}
        Ok(sum) => {
            let what = format!("the index of streams has {} entries that are not those of the events", sum.entries);
            report.add(Position::START, what);
        }
        Err(error) => report.add(Position::START, format!("SQLite cannot read the index of streams: {error}")),
    }
}

fn sum_of_index(connection: &Connection, end: u64) -> rusqlite::Result<Sum> {
    let mut sum = Sum::default();
    let (mut stream, mut version) = (i64::MIN, i64::MIN);
    let rows_at_once = i64::try_from(ROWS_PER_STATEMENT).unwrap_or(i64::MAX);
    loop {
        let mut statement = connection.prepare_cached(INDEX)?;
        let mut rows = statement.query((stream, version, rows_at_once))?;
        let mut any = false;
        while let Some(row) = rows.next()? {
            any = true;
            (stream, version) = (row.get(0)?, row.get(1)?);
            let position = row.get::<_, i64>(2)?.cast_unsigned();
            if position <= end {
                sum.add(stream, version.cast_unsigned(), position);
            }
        }
        if !any {
            return Ok(sum);
        }
    }
}

/// SQLite's own check, where it holds up nobody.
pub(super) fn of_sqlite(connection: &Connection, report: &mut CheckReport) {
    if report.served {
        return;
    }
    report.structure = true;
    let read = || {
        let mut statement = connection.prepare(STRUCTURE)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    match read() {
        Ok(lines) => {
            for line in lines.into_iter().filter(|line| line != "ok") {
                report.add(Position::START, format!("SQLite: {line}"));
            }
        }
        Err(error) => report.add(Position::START, format!("SQLite cannot check its structure: {error}")),
    }
}
