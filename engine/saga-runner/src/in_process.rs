//! Sagas whose commands are carried out in the same process, by the command engine.

use std::time::Duration;

use command_engine::{CommandMeta, Origin, Reply, SendError};
use saga_engine::{LateBy, Outcome};
use serde::de::DeserializeOwned;

use crate::ports::Dispatch;

/// How long to wait where the command engine is full: its queues hold some milliseconds of work.
const AFTER_BUSY: Duration = Duration::from_millis(100);

/// The command that a saga has issued, and what comes with it.
///
/// # Errors
/// The outcome of a command that this program cannot read, since a newer one wrote it: it is sent again later.
pub fn command<C: DeserializeOwned>(dispatch: Dispatch) -> Result<(C, CommandMeta), Outcome> {
    let unknown = |error| Outcome::Unavailable {
        detail: format!("this release cannot read the stored command: {error}"),
        retry_after: None,
    };
    let command = serde_json::from_str(dispatch.body.get()).map_err(unknown)?;
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
    Ok((command, meta))
}

/// What an answer of the command engine means to a saga.
pub fn outcome(answer: Result<Reply, SendError>) -> Outcome {
    let Err(error) = answer else { return Outcome::Done };
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
