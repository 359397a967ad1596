//! The envelope of an event: its version in its stream, its position in the log, and where it came from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::StreamName;

/// A moment in UTC, in whole microseconds.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// The number of an event in the whole log, strictly increasing in commit order, from 1. Positions may have gaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// The position before the first event.
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

/// The metadata of an event: where it came from. Delivery data of the command (deadlines, attempts) is not in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Key that keeps the events of one order together: the order's id for order, payment, shipment and saga streams,
    /// else the stream.
    pub partition_key: String,
    /// Id of the client's request from which everything follows; the same for all its consequences.
    pub correlation_id: Uuid,
    /// Id of the command or event that this event directly follows from.
    pub causation_id: Uuid,
    /// Id of the command that made the event.
    pub command_id: Uuid,
    /// SHA-256 (hex) of the command's body as the client sent it. It tells a changed request from a repeated one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_hash: Option<String>,
    /// The W3C trace context: `traceparent`, and after a space `tracestate` (see [`crate::trace`]).
    #[serde(flatten, with = "crate::trace")]
    pub traceparent: Option<String>,
    /// The actor that asked: a principal, `saga:<type>` or `provider:<name>`.
    pub actor: String,
    /// When the event was decided. Rows and time windows use this, never the time of the store.
    pub occurred_at: Timestamp,
}

/// An event to be appended.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Id of the event, derived wherever a retry could happen.
    pub id: Uuid,
    /// Type of the event, such as `OrderPlaced`.
    pub event_type: Arc<str>,
    /// Version of the schema of `data`, from 1.
    pub schema_version: u16,
    /// Payload of the event: JSON, kept to the byte.
    pub data: Box<RawValue>,
    /// Metadata of the event, shared by the events of one append.
    pub metadata: Arc<Metadata>,
}

/// An event as the log has recorded it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// Id of the event, unique in the log.
    pub id: Uuid,
    /// Name of the stream that the event belongs to.
    pub stream: StreamName,
    /// Number of the event in its stream, from 0 without gaps.
    pub version: u64,
    /// Number of the event in the whole log, strictly increasing in commit order.
    pub position: Position,
    /// Type of the event, such as `OrderPlaced`.
    #[serde(rename = "type")]
    pub event_type: Arc<str>,
    /// Version of the schema of `data`, from 1.
    pub schema_version: u16,
    /// Payload of the event: JSON, as it was appended.
    pub data: Box<RawValue>,
    /// Metadata of the event: where it came from.
    pub metadata: Arc<Metadata>,
    /// When the store wrote the event.
    pub recorded_at: Timestamp,
}

/// The approximate bytes of the numbers and ids of an event.
const FIXED_BYTES: usize = 200;

impl Metadata {
    fn size(&self) -> usize {
        let optional = [&self.command_hash, &self.traceparent];
        let optional = optional.into_iter().flatten().map(String::len).sum::<usize>();
        self.partition_key.len() + self.actor.len() + optional
    }
}

impl NewEvent {
    /// The approximate bytes that the event takes in memory and in the file, metadata included.
    pub fn size(&self) -> usize {
        self.data.get().len() + self.event_type.len() + self.metadata.size() + FIXED_BYTES
    }
}

impl RecordedEvent {
    /// The approximate bytes that the event takes in memory, metadata included.
    pub fn size(&self) -> usize {
        self.data.get().len() + self.event_type.len() + self.stream.as_str().len() + self.metadata.size() + FIXED_BYTES
    }
}
