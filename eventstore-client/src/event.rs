//! Events, and where they stand.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::proto;
use crate::proto::streams::read_resp::read_event;

/// A place in the whole log. Of events that were not written in an old-style transaction both numbers are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Where its commit stands.
    pub commit: u64,
    /// Where it was prepared.
    pub prepare: u64,
}

impl LogPosition {
    /// Both numbers the same.
    pub fn at(position: u64) -> Self {
        Self { commit: position, prepare: position }
    }
}

/// What the writer believes of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It has no events.
    NoStream,
    /// Its last event has this revision.
    Exact(u64),
    /// It has events.
    StreamExists,
    /// Anything.
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

/// An event to be appended. Its id makes sending it again harmless.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub event_type: Arc<str>,
    /// Such as `application/json`.
    pub content_type: &'static str,
    /// Its payload.
    pub data: Bytes,
    /// What the writer gives along; often JSON.
    pub metadata: Bytes,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The revision of its last event.
    pub revision: u64,
    /// The position of its last event; none if the server keeps the stream outside its log.
    pub position: Option<LogPosition>,
}

/// An event of the log.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    /// Its id.
    pub id: Uuid,
    /// Its stream.
    pub stream: String,
    /// Its place in the stream, from 0.
    pub revision: u64,
    /// Its place in the log.
    pub position: LogPosition,
    /// Its type.
    pub event_type: String,
    /// When the server wrote it: 100-nanosecond ticks since 1970.
    pub created_ticks: i64,
    /// Its payload.
    pub data: Bytes,
    /// What the writer gave along.
    pub metadata: Bytes,
}

/// An id in the two halves of the wire.
pub(crate) fn wire_id(id: Uuid) -> proto::Uuid {
    let (most, least) = id.as_u64_pair();
    let halves = proto::uuid::Structured {
        most_significant_bits: most.cast_signed(),
        least_significant_bits: least.cast_signed(),
    };
    proto::Uuid { value: Some(proto::uuid::Value::Structured(halves)) }
}

/// An id as it came, in halves or as text.
pub(crate) fn id_of(id: Option<&proto::Uuid>) -> Option<Uuid> {
    match id?.value.as_ref()? {
        proto::uuid::Value::Structured(halves) => Some(Uuid::from_u64_pair(
            halves.most_significant_bits.cast_unsigned(),
            halves.least_significant_bits.cast_unsigned(),
        )),
        proto::uuid::Value::String(text) => text.parse().ok(),
    }
}

/// A stream's name on the wire.
pub(crate) fn wire_stream(stream: &str) -> proto::StreamIdentifier {
    proto::StreamIdentifier { stream_name: Bytes::copy_from_slice(stream.as_bytes()) }
}

/// An event as it came; the reason, if it is none.
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
