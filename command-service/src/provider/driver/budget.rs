//! A bound on how often a provider in trouble is called again. Without one, every open request repeats its call at its own
//! pace, and a provider that has just come back gets all of them at once.

use domain::Timestamp;
use parking_lot::Mutex;

/// Tenths of a retry that each request adds when it is first carried out: a provider that answers most calls gets one in five
/// again, which is more than a healthy one needs. Source: the retry budget of Finagle (20 %).
const PER_REQUEST: f64 = 2.0;

/// Tenths of a retry a second that are granted in any case, so that few requests are not starved: 4 096 requests, the most at once,
/// have each had a turn after seven minutes.
const PER_SECOND: f64 = 100.0;

/// Tenths of a retry that can be saved up: a short hiccup of some hundred requests is repeated without a pause.
const SAVED_MAX: f64 = 2_560.0;

/// A retry, in tenths.
const RETRY: f64 = 10.0;

/// The retries that may be made now.
#[derive(Debug)]
pub(super) struct RetryBudget {
    // Held for some additions, never across an await.
    state: Mutex<(f64, Timestamp)>,
}

impl RetryBudget {
    pub fn new(now: Timestamp) -> Self {
        Self { state: Mutex::new((SAVED_MAX, now)) }
    }

    /// A request is carried out for the first time.
    pub fn first(&self) {
        let mut state = self.state.lock();
        state.0 = (state.0 + PER_REQUEST).min(SAVED_MAX);
    }

    /// Whether a retry may be made now; it is then used up.
    pub fn take(&self, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let since = (now - state.1).to_std().unwrap_or_default(); // Clocks may step back.
        *state = ((state.0 + since.as_secs_f64() * PER_SECOND).min(SAVED_MAX), now);
        let granted = state.0 >= RETRY;
        if granted {
            state.0 -= RETRY;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests_and_some_a_second() {
        let now = Timestamp::UNIX_EPOCH;
        let budget = RetryBudget::new(now);
        let granted = (0..1_000).filter(|_| budget.take(now)).count();
        assert_eq!(granted, 256, "what is saved up at first");
        (0..50).for_each(|_| budget.first());
        assert_eq!((0..1_000).filter(|_| budget.take(now)).count(), 10, "one for five requests");
        let later = now + Duration::from_secs(2);
        assert_eq!((0..1_000).filter(|_| budget.take(later)).count(), 20, "ten a second");
        assert!(!budget.take(now), "a clock that steps back grants nothing");
    }
}
