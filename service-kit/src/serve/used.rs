//! Whether a connection of HTTP/2 is used: hyper bounds the silence of clients that answer no pings, and of no others.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
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

/// A request under way, until its answer has been sent or given up.
#[derive(Debug)]
pub(super) struct UnderWay(Used);

/// The body of an answer whose request is under way until the body has been sent or dropped.
pub(super) struct Counted {
    body: Body,
    _under_way: UnderWay,
}

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

impl Counted {
    pub fn new(body: Body, under_way: UnderWay) -> Self {
        Self { body, _under_way: under_way }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}
