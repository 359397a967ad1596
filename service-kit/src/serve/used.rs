//! How a connection of HTTP/2 is used: whether requests are under way on it, and whether the client takes their answers. Hyper
//! bounds the silence of clients that answer no pings, and of no others.
//!
//! *Invariant:* an answer that its client gives no room for is given up, together with everything that it holds: its memory
//! and its place. A write to the connection cannot tell: over HTTP/2 a client that grants no flow-control window takes all
//! that is written and is sent nothing.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The most bytes of an answer that are handed to the connection at once: hyper asks for more only when the client has given
/// room for these, so that the rest stays with the answer, and so does its place.
const PIECE: usize = 16 * 1024;

/// How a connection is used. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Used {
    /// When it was opened.
    pub since: Instant,
    /// Held for a look or a write.
    requests: Arc<Mutex<Requests>>,
}

#[derive(Debug, Default)]
struct Requests {
    under_way: usize,
    latest: Option<Instant>,
    next: u64,
    /// The answers that are being sent.
    answers: HashMap<u64, Arc<Mutex<Answer>>>,
}

/// A request under way, until its answer has been sent or given up.
#[derive(Debug)]
pub(super) struct UnderWay(Used);

/// What is left of an answer.
#[derive(Debug)]
struct Answer {
    /// `None`: it was given up.
    left: Option<(Body, UnderWay)>,
    /// Of the last frame, what was not handed over yet.
    rest: Bytes,
    /// Since when it waits for the client; `None`: the client has room, and waits for it.
    waits: Option<Instant>,
}

/// The body of an answer whose request is under way until the body has been sent, dropped or given up.
pub(super) struct Counted {
    used: Used,
    number: u64,
    answer: Arc<Mutex<Answer>>,
}

impl Default for Used {
    fn default() -> Self {
        Self { since: Instant::now(), requests: Arc::default() }
    }
}

impl Used {
    /// A request has come.
    pub fn begin(&self) -> UnderWay {
        let mut requests = self.requests.lock();
        requests.under_way += 1;
        requests.latest = Some(Instant::now());
        UnderWay(self.clone())
    }

    /// Whether a request has not been answered to its end.
    pub fn is_under_way(&self) -> bool {
        self.requests.lock().under_way > 0
    }

    /// When a request last began or ended; `None`: there was none.
    pub fn latest(&self) -> Option<Instant> {
        self.requests.lock().latest
    }

    /// Gives up the answers for which the client has had no room for so long; how many there were.
    pub fn give_up(&self, within: Duration) -> usize {
        let answers: Vec<_> = self.requests.lock().answers.values().map(Arc::clone).collect();
        let given_up = answers.iter().filter_map(|answer| {
            let mut answer = answer.try_lock()?; // Else it is being sent at this moment.
            if answer.waits.is_none_or(|since| since.elapsed() < within) {
                return None;
            }
            answer.rest = Bytes::new();
            answer.left.take()
        });
        given_up.count() // Each is dropped as it is counted, without the lock of the requests.
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut requests = self.0.requests.lock();
        requests.under_way -= 1;
        requests.latest = Some(Instant::now());
    }
}

impl Counted {
    pub fn new(body: Body, under_way: UnderWay) -> Self {
        let used = under_way.0.clone();
        let answer = Answer { left: Some((body, under_way)), rest: Bytes::new(), waits: Some(Instant::now()) };
        let answer = Arc::new(Mutex::new(answer));
        let mut requests = used.requests.lock();
        let number = requests.next;
        requests.next += 1;
        requests.answers.insert(number, Arc::clone(&answer));
        drop(requests);
        Self { used, number, answer }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let forgotten = self.used.requests.lock().answers.remove(&self.number);
        drop(forgotten);
    }
}

impl Answer {
    /// The next piece.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some((body, _)) = &mut self.left else {
            return Poll::Ready(Some(Err(axum::Error::new("the client took nothing of the answer for too long"))));
        };
        self.waits = None;
        if self.rest.is_empty() {
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => {
                        self.waits = Some(Instant::now());
                        return Poll::Ready(Some(Ok(trailers)));
                    }
                },
                ended => return Poll::Ready(ended),
            }
        }
        self.waits = Some(Instant::now());
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.answer.lock().poll(context)
    }

    fn is_end_stream(&self) -> bool {
        let answer = self.answer.lock();
        answer.rest.is_empty() && answer.left.as_ref().is_some_and(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let answer = self.answer.lock();
        let Some((body, _)) = &answer.left else { return SizeHint::default() };
        let (rest, of_body) = (answer.rest.len() as u64, HttpBody::size_hint(body));
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_up_when_none_of_it_is_taken_not_when_it_is_taken_slowly() {
        let used = Used::default();
        let mut slow = Counted::new(Body::from(vec![b'x'; 5 * PIECE + 7]), used.begin());
        let mut never = Counted::new(Body::from("an answer"), used.begin());
        assert_eq!(HttpBody::size_hint(&slow).exact(), Some(5 * PIECE as u64 + 7));
        let mut taken = 0;
        while let Some(piece) = slow.frame().await {
            taken += piece.unwrap().into_data().unwrap().len();
            assert_eq!(HttpBody::size_hint(&slow).exact(), Some((5 * PIECE + 7 - taken) as u64));
            tokio::time::advance(WITHIN - Duration::from_secs(1)).await;
            used.give_up(WITHIN);
        }
        assert_eq!((taken, slow.is_end_stream()), (5 * PIECE + 7, true));
        assert!(never.frame().await.unwrap().is_err(), "nobody has taken it for minutes");
        drop(slow);
        assert!(!used.is_under_way());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_has_nothing_to_send_yet_is_not_given_up() {
        let used = Used::default();
        let mut live = Counted::new(
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>()),
            used.begin(),
        );
        assert!(futures_util::poll!(live.frame()).is_pending());
        tokio::time::advance(WITHIN * 10).await;
        assert_eq!((used.give_up(WITHIN), used.is_under_way()), (0, true));
    }
}
