//! The given/when/then kit: what was, what is asked, what follows. Only the kit calls `decide`, so that its signature
//! can change in one place.

use std::fmt::Debug;

use crate::aggregate::{Aggregate, Rejected, Timestamp};

/// The moment `seconds` after the kit's epoch, 2026-01-05T12:00:00Z, a Monday.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_767_614_400 + seconds, 0).expect("seconds of a test are far from the calendar's ends")
}

/// The given part of a test: a state and a time.
#[derive(Debug, Clone)]
pub struct Given<A: Aggregate> {
    state: A,
    now: Timestamp,
}

impl<A: Aggregate> Given<A> {
    /// These events have happened. It is the kit's epoch.
    pub fn events(events: impl IntoIterator<Item = A::Event>) -> Self {
        let mut state = A::default();
        events.into_iter().for_each(|event| state.evolve(&event));
        Self { state, now: at(0) }
    }

    /// It is now so many seconds after the kit's epoch.
    #[must_use]
    pub fn at(mut self, seconds: i64) -> Self {
        self.now = at(seconds);
        self
    }

    /// The state so far.
    pub fn state(&self) -> &A {
        &self.state
    }

    /// Has the state decide on a command.
    #[must_use = "say what follows"]
    pub fn when(self, command: A::Command) -> When<A> {
        let outcome = self.state.decide(&command, self.now);
        When { given: self, command, outcome }
    }
}

/// The when part of a test: a command and its decision.
#[derive(Debug)]
pub struct When<A: Aggregate> {
    given: Given<A>,
    command: A::Command,
    outcome: Result<Vec<A::Event>, A::Rejection>,
}

impl<A: Aggregate> When<A> {
    /// These events follow, and nothing else; each survives the way to the log and back. The answer can be asked
    /// further, with the events folded in.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let expected: Vec<A::Event> = expected.into_iter().collect();
        let decided = self.outcome.unwrap_or_else(|no| panic!("{:?} was rejected: {no}", self.command));
        assert_eq!(decided, expected, "what follows from {:?}", self.command);
        let mut given = self.given;
        for event in &decided {
            assert_survives_the_log::<A>(event);
            given.state.evolve(event);
        }
        assert_survives_a_snapshot(&given.state);
        given
    }

    /// Asserts that the command has nothing to change.
    #[track_caller]
    pub fn then_nothing(self) -> Given<A> {
        self.then([])
    }

    /// The answer is no, for this reason; its sentence is not empty and its code is kebab-case.
    #[track_caller]
    pub fn then_rejected(self, expected: A::Rejection) -> Given<A> {
        match self.outcome {
            Ok(events) => panic!("{:?} was accepted: {events:?}", self.command),
            Err(rejection) => {
                assert_eq!(rejection, expected, "why {:?} is rejected", self.command);
                assert!(rejection.to_string().len() > 10, "a rejection is a sentence, not `{rejection}`");
                let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
                assert!(rejection.code().chars().all(kebab), "`{}` is not kebab-case", rejection.code());
            }
        }
        self.given
    }
}

#[track_caller]
fn assert_survives_the_log<A: Aggregate>(event: &A::Event) {
    let written = A::encode(event);
    let read = A::decode(written.event_type, written.schema_version, written.data.get());
    assert_eq!(&read.expect("what was encoded decodes"), event);
}

#[track_caller]
fn assert_survives_a_snapshot<A: Aggregate + Debug>(state: &A) {
    let written = serde_json::to_string(state).expect("a state serialises");
    assert_eq!(&serde_json::from_str::<A>(&written).expect("a snapshot reads"), state);
}
