//! What running sagas need of the program around them: a port that carries their commands out.

use async_trait::async_trait;
use eventsourcing::Timestamp;
use saga_engine::Outcome;
use serde_json::value::RawValue;
use uuid::Uuid;

/// A command that a saga has issued, as its stream keeps it, and what delivery needs besides.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The id of the command. It is derived: the same command sent again has the same id.
    pub command_id: Uuid,
    /// A `Process::Command` as JSON, the stored bytes: new code can never send another body under an old id.
    pub body: Box<RawValue>,
    /// The request that began it all.
    pub correlation_id: Uuid,
    /// The saga event that issued the command.
    pub causation_id: Uuid,
    /// The W3C trace context of the request that began it all.
    pub traceparent: Option<String>,
    /// The saga that sends it: `saga:<type>`.
    pub actor: String,
    /// A participant refuses it when its clock shows a later time. Renewed at each dispatch.
    pub not_after: Timestamp,
    /// A participant refuses it when its stream's latest event is later than this and than `not_after`. Only set when it
    /// was refused as too late before, and the saga has proven since that it is still to be carried out.
    pub stream_not_after: Option<Timestamp>,
}

/// Carries commands to where they are decided.
#[async_trait]
pub trait CommandPort: Send + Sync + 'static {
    /// Sends a command and waits until its answer is durable. Sending it again is safe: the receiver knows the id.
    async fn dispatch(&self, command: Dispatch) -> Outcome;
}
