//! Appending: the server answers when the events are durable, so the ticket has nothing to wait for.

use eventstore_client as client;

use super::event::new_event;
use super::head::Head;
use crate::port::APPEND_EVENTS;
use crate::{Append, AppendError, Appended, Epoch, Expected, Position, Ticket};

/// Appends, and gives a ticket that is durable. Dropped while it waits, the events are written or not; the same ids again
/// tell.
pub(super) async fn append(client: &client::Client, head: &Head, append: Append) -> Result<Ticket, AppendError> {
    let count = append.events.len();
    if count == 0 || count > APPEND_EVENTS {
        let reason = format!("it has {count} events, 1 to {APPEND_EVENTS} are possible");
        return Err(AppendError::Refused { stream: append.stream, reason });
    }
    let expected = match append.expected {
        Expected::NoStream => client::Expected::NoStream,
        Expected::Exact(version) => client::Expected::Exact(version),
        Expected::Any => client::Expected::Any,
    };
    let events: Vec<_> = append.events.into_iter().map(new_event).collect();
    let stream = append.stream;
    let written = match client.append(stream.as_str(), expected, &events).await {
        Ok(written) => written,
        Err(error) => return Err(unwritten(client, stream, append.expected, error)),
    };
    // Durable from here.
    let (version, first) = (written.revision, (written.revision + 1).checked_sub(count as u64));
    let (Some(first), Some(position)) = (first, written.position) else {
        let reason =
            format!("the server says that {count} events end at revision {version}, position {:?}", written.position);
        return Err(AppendError::Unknown { stream, reason });
    };
    let appended = Appended { version, position: Position(position.commit) };
    head.moved_to(appended.position);
    Ok(Ticket::new(first, version, Epoch(0), std::future::ready(Ok(appended))))
}

fn unwritten(
    client: &client::Client,
    stream: crate::StreamName,
    expected: Expected,
    error: client::Error,
) -> AppendError {
    let store = || client.address().to_owned();
    match error {
        client::Error::WrongExpected { actual, .. } => {
            AppendError::Conflict { stream, expected: expected.to_string(), actual }
        }
        client::Error::UnknownOutcome { reason, .. } | client::Error::Malformed { reason } => {
            AppendError::Unknown { stream, reason }
        }
        client::Error::Busy { .. } => AppendError::Overloaded,
        client::Error::Unavailable { reason, .. } => AppendError::Unavailable { store: store(), reason },
        client::Error::AccessDenied { .. } => {
            tracing::error!(%error, "the event store takes no events of ours");
            AppendError::Unavailable { store: store(), reason: error.to_string() }
        }
        client::Error::Refused { reason } => AppendError::Refused { stream, reason },
        client::Error::StreamDeleted { .. } => AppendError::Refused { stream, reason: error.to_string() },
        client::Error::Closed => AppendError::Unwritable { path: store(), reason: "it was closed here".to_owned() },
    }
}
