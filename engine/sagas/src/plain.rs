//! Ready-made parts for the sagas of a program that needs nothing special: the notes that the engine makes itself, one party
//! outside, and times that stand in the table of steps. Each can be replaced by a type of the program's own while no saga is
//! stored yet.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::process::{Retry, Settings, Time};
use crate::story::{Note, Party};

/// The notes that the engine makes itself, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlainNote {
    /// The step's effect is gone, or never was: there is nothing left to undo.
    NothingLeft,
    /// The fact that a step will wait for is there before the step began.
    CameEarly,
    /// The compensation failed once; it is tried again.
    UndoFailed,
}

impl Note for PlainNote {
    const NOTHING_LEFT: Self = Self::NothingLeft;
    const CAME_EARLY: Self = Self::CameEarly;
    const UNDO_FAILED: Self = Self::UndoFailed;
}

/// Who brings the facts that steps wait for: a person, who acts at any time or never, or a service, which is asked again
/// while its answer is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlainParty {
    /// A person. Nothing is sent again while the person is awaited.
    Person,
    /// A service, to which the step's commands are sent again.
    Service,
}

impl Party for PlainParty {
    fn is_asked(self) -> bool {
        self == Self::Service
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Person => "a person",
            Self::Service => "a service",
        }
    }
}

/// The settings of sagas whose times stand in their tables of steps: an operator sets nothing. Tries without an answer wait
/// 200 ms at first, twice as long after each, and 60 s at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimesInTable;

/// A time in a table of steps, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Time for Seconds {
    const COMMAND: Self = Self(10);
    const CHECK: Self = Self(30);
    const UNANSWERED: Self = Self(300);
}

impl Settings for TimesInTable {
    type Time = Seconds;

    fn duration(&self, Seconds(seconds): Seconds) -> Duration {
        Duration::from_secs(seconds)
    }

    fn retry(&self) -> Retry {
        Retry { base: Duration::from_millis(200), cap: Duration::from_secs(60) }
    }
}
