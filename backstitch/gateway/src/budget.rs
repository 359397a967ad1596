//! How often requests may be sent again: a share of all requests, so that a fault of the replicas is not answered with a
//! multiple of the load.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

/// Repeats for each request: one in five. With one of three replicas dying, every third request needs one for a moment,
/// which the saved ones cover.
const SHARE: f64 = 0.2;
/// Repeats a second that are always there, for a gateway with few requests.
const ALWAYS: f64 = 10.0;
/// Repeats that can be saved up.
const SAVED: f64 = 100.0;

/// What is left for repeats. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Mutex<Saved>>);

#[derive(Debug)]
struct Saved {
    repeats: f64,
    at: Instant,
}

impl Budget {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Saved { repeats: SAVED, at: Instant::now() })))
    }

    /// A client's request has come.
    pub fn deposit(&self) {
        self.deposit_at(Instant::now());
    }

    /// Whether a request may be sent once more.
    pub fn withdraw(&self) -> bool {
        self.withdraw_at(Instant::now())
    }

    fn deposit_at(&self, now: Instant) {
        self.with(now, |saved| saved.repeats += SHARE);
    }

    fn withdraw_at(&self, now: Instant) -> bool {
        self.with(now, |saved| {
            let enough = saved.repeats >= 1.0;
            saved.repeats -= if enough { 1.0 } else { 0.0 };
            enough
        })
    }

    fn with<T>(&self, now: Instant, does: impl FnOnce(&mut Saved) -> T) -> T {
        // Held for some sums; each write is whole.
        let mut saved = self.0.lock();
        saved.repeats += now.saturating_duration_since(saved.at).as_secs_f64() * ALWAYS;
        saved.at = now;
        let done = does(&mut saved);
        saved.repeats = saved.repeats.min(SAVED);
        done
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn repeats_are_a_share_of_the_requests_and_some_are_always_there() {
        let now = Instant::now();
        let budget = Budget(Arc::new(Mutex::new(Saved { repeats: 0.001, at: now })));
        assert!(!budget.withdraw_at(now));
        (0..10).for_each(|_| budget.deposit_at(now));
        assert!(budget.withdraw_at(now) && budget.withdraw_at(now) && !budget.withdraw_at(now), "two for ten");
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| budget.withdraw_at(later)).count(), 10, "ten a second");
        let much_later = now + Duration::from_secs(3600);
        budget.deposit_at(much_later);
        assert_eq!((0..1000).filter(|_| budget.withdraw_at(much_later)).count(), 100, "not more than are saved up");
    }
}
