//! What a gRPC status means for a saga. `commands.proto` says when each comes.

use domain::saga::{LateBy, TOO_LATE};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use saga_runner::Outcome;

/// Whether the replica itself has said nothing: no connection, no answer in time. What it says when it is alive and its
/// log is away has details.
pub(super) fn is_silence(status: &Status) -> bool {
    let silent = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown);
    silent && status.get_error_details().retry_info().is_none()
}

/// Whether no other replica would say something else.
pub(super) fn is_final(status: &Status) -> bool {
    reason(status).as_deref() == Some(TOO_LATE)
}

/// There is no answer: the saga tries again. No status may be taken for a refusal, which would undo an order.
pub(super) fn outcome(url: &str, status: &Status) -> Outcome {
    if let Some(late) = late_by(status) {
        return Outcome::TooLate(late);
    }
    let busy = status.code() == Code::ResourceExhausted;
    let asked = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
    let detail = format!("{url}: {:?}: {}", status.code(), status.message());
    Outcome::Unavailable { detail, retry_after: asked.filter(|_| busy) }
}

pub(super) fn unavailable(url: &str, what: &str) -> Outcome {
    Outcome::Unavailable { detail: format!("{url}: {what}"), retry_after: None }
}

/// By which times a command was refused as too late. A replica up to 0.2.0 does not say.
fn late_by(status: &Status) -> Option<LateBy> {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.reason == TOO_LATE)?;
    let moment = |key: &str| info.metadata.get(key)?.parse::<domain::Timestamp>().ok();
    Some(LateBy { now: moment("now")?, stream_time: moment("stream_time") })
}

fn reason(status: &Status) -> Option<String> {
    status.get_error_details().error_info().map(|info| info.reason.clone())
}
