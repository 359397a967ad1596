//! What became of a command, as the engine is told.

use std::time::Duration;

use crate::parts::LateBy;
use uuid::Uuid;

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done, or already so; durable.
    Done,
    /// The answer is no.
    Rejected {
        /// The refusal's stable name, as `Rejected::code` says it.
        code: String,
        /// What happened, for people.
        detail: String,
    },
    /// It came after its deadline, by these times: nothing was decided. It may be sent with a later deadline when the saga
    /// has proven that it is still to be carried out.
    TooLate(LateBy),
    /// There is no answer: try again.
    Unavailable {
        /// The reason, as people read it.
        detail: String,
        /// How long to wait at least.
        retry_after: Option<Duration>,
    },
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The id of the command.
    pub command_id: Uuid,
    /// What became of it.
    pub outcome: Outcome,
}
