//! The outcome of a command, as it is reported to the engine.

use std::time::Duration;

use crate::parts::LateBy;
use uuid::Uuid;

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The command was accepted, or changed nothing; the outcome is durable.
    Done,
    /// The command was refused.
    Rejected {
        /// The stable code of the refusal, as `Rejected::code` gives it.
        code: String,
        /// The reason of the refusal for people.
        detail: String,
    },
    /// The command came after its deadline, by these times: nothing was decided. It may be sent with a later deadline
    /// once the saga has proven that it is still to be carried out.
    TooLate(LateBy),
    /// There was no answer: the command is sent again.
    Unavailable {
        /// The reason, as people read it.
        detail: String,
        /// How long to wait at least.
        retry_after: Option<Duration>,
    },
}

/// The outcome of one command, with its id.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The id of the command.
    pub command_id: Uuid,
    /// The outcome of the command.
    pub outcome: Outcome,
}
