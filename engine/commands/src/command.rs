//! A command's company: who sends it, what comes with it, and how it can end.

use std::sync::Arc;

use event_store::Position;
use eventsourcing::Timestamp;
use uuid::Uuid;

/// Who sends a command, which decides how it is bounded and remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client: passes the semaphore for outsiders and is remembered by its key.
    Client,
    /// A saga or a driver of an outside system: skips the semaphore, and is recognised by what it names, so it takes no room in
    /// the stream's window of keys.
    Machine,
}

/// What comes with a command.
#[derive(Debug, Clone)]
pub struct CommandMeta {
    /// Derived: the same command again has the same id.
    pub command_id: Uuid,
    /// SHA-256 (hex) of the canonical parsed body of a client's command; machines give none.
    pub command_hash: Option<String>,
    /// The request that began it all; the command's own id where nothing is known of it.
    pub correlation_id: Uuid,
    /// What it follows from; the command's own id for a client's command.
    pub causation_id: Uuid,
    /// The W3C trace context of the request, kept with the events.
    pub traceparent: Option<String>,
    /// Who asks: a principal, or the machine that acts, such as `saga:<type>`.
    pub actor: String,
    /// Whether a client or a machine sends it.
    pub origin: Origin,
    /// Refused when the clock shows a later time, or the stream's latest event is later.
    pub not_after: Option<Timestamp>,
    /// The deadline for the stream's latest event where that is ahead of the clock; no earlier than `not_after`.
    pub stream_not_after: Option<Timestamp>,
    /// Refused unless the stream's last event has this version.
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

/// The answer to a command that was carried out, or whose wish was already so. It is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The version of the stream's last event after the command; `None`: the stream has no events.
    pub version: Option<u64>,
    /// The position up to which a reader must be to see it.
    pub position: Position,
    /// Whether this is the first answer again.
    pub replayed: bool,
    /// Whether it appended events (the first time).
    pub changed: bool,
}

/// Why there is no good answer to a command. What a rejection was decided on is durable.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The answer is no.
    #[error("{detail}")]
    Rejected {
        /// The refusal's stable name, [`eventsourcing::Rejected::code`].
        code: &'static str,
        /// What happened, for people.
        detail: String,
        /// Whether this is the first answer again.
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
    /// The key was used before, with another body.
    #[error("this idempotency key was used before with another body; use a new key for a new request")]
    KeyReused,
    /// The same command is being carried out at this moment.
    #[error("the same request is still being carried out; ask again in a moment")]
    InFlight,
    /// Too much is waiting.
    #[error("{detail}; nothing was done, try again in a moment")]
    Busy {
        /// What is full.
        detail: &'static str,
    },
    /// There is no room for it for a while.
    #[error("{detail}; nothing was done")]
    Full {
        /// What is full.
        detail: String,
        /// After how many seconds there may be room again.
        retry_after_s: u32,
    },
    /// The log is damaged. It does not pass by itself.
    #[error("{detail}")]
    Damaged {
        /// What is known of it, for people.
        detail: String,
    },
    /// The command came after its deadline.
    #[error("the command came after its deadline of {not_after}: the clock shows {now}{}", of_stream(stream_time))]
    TooLate {
        /// The deadline.
        not_after: Timestamp,
        /// What the clock showed.
        now: Timestamp,
        /// The time of the stream's latest event; `None`: it has no events.
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
