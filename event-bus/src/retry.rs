//! What a handler's failure means: whether it is the event's fault, how often and when it is tried again.

use std::error::Error;
use std::time::Duration;

/// How often a failed handler is tried before its event becomes a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often in all, the first time included; at least 1.
    pub attempts: u32,
    /// The pause before the second attempt. It doubles from one to the next.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long one attempt may take. It is failed then, and its transaction rolled back.
    pub time_limit: Duration,
}

impl Default for Retry {
    /// 5 attempts within 1.5 s, 30 s each. Meanwhile the partition waits, so it is not for long.
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
        let doubled = self.first_pause.saturating_mul(1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.longest_pause)
    }
}

/// Why a handler did not do its work. Its transaction is rolled back.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The event cannot be handled: after [`Retry::attempts`] it is a dead letter.
    #[error("{0}")]
    Failed(Box<dyn Error + Send + Sync>),
    /// Something that the handler needs is away, whatever the event: it is tried until that is back.
    #[error("{0}")]
    Away(Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// The event cannot be handled, in the handler's words.
    pub fn failed(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed(reason.into())
    }

    /// Something that the handler needs is away, in the handler's words.
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

/// Whether Postgres refuses now what it may take later: no event is at fault.
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

/// An error with all its causes, in one line.
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
