//! The envelope in KurrentDB's protocol: what the adapter (`kurrentdb`) and the server (`serve`) write into an event's
//! custom metadata, and what both read from it. Foreign clients see the same.
//!
//! The custom metadata is JSON: the fields of [`Metadata`], `schema_version`, and `$correlationId` and `$causationId`,
//! which are what KurrentDB's own tools look at. `recorded_at` is the protocol's `created`, in ticks.
//!
//! A stream `snapshot-<stream>` stands for the snapshot of `<stream>`: only its last event counts, of type
//! [`SNAPSHOT_TYPE`], its data a [`SnapshotBody`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::envelope::Timestamp;
use crate::{Metadata, StreamName, StreamSnapshot, trace};

/// What the stream of a snapshot begins with.
pub const SNAPSHOT_PREFIX: &str = "snapshot-";
/// The type of the events in streams of snapshots.
pub const SNAPSHOT_TYPE: &str = "Snapshot";
/// The only content type there is: the log is JSON.
pub const CONTENT_TYPE: &str = "application/json";

/// The data of an event in a stream `snapshot-<stream>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotBody {
    /// The version of the last event in it.
    pub version: u64,
    /// The format of `state`.
    pub schema: u32,
    /// What the owner of the stream wrote.
    pub state: String,
}

impl From<StreamSnapshot> for SnapshotBody {
    fn from(snapshot: StreamSnapshot) -> Self {
        Self { version: snapshot.version, schema: snapshot.schema, state: snapshot.state }
    }
}

impl From<SnapshotBody> for StreamSnapshot {
    fn from(body: SnapshotBody) -> Self {
        Self { version: body.version, schema: body.schema, state: body.state }
    }
}

/// The stream that stands for a stream's snapshot: its name behind `snapshot-`. The name may then be up to 259 bytes
/// long, which is why it is text and not a [`StreamName`].
pub fn snapshot_stream(stream: &StreamName) -> String {
    format!("{SNAPSHOT_PREFIX}{stream}")
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "$correlationId")]
    correlation: &'a Uuid,
    #[serde(rename = "$causationId")]
    causation: &'a Uuid,
    schema_version: u16,
    partition_key: &'a str,
    correlation_id: &'a Uuid,
    causation_id: &'a Uuid,
    command_id: &'a Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
    actor: &'a str,
    occurred_at: &'a Timestamp,
}

/// The custom metadata of an event.
pub fn metadata_json(metadata: &Metadata, schema_version: u16) -> Vec<u8> {
    let (traceparent, tracestate) = match metadata.traceparent.as_deref().map(trace::split) {
        Some((parent, state)) => (Some(parent), state),
        None => (None, None),
    };
    let written = Written {
        correlation: &metadata.correlation_id,
        causation: &metadata.causation_id,
        schema_version,
        partition_key: &metadata.partition_key,
        correlation_id: &metadata.correlation_id,
        causation_id: &metadata.causation_id,
        command_id: &metadata.command_id,
        command_hash: metadata.command_hash.as_deref(),
        traceparent,
        tracestate,
        actor: &metadata.actor,
        occurred_at: &metadata.occurred_at,
    };
    let mut json = Vec::with_capacity(512);
    serde_json::to_writer(&mut json, &written)
        .expect("texts, ids and times become JSON, and a Vec takes what it is given");
    json
}

/// The values for an event whose custom metadata lacks them: foreign writers know nothing of our envelope.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    /// Name of the event's stream, used as its partition key.
    pub stream: &'a str,
    /// Id of the event, used as its correlation, causation and command id.
    pub event_id: Uuid,
    /// The actor that appends the event.
    pub actor: &'a str,
    /// When the event arrived, used as the time at which it occurred.
    pub now: Timestamp,
}

#[derive(Default, Deserialize)]
struct Read {
    schema_version: Option<u16>,
    partition_key: Option<String>,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    command_id: Option<Uuid>,
    command_hash: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    actor: Option<String>,
    occurred_at: Option<Timestamp>,
}

/// KurrentDB's own words for where an event came from; often, but not always, UUIDs.
#[derive(Default, Deserialize)]
struct Foreign {
    #[serde(rename = "$correlationId")]
    correlation: Option<String>,
    #[serde(rename = "$causationId")]
    causation: Option<String>,
}

/// Reads the envelope from an event's custom metadata, and the version of its schema. Missing values are taken from
/// `defaults`; metadata that is not JSON, or whose fields have other types than ours, counts as missing.
pub fn metadata_of(json: &[u8], defaults: &Defaults<'_>) -> (Arc<Metadata>, u16) {
    let read: Read = serde_json::from_slice(json).unwrap_or_default();
    let whole = read.correlation_id.is_some() && read.causation_id.is_some();
    let foreign: Foreign = if whole { Foreign::default() } else { serde_json::from_slice(json).unwrap_or_default() };
    let id = |text: Option<String>| text.and_then(|text| Uuid::parse_str(&text).ok()).unwrap_or(defaults.event_id);
    let occurred_at = read.occurred_at.unwrap_or(defaults.now);
    let metadata = Metadata {
        partition_key: read.partition_key.filter(|key| !key.is_empty()).unwrap_or_else(|| defaults.stream.to_owned()),
        correlation_id: read.correlation_id.unwrap_or_else(|| id(foreign.correlation)),
        causation_id: read.causation_id.unwrap_or_else(|| id(foreign.causation)),
        command_id: read.command_id.unwrap_or(defaults.event_id),
        command_hash: read.command_hash,
        traceparent: read.traceparent.map(|parent| trace::join(&parent, read.tracestate.as_deref())),
        actor: read.actor.filter(|actor| !actor.is_empty()).unwrap_or_else(|| defaults.actor.to_owned()),
        // The log keeps whole microseconds.
        occurred_at: Timestamp::from_timestamp_micros(occurred_at.timestamp_micros()).unwrap_or(defaults.now),
    };
    (Arc::new(metadata), read.schema_version.filter(|version| *version > 0).unwrap_or(1))
}

