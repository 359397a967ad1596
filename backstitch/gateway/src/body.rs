//! An answer's body on its way to the client: it ends with an error once the replica has been silent for too long, so that
//! a client whose replica hangs or has lost its network asks again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// The body of a replica's answer, passed on as it comes.
pub(super) struct Watched<B> {
    body: B,
    within: Duration,
    /// Runs while the replica is waited for; a slow client does not count.
    silence: Pin<Box<Sleep>>,
    waits: bool,
}

impl<B> Watched<B> {
    /// `within`: how long the replica may say nothing.
    pub fn new(body: B, within: Duration) -> Self {
        Self { body, within, silence: Box::pin(tokio::time::sleep(within)), waits: false }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl<B: HttpBody<Data = Bytes, Error: Into<Failure>> + Unpin> HttpBody for Watched<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waits = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if !std::mem::replace(&mut self.waits, true) {
            let until = Instant::now() + self.within;
            self.silence.as_mut().reset(until);
        }
        ready!(self.silence.as_mut().poll(context));
        tracing::warn!(seconds = self.within.as_secs(), "a replica fell silent in the middle of an answer");
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the replica fell silent").into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(45);

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_falls_silent_ends_the_answer_and_a_slow_client_does_not() {
        let two_then_nothing = stream::unfold(0, |sent| async move {
            if sent == 2 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(WITHIN - Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b"event")), sent + 1))
        });
        let mut body = Watched::new(Body::from_stream(two_then_nothing), WITHIN);
        assert!(body.frame().await.unwrap().is_ok());
        tokio::time::advance(WITHIN * 3).await; // The client reads nothing for a while.
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err(), "silence ends it");
    }
}
