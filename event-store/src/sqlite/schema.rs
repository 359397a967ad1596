//! The tables, and how an event becomes a row and a row an event. The prose stands in [`super`].

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Row, Statement};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::envelope::Timestamp;
use crate::{Metadata, NewEvent, Position, RecordedEvent, StreamName};

/// "Bstc": what `file` and we know the log by (`PRAGMA application_id`).
pub(super) const APPLICATION_ID: i32 = 0x4273_7463;
/// The format that this build writes and reads (`PRAGMA user_version`).
pub(super) const FORMAT: i32 = 1;

/// Creates a log of [`FORMAT`] in an empty file. The view `log` has the columns in the order in which [`event_of`] reads them.
pub(super) const CREATE: &str = "
create table streams (
    id integer primary key,
    name text not null unique
) strict;
create table events (
    position integer primary key,
    stream integer not null,
    version integer not null,
    id blob not null,
    type text not null,
    schema_version integer not null,
    data text not null,
    partition_key text,
    correlation_id blob not null,
    causation_id blob not null,
    command_id blob not null,
    command_hash text,
    traceparent text,
    actor text not null,
    occurred_at integer not null,
    recorded_at integer not null,
    checksum integer not null,
    unique (stream, version)
) strict;
create table categories (
    name text primary key,
    events integer not null,
    streams integer not null
) strict, without rowid;
create table snapshots (
    stream text primary key,
    version integer not null,
    format integer not null,
    state text not null,
    checksum integer not null
) strict;
create view log as
    select e.position, s.name as stream, e.version, e.id, e.type, e.schema_version, e.data, e.partition_key,
        e.correlation_id, e.causation_id, e.command_id, e.command_hash, e.traceparent, e.actor, e.occurred_at,
        e.recorded_at, e.checksum, e.stream as stream_key
    from events e join streams s on s.id = e.stream;
";

/// Inserts an event; [`insert_event`] binds its values.
pub(super) const INSERT_EVENT: &str = "insert into events (position, stream, version, id, type, schema_version, data, \
     partition_key, correlation_id, causation_id, command_id, command_hash, traceparent, actor, occurred_at, \
     recorded_at, checksum) values (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)";

/// Where an event stands; what [`insert_event`] needs beside the event itself.
pub(super) struct Place<'a> {
    pub position: u64,
    pub stream: &'a StreamName,
    pub stream_key: i64,
    pub version: u64,
    pub recorded_at: Timestamp,
}

/// Writes one event as a row and returns the chain's new end.
pub(super) fn insert_event(
    insert: &mut Statement<'_>,
    place: &Place<'_>,
    event: &NewEvent,
    chain: u32,
) -> rusqlite::Result<u32> {
    let metadata = &*event.metadata;
    let body = body_checksum(&Body {
        position: place.position,
        stream: place.stream.as_str(),
        version: place.version,
        id: &event.id,
        event_type: &event.event_type,
        schema_version: event.schema_version,
        data: event.data.get(),
        metadata,
        recorded_at: place.recorded_at.timestamp_micros(),
    });
    let chain = link(chain, body);
    let partition_key = Some(metadata.partition_key.as_str()).filter(|key| *key != place.stream.as_str());
    insert.execute(rusqlite::params![
        place.position.cast_signed(),
        place.stream_key,
        place.version.cast_signed(),
        event.id.as_bytes().as_slice(),
        &*event.event_type,
        event.schema_version,
        event.data.get(),
        partition_key,
        metadata.correlation_id.as_bytes().as_slice(),
        metadata.causation_id.as_bytes().as_slice(),
        metadata.command_id.as_bytes().as_slice(),
        metadata.command_hash.as_deref(),
        metadata.traceparent.as_deref(),
        metadata.actor,
        metadata.occurred_at.timestamp_micros(),
        place.recorded_at.timestamp_micros(),
        pack(chain, body),
    ])?;
    Ok(chain)
}

/// A row that was read: the event, and the chain's end after it.
pub(super) struct Read {
    pub event: RecordedEvent,
    /// The chain after this event, as stored.
    pub chain: u32,
    /// The checksum of this event alone; it fits the event.
    pub body: u32,
}

