//! What is applied together: events gather while a batch is being written, and for a moment after it.

use std::sync::Arc;
use std::time::Duration;

use event_store::{Delivery, Position, ReadError, RecordedEvent, Subscription};
use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Events of one batch: enough to make statements cheap per row, few enough to keep a batch below a second and some MB.
pub(crate) const BATCH: usize = 4_096;
/// Bytes of payloads of one batch: some 2 kB an event. Large events make batches of fewer, so that a backlog of any events
/// costs the same memory.
pub(crate) const BATCH_BYTES: usize = 8 << 20;
/// The time between the beginnings of two batches, shortest and longest. Below load every batch starts at once; above
/// it events gather, so that a row that many of them change is written 100 or 20 times a second, not once an event.
const LINGER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));
/// How much of that an event of the batch before is worth: above 5 000 events a second batches grow to the longest,
/// below it they shrink to the shortest.
const LINGER_PER_EVENT: Duration = Duration::from_micros(200);

/// Events that are applied together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    pub events: Vec<Arc<RecordedEvent>>,
    pub up_to: Position,
    /// All that was there when the session began has been handed over.
    pub caught_up: bool,
    /// The position is written for every read model, also where no rows are: other replicas read it in Postgres.
    pub keeps: bool,
    /// Bytes of the events' payloads.
    bytes: usize,
}

impl Batch {
    fn take_what_is_there(&mut self, subscription: &mut Subscription) -> Result<(), ReadError> {
        while !self.is_full() {
            match subscription.next().now_or_never() {
                Some(Some(delivery)) => self.take(delivery?),
                Some(None) | None => break,
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.events.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events { events, up_to } => {
                self.bytes += events.iter().map(|event| event.data.get().len()).sum::<usize>();
                self.events.extend(events);
                self.up_to = self.up_to.max(up_to);
            }
            Delivery::CaughtUp => self.caught_up = true,
        }
    }
}

/// The batch before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastBatch {
    /// When it began to be written.
    pub begun: Instant,
    /// How many events it had.
    pub events: usize,
    /// Whether events come as they happen. Before that there is nothing to wait for: they are all there.
    pub live: bool,
    /// For how long at least after its beginning the next one waits.
    pub rests: Duration,
}

impl LastBatch {
    fn linger(&self) -> Duration {
        let events = u32::try_from(self.events).unwrap_or(u32::MAX);
        LINGER_PER_EVENT.saturating_mul(events).clamp(LINGER.0, LINGER.1).max(self.rests)
    }
}

/// What waiting for events brought.
#[derive(Debug)]
pub(crate) enum Gathered<R> {
    /// At least one delivery; it may hold no events, only a later position.
    Batch(Batch),
    /// An operator asks for something.
    Asked(R),
    /// The moment has come at which something else is to be done.
    Due,
    /// The log has closed.
    Closed,
}

/// Waits for something, lets more gather for a moment if a batch has only just begun, and takes all there is.
pub(crate) async fn gather<R>(
    subscription: &mut Subscription,
    last: Option<LastBatch>,
    due_at: Option<Instant>,
    requests: Option<&mut mpsc::Receiver<R>>,
) -> Result<Gathered<R>, ReadError> {
    let mut batch = Batch::default();
    let due = async {
        match due_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let asked = async {
        match requests {
            Some(requests) => requests.recv().await,
            None => None,
        }
    };
    // Before anything is taken from the subscription: an event that was taken must not be dropped.
    let first = tokio::select! {
        biased;
        Some(request) = asked => return Ok(Gathered::Asked(request)),
        () = due => return Ok(Gathered::Due),
        first = subscription.next() => first,
    };
    let Some(first) = first else { return Ok(Gathered::Closed) };
    batch.take(first?);
    batch.take_what_is_there(subscription)?;
    if let Some(last) = last.filter(|last| last.live && !batch.is_full()) {
        tokio::time::sleep_until(last.begun + last.linger()).await; // In the past when that batch took longer itself.
        batch.take_what_is_there(subscription)?;
    }
    Ok(Gathered::Batch(batch))
}
