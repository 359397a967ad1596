//! Parked keys in Postgres: `backstitch.dead_letters`, and what operators have discarded.

use std::collections::{BTreeSet, HashMap};

use event_store::{Position, StreamName};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::letters::{Cause, Discarding, Letter, Parked};
use crate::feeding::checkpoint::Slice;
use crate::projecting::changes::{column, signed, text, unsigned};

/// The tables, in a schema that outlives generations. What was discarded `holds` as long as its generation's tables.
pub const DDL: &str = "
create table if not exists backstitch.dead_letters (
    projection text not null, generation integer not null, stream text not null, version bigint not null,
    position bigint not null, event_id uuid not null, event_type text not null, partition_key text not null,
    cause text not null, error text not null, attempts integer not null, occurred_at timestamptz not null,
    primary key (projection, generation, stream));
create table if not exists backstitch.discarded (
    projection text not null, generation integer not null, stream text not null, version bigint not null,
    event_id uuid not null, event_type text not null, error text not null, actor text not null, reason text not null,
    discarded_at timestamptz not null, request_id uuid not null, holds boolean not null default true,
    primary key (projection, generation, stream, version));
";

const LOAD: &str = "
select stream, version, position, event_id, event_type, partition_key, cause, error, attempts, occurred_at
from backstitch.dead_letters where projection = $1 and generation = $2";

const LOAD_DISCARDED: &str = "
select stream, version from backstitch.discarded where projection = $1 and generation = $2 and holds";

const UPSERT: &str = "
insert into backstitch.dead_letters (projection, generation, stream, version, position, event_id, event_type,
    partition_key, cause, error, attempts, occurred_at)
select $1, $2, * from unnest($3::text[], $4::bigint[], $5::bigint[], $6::uuid[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::integer[], $12::timestamptz[])
on conflict (projection, generation, stream) do update set (version, position, event_id, event_type, partition_key,
    cause, error, attempts, occurred_at)
  = (excluded.version, excluded.position, excluded.event_id, excluded.event_type, excluded.partition_key,
    excluded.cause, excluded.error, excluded.attempts, excluded.occurred_at)";

const FREE: &str = "
delete from backstitch.dead_letters where projection = $1 and generation = $2 and stream = any($3)";

const FORGET: &str = "
with freed as (delete from backstitch.dead_letters where projection = $1 and generation = $2)
update backstitch.discarded set holds = false where projection = $1 and generation = $2";

const DISCARD: &str = "
insert into backstitch.discarded (projection, generation, stream, version, event_id, event_type, error, actor, reason,
    discarded_at, request_id)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (projection, generation, stream, version) do update set (error, actor, reason, discarded_at, request_id, holds)
  = (excluded.error, excluded.actor, excluded.reason, excluded.discarded_at, excluded.request_id, true)";

const DISCARDED_BY: &str = "
select version from backstitch.discarded
where projection = $1 and generation = $2 and stream = $3 and request_id = $4 and holds";

impl Parked {
    /// Reads what is parked of the partition keys that are ours, once the epoch is.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn load(sql: &mut PgConnection, slice: Slice, ours: impl Fn(&str) -> bool) -> Result<Self, sqlx::Error> {
        let (mut letters, mut discarded) = (HashMap::new(), HashMap::<StreamName, BTreeSet<u64>>::new());
        for row in sqlx::query(LOAD).bind(slice.projection).bind(slice.generation).fetch_all(&mut *sql).await? {
            let Ok(stream) = row.try_get::<&str, _>(0)?.parse() else { continue };
            let letter = Letter {
                version: unsigned(row.try_get(1)?),
                position: Position(unsigned(row.try_get(2)?)),
                event_id: row.try_get(3)?,
                event_type: row.try_get(4)?,
                partition_key: row.try_get(5)?,
                cause: Cause::stored(row.try_get(6)?),
                error: row.try_get(7)?,
                attempts: u32::try_from(row.try_get::<i32, _>(8)?).unwrap_or(0),
                occurred_at: row.try_get(9)?,
            };
            if ours(&letter.partition_key) {
                letters.insert(stream, letter);
            }
        }
        for row in sqlx::query(LOAD_DISCARDED).bind(slice.projection).bind(slice.generation).fetch_all(sql).await? {
            let Ok(stream) = row.try_get::<&str, _>(0)?.parse() else { continue };
            discarded.entry(stream).or_default().insert(unsigned(row.try_get(1)?));
        }
        Ok(Self::stored(letters, discarded))
    }

    /// Writes what has changed, inside the transaction that writes the rows.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn write(&mut self, sql: &mut PgConnection, slice: Slice) -> Result<(), sqlx::Error> {
        let (freed, parked) = self.unwritten();
        if !freed.is_empty() {
            let freed = column(&freed, |stream| stream.to_string());
            let free = sqlx::query(FREE).bind(slice.projection).bind(slice.generation).bind(freed);
            free.execute(&mut *sql).await?;
        }
        if !parked.is_empty() {
            upsert(sql, slice, &parked).await?;
        }
        self.written();
        Ok(())
    }
}

