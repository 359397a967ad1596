//! Sagas in the log: reading one, and appending its events.

use std::sync::Arc;

use event_store::{
    Append, AppendError, Direction, Epoch, EventStore, Expected, Metadata, NewEvent, ReadError, RecordedEvent,
    StreamName, Ticket,
};
use eventsourcing::{DecodeError, Timestamp};
use saga_engine::engine::Meta;
use saga_engine::process::{EventOf, Process, SubjectOf};
use saga_engine::{Event, State, ids};
use uuid::Uuid;

/// Events read at once: a saga has some 30, so that one read is enough.
const PAGE: usize = 1_000;

/// Reads a saga; one that never began has no facts.
///
/// # Errors
/// [`ReadError`]
pub async fn load<P: Process>(store: &dyn EventStore, stream: &StreamName) -> Result<State<P>, ReadError> {
    let mut state = State::new(stream.as_str());
    read::<P>(store, stream, |recorded, event| fold(&mut state, recorded, event.as_ref())).await?;
    Ok(state)
}

/// Gives each of a saga's events to `each`, oldest first.
///
/// # Errors
/// [`ReadError`]
pub async fn read<P: Process>(
    store: &dyn EventStore,
    stream: &StreamName,
    mut each: impl FnMut(&RecordedEvent, Result<EventOf<P>, DecodeError>),
) -> Result<(), ReadError> {
    let mut from = 0;
    loop {
        let events = store.read_stream(stream, from, Direction::Forward, PAGE).await?;
        for recorded in &events {
            each(recorded, Event::decode(&recorded.event_type, recorded.schema_version, recorded.data.get()));
        }
        match events.last() {
            Some(last) if events.len() == PAGE => from = last.version + 1,
            Some(_) | None => return Ok(()),
        }
    }
}

/// Folds an event that was read into a saga's state. After an event that cannot be read, the state follows no definition.
pub fn fold<P: Process>(state: &mut State<P>, recorded: &RecordedEvent, event: Result<&EventOf<P>, &DecodeError>) {
    match event {
        Ok(event) => state.evolve(event, &meta_of(recorded)),
        Err(error) => {
            // Written by a newer program: this one must not go on with it.
            tracing::error!(stream = %recorded.stream, version = recorded.version, %error, "a saga's event cannot be read");
            state.version = Some(recorded.version);
            state.definition = None;
        }
    }
}

/// What stands around an event of the log, as far as sagas are concerned.
pub fn meta_of(recorded: &RecordedEvent) -> Meta {
    Meta {
        id: recorded.id,
        at: recorded.metadata.occurred_at,
        correlation_id: recorded.metadata.correlation_id,
        traceparent: recorded.metadata.traceparent.clone(),
    }
}

/// What made a saga move.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The event or command.
    pub id: Uuid,
    /// The request that began it all.
    pub correlation_id: Uuid,
    /// The W3C trace context of the request that began it all.
    pub traceparent: Option<String>,
    /// The person who acted; none: the saga itself.
    pub person: Option<Person>,
}

/// A person who acts on a saga.
#[derive(Debug, Clone)]
pub struct Person {
    /// The name of the person, as audits show it.
    pub name: String,
    /// SHA-256 of what was asked: the same request with another body is told from a repeat.
    pub asked: String,
}

/// Queues a saga's events behind `state`, which was folded in `epoch`, and folds them into it. When the ticket is durable,
/// so are they.
///
/// # Errors
/// [`AppendError`]; `state` is then as it was.
pub async fn append<P: Process>(
    (store, epoch): (&dyn EventStore, Epoch),
    state: &mut State<P>,
    events: &[EventOf<P>],
    cause: &Cause,
    now: Timestamp,
) -> Result<Ticket, AppendError> {
    let refused = |reason: String| AppendError::Refused { stream: unnamed(), reason };
    let stream: StreamName =
        state.stream.parse().map_err(|error: event_store::stream::StreamNameError| refused(error.to_string()))?;
    let (_, saga) = name_of::<P>(&stream).ok_or_else(|| refused(format!("`{stream}` is no saga's stream")))?;
    let metadata = Arc::new(Metadata {
        partition_key: subject_of(state, events).to_string(),
        correlation_id: cause.correlation_id,
        causation_id: cause.id,
        command_id: cause.id,
        command_hash: cause.person.as_ref().map(|person| person.asked.clone()),
        traceparent: cause.traceparent.clone(),
        actor: cause
            .person
            .as_ref()
            .map_or_else(|| format!("saga:{saga}"), |person| format!("operator:{}", person.name)),
        occurred_at: now,
    });
    let first = state.version.map_or(0, |version| version + 1);
    let mut new = Vec::with_capacity(events.len());
    for (event, version) in events.iter().zip(first..) {
        let encoded = event.encode();
        new.push(NewEvent {
            id: ids::event(&P::IDS, stream.as_str(), version, encoded.data.get()),
            event_type: encoded.event_type.into(),
            schema_version: encoded.schema_version,
            data: encoded.data,
            metadata: metadata.clone(),
        });
    }
    let ids: Vec<Uuid> = new.iter().map(|event| event.id).collect();
    let ticket = {
        let append = Append { stream, expected: Expected::at(state.version), events: new };
        store.append_within(epoch, append).await?
    };
    for (event, id) in events.iter().zip(ids) {
        let (correlation_id, traceparent) = (cause.correlation_id, cause.traceparent.clone());
        state.evolve(event, &Meta { id, at: now, correlation_id, traceparent });
    }
    Ok(ticket)
}

/// What a saga is about that has begun, or begins with these events.
fn subject_of<P: Process>(state: &State<P>, events: &[EventOf<P>]) -> SubjectOf<P> {
    match (&state.facts, events.first()) {
        (None, Some(Event::SagaStarted(e))) => e.subject,
        (Some(_), _) | (None, _) => state.subject(),
    }
}

fn unnamed() -> StreamName {
    "saga".parse().expect("four letters are a stream's name")
}

/// The id and the type of a saga, by its stream's name; `None` if the stream is not a saga's. The id is the subject's only
/// where a subject has at most one saga of the type. What a saga is about says the partition key of its events.
pub fn name_of<P: Process>(stream: &StreamName) -> Option<(Uuid, &str)> {
    let saga = stream.category().strip_prefix(P::CATEGORY_PREFIX)?;
    Some((stream.id().parse().ok()?, saga))
}
