//! Sends the commands of a step, and waits for their answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use futures_util::future::join_all;

use super::Shared;
use crate::config::Time;
use crate::engine::{Answered, Pending, State};
use crate::ports::{Dispatch, Outcome};

/// After that a participant refuses a command (`architecture.md` §3): far less than the 24 h that ends are remembered.
/// Counted from the moment at which the saga was seen to be at the state that the command follows from: a process that
/// is paused in between, for however long, sends nothing that a participant could have forgotten.
const NOT_AFTER: Duration = Duration::from_secs(15 * 60);

/// Sends the commands of one step, which follow from `state` as it was at `seen`, and waits for all their answers.
pub(super) fn send(
    shared: Arc<Shared>,
    saga: &str,
    (state, seen): (&State, Timestamp),
    step: Pending,
) -> impl Future<Output = Vec<Answered>> + Send + use<> {
    let timeout = shared.config.duration(Time::Command);
    let dispatches: Vec<Dispatch> = step
        .commands
        .iter()
        .map(|command| Dispatch {
            command_id: command.id,
            body: command.body.raw().to_owned(),
            correlation_id: state.correlation_id,
            causation_id: step.issued_by,
            traceparent: state.traceparent.clone(),
            actor: format!("saga:{}", saga),
            not_after: seen + NOT_AFTER,
        })
        .collect();
    async move {
        let send_one = |dispatch: Dispatch| {
            let commands = shared.commands.clone();
            async move {
                let command_id = dispatch.command_id;
                // Dropped by the time-out, the command may still be carried out: sending it again is safe.
                let outcome = tokio::time::timeout(timeout, commands.dispatch(dispatch)).await.unwrap_or_else(|_| {
                    Outcome::Unavailable {
                        detail: format!("no answer within {} s", timeout.as_secs()),
                        retry_after: None,
                    }
                });
                let name = match &outcome {
                    Outcome::Done => "done",
                    Outcome::Rejected { .. } => "rejected",
                    Outcome::Unavailable { .. } => "unavailable",
                };
                metrics::counter!("backstitch_saga_commands_total", "outcome" => name).increment(1);
                Answered { command_id, outcome }
            }
        };
        join_all(dispatches.into_iter().map(send_one)).await
    }
}