/// The fields of an event's custom metadata that the envelope keeps.
const KEPT: [&str; 12] = [
    "$correlationId",
    "$causationId",
    "schema_version",
    "partition_key",
    "correlation_id",
    "causation_id",
    "command_id",
    "command_hash",
    "traceparent",
    "tracestate",
    "actor",
    "occurred_at",
];
/// The fields that are UUIDs.
const IDS: [&str; 5] = ["$correlationId", "$causationId", "correlation_id", "causation_id", "command_id"];

/// Checks that nothing of an event's custom metadata would be lost or replaced, because its writer would not notice.
///
/// # Errors
/// The name of the field that cannot be kept, as the end of a sentence.
pub fn check_metadata(json: &[u8]) -> Result<(), String> {
    if json.is_empty() {
        return Ok(());
    }
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|error| format!("is not a JSON object: {error}"))?;
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        if !KEPT.contains(&name.as_str()) {
            return Err(format!(
                "has `{name}`, which this log has no place for; put it into the data. It keeps {}",
                KEPT.join(", ")
            ));
        }
        if IDS.contains(&name.as_str()) && value.as_str().is_none_or(|id| Uuid::parse_str(id).is_err()) {
            return Err(format!("has the `{name}` {value}, which is not a UUID"));
        }
    }
    serde_json::from_slice::<Read>(json).map(drop).map_err(|error| format!("cannot be read: {error}"))
}

/// The protocol's `created`: 100-nanosecond ticks since 1970, as text.
pub fn ticks(at: Timestamp) -> String {
    (at.timestamp_micros() * 10).to_string()
}

/// The moment of a `created`; `None` if it is none.
pub fn of_ticks(ticks: &str) -> Option<Timestamp> {
    Timestamp::from_timestamp_micros(ticks.parse::<i64>().ok()? / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults<'static> {
        Defaults {
            stream: "order-1",
            event_id: Uuid::from_u128(7),
            actor: "kurrentdb-client",
            now: Timestamp::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
        }
    }

    #[test]
    fn the_envelope_goes_over_the_wire_and_back_without_loss() {
        let metadata = Metadata {
            partition_key: "0198".to_owned(),
            correlation_id: Uuid::from_u128(1),
            causation_id: Uuid::from_u128(2),
            command_id: Uuid::from_u128(3),
            command_hash: Some("ab".to_owned()),
            traceparent: Some("00-1-2-01 vendor=1".to_owned()),
            actor: "saga:order_fulfilment".to_owned(),
            occurred_at: defaults().now,
        };
        let json = metadata_json(&metadata, 3);
        assert_eq!(metadata_of(&json, &defaults()), (Arc::new(metadata), 3));
        let shown: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(shown["$correlationId"], shown["correlation_id"]);
        assert_eq!(shown["$causationId"], shown["causation_id"]);
        assert_eq!(of_ticks(&ticks(defaults().now)), Some(defaults().now));
    }

    #[test]
    fn what_a_foreign_writer_leaves_out_follows_from_the_event() {
        for json in [&b""[..], b"no json", b"{}", b"[1]", br#"{"actor":7}"#, br#"{"actor":""}"#, b"\xff"] {
            let (metadata, schema_version) = metadata_of(json, &defaults());
            assert_eq!(metadata.partition_key, "order-1");
            assert_eq!(metadata.correlation_id, defaults().event_id);
            assert_eq!(metadata.causation_id, defaults().event_id);
            assert_eq!(metadata.command_id, defaults().event_id);
            assert_eq!(metadata.actor, "kurrentdb-client");
            assert_eq!(metadata.occurred_at, defaults().now);
            assert_eq!(schema_version, 1);
        }
    }

    #[test]
    fn what_the_envelope_has_no_place_for_is_named() {
        let id = Uuid::from_u128(9);
        for kept in ["", "{}", r#"{"actor":"me","command_hash":null}"#, &format!(r#"{{"$correlationId":"{id}"}}"#)] {
            assert_eq!(check_metadata(kept.as_bytes()), Ok(()), "{kept}");
        }
        for (refused, named) in [
            (r#"{"colour":"red"}"#, "`colour`"),
            (r#"{"$correlationId":"job-7"}"#, "`$correlationId` \"job-7\""),
            (r#"{"$causationId":7}"#, "`$causationId` 7"),
            (r#"{"actor":7}"#, "cannot be read"),
            (r#"{"schema_version":-1}"#, "cannot be read"),
            ("[1]", "not a JSON object"),
            ("no json", "not a JSON object"),
        ] {
            let why = check_metadata(refused.as_bytes()).unwrap_err();
            assert!(why.contains(named), "{refused}: {why}");
        }
    }

    #[test]
    fn kurrentdb_s_own_words_for_correlation_and_causation_are_understood() {
        let json = format!(r#"{{"$correlationId":"{}","$causationId":"not a uuid"}}"#, Uuid::from_u128(9));
        let (metadata, _) = metadata_of(json.as_bytes(), &defaults());
        assert_eq!(metadata.correlation_id, Uuid::from_u128(9));
        assert_eq!(metadata.causation_id, defaults().event_id);
    }
}
