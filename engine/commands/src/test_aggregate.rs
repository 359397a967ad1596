//! The smallest aggregate, for the tests of this crate.

use std::convert::Infallible;

use eventsourcing::aggregate::{Rejected, decoded, encoded};
use eventsourcing::{Aggregate, DecodeError, EncodedEvent, Timestamp};
use serde::{Deserialize, Serialize};

/// An aggregate that adds up what it is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    count: u64,
}

/// It counted by so much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    by: u64,
}

/// The rejection that there never is.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("nothing is refused")]
pub struct Never(Infallible);

impl Rejected for Never {
    fn code(&self) -> &'static str {
        match self.0 {}
    }
}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Command = u64;
    type Event = Counted;
    type Rejection = Never;

    fn decide(&self, by: &u64, _now: Timestamp) -> Result<Vec<Counted>, Never> {
        Ok(if *by == 0 { vec![] } else { vec![Counted { by: *by }] })
    }

    fn evolve(&mut self, event: &Counted) {
        self.count += event.by;
    }

    fn partition_key(&self) -> Option<String> {
        None
    }

    fn encode(event: &Counted) -> EncodedEvent {
        encoded("Counted", 1, event)
    }

    fn decode(event_type: &str, schema_version: u16, data: &str) -> Result<Counted, DecodeError> {
        decoded(&[], event_type, 1, schema_version, data)
    }
}
