//! Catch-up, then live: one reader that knows how far it has come and takes what follows, from memory if it is still
//! there, else from the table. There is no seam between the two, so there is nothing to lose or to double at it.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::readers::Subject;
use super::{SqliteStore, reader};
use crate::port::{Delivery, Direction, Feed, Filter, PageLimit};
use crate::{Position, ReadError, RecordedEvent};

/// The newest events kept in memory: about 0.3 s of full speed, enough for readers that keep up.
const TAIL_EVENTS: usize = 8_192;
/// Bytes of them, so that large events cannot fill the memory.
const TAIL_BYTES: usize = 16 << 20;
/// Events looked through for one delivery.
const EVENTS_PER_DELIVERY: usize = 1_024;
/// A delivery ends with the event that makes it this large. Bytes.
const BYTES_PER_DELIVERY: usize = 1 << 20;

/// The newest durable events, contiguous, oldest first.
#[derive(Default)]
pub(super) struct Tail {
    events: VecDeque<Arc<RecordedEvent>>,
    bytes: usize,
}

impl Tail {
    /// Adds what was committed.
    pub fn extend(&mut self, events: Vec<Arc<RecordedEvent>>) {
        for event in events {
            self.bytes += event.size();
            self.events.push_back(event);
        }
        while self.events.len() > TAIL_EVENTS || self.bytes > TAIL_BYTES {
            let Some(event) = self.events.pop_front() else { return };
            self.bytes -= event.size();
        }
    }

    /// Forgets all: after a failed commit the table is the only truth.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The events that pass, of the next ones after `after`, and how far that looked; `None`: they are not all here.
    fn after(&self, after: Position, filter: &Filter) -> Option<(Vec<Arc<RecordedEvent>>, Position)> {
        let first = self.events.front()?.position.0;
        // Positions in this store are dense, so the place follows from the position.
        let skip = usize::try_from((after.0 + 1).checked_sub(first)?).ok()?;
        let last = self.events.range(skip.min(self.events.len())..).take(EVENTS_PER_DELIVERY);
        let mut up_to = after;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for event in last {
            if bytes >= BYTES_PER_DELIVERY {
                break;
            }
            bytes += event.size();
            up_to = event.position;
            if filter.admits(&event.stream) {
                found.push(event.clone());
            }
        }
        (up_to > after).then_some((found, up_to))
    }
}

/// One subscriber.
pub(super) struct Follower {
    store: SqliteStore,
    filter: Filter,
    /// Everything at or below is delivered.
    up_to: Position,
    caught_up: bool,
    head: watch::Receiver<Position>,
    closed: watch::Receiver<bool>,
}

impl Follower {
    pub fn new(store: SqliteStore, after: Position, filter: Filter) -> Self {
        let head = store.shared.head.subscribe();
        let closed = store.shared.closed.subscribe();
        Self { store, filter, up_to: after, caught_up: false, head, closed }
    }

    async fn after(&self) -> Result<(Vec<Arc<RecordedEvent>>, Position), ReadError> {
        if let Some(found) = self.store.shared.tail().after(self.up_to, &self.filter) {
            return Ok(found);
        }
        let after = self.up_to;
        let limit = PageLimit { events: EVENTS_PER_DELIVERY, bytes: BYTES_PER_DELIVERY };
        let events = self
            .store
            .run(Subject::Log(after), move |connection, path| {
                reader::all(connection, path, after, Direction::Forward, limit)
            })
            .await?;
        // It was behind the head, so there is something, or the table has lost it.
        let up_to = events.last().map(|event| event.position).ok_or_else(|| ReadError::Damaged {
            path: self.store.shared.path.display().to_string(),
            position: Position(after.0 + 1),
            what: "it was durable and is missing".to_owned(),
        })?;
        Ok((events.into_iter().filter(|event| self.filter.admits(&event.stream)).map(Arc::new).collect(), up_to))
    }
}

#[async_trait]
impl Feed for Follower {
    async fn next(&mut self) -> Option<Result<Delivery, ReadError>> {
        loop {
            if *self.closed.borrow() {
                return None;
            }
            let head = *self.head.borrow_and_update();
            if self.up_to < head {
                // Dropped while reading: `up_to` has not moved, the next call reads the same again.
                return Some(match self.after().await {
                    Ok((events, up_to)) => {
                        self.up_to = up_to;
                        Ok(Delivery::Events { events, up_to })
                    }
                    Err(_) if *self.closed.borrow() => return None,
                    Err(error) => Err(error),
                });
            }
            if !self.caught_up {
                self.caught_up = true;
                return Some(Ok(Delivery::CaughtUp));
            }
            // Dropped while waiting: nothing has moved. An error means that the store is gone.
            tokio::select! {
                moved = self.head.changed() => if moved.is_err() { return None },
                closing = self.closed.changed() => if closing.is_err() { return None },
            }
        }
    }
}
