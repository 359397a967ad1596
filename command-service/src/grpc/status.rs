//! The one table from what is no answer to gRPC statuses. `commands.proto` tells it to callers.

use std::collections::HashMap;
use std::time::Duration;

use chrono::SecondsFormat;
use domain::Timestamp;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::SendError;
use crate::contexts::{Context, Contexts};

/// Names the reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "backstitch";

/// How long to wait where too much is under way: queues hold some milliseconds of work.
const AFTER_BUSY: Duration = Duration::from_millis(100);

/// How long to wait where the log is away: it is looked for as often.
const AFTER_UNAVAILABLE: Duration = Duration::from_millis(500);

/// A field has a value that is not valid.
pub(super) fn invalid(field: &str, what: impl std::fmt::Display) -> Status {
    let text = what.to_string();
    let details = ErrorDetails::with_bad_request_violation(field, text.clone());
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {text}"), details)
}

/// A position beyond the end of the log.
pub(super) fn beyond_the_log(what: impl std::fmt::Display) -> Status {
    because(Code::OutOfRange, "beyond-the-log", what.to_string())
}

/// Too much is under way; nothing was done.
pub(super) fn busy(what: impl std::fmt::Display) -> Status {
    later(Code::ResourceExhausted, what, AFTER_BUSY)
}

/// Another process serves the command's context.
pub(super) fn misdirected(context: Context, served: &Contexts) -> Status {
    let what = format!("`{}` is not served here, only {served}; send it to a process that does", context.name());
    because(Code::FailedPrecondition, "misdirected", what)
}

/// What clients may not send.
pub(super) fn denied(name: &str) -> Status {
    because(Code::PermissionDenied, "not-for-clients", format!("`{name}` is not a command that clients send here"))
}

/// Why there is no answer. A rejection is one: `None`.
pub(super) fn of(error: &SendError) -> Option<Status> {
    Some(match error {
        SendError::Rejected { .. } => return None,
        SendError::PreconditionFailed { .. } => because(Code::Aborted, "version-mismatch", error.to_string()),
        SendError::KeyReused => because(Code::AlreadyExists, "idempotency-key-reused", error.to_string()),
        SendError::TooLate { now, stream_time, .. } => too_late(error, *now, *stream_time),
        SendError::InFlight => later(Code::Unavailable, error, AFTER_BUSY),
        SendError::Busy { .. } => busy(error),
        SendError::Full { retry_after_s, .. } => {
            later(Code::ResourceExhausted, error, Duration::from_secs(u64::from(*retry_after_s)))
        }
        // Without a time after which to try again: it does not pass by itself.
        SendError::Damaged { .. } => because(Code::Unavailable, "log-damaged", error.to_string()),
        SendError::Unavailable { .. } => unavailable(error),
    })
}

/// The log does not answer.
pub(super) fn unavailable(what: impl std::fmt::Display) -> Status {
    later(Code::Unavailable, what, AFTER_UNAVAILABLE)
}

fn later(code: Code, what: impl std::fmt::Display, after: Duration) -> Status {
    Status::with_error_details(code, what.to_string(), ErrorDetails::with_retry_info(Some(after)))
}

/// The metadata say by which times, in RFC 3339: the next deadline counts from them.
fn too_late(error: &SendError, now: Timestamp, stream_time: Option<Timestamp>) -> Status {
    let mut times = HashMap::from([("now".to_owned(), written(now))]);
    times.extend(stream_time.map(|time| ("stream_time".to_owned(), written(time))));
    let details = ErrorDetails::with_error_info("too-late", DOMAIN, times);
    Status::with_error_details(Code::FailedPrecondition, error.to_string(), details)
}

fn written(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn because(code: Code, reason: &str, what: String) -> Status {
    Status::with_error_details(code, what, ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()))
}