async fn upsert(sql: &mut PgConnection, slice: Slice, parked: &[(&StreamName, &Letter)]) -> Result<(), sqlx::Error> {
    sqlx::query(UPSERT)
        .bind(slice.projection)
        .bind(slice.generation)
        .bind(column(parked, |(stream, _)| stream.to_string()))
        .bind(column(parked, |(_, letter)| signed(letter.version)))
        .bind(column(parked, |(_, letter)| signed(letter.position.0)))
        .bind(column(parked, |(_, letter)| letter.event_id))
        .bind(column(parked, |(_, letter)| letter.event_type.clone()))
        .bind(column(parked, |(_, letter)| letter.partition_key.clone()))
        .bind(column(parked, |(_, letter)| letter.cause.as_str()))
        .bind(column(parked, |(_, letter)| letter.error.clone()))
        .bind(column(parked, |(_, letter)| i32::try_from(letter.attempts).unwrap_or(i32::MAX)))
        .bind(column(parked, |(_, letter)| letter.occurred_at))
        .execute(sql)
        .await
        .map(|_| ())
}

/// Keeps who moved past an event, and why, in the transaction that does so.
///
/// # Errors
/// What Postgres says.
pub async fn record_discard(
    sql: &mut PgConnection,
    slice: Slice,
    (stream, letter): (&StreamName, &Letter),
    by: &Discarding,
) -> Result<(), sqlx::Error> {
    sqlx::query(DISCARD)
        .bind(slice.projection)
        .bind(slice.generation)
        .bind(stream.as_str())
        .bind(signed(letter.version))
        .bind(letter.event_id)
        .bind(&letter.event_type)
        .bind(&letter.error)
        .bind(text(&by.actor))
        .bind(text(&by.reason))
        .bind(by.at)
        .bind(by.request_id)
        .execute(sql)
        .await
        .map(|_| ())
}

/// The version that this request has discarded already.
///
/// # Errors
/// What Postgres says.
pub async fn discarded_by(
    sql: &mut PgConnection,
    slice: Slice,
    stream: &StreamName,
    request_id: Uuid,
) -> Result<Option<u64>, sqlx::Error> {
    let found: Option<i64> = sqlx::query_scalar(DISCARDED_BY)
        .bind(slice.projection)
        .bind(slice.generation)
        .bind(stream.as_str())
        .bind(request_id)
        .fetch_optional(sql)
        .await?;
    Ok(found.map(unsigned))
}

/// Forgets what a projection has parked, when its tables go. Who discarded what stays on record, but holds no more.
///
/// # Errors
/// What Postgres says.
pub async fn forget(sql: &mut PgConnection, projection: &str, generation: i32) -> Result<(), sqlx::Error> {
    sqlx::query(FORGET).bind(projection).bind(generation).execute(sql).await.map(|_| ())
}
