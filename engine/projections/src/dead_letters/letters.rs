//! Parked keys: what a projection could not apply, and waits for.
//!
//! A poisoned event (one that cannot be decoded, or whose rows Postgres refuses) parks its key: (projection, generation,
//! source stream). The rows of that stream stay where they are, its later events are not applied, and everything else
//! goes on. `backstitch.dead_letters` has one row a parked key, with the version at which the stream stands still. No event
//! is copied: the log is the queue, and a retry reads the stream from there on.
//!
//! *Invariant:* a key is parked, moved and freed in the transaction of the rows and the checkpoint.
//! *Invariant:* what was discarded stays so: whenever that version is read again, it is moved past.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use event_store::{Position, RecordedEvent, StreamName};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

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

/// So many keys are parked one by one. More are no longer the fault of some events but of the program or the database:
/// the read model stops. At some 500 bytes a key 5 MB.
pub const MOST_PARKED: usize = 10_000;

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

/// Why an event is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The program cannot decode it.
    Unreadable,
    /// Postgres refuses its rows.
    Refused,
}

impl Cause {
    /// The word in table and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
        }
    }

    fn stored(word: &str) -> Self {
        if word == "refused" { Self::Refused } else { Self::Unreadable }
    }
}

/// The event at which a stream stands still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its version: the next that the rows need.
    pub version: u64,
    /// Its position in the log.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: String,
    /// The key by which its stream is assigned to a partition.
    pub partition_key: String,
    /// Why it is not applied.
    pub cause: Cause,
    /// What the program or Postgres says.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When the event occurred.
    pub occurred_at: DateTime<Utc>,
}

/// Who moves past an event, and why.
#[derive(Debug, Clone)]
pub struct Discarding {
    /// The operator who discards it.
    pub actor: String,
    /// The reason that the operator gives.
    pub reason: String,
    /// When it is discarded.
    pub at: DateTime<Utc>,
    /// The request: the same one again discards nothing more.
    pub request_id: Uuid,
}

/// Parked streams, and where they stand. Shared: what was told once stays as it was.
pub type Letters = Arc<HashMap<StreamName, Letter>>;

/// The parked streams of one projection, and its discarded events, as in the tables. Cheap to clone: what a batch that
/// does not commit has changed is dropped with its copy.
#[derive(Debug, Clone, Default)]
pub struct Parked {
    letters: Letters,
    discarded: Arc<HashMap<StreamName, BTreeSet<u64>>>,
    /// Parked, moved or freed since the last write.
    changed: HashSet<StreamName>,
}

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
        Ok(Self { letters: Arc::new(letters), discarded: Arc::new(discarded), changed: HashSet::new() })
    }

    /// Whether this stream is parked: its events are not to be applied.
    pub fn holds(&self, stream: &StreamName) -> bool {
        !self.letters.is_empty() && self.letters.contains_key(stream)
    }

    /// Whether this event was discarded: it is to be moved past.
    pub fn discards(&self, event: &RecordedEvent) -> bool {
        !self.discarded.is_empty()
            && self.discarded.get(&event.stream).is_some_and(|versions| versions.contains(&event.version))
    }

    /// The event at which a stream stands still.
    pub fn letter(&self, stream: &StreamName) -> Option<&Letter> {
        self.letters.get(stream)
    }

    /// All parked streams.
    pub fn letters(&self) -> &Letters {
        &self.letters
    }

    /// Whether so many keys are parked that it cannot be the events.
    pub fn is_full(&self) -> bool {
        self.letters.len() >= MOST_PARKED
    }

    /// What was parked, or moved, since the last write.
    pub fn lately(&self) -> Vec<(StreamName, Letter)> {
        let letter =
            |stream| self.letters.get_key_value(stream).map(|(stream, letter)| (stream.clone(), letter.clone()));
        self.changed.iter().filter_map(letter).collect()
    }

    /// Parks a stream at this event.
    pub fn park(&mut self, event: &RecordedEvent, cause: Cause, error: &str) {
        let letter = Letter {
            version: event.version,
            position: event.position,
            event_id: event.id,
            event_type: text(&event.event_type),
            partition_key: text(&event.metadata.partition_key),
            cause,
            error: text(error),
            attempts: 1,
            occurred_at: event.metadata.occurred_at,
        };
        Arc::make_mut(&mut self.letters).insert(event.stream.clone(), letter);
        self.changed.insert(event.stream.clone());
    }

    /// Lets a stream go on, to be tried again; the event at which it stood. `None`: it is not parked.
    pub fn open(&mut self, stream: &StreamName) -> Option<Letter> {
        let letter = Arc::make_mut(&mut self.letters).remove(stream)?;
        self.changed.insert(stream.clone());
        Some(letter)
    }

    /// Parks a stream again as it was.
    pub fn keep(&mut self, stream: &StreamName, letter: Letter) {
        Arc::make_mut(&mut self.letters).insert(stream.clone(), letter);
    }

    /// Counts the attempt where a stream stands again where it stood.
    pub fn tried(&mut self, stream: &StreamName, before: &Letter) {
        if let Some(letter) = Arc::make_mut(&mut self.letters).get_mut(stream)
            && letter.version == before.version
        {
            letter.attempts = before.attempts.saturating_add(1);
        }
    }

    /// From now on the event at which a parked stream stands is moved past.
    pub fn discard(&mut self, stream: &StreamName, version: u64) {
        Arc::make_mut(&mut self.discarded).entry(stream.clone()).or_default().insert(version);
    }

    /// Writes what has changed, inside the transaction that writes the rows.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn write(&mut self, sql: &mut PgConnection, slice: Slice) -> Result<(), sqlx::Error> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let Slice { projection, generation } = slice;
        let (parked, freed): (Vec<&StreamName>, Vec<&StreamName>) =
            self.changed.iter().partition(|stream| self.letters.contains_key(*stream));
        if !freed.is_empty() {
            let freed = column(&freed, |stream| stream.to_string());
            sqlx::query(FREE).bind(projection).bind(generation).bind(freed).execute(&mut *sql).await?;
        }
        let parked: Vec<(&StreamName, &Letter)> =
            parked.into_iter().filter_map(|stream| self.letters.get_key_value(stream)).collect();
        if !parked.is_empty() {
            upsert(sql, slice, &parked).await?;
        }
        self.changed.clear();
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
