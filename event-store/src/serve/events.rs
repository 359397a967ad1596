//! Events as the protocol writes them, and ids as it writes and reads them.

use bytes::Bytes;
use eventstore_client::proto::streams::ReadResp;
use eventstore_client::proto::streams::read_resp::read_event::{Position as EventPosition, RecordedEvent as Recorded};
use eventstore_client::proto::streams::read_resp::{
    CaughtUp, Checkpoint, Content, Position as ReadPosition, ReadEvent, StreamNotFound, SubscriptionConfirmation,
};
use eventstore_client::proto::uuid::{Structured, Value};
use eventstore_client::proto::{self};
use prost_types::Timestamp as WireTimestamp;
use uuid::Uuid;

use super::refusal::identifier;
use crate::envelope::Timestamp;
use crate::wire::{self, CONTENT_TYPE};
use crate::{Position, RecordedEvent};

/// How a reader wants ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdForm {
    Text,
    Halves,
}

/// An id, written.
pub(super) fn id(id: Uuid, form: IdForm) -> proto::Uuid {
    let value = match form {
        IdForm::Text => Value::String(id.to_string()),
        IdForm::Halves => {
            let (most, least) = id.as_u64_pair();
            Value::Structured(Structured {
                most_significant_bits: most.cast_signed(),
                least_significant_bits: least.cast_signed(),
            })
        }
    };
    proto::Uuid { value: Some(value) }
}

/// An id, read; `None` if it is none.
pub(super) fn of_id(id: Option<&proto::Uuid>) -> Option<Uuid> {
    match id?.value.as_ref()? {
        Value::String(text) => Uuid::parse_str(text).ok(),
        Value::Structured(halves) => Some(Uuid::from_u64_pair(
            halves.most_significant_bits.cast_unsigned(),
            halves.least_significant_bits.cast_unsigned(),
        )),
    }
}

fn response(content: Content) -> ReadResp {
    ReadResp { content: Some(content) }
}

/// An event of the log.
pub(super) fn event(event: &RecordedEvent, form: IdForm) -> ReadResp {
    let position = event.position.0;
    let metadata = [
        ("content-type".to_owned(), CONTENT_TYPE.to_owned()),
        ("created".to_owned(), wire::ticks(event.recorded_at)),
        ("type".to_owned(), event.event_type.as_ref().to_owned()),
    ];
    let recorded = Recorded {
        id: Some(id(event.id, form)),
        stream_identifier: Some(identifier(event.stream.as_str())),
        stream_revision: event.version,
        prepare_position: position,
        commit_position: position,
        metadata: metadata.into_iter().collect(),
        custom_metadata: wire::metadata_json(&event.metadata, event.schema_version).into(),
        data: Bytes::copy_from_slice(event.data.get().as_bytes()),
    };
    let position = Some(EventPosition::CommitPosition(position));
    response(Content::Event(ReadEvent { event: Some(recorded), link: None, position }))
}

/// An event that has no place in the log: a snapshot.
pub(super) fn outside_the_log(recorded: Recorded) -> ReadResp {
    let position = Some(EventPosition::NoPosition(()));
    response(Content::Event(ReadEvent { event: Some(recorded), link: None, position }))
}

/// There is no such stream.
pub(super) fn not_found(name: &str) -> ReadResp {
    response(Content::StreamNotFound(StreamNotFound { stream_identifier: Some(identifier(name)) }))
}

/// The version of a stream's last event.
pub(super) fn last_of_stream(version: u64) -> ReadResp {
    response(Content::LastStreamPosition(version))
}

/// A subscription has begun.
pub(super) fn confirmation(id: Uuid) -> ReadResp {
    response(Content::Confirmation(SubscriptionConfirmation { subscription_id: id.to_string() }))
}

/// Everything at or before this position was looked at.
pub(super) fn checkpoint(at: Position) -> ReadResp {
    let timestamp = Some(now());
    response(Content::Checkpoint(Checkpoint { commit_position: at.0, prepare_position: at.0, timestamp }))
}

/// A subscription to a stream is live.
pub(super) fn caught_up_with_stream(version: Option<u64>) -> ReadResp {
    let stream_revision = version.map(u64::cast_signed);
    response(Content::CaughtUp(CaughtUp { timestamp: Some(now()), stream_revision, position: None }))
}

/// A subscription to the log is live.
pub(super) fn caught_up_with_all(at: Position) -> ReadResp {
    let position = (at > Position::START).then_some(ReadPosition { commit_position: at.0, prepare_position: at.0 });
    response(Content::CaughtUp(CaughtUp { timestamp: Some(now()), stream_revision: None, position }))
}

/// The machine's time.
pub(super) fn machine_time() -> Timestamp {
    let micros = Timestamp::from(std::time::SystemTime::now()).timestamp_micros();
    Timestamp::from_timestamp_micros(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn now() -> WireTimestamp {
    let now = machine_time();
    WireTimestamp { seconds: now.timestamp(), nanos: now.timestamp_subsec_nanos().cast_signed() }
}
