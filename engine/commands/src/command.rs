//! The metadata of a command (who sends it, and when it is too late) and the results that it can have.

use std::sync::Arc;

use event_store::Position;
use eventsourcing::Timestamp;
use uuid::Uuid;

/// The kind of sender of a command, which decides how the command is bounded and remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client: passes the semaphore for outsiders and is remembered by its key.
    Client,
    /// A saga or a driver of an outside system: skips the semaphore, and is recognized by what it names, so it takes no room in
    /// the stream's window of keys.
    Machine,
}

/// The metadata of a command.
#[derive(Debug, Clone)]
pub struct CommandMeta {
    /// Id of the command. It is derived, so a repeated command has the same id.
    pub command_id: Uuid,
    /// SHA-256 (hex) of the canonical parsed body of a client's command; machines give none.
    pub command_hash: Option<String>,
    /// Id of the client's request from which everything follows; the command's own id where none is known.
    pub correlation_id: Uuid,
    /// Id of the command or event that it follows from; the command's own id for a client's command.
    pub causation_id: Uuid,
    /// The W3C trace context of the request, kept with the events.
    pub traceparent: Option<String>,
    /// The actor that asks: a principal, or the machine that acts, such as `saga:<type>`.
    pub actor: String,
    /// Whether a client or a machine sends the command.
    pub origin: Origin,
    /// Deadline: the command is refused when the clock shows a later time, or the stream's latest event is later.
    pub not_after: Option<Timestamp>,
    /// The deadline for the stream's latest event where that is ahead of the clock; no earlier than `not_after`.
    pub stream_not_after: Option<Timestamp>,
    /// The expected version: the command is refused unless the stream's last event has it.
    pub if_match: Option<u64>,
}

impl CommandMeta {
    /// What comes with a command of a machine, with no deadline and no trace.
    pub fn machine(command_id: Uuid, correlation_id: Uuid, causation_id: Uuid, actor: impl Into<String>) -> Self {
        Self {
            command_id,
            command_hash: None,
            correlation_id,
            causation_id,
            traceparent: None,
            actor: actor.into(),
            origin: Origin::Machine,
            not_after: None,
            stream_not_after: None,
            if_match: None,
        }
    }
}

/// The answer to a command that was carried out, or that had nothing to change. It is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The version of the stream's last event after the command; `None`: the stream has no events.
    pub version: Option<u64>,
    /// The position that a reader must have reached to see the effect.
    pub position: Position,
    /// Whether the answer is a replay of the first answer.
    pub replayed: bool,
    /// Whether it appended events (the first time).
    pub changed: bool,
}

/// The reason why a command was not carried out. The events on which a rejection was decided are durable.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SendError {
    /// A rule of the aggregate refused the command.
    #[error("{detail}")]
    Rejected {
        /// The stable code of the rejection, [`eventsourcing::Rejected::code`].
        code: &'static str,
        /// The reason of the rejection, for people.
        detail: String,
        /// Whether the answer is a replay of the first answer.
        replayed: bool,
    },
    /// `If-Match` names another version than the stream is at.
    #[error("the stream is at version {actual:?}, not {expected}")]
    PreconditionFailed {
        /// The version that the client named.
        expected: u64,
        /// The version of the stream's last event; `None`: it has no events.
        actual: Option<u64>,
    },
    /// The key was used before with another body.
    #[error("this idempotency key was used before with another body; use a new key for a new request")]
    KeyReused,
    /// The same command is being carried out at this moment.
    #[error("the same request is still being carried out; ask again in a moment")]
    InFlight,
    /// Too many commands are waiting.
    #[error("{detail}; nothing was done, try again in a moment")]
    Busy {
        /// The queue or memory that is full.
        detail: &'static str,
    },
    /// There is no room for the command for a while.
    #[error("{detail}; nothing was done")]
    Full {
        /// The memory that is full.
        detail: String,
        /// Seconds after which there may be room again.
        retry_after_s: u32,
    },
    /// The log is damaged. That does not pass by itself.
    #[error("{detail}")]
    Damaged {
        /// The known damage, for people.
        detail: String,
    },
    /// The command came after its deadline.
    #[error("the command came after its deadline of {not_after}: the clock shows {now}{}", of_stream(stream_time))]
    TooLate {
        /// Deadline of the command.
        not_after: Timestamp,
        /// Time of the receiver's clock.
        now: Timestamp,
        /// Time of the stream's latest event; `None` if it has no events.
        stream_time: Option<Timestamp>,
    },
    /// The log did not answer; whether the command was carried out will be known when it is sent again.
    #[error("{detail}; send the same request again")]
    Unavailable {
        /// What happened, for people.
        detail: String,
    },
}

fn of_stream(time: &Option<Timestamp>) -> String {
    time.map(|time| format!(", the stream's latest event is of {time}")).unwrap_or_default()
}

impl SendError {
    /// The log did not answer, for this reason.
    pub fn unavailable(detail: impl std::fmt::Display) -> Self {
        Self::Unavailable { detail: detail.to_string() }
    }

    /// The same, as the first answer again.
    pub(crate) fn again(self) -> Self {
        match self {
            Self::Rejected { code, detail, .. } => Self::Rejected { code, detail, replayed: true },
            Self::PreconditionFailed { .. }
            | Self::KeyReused
            | Self::InFlight
            | Self::Busy { .. }
            | Self::Full { .. }
            | Self::Damaged { .. }
            | Self::TooLate { .. }
            | Self::Unavailable { .. } => self,
        }
    }
}

/// A state and where it stands.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// The state; `Default` where the stream has no events.
    pub state: Arc<A>,
    /// The version of the last event in it; `None`: no events.
    pub version: Option<u64>,
    /// The position of the last event in it.
    pub position: Position,
}

/// How commands can end, as `backstitch_commands_total` names it.
pub const OUTCOMES: &[&str] = &[
    "replayed",
    "done",
    "already_so",
    "rejected",
    "precondition_failed",
    "key_reused",
    "in_flight",
    "busy",
    "full",
    "damaged",
    "too_late",
    "unavailable",
];

pub(crate) fn outcome(answer: &Result<Reply, SendError>) -> &'static str {
    match answer {
        Ok(Reply { replayed: true, .. }) => "replayed",
        Ok(Reply { changed: true, .. }) => "done",
        Ok(_) => "already_so",
        Err(SendError::Rejected { .. }) => "rejected",
        Err(SendError::PreconditionFailed { .. }) => "precondition_failed",
        Err(SendError::KeyReused) => "key_reused",
        Err(SendError::InFlight) => "in_flight",
        Err(SendError::Busy { .. }) => "busy",
        Err(SendError::Full { .. }) => "full",
        Err(SendError::Damaged { .. }) => "damaged",
        Err(SendError::TooLate { .. }) => "too_late",
        Err(SendError::Unavailable { .. }) => "unavailable",
    }
}
