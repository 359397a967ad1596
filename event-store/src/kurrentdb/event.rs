//! Events of the protocol as events of the port, and back.

use std::sync::Arc;

use eventstore_client as client;
use serde_json::value::RawValue;

use crate::envelope::Timestamp;
use crate::wire::{CONTENT_TYPE, Defaults, SNAPSHOT_PREFIX, metadata_json, metadata_of};
use crate::{Filter, NewEvent, Position, ReadError, RecordedEvent, StreamName};

/// The actor of an event whose metadata names none.
const FOREIGN: &str = "kurrentdb";

/// An event to be appended.
pub(super) fn new_event(event: NewEvent) -> client::NewEvent {
    client::NewEvent {
        id: event.id,
        metadata: metadata_json(&event.metadata, event.schema_version).into(),
        event_type: event.event_type,
        content_type: CONTENT_TYPE,
        // The text of a boxed value, as it is: no copy.
        data: Box::<str>::from(event.data).into_boxed_bytes().into(),
    }
}

/// Reads an event of the server. The error is the reason why it is not an event of this log: only another program can
/// have written such a stream name or payload.
pub(super) fn recorded(event: client::RecordedEvent) -> Result<RecordedEvent, String> {
    let stream: StreamName = event.stream.parse().map_err(|error| format!("{error}"))?;
    let (id, version) = (event.id, event.revision);
    let foreign = |what: String| format!("event {version} of `{stream}` {what}");
    let data = String::from_utf8(event.data.into()).map_err(|_| foreign("is not text".to_owned()))?;
    let data = RawValue::from_string(data).map_err(|error| foreign(format!("is not JSON: {error}")))?;
    // The protocol counts in 100 ns.
    let recorded_at = Timestamp::from_timestamp_micros(event.created_ticks / 10).unwrap_or_default();
    let defaults = Defaults { stream: stream.as_str(), event_id: id, actor: FOREIGN, now: recorded_at };
    let (metadata, schema_version) = metadata_of(&event.metadata, &defaults);
    Ok(RecordedEvent {
        id,
        version,
        position: Position(event.position.commit),
        event_type: event.event_type.into(),
        schema_version,
        data,
        metadata,
        recorded_at,
        stream,
    })
}

/// The same for what comes out of the whole log, which may hold events of other programs: those are left out, and named.
pub(super) fn of_log(event: client::RecordedEvent, filter: &Filter) -> Option<Arc<RecordedEvent>> {
    if event.stream.starts_with('$') || event.stream.starts_with(SNAPSHOT_PREFIX) {
        return None;
    }
    let position = event.position.commit;
    match recorded(event) {
        Ok(event) => filter.admits(&event.stream).then(|| Arc::new(event)),
        Err(reason) => {
            tracing::warn!(position, reason, "an event of another program in the event store is left out");
            None
        }
    }
}

/// The filter in the words of the protocol, by the stream's name. One expression for all categories at once, and exact, so
/// that a page of the server is a page of the port.
pub(super) fn filter_of(filter: &Filter) -> client::Filter {
    if filter.categories.is_empty() {
        return client::Filter::StreamRegex(format!(r"^(?!\$|{SNAPSHOT_PREFIX})"));
    }
    let categories: Vec<String> = filter.categories.iter().map(|category| quoted(category)).collect();
    client::Filter::StreamRegex(format!("^({})(-|$)", categories.join("|")))
}

/// A text that a regular expression takes for itself, in .NET and in ours.
fn quoted(text: &str) -> String {
    let special = |c: char| c.is_ascii_punctuation() && !"_-<>%&,;:'\"=!@`~/".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Why the store could not be read.
pub(super) fn unread(client: &client::Client, error: &client::Error) -> ReadError {
    if matches!(error, client::Error::AccessDenied { .. } | client::Error::Malformed { .. }) {
        tracing::error!(%error, "the event store cannot be read");
    }
    ReadError::Unavailable { path: client.address().to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use fancy_regex::Regex;

    use super::*;
    use crate::conformance::{event, stream};

    fn expression(filter: &Filter) -> Regex {
        match filter_of(filter) {
            client::Filter::StreamRegex(expression) => Regex::new(&expression).unwrap(),
            other @ (client::Filter::StreamPrefixes(_)
            | client::Filter::TypePrefixes(_)
            | client::Filter::TypeRegex(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_server_filters_as_the_port_does() {
        let names = ["order", "order-1", "orders-1", "order.-1", "order.x", "a+b-1", "aab-1", "payment-order-1"];
        let filters = [&["order"][..], &["order", "payment"], &["order."], &["a+b"], &["stock"], &["(", "order"]];
        for categories in filters {
            let filter = Filter::categories(categories.iter().copied());
            let expression = expression(&filter);
            for name in names {
                let admits = filter.admits(&stream(name));
                assert_eq!(expression.is_match(name).unwrap(), admits, "{categories:?} {name}");
            }
        }
    }

    #[test]
    fn without_a_filter_all_but_system_streams_and_snapshots_come() {
        let all = expression(&Filter::default());
        for (name, comes) in [("order-1", true), ("$$order-1", false), ("snapshot-order-1", false), ("snapshots", true)]
        {
            assert_eq!(all.is_match(name).unwrap(), comes, "{name}");
        }
    }

    fn written(stream: &str, data: &'static [u8]) -> client::RecordedEvent {
        let new = new_event(event(&"order-1".parse().unwrap(), 7, 20));
        client::RecordedEvent {
            id: new.id,
            stream: stream.to_owned(),
            revision: 7,
            position: client::LogPosition::at(9),
            event_type: new.event_type.to_string(),
            created_ticks: 17_000_000_000_000_000,
            data: if data.is_empty() { new.data } else { data.into() },
            metadata: new.metadata,
        }
    }

    #[test]
    fn an_event_goes_to_the_server_and_back_without_loss() {
        let new = event(&stream("order-1"), 7, 20);
        let read = recorded(written("order-1", b"")).unwrap();
        assert_eq!((read.id, read.version, read.position), (new.id, 7, Position(9)));
        assert_eq!((read.data.get(), &read.metadata), (new.data.get(), &new.metadata));
        assert_eq!((read.event_type, read.schema_version), (new.event_type, new.schema_version));
        assert_eq!(read.recorded_at.timestamp(), 1_700_000_000);
    }

    #[test]
    fn what_another_program_wrote_is_left_out_of_the_log_and_named() {
        let all = Filter::default();
        assert!(of_log(written("order-1", b""), &all).is_some());
        for name in ["$ce-order", "$$order-1", "snapshot-order-1", "a name with spaces", ""] {
            assert!(of_log(written(name, b""), &all).is_none(), "{name}");
        }
        assert!(of_log(written("order-1", b"\xff"), &all).is_none());
        assert!(recorded(written("order-1", b"no json")).unwrap_err().contains("event 7 of `order-1` is not JSON"));
    }
}
