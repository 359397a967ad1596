//! Events and positions of the log.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::proto;
use crate::proto::streams::read_resp::read_event;

/// A position in the whole log. For events that were not written in an old-style transaction both numbers are equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Position of the commit of the event.
    pub commit: u64,
    /// Position at which the event was prepared.
    pub prepare: u64,
}

impl LogPosition {
    /// A position whose two numbers are equal.
    pub fn at(position: u64) -> Self {
        Self { commit: position, prepare: position }
    }
}

/// The writer's expectation of the stream's revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The stream has no events.
    NoStream,
    /// The last event of the stream has this revision.
    Exact(u64),
    /// The stream has events.
    StreamExists,
    /// Any revision is accepted.
    Any,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStream => f.write_str("no stream"),
            Self::Exact(revision) => write!(f, "revision {revision}"),
            Self::StreamExists => f.write_str("any revision of a stream that exists"),
            Self::Any => f.write_str("any revision"),
        }
    }
}

/// An event to be appended. Because of its id, sending it twice does no harm.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Id of the event, given by the writer.
    pub id: Uuid,
    /// Type of the event, such as `OrderPlaced`.
    pub event_type: Arc<str>,
    /// Media type of the payload, such as `application/json`.
    pub content_type: &'static str,
    /// Payload of the event, in the form of its content type.
    pub data: Bytes,
    /// Custom metadata of the writer, often JSON.
    pub metadata: Bytes,
}

/// The result of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Revision of the last event in the stream.
    pub revision: u64,
    /// Position of the last event in the log; `None` if the server keeps the stream outside of its log.
    pub position: Option<LogPosition>,
}

/// An event as the log has recorded it.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    /// Id of the event, as its writer gave it.
    pub id: Uuid,
    /// Name of the stream that the event belongs to.
    pub stream: String,
    /// Number of the event in its stream, from 0.
    pub revision: u64,
    /// Position of the event in the whole log.
    pub position: LogPosition,
    /// Type of the event, such as `OrderPlaced`.
    pub event_type: String,
    /// When the server wrote the event: 100-nanosecond ticks since 1970.
    pub created_ticks: i64,
    /// Payload of the event, as it was appended.
    pub data: Bytes,
    /// Custom metadata of the writer.
    pub metadata: Bytes,
}

/// Splits an id into the two halves of the protocol.
pub(crate) fn wire_id(id: Uuid) -> proto::Uuid {
    let (most, least) = id.as_u64_pair();
    let halves = proto::uuid::Structured {
        most_significant_bits: most.cast_signed(),
        least_significant_bits: least.cast_signed(),
    };
    proto::Uuid { value: Some(proto::uuid::Value::Structured(halves)) }
}

/// Reads an id that arrived in halves or as text.
pub(crate) fn id_of(id: Option<&proto::Uuid>) -> Option<Uuid> {
    match id?.value.as_ref()? {
        proto::uuid::Value::Structured(halves) => Some(Uuid::from_u64_pair(
            halves.most_significant_bits.cast_unsigned(),
            halves.least_significant_bits.cast_unsigned(),
        )),
        proto::uuid::Value::String(text) => text.parse().ok(),
    }
}

/// The name of a stream in the protocol's form.
pub(crate) fn wire_stream(stream: &str) -> proto::StreamIdentifier {
    proto::StreamIdentifier { stream_name: Bytes::copy_from_slice(stream.as_bytes()) }
}

/// Reads an event that arrived; the error is the reason why it is not valid.
pub(crate) fn event_of(event: proto::streams::read_resp::ReadEvent) -> Result<RecordedEvent, String> {
    let commit = match event.position {
        Some(read_event::Position::CommitPosition(commit)) => Some(commit),
        Some(read_event::Position::NoPosition(())) | None => None,
    };
    let mut event = event.event.ok_or("a message for an event has none")?;
    let name = event.stream_identifier.map(|stream| stream.stream_name).unwrap_or_default();
    let stream = String::from_utf8(name.into()).map_err(|_| "the name of a stream is not UTF-8")?;
    let id = id_of(event.id.as_ref()).ok_or_else(|| format!("an event of `{stream}` has no id"))?;
    let created = event.metadata.get("created").and_then(|ticks| ticks.parse().ok());
    Ok(RecordedEvent {
        id,
        revision: event.stream_revision,
        position: LogPosition { commit: commit.unwrap_or(event.commit_position), prepare: event.prepare_position },
        event_type: event.metadata.remove("type").unwrap_or_default(),
        created_ticks: created.unwrap_or_default(),
        data: event.data,
        metadata: event.custom_metadata,
        stream,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_over_the_wire_and_back_in_either_form() {
        let id = Uuid::from_u128(0xfedc_ba98_7654_3210_0123_4567_89ab_cdef);
        assert_eq!(id_of(Some(&wire_id(id))), Some(id));
        let text = proto::Uuid { value: Some(proto::uuid::Value::String(id.to_string())) };
        assert_eq!(id_of(Some(&text)), Some(id));
        assert_eq!(id_of(Some(&proto::Uuid { value: None })), None);
    }

    #[test]
    fn an_event_without_an_id_is_named_and_not_taken() {
        let event = proto::streams::read_resp::ReadEvent {
            event: Some(read_event::RecordedEvent {
                stream_identifier: Some(wire_stream("order-1")),
                ..read_event::RecordedEvent::default()
            }),
            ..proto::streams::read_resp::ReadEvent::default()
        };
        assert_eq!(event_of(event).unwrap_err(), "an event of `order-1` has no id");
    }
}
