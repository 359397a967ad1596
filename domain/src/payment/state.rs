//! The state, and how events change it.

use serde::{Deserialize, Serialize};

use super::{Command, Event, Rejection};
use crate::aggregate::{Aggregate, DecodeError, EncodedEvent, Timestamp};

/// The state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Payment {}

impl Aggregate for Payment {
    const CATEGORY: &'static str = "payment";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, _command: &Command, _now: Timestamp) -> Result<Vec<Event>, Rejection> {
        Ok(vec![])
    }

    fn evolve(&mut self, _event: &Event) {}

    fn partition_key(&self) -> Option<String> {
        None
    }

    fn encode(event: &Event) -> EncodedEvent {
        event.encode()
    }

    fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Event, DecodeError> {
        Event::decode(event_type, schema_version, data)
    }
}
