//! The refusals that a connection remembers. A client that must ask again later, and asks at once, gets its next
//! refusal when that time has come, or after a second. So over HTTP/1.1 a client that ignores `Retry-After` costs a
//! request or two a second for each connection, and over HTTP/2 as many as the connection has streams.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::class::Class;

/// The longest that a refusal is held back, however long the client was told to stay away: a second bounds the cost as well.
const LONGEST: Duration = Duration::from_secs(1);

/// The last refusal of each class. In each request's extensions; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<[Option<Refusal>; Class::ALL.len()]>>);

#[derive(Debug, Clone, Copy)]
struct Refusal {
    told: Instant,
    ask_again: Instant,
}

impl Refusals {
    /// Remembers the refusal of a request that had arrived at some moment, and that says: ask again after `retry_after`. Until
    /// when its answer is held back: only where the client had been told so before it sent this request.
    pub fn another(&self, class: Class, arrived: Instant, retry_after: Duration) -> Option<Instant> {
        let now = Instant::now();
        let last = &mut self.0.lock()[class.index()];
        match last {
            Some(last) if last.ask_again > now => (arrived > last.told).then_some(last.ask_again),
            _ => {
                *last = Some(Refusal { told: now, ask_again: now + retry_after.min(LONGEST) });
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn now(refusals: &Refusals, class: Class, retry_after: Duration) -> Option<Instant> {
        refusals.another(class, Instant::now(), retry_after)
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_at_once_is_answered_when_the_time_has_come() {
        let refusals = Refusals::default();
        let first = Instant::now();
        assert_eq!(now(&refusals, Class::List, SECOND), None, "the first refusal is told at once");
        tokio::time::advance(SECOND / 4).await;
        assert_eq!(now(&refusals, Class::List, SECOND), Some(first + SECOND));
        assert_eq!(
            now(&refusals, Class::List, 5 * SECOND),
            Some(first + SECOND),
            "no refusal moves the time of others"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_told_nothing_yet_is_told_at_once() {
        let refusals = Refusals::default();
        let sent_together = Instant::now();
        tokio::time::advance(SECOND / 4).await;
        assert_eq!(refusals.another(Class::List, sent_together, SECOND), None);
        assert_eq!(refusals.another(Class::List, sent_together, SECOND), None, "it was sent before the first refusal");
        tokio::time::advance(SECOND / 4).await;
        assert_eq!(now(&refusals, Class::Command, SECOND), None, "a refused list says nothing of commands");
        assert!(now(&refusals, Class::List, SECOND).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_when_told_is_answered_at_once() {
        let refusals = Refusals::default();
        for _ in 0..3 {
            assert_eq!(now(&refusals, Class::Heavy, SECOND), None);
            tokio::time::advance(SECOND).await;
        }
        assert_eq!(now(&refusals, Class::Heavy, 600 * SECOND), None);
        tokio::time::advance(SECOND / 4).await;
        let until = now(&refusals, Class::Heavy, SECOND).unwrap();
        assert!(until <= Instant::now() + LONGEST, "never held back for minutes");
    }
}
