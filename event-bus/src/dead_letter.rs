//! Dead letters: the records that a consumer could not handle, in a table of its Postgres for people, and their
//! operations.
//!
//! A record that cannot be handled parks its key: it goes to `<topic>.dead-letters`, with the cause in headers, and
//! into `bus_dead_letters`. Later records of the key follow it there (cause `behind`), so that the key's order is kept;
//! all other keys continue. [`DeadLetters::retry`] asks the consumer that holds the partition to run its handler for
//! the key's records in order, each in a transaction with its removal from the table; [`DeadLetters::discard`] removes
//! one record for ever and lets those behind it continue.
//!
//! *Invariant:* a record is in this table, or its handler's rows are committed, or it was discarded: never two of
//! these.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use strum::{EnumString, IntoStaticStr};

/// Rows in the order in which their records came: `id`. Handled records are deleted; discarded ones stay, with the name
/// of the person who discarded them.
pub(crate) const DDL: &str = "
create table if not exists bus_dead_letters (
    id bigint generated always as identity primary key,
    consumer_group text not null, topic text not null, partition integer not null, record_offset bigint not null,
    record_key bytea, event_type text, schema_version text, event_id text, written_at timestamptz,
    header_names text[] not null, header_values bytea[] not null, value bytea,
    cause text not null, error text not null, attempts integer not null, parked_at timestamptz not null default now(),
    asked_at timestamptz, asked_by text, discarded_at timestamptz, discarded_by text, reason text)";
pub(crate) const BY_PLACE: &str = "
create index if not exists bus_dead_letters_by_place on bus_dead_letters (consumer_group, topic, partition, id)
where discarded_at is null";
pub(crate) const BY_ASKED: &str = "
create index if not exists bus_dead_letters_by_asked on bus_dead_letters (consumer_group, topic, partition)
where asked_at is not null";

/// One line for each parked key: the record at which it stands, and how many wait behind it. A record without a key has
/// a line of its own.
const LIST: &str = "
with active as (select *, coalesce(encode(record_key, 'hex'), 'id ' || id) as of_key from bus_dead_letters
    where discarded_at is null and ($1::text is null or consumer_group = $1)),
heads as (select distinct on (consumer_group, topic, partition, of_key) *,
    count(*) over (partition by consumer_group, topic, partition, of_key) - 1 as waiting
    from active order by consumer_group, topic, partition, of_key, id)
select * from heads where id > $2 order by id limit $3";

const SHOW: &str = "
select l.*, (select count(*) from bus_dead_letters b where b.discarded_at is null and b.id > l.id
    and (b.consumer_group, b.topic, b.partition) = (l.consumer_group, l.topic, l.partition)
    and b.record_key = l.record_key) as waiting
from bus_dead_letters l where l.id = $1";

const RETRY: &str = "
update bus_dead_letters l set asked_at = now(), asked_by = $2 from bus_dead_letters one
where one.id = $1 and one.discarded_at is null and l.discarded_at is null
    and (l.consumer_group, l.topic, l.partition) = (one.consumer_group, one.topic, one.partition)
    and (l.id = one.id or l.record_key = one.record_key)";

const RETRY_ALL: &str = "
update bus_dead_letters set asked_at = now(), asked_by = $2 where consumer_group = $1 and discarded_at is null";

const DISCARD: &str = "
update bus_dead_letters set discarded_at = now(), discarded_by = $2, reason = $3, asked_at = now(), asked_by = $2
where id = $1 and discarded_at is null";

const THERE: &str = "select to_regclass('bus_dead_letters') is not null";

/// The reason why a record was parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// The record is not an event of ours, has a schema version that no handler reads, or data that do not fit.
    Undecodable,
    /// The handler failed at every attempt.
    Failed,
    /// An earlier record of its key is parked.
    Behind,
}

impl Cause {
    /// The word in the table, headers and answers.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    fn stored(word: &str) -> Self {
        word.parse().unwrap_or(Self::Failed)
    }
}

/// A dead letter: a record that is parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// Number of the dead letter, by which people name it.
    pub id: i64,
    /// Name of the consumer group that could not handle it.
    pub group: String,
    /// Name of the topic with the record.
    pub topic: String,
    /// Number of the partition with the record, from 0.
    pub partition: i32,
    /// Offset of the record in its partition.
    pub offset: i64,
    /// The record's key, whose records wait; absent for a record without a key, which is parked alone.
    pub key: Option<String>,
    /// Value of the header `ce_type`, if there is one.
    pub event_type: Option<String>,
    /// Value of the header `ce_schemaversion`, if there is one.
    pub schema_version: Option<String>,
    /// Value of the header `ce_id`, if there is one.
    pub event_id: Option<String>,
    /// The reason why it was parked.
    pub cause: Cause,
    /// The error, as the handler or decoder described it.
    pub error: String,
    /// Number of attempts to handle it.
    pub attempts: i32,
    /// When it was parked.
    pub parked_at: DateTime<Utc>,
    /// Number of later records of its key that wait behind it.
    pub waiting: i64,
    /// When a retry was requested that has not been made yet.
    pub asked_at: Option<DateTime<Utc>>,
    /// When, by whom and why it was discarded.
    pub discarded: Option<(DateTime<Utc>, String, String)>,
}

