//! What stands around an event: its place in its stream, its place in the log, where it came from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::StreamName;

/// A moment in UTC, in whole microseconds.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// A place in the log, strictly increasing in commit order, from 1. That positions have no holes is promised nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Before the first event.
    pub const START: Self = Self(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Position {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where an event came from. Delivery data of the command (deadlines, attempts) is not in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Keeps one order's events together: the order id for order, payment, shipment and saga streams, else the stream.
    pub partition_key: String,
    /// The request that began it all; the same through the whole story.
    pub correlation_id: Uuid,
    /// The command or event that this one follows from.
    pub causation_id: Uuid,
    /// The command that made it.
    pub command_id: Uuid,
    /// SHA-256 (hex) of the command's body as the client gave it; tells a repeated request from a changed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_hash: Option<String>,
    /// W3C trace context: `traceparent`, and behind a space `tracestate` (see [`crate::trace`]).
    #[serde(flatten, with = "crate::trace")]
    pub traceparent: Option<String>,
    /// Who asked: a principal, `saga:<type>`, `provider:<name>`.
    pub actor: String,
    /// When it was decided; rows and windows use this, never the store's own time.
    pub occurred_at: Timestamp,
}

/// An event to be appended.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id, derived where a retry could happen.
    pub id: Uuid,
    /// Its type, such as `OrderPlaced`.
    pub event_type: Arc<str>,
    /// The version of its schema, from 1.
    pub schema_version: u16,
    /// Its payload, JSON, kept to the byte.
    pub data: Box<RawValue>,
    /// Where it came from.
    pub metadata: Arc<Metadata>,
}

/// An event of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// Its id.
    pub id: Uuid,
    /// Its stream.
    pub stream: StreamName,
    /// Its place in the stream, from 0 without holes.
    pub version: u64,
    /// Its place in the log.
    pub position: Position,
    /// Its type, such as `OrderPlaced`.
    #[serde(rename = "type")]
    pub event_type: Arc<str>,
    /// The version of its schema, from 1.
    pub schema_version: u16,
    /// Its payload, JSON, as it was appended.
    pub data: Box<RawValue>,
    /// Where it came from.
    pub metadata: Arc<Metadata>,
    /// When the store wrote it.
    pub recorded_at: Timestamp,
}

/// What the numbers and ids of an event take, roughly.
const FIXED_BYTES: usize = 200;

impl Metadata {
    fn size(&self) -> usize {
        let optional = [&self.command_hash, &self.traceparent];
        let optional = optional.into_iter().flatten().map(String::len).sum::<usize>();
        self.partition_key.len() + self.actor.len() + optional
    }
}

impl NewEvent {
    /// About what the event takes in memory and in the file, its metadata included. Bytes.
    pub fn size(&self) -> usize {
        self.data.get().len() + self.event_type.len() + self.metadata.size() + FIXED_BYTES
    }
}

impl RecordedEvent {
    /// About what the event takes in memory, its metadata included. Bytes.
    pub fn size(&self) -> usize {
        self.data.get().len() + self.event_type.len() + self.stream.as_str().len() + self.metadata.size() + FIXED_BYTES
    }
}