/// Why a row is not an event.
pub(super) enum RowError {
    /// SQLite could not give it.
    Sqlite(rusqlite::Error),
    /// It is not what was written.
    Damaged(Position, String),
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Reads one row of the view `log` and verifies its own checksum.
pub(super) fn event_of(row: &Row<'_>) -> Result<Read, RowError> {
    let position = Position(row.get::<_, i64>(0)?.cast_unsigned());
    let damaged = |what: &str| RowError::Damaged(position, what.to_owned());
    let text = |index: usize, what: &str| match row.get_ref(index) {
        Ok(ValueRef::Text(bytes)) => std::str::from_utf8(bytes).map_err(|_| damaged(what)),
        Ok(ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_)) => Err(damaged(what)),
        Err(error) => Err(RowError::Sqlite(error)),
    };
    let optional = |index: usize, what: &str| match row.get_ref(index)? {
        ValueRef::Null => Ok(None),
        ValueRef::Text(_) | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => text(index, what).map(Some),
    };
    let uuid = |index: usize, what: &str| match row.get_ref(index) {
        Ok(ValueRef::Blob(bytes)) => Uuid::from_slice(bytes).map_err(|_| damaged(what)),
        Ok(ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_)) => Err(damaged(what)),
        Err(error) => Err(RowError::Sqlite(error)),
    };
    let time = |index: usize, what: &str| {
        Timestamp::from_timestamp_micros(row.get(index)?).ok_or_else(|| damaged(what)) as Result<Timestamp, RowError>
    };
    let name = text(1, "its stream's name is not text")?;
    let metadata = Metadata {
        partition_key: optional(7, "its partition key is not text")?.unwrap_or(name).to_owned(),
        correlation_id: uuid(8, "its correlation id is no UUID")?,
        causation_id: uuid(9, "its causation id is no UUID")?,
        command_id: uuid(10, "its command id is no UUID")?,
        command_hash: optional(11, "its command hash is not text")?.map(str::to_owned),
        traceparent: optional(12, "its trace context is not text")?.map(str::to_owned),
        actor: text(13, "its actor is not text")?.to_owned(),
        occurred_at: time(14, "its time is out of range")?,
    };
    let id = uuid(3, "its id is no UUID")?;
    let event_type = text(4, "its type is not text")?;
    let schema_version =
        u16::try_from(row.get::<_, i64>(5)?).map_err(|_| damaged("its schema version is out of range"))?;
    let data = text(6, "its payload is not text")?;
    let version = row.get::<_, i64>(2)?.cast_unsigned();
    let recorded_at = time(15, "its time is out of range")?;
    let (chain, stored) = unpack(row.get(16)?);
    let body = body_checksum(&Body {
        position: position.0,
        stream: name,
        version,
        id: &id,
        event_type,
        schema_version,
        data,
        metadata: &metadata,
        recorded_at: recorded_at.timestamp_micros(),
    });
    if body != stored {
        return Err(damaged("its checksum does not fit"));
    }
    let event = RecordedEvent {
        id,
        stream: name.parse().map_err(|_| damaged("its stream's name is none"))?,
        version,
        position,
        event_type: Arc::from(event_type),
        schema_version,
        data: RawValue::from_string(data.to_owned()).map_err(|_| damaged("its payload is not JSON"))?,
        metadata: Arc::new(metadata),
        recorded_at,
    };
    Ok(Read { event, chain, body })
}

/// All of an event that its checksum covers.
struct Body<'a> {
    position: u64,
    stream: &'a str,
    version: u64,
    id: &'a Uuid,
    event_type: &'a str,
    schema_version: u16,
    data: &'a str,
    metadata: &'a Metadata,
    recorded_at: i64,
}

/// CRC-32 (IEEE) over the numbers, then each text with its length before it, so that no two events have the same bytes.
fn body_checksum(body: &Body<'_>) -> u32 {
    let metadata = body.metadata;
    let mut fixed = [0_u8; 98];
    fixed[..8].copy_from_slice(&body.position.to_le_bytes());
    fixed[8..16].copy_from_slice(&body.version.to_le_bytes());
    fixed[16..32].copy_from_slice(body.id.as_bytes());
    fixed[32..48].copy_from_slice(metadata.correlation_id.as_bytes());
    fixed[48..64].copy_from_slice(metadata.causation_id.as_bytes());
    fixed[64..80].copy_from_slice(metadata.command_id.as_bytes());
    fixed[80..88].copy_from_slice(&metadata.occurred_at.timestamp_micros().to_le_bytes());
    fixed[88..96].copy_from_slice(&body.recorded_at.to_le_bytes());
    fixed[96..98].copy_from_slice(&body.schema_version.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&fixed);
    let mut text = |text: Option<&str>| {
        // An absent text and an empty one differ: the absent one has the length that no text can have.
        crc.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        crc.update(text.unwrap_or_default().as_bytes());
    };
    text(Some(body.stream));
    text(Some(body.event_type));
    text(Some(body.data));
    text(Some(&metadata.partition_key));
    text(Some(&metadata.actor));
    text(metadata.command_hash.as_deref());
    text(metadata.traceparent.as_deref());
    crc.finalize()
}

/// The chain's end after an event whose own checksum is `body`.
pub(super) fn link(chain: u32, body: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(chain);
    crc.update(&body.to_le_bytes());
    crc.finalize()
}

/// Both checksums as the one integer of the column: the chain above, the body below.
fn pack(chain: u32, body: u32) -> i64 {
    (u64::from(chain) << 32 | u64::from(body)).cast_signed()
}

/// The chain and the body of a stored checksum.
pub(super) fn unpack(checksum: i64) -> (u32, u32) {
    let bits = checksum.cast_unsigned();
    #[allow(clippy::cast_possible_truncation, reason = "each half is 32 bits wide")]
    ((bits >> 32) as u32, bits as u32)
}

/// CRC-32 of a snapshot; one that does not fit is as good as none.
pub(super) fn snapshot_checksum(stream: &str, version: i64, format: i64, state: &str) -> i64 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&version.to_le_bytes());
    crc.update(&format.to_le_bytes());
    crc.update(&(stream.len() as u64).to_le_bytes());
    crc.update(stream.as_bytes());
    crc.update(state.as_bytes());
    i64::from(crc.finalize())
}
