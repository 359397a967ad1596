//! Whether a connection of HTTP/2 is used: hyper bounds the silence of clients that answer no pings, and of no others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// How a connection is used. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Used {
    /// When it was opened.
    pub since: Instant,
    /// Held for a look or a write: a std mutex is enough.
    requests: Arc<Mutex<Requests>>,
}

#[derive(Debug, Default)]
struct Requests {
    under_way: usize,
    latest: Option<Instant>,
}

/// A request under way, until its answer has been sent or given up: the answer's body keeps it.
#[derive(Debug)]
pub(super) struct UnderWay(Used);

impl Default for Used {
    fn default() -> Self {
        Self { since: Instant::now(), requests: Arc::default() }
    }
}

impl Used {
    /// A request has come.
    pub fn begin(&self) -> UnderWay {
        let mut requests = self.lock();
        requests.under_way += 1;
        requests.latest = Some(Instant::now());
        UnderWay(self.clone())
    }

    /// Whether a request has not been answered to its end.
    pub fn is_under_way(&self) -> bool {
        self.lock().under_way > 0
    }

    /// When a request last began or ended; `None`: there was none.
    pub fn latest(&self) -> Option<Instant> {
        self.lock().latest
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut requests = self.0.lock();
        requests.under_way -= 1;
        requests.latest = Some(Instant::now());
    }
}
