//! What is applied together: events gather while a batch is being written, and for a moment after it.

use std::sync::Arc;
use std::time::Duration;

use event_store::{Delivery, Position, ReadError, RecordedEvent, Subscription};
use futures_util::FutureExt as _;
use tokio::time::Instant;

/// Events of one batch: enough to make statements cheap per row, few enough to keep a batch below a second and some MB.
const BATCH: usize = 4_096;
/// The shortest time between the beginnings of two batches: below load every batch starts at once, above it events
/// gather, so that hot rows are written 100 times a second at most instead of once an event.
const LINGER: Duration = Duration::from_millis(10);
/// Events that are applied together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    pub events: Vec<Arc<RecordedEvent>>,
    pub up_to: Position,
}

impl Batch {
    fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Events { events, up_to } => {
                self.events.extend(events);
                self.up_to = self.up_to.max(up_to);
            }
            Delivery::CaughtUp => {}
        }
    }
}

/// What waiting for events brought.
#[derive(Debug)]
pub(crate) enum Gathered {
    /// At least one delivery; it may hold no events, only a later position.
    Batch(Batch),
    /// A read model that stopped is to be tried again.
    RetryDue,
    /// The log has closed.
    Closed,
}

/// Waits for something, lets more gather for a moment if a batch has only just begun, and takes all there is.
pub(crate) async fn gather(
    subscription: &mut Subscription,
    last: Option<Instant>,
    retry_at: Option<Instant>,
) -> Result<Gathered, ReadError> {
    let mut batch = Batch::default();
    let first = match retry_at {
        Some(at) => match tokio::time::timeout_at(at, subscription.next()).await {
            // What was taken is delivered again to the next session.
            Ok(_) if at <= Instant::now() => return Ok(Gathered::RetryDue),
            Ok(first) => first,
            Err(_) => return Ok(Gathered::RetryDue),
        },
        None => subscription.next().await,
    };
    let Some(first) = first else { return Ok(Gathered::Closed) };
    batch.take(first?);
    if let Some(last) = last {
        tokio::time::sleep_until(last + LINGER).await; // In the past when the last batch took longer itself.
    }
    while batch.events.len() < BATCH {
        match subscription.next().now_or_never() {
            Some(Some(delivery)) => batch.take(delivery?),
            Some(None) | None => break,
        }
    }
    Ok(Gathered::Batch(batch))
}
