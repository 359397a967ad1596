//! Parked streams in the file: `backstitch_parked` has one row for each, with the version at which it stands still.

use std::collections::HashMap;

use event_store::{Position, StreamName};
use rusqlite::{Connection, Row, params};

use crate::dead_letters::{Cause, Letter, Parked};
use crate::embedded::rows::{micros, time};
use crate::projecting::changes::{signed, unsigned};

/// The table.
pub(super) const DDL: &str = "
create table if not exists backstitch_parked (
    projection text not null, stream text not null, version integer not null, position integer not null,
    event_id text not null, event_type text not null, partition_key text not null, cause text not null,
    error text not null, attempts integer not null, occurred_at integer not null,
    primary key (projection, stream)) strict, without rowid;
";

const LOAD: &str = "
select stream, version, position, event_id, event_type, partition_key, cause, error, attempts, occurred_at
from backstitch_parked where projection = ?1";

const UPSERT: &str = "
insert or replace into backstitch_parked (projection, stream, version, position, event_id, event_type, partition_key,
    cause, error, attempts, occurred_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

const FREE: &str = "delete from backstitch_parked where projection = ?1 and stream = ?2";
const FORGET: &str = "delete from backstitch_parked where projection = ?1";

/// What is parked of a read model.
pub(super) fn load(sql: &Connection, projection: &str) -> rusqlite::Result<Parked> {
    let mut statement = sql.prepare_cached(LOAD)?;
    let rows = statement.query_map([projection], |row| Ok((row.get::<_, String>("stream")?, letter(row)?)))?;
    let mut letters = HashMap::new();
    for row in rows {
        let (stream, letter) = row?;
        if let Ok(stream) = stream.parse::<StreamName>() {
            letters.insert(stream, letter);
        }
    }
    Ok(Parked::stored(letters, HashMap::new()))
}

fn letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    Ok(Letter {
        version: unsigned(row.get("version")?),
        position: Position(unsigned(row.get("position")?)),
        event_id: row.get::<_, String>("event_id")?.parse().unwrap_or_default(),
        event_type: row.get("event_type")?,
        partition_key: row.get("partition_key")?,
        cause: Cause::stored(&row.get::<_, String>("cause")?),
        error: row.get("error")?,
        attempts: row.get("attempts")?,
        occurred_at: time(row.get("occurred_at")?),
    })
}

/// Writes what has changed, inside the transaction that writes the rows.
pub(super) fn write(sql: &Connection, projection: &str, parked: &mut Parked) -> rusqlite::Result<()> {
    let (freed, changed) = parked.unwritten();
    for stream in freed {
        sql.prepare_cached(FREE)?.execute([projection, stream.as_str()])?;
    }
    for (stream, letter) in changed {
        sql.prepare_cached(UPSERT)?.execute(params![
            projection,
            stream.as_str(),
            signed(letter.version),
            signed(letter.position.0),
            letter.event_id.to_string(),
            letter.event_type,
            letter.partition_key,
            letter.cause.as_str(),
            letter.error,
            letter.attempts,
            micros(letter.occurred_at),
        ])?;
    }
    parked.written();
    Ok(())
}

/// Forgets what is parked of a read model, when its tables go.
pub(super) fn forget(sql: &Connection, projection: &str) -> rusqlite::Result<()> {
    sql.execute(FORGET, [projection]).map(drop)
}
