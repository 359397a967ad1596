//! The smallest aggregate, for the tests of this crate.

use std::convert::Infallible;

use eventsourcing::{Aggregate, Rejected, Timestamp, events};
use serde::{Deserialize, Serialize};

/// An aggregate that adds up what it is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    count: u64,
}

events! {
    /// What has happened to a counter.
    #[derive(Debug, Clone, PartialEq)]
    pub enum Event {
        Counted,
    }
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
    const CODES: &'static [&'static str] = &[];

    fn code(&self) -> &'static str {
        match self.0 {}
    }
}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Command = u64;
    type Event = Event;
    type Rejection = Never;

    fn decide(&self, by: &u64, _now: Timestamp) -> Result<Vec<Event>, Never> {
        Ok(if *by == 0 { vec![] } else { vec![Event::Counted(Counted { by: *by })] })
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Counted(counted) => self.count += counted.by,
        }
    }

    fn partition_key(&self) -> Option<String> {
        None
    }
}
