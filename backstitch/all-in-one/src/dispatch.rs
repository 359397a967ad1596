//! How sagas reach the command service in one process: a function call. In a cluster a network client stands here.

use std::time::Duration;

use async_trait::async_trait;
use command_service::{CommandBus, CommandMeta, Origin, SendError};
use domain::saga::LateBy;
use saga_orchestrator::{CommandPort, Dispatch, Outcome};

/// How long to wait where the bus is full: its queues hold some milliseconds of work.
const AFTER_BUSY: Duration = Duration::from_millis(100);

/// Sends what sagas issue to the bus of this process.
#[derive(Clone)]
pub(crate) struct InProcess {
    bus: CommandBus,
}

impl InProcess {
    /// To this bus.
    pub(crate) fn new(bus: CommandBus) -> Self {
        Self { bus }
    }
}

#[async_trait]
impl CommandPort for InProcess {
    async fn dispatch(&self, dispatch: Dispatch) -> Outcome {
        let command: domain::Command = match serde_json::from_str(dispatch.body.get()) {
            Ok(command) => command,
            // Written by a newer program: this one cannot carry it out, and must not guess.
            Err(error) => {
                return Outcome::Unavailable {
                    detail: format!("this release cannot read the stored command: {error}"),
                    retry_after: None,
                };
            }
        };
        let meta = CommandMeta {
            command_id: dispatch.command_id,
            command_hash: None,
            correlation_id: dispatch.correlation_id,
            causation_id: dispatch.causation_id,
            traceparent: dispatch.traceparent,
            actor: dispatch.actor,
            origin: Origin::Machine,
            not_after: Some(dispatch.not_after),
            stream_not_after: dispatch.stream_not_after,
            if_match: None,
        };
        match self.bus.send(command, meta).await {
            Ok(_) => Outcome::Done,
            Err(error) => outcome(error),
        }
    }
}

fn outcome(error: SendError) -> Outcome {
    let detail = error.to_string();
    match error {
        SendError::Rejected { code, detail, .. } => Outcome::Rejected { code: code.to_owned(), detail },
        SendError::Busy { .. } | SendError::Full { .. } | SendError::InFlight => {
            Outcome::Unavailable { detail, retry_after: Some(AFTER_BUSY) }
        }
        // A late command was refused, not decided: it is sent again when the saga has proven that it is still wanted.
        SendError::TooLate { now, stream_time, .. } => Outcome::TooLate(LateBy { now, stream_time }),
        SendError::Unavailable { .. } | SendError::Damaged { .. } => Outcome::Unavailable { detail, retry_after: None },
        // Machines send neither `If-Match` nor a hash: these cannot be, and no saga may take them for a refusal.
        SendError::PreconditionFailed { .. } | SendError::KeyReused => {
            Outcome::Unavailable { detail, retry_after: None }
        }
    }
}
