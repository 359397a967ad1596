//! The meaning of a handler's failure: whether the event is at fault, and how often and when it is retried.

use std::error::Error;
use std::time::Duration;

use service_kit::Pauses;

/// How often a failing handler is tried before its event becomes a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Number of attempts, the first one included; at least 1.
    pub attempts: u32,
    /// Pause before the second attempt. It doubles from one attempt to the next.
    pub first_pause: Duration,
    /// Upper bound of the pauses between attempts.
    pub longest_pause: Duration,
    /// Time limit of one attempt. An attempt that exceeds it has failed, and its transaction is rolled back.
    pub time_limit: Duration,
}

impl Default for Retry {
    /// 5 attempts within 1.5 s, 30 s each. The partition waits meanwhile, so this is short.
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            time_limit: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// The pause after `failed` failures (from 1) in a row.
    pub fn pause(&self, failed: u32) -> Duration {
        Pauses::doubling(self.first_pause, self.longest_pause).after(failed)
    }
}

/// The reason why a handler failed. Its transaction is rolled back.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The event cannot be handled: after [`Retry::attempts`] attempts it becomes a dead letter.
    #[error("{0}")]
    Failed(Box<dyn Error + Send + Sync>),
    /// A system that the handler needs is unavailable, whatever the event: the handler is retried until the system is
    /// back.
    #[error("{0}")]
    Away(Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// The event cannot be handled; `reason` is the handler's description.
    pub fn failed(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(reason.into())
    }

    /// A system that the handler needs is unavailable; `reason` is the handler's description.
    pub fn away(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Away(reason.into())
    }
}

impl From<sqlx::Error> for HandlerError {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) { Self::Away(error.into()) } else { Self::Failed(error.into()) }
    }
}

impl From<serde_json::Error> for HandlerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Whether Postgres refuses now and may accept later, so that no event is at fault.
///
/// Source: PostgreSQL, appendix A: classes 08 (connection), 53 (resources), 55P03 (lock), 57 (operator), 58 (system), 40
/// (serialization, deadlock), and 25006 (read only: a standby that will be promoted).
pub fn is_passing(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Database(refused) = error {
        return refused.code().is_some_and(|code| {
            let class = code.get(..2).unwrap_or_default();
            ["08", "40", "53", "57", "58"].contains(&class) || code == "55P03" || code == "25006"
        });
    }
    // What is left is the program's or the row's fault: a column that is not there, a value that does not fit.
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed
    )
}

/// Writes an error with all its causes in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        next = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry::default();
        let pauses: Vec<u128> = (1..=8).map(|failed| retry.pause(failed).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(retry.pause(u32::MAX), retry.longest_pause);
    }

    #[test]
    fn a_database_that_is_away_is_not_the_event_s_fault() {
        assert!(matches!(HandlerError::from(sqlx::Error::PoolTimedOut), HandlerError::Away(_)));
        assert!(matches!(HandlerError::from(sqlx::Error::RowNotFound), HandlerError::Failed(_)));
        assert!(matches!(HandlerError::failed("no such customer"), HandlerError::Failed(_)));
    }
}
