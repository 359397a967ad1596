//! Pages on their way to readers: one is sent, the next one is read meanwhile, and no more.
//!
//! *Invariant:* what is being read never depends on the reader: it runs in a task of its own. A reader is polled only while
//! its client takes what is sent, so a future that waits inside it for a lock or a place would hold up everybody else.
//! *Invariant:* what all readers together hold is bounded in bytes ([`Budget`]), and nobody waits for room: a reader beyond
//! the bound ends with RESOURCE_EXHAUSTED, and its client comes again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eventstore_client::proto::streams::ReadResp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tonic::Status;

use super::listener::Peer;
use super::refusal::Refusal;
use crate::{PageLimit, RecordedEvent};

/// One page: some hundred kilobytes of usual events, and no more than one large event.
pub(super) const PAGE: PageLimit = PageLimit { events: 512, bytes: 1 << 20 };
/// Reads and subscriptions that may be open at a time, over all connections. Twice as many pages of the usual size are what
/// [`BUDGET_BYTES`] holds.
const READS: usize = 2_048;
/// Bytes of pages that may be in memory for readers, over all connections: several hundred readers that stand still in the
/// middle of large events.
const BUDGET_BYTES: usize = 256 << 20;

/// Work that was begun and continues in a task of its own. Dropping it ends it.
pub(super) struct Ahead<T>(JoinSet<T>);

impl<T: Send + 'static> Ahead<T> {
    /// Begins the work in a task of its own.
    pub fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        let mut task = JoinSet::new();
        task.spawn(work);
        Self(task)
    }

    /// Waits for the end of the work.
    pub async fn finish(mut self) -> Result<T, Refusal> {
        match self.0.join_next().await {
            Some(Ok(done)) => Ok(done),
            Some(Err(_)) | None => Err(Refusal::Away("a read failed by a fault of the server's own".to_owned())),
        }
    }
}

/// The places for reads.
#[derive(Clone)]
pub(super) struct Places {
    reads: Arc<Semaphore>,
    pub budget: Budget,
}

/// The place of one read, given back when the read ends.
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_connection: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub fn new() -> Self {
        Self { reads: Arc::new(Semaphore::new(READS)), budget: Budget::default() }
    }

    /// Takes a place for a read if there is one, without waiting.
    pub fn enter(&self, peer: Option<&Peer>) -> Result<Place, Refusal> {
        let full = |whose: &str| Refusal::Busy(format!("too many reads and subscriptions are open {whose}; end some"));
        let of_connection = peer.map(|peer| Arc::clone(&peer.reads).try_acquire_owned());
        let of_connection = of_connection.transpose().map_err(|_| full("on this connection"))?;
        let of_all = Arc::clone(&self.reads).try_acquire_owned().map_err(|_| full("on this server"))?;
        Ok(Place { _of_all: of_all, _of_connection: of_connection })
    }
}

/// The bytes of the pages that readers hold.
#[derive(Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// The bytes of one page, given back when the page was sent.
pub(super) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// Takes the bytes of a page's events from the budget.
    pub fn take<'a>(&self, events: impl IntoIterator<Item = &'a RecordedEvent>) -> Result<Held, Refusal> {
        let bytes = events.into_iter().map(RecordedEvent::size).sum();
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { budget: self.clone(), bytes }; // Gives them back also where there were too many.
        if before.saturating_add(bytes) > BUDGET_BYTES {
            let busy = "too many bytes wait to be taken by readers of the log; read what is open, or less at a time";
            return Err(Refusal::Busy(busy.to_owned()));
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Answers that are sent one after the other; their bytes are given back after the last one.
pub(super) struct Batch {
    answers: std::vec::IntoIter<Result<ReadResp, Status>>,
    _held: Option<Held>,
}

impl Batch {
    pub fn new(answers: Vec<Result<ReadResp, Status>>, held: Option<Held>) -> Self {
        Self { answers: answers.into_iter(), _held: held }
    }

    /// The single answer that ends a read.
    pub fn end(refusal: &Refusal) -> Self {
        Self::new(vec![Err(refusal.status())], None)
    }
}

impl Iterator for Batch {
    type Item = Result<ReadResp, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        self.answers.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;
    use crate::conformance::{event, stream};

    fn large() -> RecordedEvent {
        let of = stream("order-1");
        let new = event(&of, 0, 1 << 20);
        RecordedEvent {
            id: new.id,
            stream: of,
            version: 0,
            position: Position(1),
            event_type: new.event_type,
            schema_version: new.schema_version,
            data: new.data,
            recorded_at: new.metadata.occurred_at,
            metadata: new.metadata,
        }
    }

    #[test]
    fn what_all_readers_hold_is_bounded_in_bytes_and_given_back() {
        let (budget, event) = (Budget::default(), large());
        let pages = BUDGET_BYTES / event.size();
        assert!((200..=256).contains(&pages), "{pages} pages of a large event each");
        let mut held: Vec<Held> =
            (0..pages).map(|_| budget.take([&event]).unwrap_or_else(|_| panic!("room"))).collect();
        // One more is refused, and the refusal keeps no room: what is given back can be taken.
        for _ in 0..3 {
            assert!(matches!(budget.take([&event]), Err(Refusal::Busy(_))));
        }
        held.pop();
        held.push(budget.take([&event]).unwrap_or_else(|_| panic!("the room of one page was given back")));
        assert!(budget.clone().take([&event]).is_err(), "all clones share it");
        drop(held);
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
        assert!(budget.take(std::iter::repeat_n(&event, pages + 1)).is_err(), "a single page can be too large as well");
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
