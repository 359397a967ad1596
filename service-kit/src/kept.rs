//! The body of an answer that keeps something (a place among the requests of a class) until it has been sent or given up.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A body, and what is dropped with it.
pub(crate) struct Kept<T> {
    body: Body,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _kept: T,
}

impl<T> Kept<T> {
    /// `body`, which keeps `kept`.
    pub fn new(body: Body, kept: T) -> Self {
        Self { body, stop: None, _kept: kept }
    }

    /// The same; where `stop` is given, the body ends once it fires and nothing more is ready to be sent.
    pub fn until(self, stop: Option<CancellationToken>) -> Self {
        Self { stop: stop.map(|stop| Box::pin(stop.cancelled_owned())), ..self }
    }
}

impl<T: Unpin> HttpBody for Kept<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        match &mut self.stop {
            Some(stop) => stop.as_mut().poll(context).map(|()| None),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}
