//! What is parked: into the topic of dead letters, into the table, and out of it again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rdkafka::message::{Header, Headers as _, OwnedHeaders, OwnedMessage, Timestamp};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::offsets::Place;
use crate::config::BusConfig;
use crate::connection::{Told, client_error, close_apart};
use crate::dead_letter::Cause;
use crate::error::BusError;

/// What the name of a topic of dead letters ends with.
pub const DEAD_LETTERS: &str = ".dead-letters";

const PARK: &str = "
insert into bus_dead_letters (consumer_group, topic, partition, record_offset, record_key, event_type, schema_version,
    event_id, written_at, header_names, header_values, value, cause, error, attempts, asked_at)
select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
    -- Behind nothing: what stood there was settled meanwhile, so this one is to be handled soon.
    case when $13 = 'behind' and not exists (select 1 from bus_dead_letters where (consumer_group, topic, partition) =
        ($1, $2, $3) and record_key = $5 and discarded_at is null) then now() end";

const PARKED_KEYS: &str = "
select distinct record_key from bus_dead_letters
where (consumer_group, topic, partition) = ($1, $2, $3) and discarded_at is null and record_key is not null limit $4";

const ASKED: &str = "
select id, record_key, asked_at from bus_dead_letters
where (consumer_group, topic, partition) = ($1, $2, $3) and asked_at is not null order by id limit $4";

/// The oldest record of a key, or the one without a key.
const HEAD: &str = "
select * from bus_dead_letters where (consumer_group, topic, partition) = ($1, $2, $3) and discarded_at is null
    and (record_key = $4 or $4 is null and id = $5) order by id limit 1";

const SETTLE: &str = "delete from bus_dead_letters where id = $1 and discarded_at is null";

const STANDS: &str = "
update bus_dead_letters set (cause, error, attempts) = ($2, $3, attempts + 1) where id = $1";

const ANSWERED: &str = "
update bus_dead_letters set asked_at = null
where (consumer_group, topic, partition) = ($1, $2, $3) and (record_key = $4 or $4 is null and id = $5) and asked_at <= $6";

/// Why and after how many attempts.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub cause: Cause,
    pub error: String,
    pub attempts: i32,
}

/// A key that somebody asked to be handled again. Without a key: one record, by its id.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub key: Option<Vec<u8>>,
    pub id: i64,
    pub at: DateTime<Utc>,
}

/// A parked record, read back.
pub(super) struct Parked {
    pub id: i64,
    pub cause: String,
    pub attempts: i32,
    pub record: OwnedMessage,
}

/// The headers of a record, by name and value. None, where their names are no text (rdkafka panics at those).
fn headers(record: &OwnedMessage) -> Vec<(String, Vec<u8>)> {
    let Some(headers) = record.headers() else { return Vec::new() };
    let read = || headers.iter().map(|it| (it.key.to_owned(), it.value.unwrap_or_default().to_vec())).collect();
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_default()
}

/// Text as Postgres takes it.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

/// Puts a record into the table, in the transaction of the offsets.
pub(super) async fn park(
    connection: &mut PgConnection,
    place: &Place,
    record: &OwnedMessage,
    verdict: &Verdict,
) -> Result<(), sqlx::Error> {
    let headers = headers(record);
    let named: BTreeMap<&str, String> = headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let names: Vec<String> = headers.iter().map(|(name, _)| text(name.as_bytes())).collect();
    let values: Vec<&[u8]> = headers.iter().map(|(_, value)| value.as_slice()).collect();
    let written = record.timestamp().to_millis().and_then(DateTime::from_timestamp_millis);
    sqlx::query(PARK)
        .bind(&place.group)
        .bind(&place.topic)
        .bind(place.partition)
        .bind(record.offset())
        .bind(record.key())
        .bind(named.get("ce_type"))
        .bind(named.get("ce_schemaversion"))
        .bind(named.get("ce_id"))
        .bind(written)
        .bind(&names)
        .bind(&values)
        .bind(record.payload())
        .bind(verdict.cause.as_str())
        .bind(text(verdict.error.as_bytes()))
        .bind(verdict.attempts)
        .execute(connection)
        .await?;
    Ok(())
}

/// The keys that stand still, at most `limit`.
pub(super) async fn keys(
    connection: &mut PgConnection,
    place: &Place,
    limit: usize,
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar(PARKED_KEYS)
        .bind(&place.group)
        .bind(&place.topic)
        .bind(place.partition)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await
}

