//! One page ahead: while a page is being sent, the next one is being read, and no more.

use std::future::Future;
use std::pin::Pin;

use futures_util::FutureExt as _;

/// Work that has begun: polled once when it was made, so that a reading thread has it already.
pub(super) enum Ahead<T> {
    /// It was done at once.
    Done(T),
    /// It is under way.
    Working(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Ahead<T> {
    /// Begins.
    pub fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        let mut work: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(work);
        // What this poll registers is a waker that does nothing; `finish` polls again with the real one.
        match (&mut work).now_or_never() {
            Some(done) => Self::Done(done),
            None => Self::Working(work),
        }
    }

    /// Waits for the end.
    pub async fn finish(self) -> T {
        match self {
            Self::Done(done) => done,
            Self::Working(work) => work.await,
        }
    }
}
