//! What all aggregates have in common: decide on a command, evolve by an event, write and read events as JSON.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::upcast::{Upcaster, lift};

/// A moment in UTC, in whole microseconds (what Postgres keeps); written as RFC 3339.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// A unit of consistency: one stream, one state, one set of rules.
///
/// `decide` judges and `evolve` believes: what is in the log is true, so folding it cannot fail.
/// Source: Chassaing, "Functional Event Sourcing Decider" (2021).
pub trait Aggregate:
    Default + Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The first part of the stream's name, before the first `-`.
    const CATEGORY: &'static str;
    /// The format of the state in a snapshot, from 1: raised when a field of the state changes its meaning. A snapshot of
    /// another format is ignored, and the stream is read from its first event.
    const STATE_FORMAT: u32 = 1;
    /// The commands of the aggregate.
    type Command: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The events of the aggregate.
    type Event: StoredEvent;
    /// The reasons for which a command is refused.
    type Rejection: Rejected;

    /// Decides a command on the state. An empty list means that the command has nothing to change.
    ///
    /// # Errors
    /// The rejection: the command is refused, and nothing happened.
    fn decide(&self, command: &Self::Command, now: Timestamp) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Folds one event into the state.
    fn evolve(&mut self, event: &Self::Event);

    /// Drops what need not be remembered any more at `passed`, a moment that both the clock and the stream's latest event
    /// have passed. Folding forgets nothing by itself: one event of a clock that was ahead would forget too much.
    fn forget(&mut self, _passed: Timestamp) {}

    /// About how many bytes those parts of the state hold in memory that grow with its use, such as reservations of an item:
    /// so that those who keep states can bound them. What no state has much of counts as nothing.
    fn growing_bytes(&self) -> usize {
        0
    }

    /// The key that keeps the events of streams that belong together on one partition of a cluster, such as the stream that
    /// began their story; `None` for streams that belong to no other (their key is the stream's name).
    fn partition_key(&self) -> Option<String>;

    /// Writes an event for the log.
    fn encode(event: &Self::Event) -> EncodedEvent {
        event.encode()
    }

    /// Reads an event of the log, older schema versions included.
    ///
    /// # Errors
    /// As [`StoredEvent::decode`].
    fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Self::Event, DecodeError> {
        Self::Event::decode(event_type, schema_version, data)
    }

    /// The state after these events, from nothing.
    fn fold<'a>(events: impl IntoIterator<Item = &'a Self::Event>) -> Self {
        let mut state = Self::default();
        events.into_iter().for_each(|event| state.evolve(event));
        state
    }
}

/// The events of an aggregate, as the log keeps them. [`events!`](crate::events) implements it.
pub trait StoredEvent: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// The types of all events, each with its newest schema version.
    const TYPES: &'static [(&'static str, u16)];

    /// Writes the event for the log.
    fn encode(&self) -> EncodedEvent;

    /// Reads an event of the log, older schema versions included.
    ///
    /// # Errors
    /// [`DecodeError`]: an unknown type, a schema version newer than this program, or data that does not fit.
    fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Self, DecodeError>;
}

/// A refusal that can leave the process: a stable code and a sentence (its `Display`). [`rejections!`](crate::rejections)
/// implements it.
pub trait Rejected: std::error::Error + Clone + PartialEq + Send + Sync + 'static {
    /// The codes of all refusals.
    const CODES: &'static [&'static str];

    /// The stable kebab-case name of the refusal; it is the last part of the problem type's URI.
    fn code(&self) -> &'static str;
}

/// An event as the log keeps it.
#[derive(Debug, Clone)]
pub struct EncodedEvent {
    /// The name of the event, as in Rust.
    pub event_type: &'static str,
    /// The version of its schema, from 1.
    pub schema_version: u16,
    /// The payload of the event as JSON.
    pub data: Box<RawValue>,
}

/// Why an event of the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No such event in this category: written by a newer program, or foreign.
    #[error("unknown event type `{0}`")]
    UnknownType(String),
    /// The type is known, its schema version is not: written by a newer program.
    #[error("`{event_type}` has schema version {found}, this program knows up to {known}; run a newer release")]
    NewerSchema {
        /// The event's type.
        event_type: String,
        /// The version found.
        found: u16,
        /// The newest version that this program reads.
        known: u16,
    },
    /// The payload does not fit its schema.
    #[error("the data of `{event_type}` cannot be read")]
    Malformed {
        /// The event's type.
        event_type: String,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
}

/// Writes a payload of `schema_version`. Payloads are plain structs, which always serialize.
pub fn encoded<T: Serialize>(event_type: &'static str, schema_version: u16, payload: &T) -> EncodedEvent {
    let data = serde_json::value::to_raw_value(payload)
        .expect("payloads are structs of strings, numbers and lists with string keys, which serialise");
    EncodedEvent { event_type, schema_version, data }
}

/// Reads a payload whose newest schema version is `known`; an older one is lifted to it by `steps` first.
///
/// # Errors
/// [`DecodeError::NewerSchema`], [`DecodeError::Malformed`].
pub fn decoded<T: DeserializeOwned>(
    steps: &[Upcaster],
    event_type: &str,
    known: u16,
    found: u16,
    data: &str,
) -> Result<T, DecodeError> {
    if found > known {
        return Err(DecodeError::NewerSchema { event_type: event_type.to_owned(), found, known });
    }
    let read = if found == known {
        serde_json::from_str(data)
    } else {
        serde_json::from_str(data).and_then(|older| {
            let no_step = || serde::de::Error::custom(format!("no way from schema version {found} to {known}"));
            serde_json::from_value(lift(steps, event_type, found, known, older).ok_or_else(no_step)?)
        })
    };
    read.map_err(|source| DecodeError::Malformed { event_type: event_type.to_owned(), source })
}