/// What somebody asked for: each key once, with the last time that it was asked.
pub(super) async fn asked(connection: &mut PgConnection, place: &Place, limit: i64) -> Result<Vec<Asked>, sqlx::Error> {
    let rows: Vec<(i64, Option<Vec<u8>>, DateTime<Utc>)> = sqlx::query_as(ASKED)
        .bind(&place.group)
        .bind(&place.topic)
        .bind(place.partition)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    let mut all: Vec<Asked> = Vec::new();
    for (id, key, at) in rows {
        match all.iter_mut().find(|one| one.key.is_some() && one.key == key) {
            Some(one) => one.at = one.at.max(at),
            None => all.push(Asked { key, id, at }),
        }
    }
    Ok(all)
}

/// The record at which a key stands; `None`: nothing of it is parked any more.
pub(super) async fn head(
    connection: &mut PgConnection,
    place: &Place,
    asked: &Asked,
) -> Result<Option<Parked>, sqlx::Error> {
    let row = sqlx::query(HEAD)
        .bind(&place.group)
        .bind(&place.topic)
        .bind(place.partition)
        .bind(&asked.key)
        .bind(asked.id)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(|row| parked(row, place)).transpose()
}

fn parked(row: &PgRow, place: &Place) -> Result<Parked, sqlx::Error> {
    let names: Vec<String> = row.try_get("header_names")?;
    let values: Vec<Vec<u8>> = row.try_get("header_values")?;
    let headers = names
        .iter()
        .zip(&values)
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let written: Option<DateTime<Utc>> = row.try_get("written_at")?;
    Ok(Parked {
        id: row.try_get("id")?,
        cause: row.try_get("cause")?,
        attempts: row.try_get("attempts")?,
        record: OwnedMessage::new(
            row.try_get("value")?,
            row.try_get("record_key")?,
            place.topic.clone(),
            written.map_or(Timestamp::NotAvailable, |at| Timestamp::CreateTime(at.timestamp_millis())),
            place.partition,
            row.try_get("record_offset")?,
            Some(headers),
        ),
    })
}

/// Takes a handled record out; `false`: somebody else did, and nothing may be committed.
pub(super) async fn settle(connection: &mut PgConnection, id: i64) -> Result<bool, sqlx::Error> {
    Ok(sqlx::query(SETTLE).bind(id).execute(connection).await?.rows_affected() == 1)
}

/// Writes down why it still stands.
pub(super) async fn stands(connection: &mut PgConnection, id: i64, verdict: &Verdict) -> Result<(), sqlx::Error> {
    let (cause, error) = (verdict.cause.as_str(), text(verdict.error.as_bytes()));
    sqlx::query(STANDS).bind(id).bind(cause).bind(error).execute(connection).await?;
    Ok(())
}

/// What was asked up to then is done.
pub(super) async fn answered(connection: &mut PgConnection, place: &Place, asked: &Asked) -> Result<(), sqlx::Error> {
    sqlx::query(ANSWERED)
        .bind(&place.group)
        .bind(&place.topic)
        .bind(place.partition)
        .bind(&asked.key)
        .bind(asked.id)
        .bind(asked.at)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes to topics of dead letters.
pub(super) struct LetterTopic {
    /// `None` only while it is dropped.
    producer: Option<FutureProducer<Told>>,
    within: Duration,
}

impl LetterTopic {
    pub fn new(config: &BusConfig) -> Result<Self, BusError> {
        let mut client: ClientConfig = config.client();
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.max.bytes", "2097152")
            .set("message.timeout.ms", config.request_timeout_ms.to_string());
        let producer = client.create_with_context(Told::default()).map_err(|error| client_error(config, error))?;
        Ok(Self { producer: Some(producer), within: config.request_timeout() })
    }

    /// Writes a record with why it was parked; when this returns, Kafka has it. After a crash it may be there twice: the
    /// table counts, this topic is for those who watch.
    pub async fn send(&self, place: &Place, record: &OwnedMessage, verdict: &Verdict) -> Result<(), String> {
        let Some(producer) = &self.producer else { return Err("the consumer is stopping".to_owned()) };
        let topic = format!("{}{DEAD_LETTERS}", place.topic);
        let headers = headers(record)
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        let why = [
            ("deadletter_cause", verdict.cause.as_str().to_owned()),
            ("deadletter_error", verdict.error.clone()),
            ("deadletter_attempts", verdict.attempts.to_string()),
            ("deadletter_group", place.group.clone()),
            ("deadletter_topic", place.topic.clone()),
            ("deadletter_partition", place.partition.to_string()),
            ("deadletter_offset", record.offset().to_string()),
        ];
        let headers = why.iter().fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        let mut letter: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic).headers(headers);
        (letter.key, letter.payload) = (record.key(), record.payload());
        let sent = producer.send(letter, self.within).await;
        sent.map(|_| ()).map_err(|(error, _)| format!("`{topic}` did not take a dead letter: {error}"))
    }
}

impl Drop for LetterTopic {
    fn drop(&mut self) {
        close_apart(self.producer.take());
    }
}