/// A dead letter with the content of its record.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The dead letter itself, without the record's content.
    #[serde(flatten)]
    pub letter: Letter,
    /// The headers of the record, as text.
    pub headers: Vec<(String, String)>,
    /// The value of the record, as text; absent if it has none.
    pub value: Option<String>,
}

/// The dead letters in one Postgres database.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    pool: PgPool,
    schema: String,
}

impl DeadLetters {
    /// The dead letters of the consumers that keep their tables in `schema`.
    pub fn new(pool: PgPool, schema: &str) -> Self {
        Self { pool, schema: schema.to_owned() }
    }

    /// Whether a consumer has ever created its tables here.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn are_kept_here(&self) -> Result<bool, sqlx::Error> {
        self.tx(|connection| Box::pin(async move { sqlx::query_scalar(THERE).fetch_one(connection).await })).await
    }

    /// Lists the record at which each parked key stands, the oldest first: those after `after` (an id), at most
    /// `limit`.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn list(&self, group: Option<&str>, after: i64, limit: u16) -> Result<Vec<Letter>, sqlx::Error> {
        let group = group.map(str::to_owned);
        let rows = self.tx(move |connection| {
            Box::pin(async move {
                sqlx::query(LIST).bind(group).bind(after).bind(i64::from(limit)).fetch_all(connection).await
            })
        });
        rows.await?.iter().map(letter).collect()
    }

    /// Reads one dead letter with its content; `None` if there is none with that number (any more).
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn show(&self, id: i64) -> Result<Option<Shown>, sqlx::Error> {
        let row = self
            .tx(move |connection| Box::pin(async move { sqlx::query(SHOW).bind(id).fetch_optional(connection).await }));
        row.await?.as_ref().map(shown).transpose()
    }

    /// Asks the consumer that holds the partition to handle the record's whole key again, in order. Returns the number
    /// of records concerned; 0 if there is none with that number.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn retry(&self, id: i64, by: &str) -> Result<u64, sqlx::Error> {
        let by = by.to_owned();
        let asked = self.tx(move |connection| {
            Box::pin(async move { sqlx::query(RETRY).bind(id).bind(by).execute(connection).await })
        });
        Ok(asked.await?.rows_affected())
    }

    /// Asks for a retry of everything that is parked for a consumer group.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn retry_all(&self, group: &str, by: &str) -> Result<u64, sqlx::Error> {
        let (group, by) = (group.to_owned(), by.to_owned());
        let asked = self.tx(move |connection| {
            Box::pin(async move { sqlx::query(RETRY_ALL).bind(group).bind(by).execute(connection).await })
        });
        Ok(asked.await?.rows_affected())
    }

    /// Discards one record for ever; the consumer continues with those behind it. `false` if there is none with that
    /// number.
    ///
    /// # Errors
    /// What Postgres says.
    pub async fn discard(&self, id: i64, by: &str, reason: &str) -> Result<bool, sqlx::Error> {
        let (by, reason) = (by.to_owned(), reason.to_owned());
        let discarded = self.tx(move |connection| {
            Box::pin(async move { sqlx::query(DISCARD).bind(id).bind(by).bind(reason).execute(connection).await })
        });
        Ok(discarded.await?.rows_affected() == 1)
    }

    async fn tx<T, F>(&self, work: F) -> Result<T, sqlx::Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut sqlx::PgConnection) -> service_kit::pg::Work<'c, T> + Send + 'static,
    {
        service_kit::pg::tx(&self.pool, &self.schema, work).await
    }
}

fn letter(row: &PgRow) -> Result<Letter, sqlx::Error> {
    let discarded_at: Option<DateTime<Utc>> = row.try_get("discarded_at")?;
    let text = |name: &str| row.try_get::<Option<String>, _>(name).map(Option::unwrap_or_default);
    Ok(Letter {
        id: row.try_get("id")?,
        group: row.try_get("consumer_group")?,
        topic: row.try_get("topic")?,
        partition: row.try_get("partition")?,
        offset: row.try_get("record_offset")?,
        key: row.try_get::<Option<Vec<u8>>, _>("record_key")?.map(|key| words(&key)),
        event_type: row.try_get("event_type")?,
        schema_version: row.try_get("schema_version")?,
        event_id: row.try_get("event_id")?,
        cause: Cause::stored(row.try_get("cause")?),
        error: row.try_get("error")?,
        attempts: row.try_get("attempts")?,
        parked_at: row.try_get("parked_at")?,
        waiting: row.try_get("waiting")?,
        asked_at: row.try_get("asked_at")?,
        discarded: match discarded_at {
            Some(at) => Some((at, text("discarded_by")?, text("reason")?)),
            None => None,
        },
    })
}

fn shown(row: &PgRow) -> Result<Shown, sqlx::Error> {
    let names: Vec<String> = row.try_get("header_names")?;
    let values: Vec<Vec<u8>> = row.try_get("header_values")?;
    Ok(Shown {
        letter: letter(row)?,
        headers: names.into_iter().zip(values.iter().map(|value| words(value))).collect(),
        value: row.try_get::<Option<Vec<u8>>, _>("value")?.map(|value| words(&value)),
    })
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
