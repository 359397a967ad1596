//! What a connection remembers of its refusals: a client that was told to ask again later and asks at once is answered when
//! that time has come. So a client that ignores `Retry-After` costs a request or two a second on each of its connections, not
//! as many as it can send.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The longest that a refusal is held back, however long the client was told to stay away: a second bounds the cost as
/// well, and a client that has only just been let in behind a proxy's connection need not wait longer.
const LONGEST: Duration = Duration::from_secs(1);

/// When the client of a connection may ask again. In each request's extensions; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<Option<Instant>>>);

impl Refusals {
    /// Counts a refusal that tells the client to ask again after `retry_after`. Until when the answer is held back, if the
    /// client was told so before and that time has not come.
    pub fn another(&self, retry_after: Duration) -> Option<Instant> {
        let now = Instant::now();
        let mut again_at = self.0.lock();
        if again_at.is_some_and(|at| at > now) {
            return *again_at;
        }
        *again_at = Some(now + retry_after.min(LONGEST));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_at_once_is_answered_when_the_time_has_come() {
        let refusals = Refusals::default();
        let first = Instant::now();
        assert_eq!(refusals.another(SECOND), None, "the first refusal is told at once");
        tokio::time::advance(SECOND / 4).await;
        assert_eq!(refusals.another(SECOND), Some(first + SECOND));
        assert_eq!(refusals.another(5 * SECOND), Some(first + SECOND), "no refusal moves the time of others");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_when_told_is_answered_at_once() {
        let refusals = Refusals::default();
        for _ in 0..3 {
            assert_eq!(refusals.another(SECOND), None);
            tokio::time::advance(SECOND).await;
        }
        assert_eq!(refusals.another(600 * SECOND), None);
        assert_eq!(refusals.another(SECOND), Some(Instant::now() + LONGEST), "never held back for minutes");
    }
}
