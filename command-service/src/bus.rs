//! The way in for every command, from clients, sagas and the provider's driver: to the owner of its stream.

use std::sync::Arc;

use domain::{Aggregate, Timestamp};
use event_store::{EventStore, Position, StreamName};
use service_kit::{Clock, Tasks};
use uuid::Uuid;

use crate::provider::Wake;

/// Who sends a command, which decides how it is bounded and remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client: passes the semaphore for outsiders and is remembered by its key.
    Client,
    /// A saga, the provider's driver or a webhook: skips the semaphore, and is recognised by what it names
    /// (a reservation, a request), so it takes no room in the stream's window of keys.
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
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Who asks: a principal, `saga:<type>`, `provider:<name>`.
    pub actor: String,
    /// Client or machine.
    pub origin: Origin,
    /// Refused later than this, by the later of now and the stream's last event.
    pub not_after: Option<Timestamp>,
    /// Refused unless the stream's last event has this version.
    pub if_match: Option<u64>,
}

impl CommandMeta {
    /// What comes with a command of a saga, the driver or a webhook, with no deadline and no trace.
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
        /// The refusal's stable name, `domain::Rejected::code`.
        code: &'static str,
        /// What happened, for people.
        detail: String,
        /// Whether this is the first answer again.
        replayed: bool,
    },
    /// `If-Match` names another version than the stream is at.
    #[error("the stream is at version {actual:?}, not {expected}")]
    PreconditionFailed {
        /// What the client believes.
        expected: u64,
        /// What is so; `None`: there are no events.
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
    /// The command came after its deadline.
    #[error("the command came after its deadline of {not_after}")]
    TooLate {
        /// The deadline.
        not_after: Timestamp,
    },
    /// The log did not answer; whether the command was carried out will be known when it is sent again.
    #[error("{detail}; send the same request again")]
    Unavailable {
        /// What happened, for people.
        detail: String,
    },
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

/// Takes commands to the owner of their stream. Cheap to clone.
#[derive(Clone)]
pub struct CommandBus {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn EventStore>,
    clock: Clock,
    tasks: Tasks,
    wake: Wake,
}

impl CommandBus {
    /// A bus over `store`. `wake` tells the provider's driver of payments that have a request to carry out.
    pub fn new(store: Arc<dyn EventStore>, clock: Clock, tasks: Tasks, wake: Wake) -> Self {
        Self { inner: Arc::new(Inner { store, clock, tasks, wake }) }
    }

    /// Sends a command and waits until its answer is durable. Sending it again under the same id is safe.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&self, command: domain::Command, meta: CommandMeta) -> Result<Reply, SendError> {
        let _ = (&self.inner.store, &self.inner.clock, &self.inner.tasks, &self.inner.wake, meta);
        Err(SendError::Unavailable { detail: format!("{} is not served yet", command.name()) })
    }

    /// The state of a stream with all that is queued for it, once that is durable.
    ///
    /// # Errors
    /// [`SendError::Unavailable`], [`SendError::Busy`].
    pub async fn load<A: Aggregate>(&self, stream: &StreamName) -> Result<Loaded<A>, SendError> {
        Err(SendError::Unavailable { detail: format!("{stream} is not served yet") })
    }
}
