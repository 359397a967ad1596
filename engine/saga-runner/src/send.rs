//! Sends the commands of a step, and waits for their answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eventsourcing::Timestamp;
use futures_util::future::join_all;

use saga_engine::process::{Settings as _, Time as _, TimeOf};
use saga_engine::{Answered, Outcome, Pending, State};

use super::ports::Dispatch;
use super::runner::Shared;
use super::subscriber::Subscriber;

/// After that a participant refuses a command: far less than the 24 h for which participants remember what has ended.
/// Counted from the moment at which the saga was seen to be at the state that the command follows from: a process that
/// is paused in between, for however long, sends nothing that a participant could have forgotten.
///
/// A participant whose clock or stream is ahead refuses such a command ([`Outcome::TooLate`]). The saga then appends the
/// refusal to its stream at the expected version, which proves that the step is still open, and the deadline of the next
/// attempt counts from the times of the refusal. The participant's clock has one deadline and its stream another: a
/// stream may stay ahead for a day, in which a process that is paused now must not become able to act.
const NOT_AFTER: Duration = Duration::from_secs(15 * 60);

/// Sends the commands of one step, which follow from `state` as it was at `seen`, and waits for all their answers.
pub(super) fn send<P: Subscriber>(
    shared: Arc<Shared<P>>,
    saga: &str,
    (state, seen): (&State<P>, Timestamp),
    step: Pending,
) -> impl Future<Output = Vec<Answered>> + Send + use<P> {
    let timeout = shared.settings.duration(TimeOf::<P>::COMMAND);
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
            not_after: step.too_late.map_or(seen, |late| late.now.max(seen)) + NOT_AFTER,
            stream_not_after: step.too_late.and_then(|late| late.stream_time).map(|time| time + NOT_AFTER),
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
                    Outcome::TooLate(_) => "too_late",
                    Outcome::Unavailable { .. } => "unavailable",
                };
                metrics::counter!("backstitch_saga_commands_total", "outcome" => name).increment(1);
                Answered { command_id, outcome }
            }
        };
        join_all(dispatches.into_iter().map(send_one)).await
    }
}
